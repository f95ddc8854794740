"""Restoring a backup: into the running database where that is possible, else in its place, or to a new file.

Nothing is lost by it: the replaced database is kept beside the restored one, with every transaction up to the restore.
A killed restore leaves the old database or the new one, never a mixture; run it again. Leaves out: a moment between
two backups.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from aragora_persist import times
from aragora_persist.backup.files import SIDE_FILES, Partial, beside, clean_partials, locked, make_directory, partial
from aragora_persist.backup.intent import Intent, complete, declare, is_unreadable, withdraw
from aragora_persist.backup.inventory import choose_backup
from aragora_persist.backup.snapshot import copy_into, open_read_only, run_backup
from aragora_persist.backup.verify import read_content, verify
from aragora_persist.databases import find_database
from aragora_persist.errors import BusyError, ConflictError, DamagedError, StorageError
from aragora_persist.storage.sqlite.checkpointer import under_litestream
from aragora_persist.storage.sqlite.faults import DRIVER_ERRORS, translate
from aragora_persist.storage.sqlite.files import is_being_restored, resolve

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from aragora_persist.backup.catalog import BackupEntry
    from aragora_persist.settings import Settings

_OPERATION = "restore"
_PAGES_AT_ONCE = 1000


class Way(Enum):
    """How a restore was done."""

    INTO = "into the open database"
    """As one transaction of the live file: idle connections of others go on and see the restored rows."""
    IN_PLACE = "in place of the files"
    """The old files were missing or could not be opened, and were moved aside."""
    NEW_FILE = "to a new file"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreResult:
    """What was done. ``replaced`` is the database that was there before, as a file of its own; None if none was."""

    entry: BackupEntry
    target: Path
    way: Way
    replaced: Path | None
    equal: bool
    """The target, read afterwards, held exactly the backup's rows; False when another process has written since."""


def restore(
    database: str,
    settings: Settings,
    *,
    backup_id: str | None = None,
    at: datetime | None = None,
    to: Path | None = None,
) -> RestoreResult:
    """Restore the last backup of ``database``, or the one with ``backup_id``, or the newest not younger than ``at``.

    The backup is compared with its catalog entry, byte for byte and row for row, before anything is touched. With
    ``to`` it becomes that new file; otherwise it becomes the live database.

    Raises:
        NotFoundError: there is no such backup.
        DamagedError: the backup is not what was written; the hint names the newest one that is.
        ConflictError: ``to`` exists.
        BusyError: another process holds a transaction, a lock or the folder for longer than ``DB_TIMEOUT``.
        StorageError: the target cannot be written.

    """
    entry = choose_backup(database, settings, backup_id=backup_id, at=at)
    target = resolve(find_database(database).path(settings.nomic_dir) if to is None else to)
    try:
        make_directory(target.parent)
        if to is not None:
            return _restore_to(entry, settings, target)
        with locked(target.parent, timeout_s=settings.db_timeout_s, operation=_OPERATION):
            clean_partials(target.parent)
            _settle_interrupted(target, settings.db_timeout_s)
            return _restore_live(entry, settings, target)
    except OSError as error:
        raise StorageError(_OPERATION, target, f"cannot be written: {error.strerror or error}") from error


def _restore_to(entry: BackupEntry, settings: Settings, target: Path) -> RestoreResult:
    if found := next((path for ending in ("", *SIDE_FILES) if (path := beside(target, ending)).exists()), None):
        raise ConflictError(_OPERATION, found, "exists and is not overwritten", hint="name another file")
    with partial(target) as copy:
        _copy_verified(entry, settings, copy)
        copy.publish(target, operation=_OPERATION)
    return RestoreResult(entry=entry, target=target, way=Way.NEW_FILE, replaced=None, equal=True)


def _settle_interrupted(target: Path, timeout_s: float) -> None:
    """Complete a restore that was killed; one that can no longer be completed is superseded by this one."""
    if is_being_restored(target):
        try:
            complete(target, timeout_s=timeout_s)
        except DamagedError:
            withdraw(target)


def _restore_live(entry: BackupEntry, settings: Settings, target: Path) -> RestoreResult:
    """Restore over ``target``, whose folder's lock is held."""
    stamp = f"{times.utc_now():%Y%m%d_%H%M%S_%f}"
    replaced = target.with_name(f"{target.stem}.replaced_{stamp}{target.suffix}")
    backup = settings.backup_dir / entry.file
    if _takes_pages_of(backup, target, settings.db_timeout_s):
        equal = _restore_into(entry, settings, target, replaced)
        return RestoreResult(entry=entry, target=target, way=Way.INTO, replaced=replaced, equal=equal)
    kept = _restore_in_place(entry, settings, target, replaced)
    return RestoreResult(entry=entry, target=target, way=Way.IN_PLACE, replaced=kept, equal=True)


def _takes_pages_of(backup: Path, target: Path, timeout_s: float) -> bool:
    """Say whether SQLite can open the target and write the backup's pages into it."""
    if not target.exists() or is_unreadable(target):
        return False
    try:
        with (
            closing(open_read_only(backup, parameters="mode=ro&immutable=1")) as source,
            closing(_connect(target, timeout_s)) as live,
        ):
            live.execute("SELECT count(*) FROM sqlite_master").fetchone()
            sizes = [connection.execute("PRAGMA page_size").fetchone() for connection in (source, live)]
            return bool(sizes[0] == sizes[1])
    except DRIVER_ERRORS as error:
        problem = translate(error, _OPERATION, target)
        if isinstance(problem, BusyError):
            raise problem from error
        return False


def _restore_into(entry: BackupEntry, settings: Settings, target: Path, replaced: Path) -> bool:
    """Write the backup's pages into the live database as one transaction; return whether it then equals the backup."""
    timeout_s = settings.db_timeout_s
    backup = settings.backup_dir / entry.file
    try:
        with (
            closing(open_read_only(backup, parameters="mode=ro&immutable=1")) as source,
            closing(_connect(target, timeout_s)) as live,
            partial(replaced) as kept,
        ):
            _make_ready(live, target)
            pages = source.execute("PRAGMA page_count").fetchone()[0]

            def keep_replaced() -> None:
                # The live file is now locked for writing: this copy holds the last transaction before the restore.
                copy_into(target, kept.path, timeout_s=timeout_s)
                kept.publish(replaced, operation=_OPERATION)

            run_backup(
                source,
                live,
                locked=target,
                timeout_s=timeout_s,
                # At least two steps: in a single one the target would be committed when the first is over.
                pages=max(1, min(_PAGES_AT_ONCE, pages // 2)),
                after_first_step=keep_replaced,
            )
            with suppress(sqlite3.OperationalError):  # only tidier: the restored rows are on the disk already
                live.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return read_content(live, target) == entry.content
    except DRIVER_ERRORS as error:
        raise translate(error, _OPERATION, target) from error


def _make_ready(live: sqlite3.Connection, target: Path) -> None:
    """Put the live file into WAL mode, and wait for the transactions that others hold on it.

    Readers would not stop a restore. But who reads for long goes on with rows that are no longer there, and acts on
    them: so a restore waits for transactions that began before it, and is refused by those that do not end. Under
    Litestream it does not: that one reads all the time, and ships the restored rows like any others.
    """
    for pragma in ("synchronous = FULL", "fullfsync = ON", "journal_mode = WAL"):
        live.execute(f"PRAGMA {pragma}")
    live.execute("BEGIN IMMEDIATE")
    # Any write will do: with it, whoever began before it is behind the newest state, and a full checkpoint waits.
    version = live.execute("PRAGMA user_version").fetchone()[0]
    live.execute(f"PRAGMA user_version = {int(version)}")
    live.execute("COMMIT")
    if live.execute("PRAGMA wal_checkpoint(FULL)").fetchone()[0] and not under_litestream(live):
        raise BusyError(_OPERATION, target, "another connection is in a transaction", hint="end it, then repeat")


def _restore_in_place(entry: BackupEntry, settings: Settings, target: Path, replaced: Path) -> Path | None:
    """Put a copy of the backup in the place of files that cannot be opened; return where those are now."""
    staged = beside(target, ".restored")
    staged.unlink(missing_ok=True)  # of a run that was killed before it declared its intent
    with partial(staged) as copy:
        _copy_verified(entry, settings, copy)
        copy.publish(staged, operation=_OPERATION)
    declare(target, Intent(staged=staged.name, replaced=replaced.name))
    try:
        return complete(target, timeout_s=settings.db_timeout_s)
    except BusyError:
        withdraw(target)
        staged.unlink()
        raise


def _copy_verified(entry: BackupEntry, settings: Settings, copy: Partial) -> None:
    """Copy the backup's bytes and read them back: what was checked before may have changed since."""
    source = settings.backup_dir / entry.file
    shutil.copyfile(source, copy.path)
    copied = verify(copy.path)
    if (copied.sha256, copied.content) != (entry.sha256, entry.content):
        raise DamagedError(_OPERATION, source, "changed while it was copied", hint="repeat")


def _connect(target: Path, timeout_s: float) -> sqlite3.Connection:
    return sqlite3.connect(f"{target.as_uri()}?mode=rw", uri=True, timeout=timeout_s, isolation_level=None)
