"""Taking a backup of the Supabase half: dump, try out, compare, keep. A drill does the last three with a backup."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from aragora_persist.backup.keeping import making
from aragora_persist.backup.names import DUMP_FILE, SUPABASE
from aragora_persist.backup.supabase.dumping import dump_into
from aragora_persist.backup.supabase.programs import find_programs
from aragora_persist.backup.supabase.restoring import check_equal, try_out
from aragora_persist.backup.supabase.scratch import refuse_place
from aragora_persist.backup.verify import Verification, file_sha256
from aragora_persist.cloud.schema.connecting import database_url

if TYPE_CHECKING:
    from pathlib import Path

    from aragora_persist.backup.records import BackupEntry
    from aragora_persist.backup.verify import Content
    from aragora_persist.settings import Settings

_METHOD = "pg_dump "
_LOGGER = logging.getLogger("aragora_persist.backup")


def take(settings: Settings, *, run: str = "") -> BackupEntry:
    """Back up the database of ``SUPABASE_DB_URL`` and return the entry.

    The backup counts because a server of its own took the dump back, and then held the rows that the database held.

    Raises:
        InvalidValueError: no database is configured.
        DamagedError: the dump cannot be restored, or holds other rows; earlier backups are untouched.
        UnsupportedError: a table is made with what is neither in the dump nor here.
        PersistError: see ``dump_into``, ``try_out`` and ``making``.

    """
    db_url = database_url(settings, "backup")
    refuse_place()
    with making(SUPABASE, settings, run=run, kind=DUMP_FILE) as new:
        dumped = dump_into(new.path, db_url)
        tried = try_out(new.path, dumped.programs)
        check_equal(tried.content, dumped.content, operation="backup", target=SUPABASE, untried=tried.untried)
        for problem in tried.untried:
            _LOGGER.warning("%s: in the dump, but it cannot be tried out without the project: %s", SUPABASE, problem)
        found = Verification(size_bytes=new.path.stat().st_size, sha256=file_sha256(new.path), content=dumped.content)
        return new.keep(found, method=f"{_METHOD}{dumped.programs.version}")


def drill(plain: Path, entry: BackupEntry, settings: Settings) -> None:  # noqa: ARG001 - as every drill is called
    """Try out the dump of a backup again; returns when a server of its own holds the rows that the entry names.

    Raises:
        DamagedError: it does not.
        PersistError: see ``try_out``.

    """
    tried = try_out(plain, find_programs(written_by(entry)))
    check_equal(tried.content, entry.content, operation="drill", target=entry.id, untried=tried.untried)


def read_dump(plain: Path) -> Content:
    """Return what a server of its own holds once it has taken the dump back, whatever the catalog says about it.

    Raises:
        PersistError: see ``try_out``.

    """
    return try_out(plain, find_programs(0, newest=True)).content


def written_by(entry: BackupEntry) -> int:
    """Return the major version of the program that wrote a backup, or of the newest one here where nobody knows."""
    major = entry.method.removeprefix(_METHOD).partition(".")[0]
    return int(major) if major.isdecimal() else find_programs(0, newest=True).major
