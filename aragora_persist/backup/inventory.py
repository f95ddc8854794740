"""The catalog and the files beside it, compared: what can be restored, and what is wrong.

A pure read. Leaves out: repairing anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from aragora_persist.backup.catalog import Catalog
from aragora_persist.backup.names import id_of, read_id
from aragora_persist.backup.verify import file_sha256
from aragora_persist.databases import DATABASES
from aragora_persist.errors import StorageError
from aragora_persist.migrations.progress import report

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

    from aragora_persist.backup.catalog import CatalogState
    from aragora_persist.backup.records import BackupEntry
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
    shipped: frozenset[str]
    """The ids of those that are off-site too, where that is now."""

    @property
    def lost(self) -> bool:
        """Say whether there are files that were backups, and no catalog that names a single one."""
        return not self.backups and any(read_id(id_of(file)) for file in self.uncatalogued)

    def intact(self, database: str | None = None) -> tuple[BackupEntry, ...]:
        """Return what can be restored, of one database or of all."""
        return tuple(
            listed.entry
            for listed in self.backups
            if listed.state is FileState.INTACT and database in {None, listed.entry.database}
        )


def take_inventory(settings: Settings, *, check: bool = False) -> Inventory:
    """Compare the catalog with the files: by their sizes, or with ``check`` by every byte.

    Raises:
        StorageError: the backup folder cannot be read; one that does not exist yet holds nothing.

    """
    directory = settings.backup_dir
    try:
        files = {path.name for path in files_in(directory)}  # before the catalog: what is made meanwhile is in it
        state = Catalog(directory).read()
        listed = []
        for entry in state.backups:
            report(entry.id)
            listed.append(Listed(entry, file_state(directory, entry, check=check)))
        return Inventory(
            backups=tuple(listed),
            uncatalogued=tuple(sorted(files - state.known_files)),
            damaged_lines=state.damaged_lines,
            torn=state.torn,
            shipped=_shipped(state, settings),
        )
    except OSError as error:
        problem = error.strerror or str(error)
        raise StorageError("list backups", directory, problem, hint="this user must be able to read there") from error


def _shipped(state: CatalogState, settings: Settings) -> frozenset[str]:
    if not (settings.offsite_url and state.shipments):
        return frozenset()
    from aragora_persist.backup.offsite import shipped  # noqa: PLC0415 - only where something is off-site

    return shipped(state, settings)


def files_in(directory: Path) -> Iterable[Path]:
    """Return the files there that could be backups by their endings."""
    return (path for path in directory.glob("[!.]*") if id_of(path.name) and path.is_file())


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


def newest_intact(
    newest_first: Iterator[BackupEntry], directory: Path, names: Collection[str] | None = None
) -> dict[str, BackupEntry]:
    """Return the last backup of each of these databases (None: of all) whose file has its size.

    Takes no more entries than it needs.
    """
    found: dict[str, BackupEntry] = {}
    while (names is None or len(found) < len(names)) and (entry := next(newest_first, None)):
        wanted = entry.database not in found and (names is None or entry.database in names)
        if wanted and file_state(directory, entry, check=False) is FileState.INTACT:
            found[entry.database] = entry
    return found


def newest_sound(database: str, settings: Settings, *, but: BackupEntry) -> BackupEntry | None:
    """Return the last backup but this one whose every byte is what was written, to name it as the way out."""
    for entry in Catalog(settings.backup_dir).newest_first():
        other = entry.database == database and entry.id != but.id
        if other and file_state(settings.backup_dir, entry, check=True) is FileState.INTACT:
            return entry
    return None


def present_databases(settings: Settings) -> tuple[str, ...]:
    """Return the names of the databases that have a file with something in it."""
    return tuple(database.name for database in DATABASES if _size(database.path(settings.nomic_dir)) > 0)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
