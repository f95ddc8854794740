"""The catalog and the files beside it, compared: what can be restored, and what is wrong.

A pure read. Leaves out: repairing anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from aragora_persist import times
from aragora_persist.backup.catalog import BackupEntry, Catalog
from aragora_persist.backup.names import id_of, is_packed
from aragora_persist.backup.verify import file_sha256, verify
from aragora_persist.databases import DATABASES, find_database
from aragora_persist.errors import DamagedError, NotFoundError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from pathlib import Path

    from aragora_persist.settings import Settings


class FileState(Enum):
    """What became of a backup's file."""

    INTACT = "intact"
    MISSING = "missing"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class Listed:
    """One backup of the catalog and the state of its file."""

    entry: BackupEntry
    state: FileState


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """All backups that are not deleted, in the order in which they were made, and what is wrong beside them."""

    backups: tuple[Listed, ...]
    uncatalogued: tuple[str, ...]
    """Names of files that could be backups, and that no entry vouches for: a copy made by hand, a snapshot from before
    a migration, what a run left that was killed before its last step. They are not counted, not restored and not
    removed."""
    damaged_lines: tuple[int, ...]
    torn: bool

    def intact(self, database: str | None = None) -> tuple[BackupEntry, ...]:
        """Return what can be restored, of one database or of all."""
        return tuple(
            listed.entry
            for listed in self.backups
            if listed.state is FileState.INTACT and database in {None, listed.entry.database}
        )

    def newest(self, database: str) -> BackupEntry | None:
        """Return the backup that was made last; by its place in the catalog, which no wrong clock can change."""
        intact = self.intact(database)
        return intact[-1] if intact else None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupHealth:
    """How old the newest verified backup of one present database is; None where there is none."""

    database: str
    newest: BackupEntry | None
    age_s: float | None

    def within(self, max_age_s: float) -> bool:
        """Say whether there is a backup of at most this age; one from the future has no known age, so it is none."""
        return self.age_s is not None and abs(self.age_s) <= max_age_s


def take_inventory(settings: Settings, *, check: bool = False) -> Inventory:
    """Compare the catalog with the files: by their sizes, or with ``check`` by every byte.

    Raises:
        StorageError: the backup folder cannot be read; one that does not exist yet holds nothing.

    """
    directory = settings.backup_dir
    try:
        state = Catalog(directory).read()
        return Inventory(
            backups=tuple(Listed(entry, file_state(directory, entry, check=check)) for entry in state.backups),
            uncatalogued=tuple(sorted(path.name for path in _files_in(directory, without=state.known_files))),
            damaged_lines=state.damaged_lines,
            torn=state.torn,
        )
    except OSError as error:
        problem = error.strerror or str(error)
        raise StorageError("list backups", directory, problem, hint="this user must be able to read there") from error


def file_state(directory: Path, entry: BackupEntry, *, check: bool) -> FileState:
    """Compare a backup's file with its entry: its size, and with ``check`` its SHA-256.

    Raises:
        StorageError: the file is there and cannot be read.

    """
    path = directory / entry.file
    try:
        same = path.stat().st_size == entry.size_bytes and (not check or file_sha256(path) == entry.sha256)
    except FileNotFoundError:
        return FileState.MISSING
    except OSError as error:
        problem = error.strerror or str(error)
        raise StorageError("read backup", path, problem, hint="this user must be able to read it") from error
    return FileState.INTACT if same else FileState.DAMAGED


def choose_backup(
    database: str, settings: Settings, *, backup_id: str | None = None, at: datetime | None = None
) -> BackupEntry:
    """Return the backup that ``restore`` would restore, after comparing it with its entry.

    Raises:
        NotFoundError: there is no such backup.
        DamagedError: its file is missing or is not what was written; the hint names the newest one that is.

    """
    find_database(database)
    entries = [listed.entry for listed in take_inventory(settings).backups if listed.entry.database == database]
    if backup_id is not None:
        candidates = [entry for entry in entries if entry.id == backup_id]
    elif at is not None:
        # Compared as text in the one form, which refuses a moment without a time zone.
        limit = times.to_text(at, field="at")
        candidates = [entry for entry in entries if times.to_text(entry.created_at) <= limit]
        candidates.sort(key=lambda entry: entry.created_at)
    else:
        candidates = entries
    if not candidates:
        wanted = backup_id or (f"at or before {times.to_text(at)}" if at else "of it")
        raise NotFoundError("restore", database, f"there is no backup {wanted}", hint="aragora-persist backups")
    _refuse_damaged(candidates[-1], settings)
    return candidates[-1]


def _refuse_damaged(entry: BackupEntry, settings: Settings) -> None:
    """Compare the backup with its entry; an older one is never taken in its place without being asked for."""
    directory = settings.backup_dir
    if (state := file_state(directory, entry, check=True)) is FileState.INTACT:
        if is_packed(entry.file) or verify(directory / entry.file).content == entry.content:
            return
        state = FileState.DAMAGED
    sound = newest_sound(entry.database, settings, but=entry)
    hint = f"the newest sound one: --backup {sound.id}" if sound else "there is no other sound backup of it here"
    raise DamagedError("restore", directory / entry.file, f"is {state.value}", hint=hint)


def newest_sound(database: str, settings: Settings, *, but: BackupEntry) -> BackupEntry | None:
    """Return the last backup but this one whose every byte is what was written, to name it as the way out."""
    entries = (entry for entry in Catalog(settings.backup_dir).newest_first() if entry.database == database)
    sound = (entry for entry in entries if file_state(settings.backup_dir, entry, check=True) is FileState.INTACT)
    return next((entry for entry in sound if entry.id != but.id), None)


def present_databases(settings: Settings) -> tuple[str, ...]:
    """Return the names of the databases that have a file with something in it."""
    return tuple(database.name for database in DATABASES if _size(database.path(settings.nomic_dir)) > 0)


def backup_health(settings: Settings, *, now: datetime) -> tuple[BackupHealth, ...]:
    """Return for each present database how old its newest verified backup is.

    Cheap enough for a health check that runs every few seconds beside thousands of backups.
    """
    newest: dict[str, BackupEntry | None] = dict.fromkeys(present_databases(settings))
    missing = set(newest)
    backups = Catalog(settings.backup_dir).newest_first()
    while missing and (entry := next(backups, None)):
        if entry.database in missing and file_state(settings.backup_dir, entry, check=False) is FileState.INTACT:
            newest[entry.database] = entry
            missing.remove(entry.database)
    return tuple(_health(name, entry, now) for name, entry in newest.items())


def _health(database: str, newest: BackupEntry | None, now: datetime) -> BackupHealth:
    age_s = None if newest is None else (now - newest.created_at).total_seconds()
    return BackupHealth(database=database, newest=newest, age_s=age_s)


def _files_in(directory: Path, *, without: frozenset[str]) -> Iterable[Path]:
    return (path for path in directory.glob("[!.]*") if id_of(path.name) and path.name not in without)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
