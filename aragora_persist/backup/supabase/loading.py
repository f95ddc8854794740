"""A backup put into a project: structure, rows, rights, policies, sequences and the migration history.

All of it is one transaction, at whose end the tables are read: only what holds exactly the backup's rows is committed,
and a kill at any moment leaves the project as it was. Tables that the project has are not overwritten: they are moved
aside, into schemas of their own, when that was asked for, and else nothing is done.
Leaves out: what becomes of what the project has of its own (``project``).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from contextlib import closing, contextmanager
from typing import IO, TYPE_CHECKING, NamedTuple

from aragora_persist.backup.files import partial
from aragora_persist.backup.names import SUPABASE
from aragora_persist.backup.restore.choosing import choose_backup
from aragora_persist.backup.supabase.content import LOCK_WAIT_MS, read_content
from aragora_persist.backup.supabase.dumping import refuse_transaction_pooler
from aragora_persist.backup.supabase.programs import bare_environment, failure, find_programs
from aragora_persist.backup.supabase.project import make_room, publish, withdraw, without_default_grants
from aragora_persist.backup.supabase.restoring import check_equal
from aragora_persist.backup.supabase.taking import read_dump, written_by
from aragora_persist.backup.unpacking import opened_backup
from aragora_persist.cloud.schema.connecting import connected, database_url
from aragora_persist.errors import StorageError
from aragora_persist.storage.postgresql.faults import DRIVER_ERRORS, translate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from aragora_persist.backup.records import BackupEntry
    from aragora_persist.backup.supabase.content import Connection
    from aragora_persist.backup.supabase.programs import Programs
    from aragora_persist.backup.verify import Content
    from aragora_persist.settings import Secret, Settings

_OPERATION = "restore supabase"
# The project has its schemas and extensions already, and says itself what new tables grant.
_PROJECTS_OWN = re.compile(
    r"^[0-9]+; [0-9]+ [0-9]+ (?:(?:COMMENT - )?EXTENSION |SCHEMA - |(?:ACL|COMMENT) - SCHEMA public|DEFAULT ACL )"
)
_COPY = re.compile(rb"COPY .* FROM stdin;\n")
_END_OF_ROWS = b"\\.\n"
_SINCE_17 = b"SET transaction_timeout = 0;\n"
_AT_ONCE = 1 << 18


class Loaded(NamedTuple):
    """What was done: from which backup (None: from a file), where to, and what was there before is in which schemas."""

    entry: BackupEntry | None
    database: str
    content: Content
    aside: tuple[str, ...]


def restore(
    settings: Settings,
    *,
    backup_id: str | None = None,
    at: datetime | None = None,
    file: Path | None = None,
    replace: bool = False,
) -> Loaded:
    """Put the last backup, or the one that is named, or a dump that is a file, into the database of the settings.

    Of a file is first seen, in a server of its own, what it holds.

    Raises:
        NotFoundError: there is no such backup.
        PersistError: see ``load``, ``opened_backup`` and ``try_out``.

    """
    db_url = database_url(settings, _OPERATION)
    if file is not None:
        expected = read_dump(file)
        database, aside = load(file, expected, db_url, major=find_programs(0, newest=True).major, replace=replace)
        return Loaded(None, database, expected, aside)
    entry = choose_backup(SUPABASE, settings, backup_id=backup_id, at=at)
    with opened_backup(entry, settings) as plain:
        database, aside = load(plain, entry.content, db_url, major=written_by(entry), replace=replace)
    return Loaded(entry, database, entry.content, aside)


def save(settings: Settings, target: Path, *, backup_id: str | None = None, at: datetime | None = None) -> BackupEntry:
    """Write the dump of a backup to the new file ``target``, equal to what was tried out when it was taken.

    Raises:
        NotFoundError: there is no such backup.
        ConflictError: the file exists; it is untouched.
        PersistError: see ``opened_backup``.

    """
    entry = choose_backup(SUPABASE, settings, backup_id=backup_id, at=at)
    try:
        with opened_backup(entry, settings) as plain, partial(target) as copy:
            shutil.copyfile(plain, copy.path)
            copy.publish(target, operation=_OPERATION)
    except OSError as error:
        raise StorageError(_OPERATION, target, f"cannot be written: {error.strerror or error}") from error
    return entry


def load(dump: Path, expected: Content, db_url: Secret, *, major: int, replace: bool) -> tuple[str, tuple[str, ...]]:
    """Put a dump into the project's database; ``expected`` is what its tables hold then.

    ``major`` is the version of the program that wrote it. Returns the database, as errors name it, and the
    schemas into which what was there was moved.

    Raises:
        ConflictError: the project has tables, and ``replace`` was not asked for; nothing was changed.
        DamagedError: what was restored is not what was expected; nothing was changed.
        BusyError: another session held a table; nothing was changed.
        PersistError: the database cannot be reached or refuses something; nothing was changed.

    """
    refuse_transaction_pooler(db_url, _OPERATION)
    with connected(db_url) as (connection, place):
        programs = find_programs(max(major, connection.info.server_version // 10_000))
        try:
            with connection.transaction():
                connection.execute(f"set local lock_timeout = {LOCK_WAIT_MS}")
                aside = make_room(connection, place, operation=_OPERATION, replace=replace)
                published = withdraw(connection, aside)
                with without_default_grants(connection):
                    _run_sections(connection, dump, programs)
                publish(connection, expected, published)
                check_equal(read_content(connection), expected, operation=_OPERATION, target=place)
                connection.execute("notify pgrst, 'reload schema'")
        except DRIVER_ERRORS as error:
            if connection.broken:
                raise  # whoever connected tells
            told = translate(error, _OPERATION, place)
            hint = told.hint or "nothing was changed: make what is missing there (a role, an extension), then repeat"
            raise type(told)(_OPERATION, place, told.problem, hint=hint) from None
    return place, aside


def _run_sections(connection: Connection, dump: Path, programs: Programs) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".list") as chosen:
        entries = _output([programs.path("pg_restore"), "--list", str(dump)], dump).decode().splitlines(keepends=True)
        chosen.writelines(line for line in entries if not _PROJECTS_OWN.match(line))
        chosen.flush()
        restore = [programs.path("pg_restore"), "--no-owner", f"--use-list={chosen.name}", "--file=-"]
        for section in ("pre-data", "post-data"):
            if section == "post-data":
                _copy_rows(connection, [*restore, "--section=data", str(dump)], dump)
            _execute(connection, _output([*restore, f"--section={section}", str(dump)], dump).splitlines(keepends=True))


def _output(arguments: list[str], dump: Path) -> bytes:
    done = subprocess.run(arguments, capture_output=True, env=bare_environment(), check=False)
    if done.returncode:
        raise failure(arguments[0], done.returncode, done.stderr, operation=_OPERATION, target=dump)
    return done.stdout


def _execute(connection: Connection, lines: list[bytes]) -> None:
    """Run statements as one; what is for psql alone, or for newer servers, is left out."""
    old = connection.info.server_version < 17_00_00  # noqa: PLR2004 - as PostgreSQL writes its version 17.0
    text = b"".join(line for line in lines if not line.startswith(b"\\") and not (old and line == _SINCE_17))
    if text.strip():
        connection.execute(text)


def _copy_rows(connection: Connection, arguments: list[str], dump: Path) -> None:
    """Run the part of a dump that holds rows: statements, and after each COPY lines of rows up to an end mark."""
    with _lines_of(arguments, dump) as lines:
        statements: list[bytes] = []
        for line in lines:
            if not _COPY.fullmatch(line):
                statements.append(line)
                continue
            _execute(connection, statements)
            statements = []
            with closing(connection.cursor()) as cursor, cursor.copy(line.rstrip(b";\n")) as copy:
                for row in lines:
                    if row == _END_OF_ROWS:
                        break
                    copy.write(row)
        _execute(connection, statements)


@contextmanager
def _lines_of(arguments: list[str], dump: Path) -> Iterator[IO[bytes]]:
    """Give what a program writes, line by line; at the end it must have succeeded."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=said, env=bare_environment(), bufsize=_AT_ONCE
        )
        assert process.stdout is not None, "asked for above"  # noqa: S101 - for the type checker
        try:
            with process.stdout:
                yield process.stdout
        finally:
            code = process.wait()
        if code:
            said.seek(0)
            raise failure(arguments[0], code, said.read(), operation=_OPERATION, target=dump)
