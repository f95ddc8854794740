"""What is restored: a backup of the catalog, a moment that Litestream shipped, or a file made by hand; opened to read.

Leaves out: whether a file made by hand is sound (``handmade``), and bringing any of it to a newer schema
(``candidates``).
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aragora_persist.backup.catalog import Catalog
from aragora_persist.backup.files import scratch_folder
from aragora_persist.backup.restore.choosing import choose_backup
from aragora_persist.backup.restore.handmade import opened_file
from aragora_persist.backup.unpacking import opened_backup
from aragora_persist.backup.verify import Verification
from aragora_persist.errors import NotFoundError
from aragora_persist.migrations.progress import report
from aragora_persist.storage.sqlite.files import resolve
from aragora_persist.times import to_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from aragora_persist.backup.records import BackupEntry
    from aragora_persist.settings import Settings

LITESTREAM = "litestream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A database file that nobody writes to while it is open. The names are those of ``RestoreResult``."""

    name: str
    path: Path
    known: Verification | None = None
    """What it holds, where that is known."""
    entry: BackupEntry | None = None
    moment: datetime | None = None
    notes: tuple[str, ...] = ()


@contextmanager
def opened_origin(
    database: str, settings: Settings, *, backup_id: str | None, at: datetime | None, file: Path | None
) -> Iterator[Origin]:
    """Open what is to be restored; see ``restore.restore`` for what the arguments mean."""
    if file is not None and (entry := _entry_of(file, database, settings)):
        with opened_entry(entry, settings) as origin:
            yield origin
    elif file is not None:
        report(f"examining {file}")
        with opened_file(file, database, settings) as (path, found, notes):
            yield Origin(name=str(file), path=path, known=found, notes=notes)
    elif at is not None and settings.litestream_url and not _is_of_a_backup(database, at, settings):
        with _opened_moment(database, at, settings) as origin:
            yield origin
    else:
        with opened_entry(choose_backup(database, settings, backup_id=backup_id, at=at), settings) as origin:
            yield origin


def _entry_of(file: Path, database: str, settings: Settings) -> BackupEntry | None:
    """Return the entry of a file that the catalog knows: to be equal to it says more than a look at the file."""
    place = resolve(file)
    if place.parent != resolve(settings.backup_dir):
        return None
    entries = (entry for entry in Catalog(settings.backup_dir).read().backups if entry.database == database)
    return next((entry for entry in entries if entry.file == place.name), None)


@contextmanager
def opened_entry(entry: BackupEntry, settings: Settings) -> Iterator[Origin]:
    """Open a backup of the catalog; every byte was compared with its entry."""
    report(f"comparing {entry.id} with its entry")
    with opened_backup(entry, settings) as path:
        # Its bytes are those that were verified when it was taken, and so are its rows.
        known = Verification(size_bytes=entry.plain_size_bytes, sha256=entry.plain_sha256, content=entry.content)
        yield Origin(name=entry.id, path=path, known=known, entry=entry, moment=entry.created_at)


@contextmanager
def _opened_moment(database: str, at: datetime, settings: Settings) -> Iterator[Origin]:
    """Open a database as of a moment; where Litestream shipped nothing so early, the newest backup from before it."""
    from aragora_persist.backup.point_in_time import restore_moment  # noqa: PLC0415 - only where Litestream ships

    with scratch_folder("aragora-moment-") as scratch:
        path = scratch / f"{database}.db"
        try:
            reached = restore_moment(database, at, path, settings)
        except NotFoundError as error:
            with opened_entry(choose_backup(database, settings, at=at), settings) as origin:
                note = f"Litestream has nothing so early ({error.problem}): this is the newest backup from before it"
                yield replace(origin, notes=(note,))
        else:
            yield Origin(name=LITESTREAM, path=path, moment=reached)


def _is_of_a_backup(database: str, at: datetime, settings: Settings) -> bool:
    """Say whether a backup is exactly of this moment."""
    try:
        return to_text(choose_backup(database, settings, at=at).created_at) == to_text(at)
    except NotFoundError:
        return False
