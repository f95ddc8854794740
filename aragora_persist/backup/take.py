"""Taking backups: snapshot, verify, keep; and removing those whose time is over.

A backup of database ``users`` is ``users_<YYYYmmdd_HHMMSS>.db`` in the backup folder, in UTC, then ``.zst``, ``.age``
where it is compressed or encrypted; a second one within the same second is ``users_<YYYYmmdd_HHMMSS>_2``, and
so on. A name that is in the catalog is not used again, not even after its backup was removed.
Leaves out: when to do it (``sidecar``), and how a copy becomes a backup (``keeping``).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aragora_persist import times
from aragora_persist.backup import archive
from aragora_persist.backup.catalog import Catalog
from aragora_persist.backup.inventory import FileState, file_state, present_databases
from aragora_persist.backup.keeping import OPERATION, making
from aragora_persist.backup.names import SUPABASE
from aragora_persist.backup.restore.intent import finish_interrupted_restore
from aragora_persist.backup.retention import Decision, Policy, decide
from aragora_persist.backup.verify import verify
from aragora_persist.databases import find_database
from aragora_persist.errors import NotFoundError, PersistError, StorageError
from aragora_persist.migrations.progress import report
from aragora_persist.storage.sqlite.copying import copy_into
from aragora_persist.storage.sqlite.files import resolve, sync_folder

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from datetime import datetime
    from pathlib import Path

    from aragora_persist.backup.catalog import CatalogWriter
    from aragora_persist.backup.records import BackupEntry
    from aragora_persist.settings import Settings

_REMEMBERED_DELETIONS = 1000
"""How many removed backups the catalog may remember; more would make it grow for ever, and every look at it slower."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one database's backup: an entry, or the error."""

    database: str
    entry: BackupEntry | None = None
    error: PersistError | None = None


def take_backup(database: str, settings: Settings, *, run: str | None = None) -> BackupEntry:
    """Back up one database and return the entry; the backup is verified, on the disk and in the catalog.

    Several callers at once, in whatever processes, each get a backup of their own. What killed runs left is removed.
    Those with one ``run`` (``new_run``) belong together; without it, each is a run of its own.

    Raises:
        InvalidValueError: a recipient is no public key; nothing was copied.
        UnsupportedError: a library that the settings ask for is not installed; nothing was copied.
        NotFoundError: the database has no file, or no table yet.
        DamagedError: the database is damaged; earlier backups are untouched.
        BusyError: the database or the catalog stayed locked for ``DB_TIMEOUT``.
        StorageError: the backup cannot be written.

    """
    if database == SUPABASE:
        from aragora_persist.backup import supabase  # noqa: PLC0415 - needs the client programs of a server

        return supabase.take(settings, run=run or new_run())
    source = resolve(find_database(database).path(settings.nomic_dir))
    with making(database, settings, run=run or new_run()) as backup:
        finish_interrupted_restore(source, timeout_s=settings.db_timeout_s)
        method = copy_into(source, backup.path, timeout_s=settings.db_timeout_s)
        verification = verify(backup.path)
        if not verification.content.tables:
            raise NotFoundError(OPERATION, source, "holds no table yet", hint="aragora-persist migrate")
        return backup.keep(verification, method=method)


def new_run() -> str:
    """Return a name for a run, which no other run has."""
    return f"{times.utc_now():%Y%m%d_%H%M%S}_{os.urandom(4).hex()}"


def take_all(settings: Settings, databases: Iterable[str] | None = None) -> Iterator[Outcome]:
    """Back up these databases, or all that are present, and yield each outcome; one failure does not stop the rest.

    Raises:
        InvalidValueError: a recipient is no public key; nothing was copied.
        UnsupportedError: a library that the settings ask for is not installed; nothing was copied.

    """
    archive.check(compression=settings.backup_compression, recipients=settings.backup_recipients)
    run = new_run()
    for database in present_databases(settings) if databases is None else databases:
        report(database)
        try:
            yield Outcome(database, entry=take_backup(database, settings, run=run))
        except PersistError as error:
            yield Outcome(database, error=error)


def apply_retention(
    settings: Settings, *, now: datetime | None = None, databases: Iterable[str] | None = None
) -> list[Decision]:
    """Remove the backups whose time is over and return the decision about each.

    A deletion is on the disk before its file goes, so a killed run leaves at most a file that the next run removes.

    Raises:
        BusyError: another process held the catalog for ``DB_TIMEOUT``.
        StorageError: a file cannot be removed.

    """
    directory = settings.backup_dir
    if not directory.is_dir():
        return []
    now = now or times.utc_now()
    try:
        with Catalog(directory).writing(timeout_s=settings.db_timeout_s) as writer:
            state = writer.read()
            decisions = _decide(_of(databases, state.backups), settings, now)
            _remove(decisions, state.deleted, writer, directory, now)
    except OSError as error:
        file = f" ({error.filename})" if error.filename else ""
        problem = f"what is not kept cannot be removed: {error.strerror or error}{file}"
        raise StorageError("backup retention", directory, problem, hint="free some space or grant access") from error
    return decisions


def foresee_retention(settings: Settings, databases: Iterable[str]) -> list[Decision]:
    """Return what ``apply_retention`` would decide once these databases had been backed up now; nothing is changed.

    Raises:
        StorageError: the backup folder cannot be read.

    """
    now = times.utc_now()
    backups = _of(databases, Catalog(settings.backup_dir).read().backups)
    last = {entry.database: entry for entry in backups}
    coming = [replace(entry, id="the one to be taken", created_at=now) for entry in last.values()]
    decisions = _decide(backups, settings, now, coming=coming)
    return [decision for decision in decisions if decision.entry not in coming]


def _of(databases: Iterable[str] | None, backups: Iterable[BackupEntry]) -> list[BackupEntry]:
    names = None if databases is None else frozenset(databases)
    return [entry for entry in backups if names is None or entry.database in names]


def _decide(
    backups: list[BackupEntry], settings: Settings, now: datetime, coming: Collection[BackupEntry] = ()
) -> list[Decision]:
    """Decide by the files' sizes; where one would go, the last backup of its database has proved itself by digest.

    Otherwise the last sound one could go because of a later one of the right size and with wrong bytes.
    """
    directory = settings.backup_dir
    intact = {entry.id for entry in backups if file_state(directory, entry, check=False) is FileState.INTACT}
    policy = Policy.of(settings)
    decisions = decide([*backups, *coming], intact={*intact, *_ids(coming)}, now=now, policy=policy)
    doubtful = {decision.entry.database for decision in decisions if not decision.keep}
    for database in doubtful - {entry.database for entry in coming}:
        for entry in reversed([entry for entry in backups if entry.database == database and entry.id in intact]):
            if file_state(directory, entry, check=True) is FileState.INTACT:
                break
            intact.remove(entry.id)
    return decide([*backups, *coming], intact={*intact, *_ids(coming)}, now=now, policy=policy)


def _ids(entries: Iterable[BackupEntry]) -> Iterator[str]:
    return (entry.id for entry in entries)


def _remove(
    decisions: Iterable[Decision], deleted: Iterable[BackupEntry], writer: CatalogWriter, directory: Path, now: datetime
) -> None:
    gone = list(deleted)  # a killed run may have left the file of one
    for decision in decisions:
        if not decision.keep:
            writer.add_deletion(decision.entry, at=now, reason=decision.reason)
            gone.append(decision.entry)
    stuck = []
    for entry in gone:
        try:
            (directory / entry.file).unlink(missing_ok=True)
        except OSError as error:
            stuck.append(error)  # the others go all the same: one must not keep all that come after it
    sync_folder(directory)
    if stuck:
        raise stuck[0]
    if len(gone) > _REMEMBERED_DELETIONS:
        writer.forget(gone)
