"""Taking backups: snapshot, verify, name, catalog; and removing those whose time is over.

A backup of database ``users`` is ``users_<YYYYmmdd_HHMMSS>.db`` in the backup folder, in UTC; a second one within the
same second is ``users_<YYYYmmdd_HHMMSS>_2.db``, and so on. A name that is in the catalog is not used again, not even
after its backup was removed.
Leaves out: when to do it (``sidecar``).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from aragora_persist import times
from aragora_persist.backup.catalog import BackupEntry, Catalog, CatalogState, CatalogWriter
from aragora_persist.backup.files import Partial, clean_partials, make_directory, partial
from aragora_persist.backup.intent import finish_interrupted_restore
from aragora_persist.backup.inventory import FileState, file_state, present_databases
from aragora_persist.backup.retention import Decision, Policy, decide
from aragora_persist.backup.snapshot import METHOD, copy_into
from aragora_persist.backup.verify import Verification, verify
from aragora_persist.databases import find_database
from aragora_persist.errors import NotFoundError, PersistError, StorageError
from aragora_persist.storage.sqlite.files import resolve, sync_folder
from aragora_persist.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime
    from pathlib import Path

    from aragora_persist.settings import Settings

_OPERATION = "backup"
_REMEMBERED_DELETIONS = 1000
"""How many removed backups the catalog may remember; more would make it grow for ever, and every look at it slower."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one database's backup: an entry, or the error."""

    database: str
    entry: BackupEntry | None = None
    error: PersistError | None = None


def take_backup(database: str, settings: Settings) -> BackupEntry:
    """Back up one database and return the entry; the backup is verified, on the disk and in the catalog.

    Several callers at once, in whatever processes, each get a backup of their own. What killed runs left is removed.

    Raises:
        NotFoundError: the database has no file, or no table yet.
        DamagedError: the database is damaged; earlier backups are untouched.
        BusyError: the database or the catalog stayed locked for ``DB_TIMEOUT``.
        StorageError: the backup cannot be written.

    """
    source = resolve(find_database(database).path(settings.nomic_dir))
    started = time.monotonic()
    created_at = times.utc_now()
    try:
        finish_interrupted_restore(source, timeout_s=settings.db_timeout_s)
        make_directory(settings.backup_dir)
        clean_partials(settings.backup_dir)
        with partial(settings.backup_dir / f"{database}.db") as copy:
            copy_into(source, copy.path, timeout_s=settings.db_timeout_s)
            verification = verify(copy.path)
            if not verification.content.tables:
                raise NotFoundError(_OPERATION, source, "holds no table yet", hint="aragora-persist migrate")
            duration_s = round(time.monotonic() - started, 6)
            with Catalog(settings.backup_dir).writing(timeout_s=settings.db_timeout_s) as writer:
                return _keep(copy, verification, database, created_at, duration_s, settings.backup_dir, writer)
    except OSError as error:
        problem = f"cannot be written: {error.strerror or error}"
        raise StorageError(_OPERATION, settings.backup_dir, problem, hint="free some space or grant access") from error


def take_all(settings: Settings, databases: Iterable[str] | None = None) -> Iterator[Outcome]:
    """Back up these databases, or all that are present, and yield each outcome; one failure does not stop the rest."""
    for database in present_databases(settings) if databases is None else databases:
        try:
            yield Outcome(database, entry=take_backup(database, settings))
        except PersistError as error:
            yield Outcome(database, error=error)


def apply_retention(
    settings: Settings, *, now: datetime | None = None, databases: Iterable[str] | None = None, dry_run: bool = False
) -> list[Decision]:
    """Remove the backups whose time is over and return the decision about each; with ``dry_run`` only decide.

    A deletion is on the disk before its file goes, so a killed run leaves at most a file that the next run removes.

    Raises:
        BusyError: another process held the catalog for ``DB_TIMEOUT``.
        StorageError: a file cannot be removed.

    """
    directory = settings.backup_dir
    if not directory.is_dir():
        return []
    now = now or times.utc_now()
    names = None if databases is None else frozenset(databases)
    try:
        with Catalog(directory).writing(timeout_s=settings.db_timeout_s) as writer:
            state = writer.read()
            chosen = [entry for entry in state.backups if names is None or entry.database in names]
            intact = {e.id for e in chosen if file_state(directory, e, check=False) is FileState.INTACT}
            decisions = decide(chosen, intact=intact, now=now, policy=Policy.of(settings))
            if not dry_run:
                _remove(decisions, state.deleted, writer, directory, now)
    except OSError as error:
        raise StorageError("backup retention", directory, error.strerror or str(error)) from error
    return decisions


def _keep(
    copy: Partial,
    verification: Verification,
    database: str,
    created_at: datetime,
    duration_s: float,
    directory: Path,
    writer: CatalogWriter,
) -> BackupEntry:
    file = _free_name(database, created_at, directory, writer.read())
    entry = BackupEntry(
        id=file.removesuffix(".db"),
        database=database,
        file=file,
        created_at=created_at,
        duration_s=duration_s,
        size_bytes=verification.size_bytes,
        sha256=verification.sha256,
        content=verification.content,
        method=METHOD,
        package_version=VERSION,
    )
    copy.publish(directory / file, operation=_OPERATION)
    try:
        writer.add_backup(entry)
    except OSError:
        (directory / file).unlink()
        raise
    return entry


def _free_name(database: str, created_at: datetime, directory: Path, state: CatalogState) -> str:
    base = f"{database}_{created_at:%Y%m%d_%H%M%S}"
    names = (f"{base}.db" if number == 1 else f"{base}_{number}.db" for number in count(1))
    return next(name for name in names if name not in state.known_files and not (directory / name).exists())


def _remove(
    decisions: Iterable[Decision], deleted: Iterable[BackupEntry], writer: CatalogWriter, directory: Path, now: datetime
) -> None:
    gone = list(deleted)  # a killed run may have left the file of one
    for decision in decisions:
        if not decision.keep:
            writer.add_deletion(decision.entry, at=now, reason=decision.reason)
            gone.append(decision.entry)
    for entry in gone:
        (directory / entry.file).unlink(missing_ok=True)
    sync_folder(directory)
    if len(gone) > _REMEMBERED_DELETIONS:
        writer.forget(gone)
