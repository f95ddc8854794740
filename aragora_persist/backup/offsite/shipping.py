"""Bringing verified backups off-site, the oldest first, and telling how far behind that is.

Each is compared with its entry before a byte of it leaves, and what arrived is compared again. A process may be killed
at any moment and any number may ship at once: objects are made once and never changed, and the line that makes them a
backup is the last. Once there are recipients, nothing leaves that is not encrypted. Leaves out: when it is done
(``sidecar``), and how an object gets there (``objects``).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aragora_persist import times
from aragora_persist.backup.catalog import Catalog
from aragora_persist.backup.inventory import FileState, file_state
from aragora_persist.backup.names import is_encrypted
from aragora_persist.backup.offsite.layout import line_name, part_name, parts_folder
from aragora_persist.backup.offsite.location import location
from aragora_persist.backup.offsite.objects import Objects
from aragora_persist.backup.records import BackupEntry, Shipment
from aragora_persist.errors import (
    BusyError,
    ConflictError,
    DamagedError,
    InvalidValueError,
    PersistError,
    StorageError,
)
from aragora_persist.migrations.progress import report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from aragora_persist.backup.catalog import CatalogState
    from aragora_persist.backup.offsite.objects import StoredObject
    from aragora_persist.settings import Settings

_OPERATION = "ship"
_PART_BYTES = 8 << 20
"""One request each: what has arrived of a larger file is not sent again, and one part at a time is in memory."""
_OF_ONE_BACKUP = (BusyError, ConflictError, DamagedError)
"""What is wrong with one backup, and does not keep the next ones from being shipped."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one backup: it is off-site and recorded, or there is an error."""

    entry: BackupEntry
    error: PersistError | None = None


def ship(settings: Settings, *, stop: Callable[[], bool] = lambda: False) -> Iterator[Outcome]:
    """Ship each verified backup that is not recorded as shipped there, the oldest first, and yield what came of it.

    What is not encrypted while there are recipients is passed over (see ``held_back``).

    Ends when there is none left, when ``stop`` says so (asked between requests; one that is under way takes at most two
    minutes), or after an outcome that concerns them all, such as a server that cannot be reached. Without anything to
    ship, nothing is asked of the server.

    Raises:
        InvalidValueError: a setting is missing or could never work.
        NotFoundError: there is no such folder.
        UnsupportedError: the library is not installed.
        StorageError: the catalog cannot be read.

    """
    catalog = Catalog(settings.backup_dir)
    tried: set[str] = set()
    objects: Objects | None = None
    while not stop():
        # Read anew each time: retention may have removed the next one while this one was on its way.
        entry = next((one for one in _waiting(catalog.read(), settings) if one.id not in tried), None)
        if entry is None:
            return
        tried.add(entry.id)
        report(entry.id)
        objects = objects or Objects(settings, stop=stop)
        try:
            if not _ship_one(entry, settings.backup_dir / entry.file, objects, stop):
                return
            shipment = Shipment(backup=entry.id, at=times.utc_now(), url=objects.url(line_name(entry)))
            with catalog.writing(timeout_s=settings.db_timeout_s) as writer:
                writer.add_shipment(shipment)
        except OSError as error:
            problem = StorageError(_OPERATION, entry.file, error.strerror or str(error))
            yield Outcome(entry, problem)
            return
        except PersistError as error:
            yield Outcome(entry, error)
            if not isinstance(error, _OF_ONE_BACKUP):
                return
        else:
            yield Outcome(entry)


def shipped(state: CatalogState, settings: Settings) -> frozenset[str]:
    """Return the ids of the backups that are recorded as shipped to where off-site is now."""
    try:
        place = str(location(settings))
    except InvalidValueError:  # who ships is told; who only looks is told that nothing is there
        return frozenset()
    known = state.shipments
    return frozenset(
        entry.id
        for entry in state.backups
        if entry.id in known and known[entry.id].url == f"{place}/{line_name(entry)}"
    )


def held_back(state: CatalogState, settings: Settings) -> tuple[BackupEntry, ...]:
    """Return what is not off-site and does not go there: once there are recipients, what everybody could read."""
    if not (settings.offsite_url and settings.backup_recipients):
        return ()
    return tuple(entry for entry in _unshipped(state, settings) if not _may_leave(entry, settings))


def oldest_unshipped_age_s(state: CatalogState, settings: Settings, now: datetime) -> float | None:
    """Return how old the oldest backup is that is to go off-site yet; None where none is, or no off-site is set."""
    waiting = _waiting(state, settings) if settings.offsite_url else ()
    return max(((now - entry.created_at).total_seconds() for entry in waiting), default=None)


def _waiting(state: CatalogState, settings: Settings) -> Iterator[BackupEntry]:
    return (entry for entry in _unshipped(state, settings) if _may_leave(entry, settings))


def _unshipped(state: CatalogState, settings: Settings) -> Iterator[BackupEntry]:
    there = shipped(state, settings)
    return (entry for entry in state.backups if entry.id not in there)


def _may_leave(entry: BackupEntry, settings: Settings) -> bool:
    return is_encrypted(entry.file) or not settings.backup_recipients


def _ship_one(entry: BackupEntry, path: Path, objects: Objects, stop: Callable[[], bool]) -> bool:
    """Bring one backup off-site; return False when it was stopped before."""
    # First of all: an object with wrong bytes could not be taken away again.
    if (state := file_state(path.parent, entry, check=True)) is not FileState.INTACT:
        raise DamagedError(_OPERATION, path, f"is {state.value}, so it is not shipped", hint="aragora-persist backups")
    if not _ship_parts(entry, path, objects, stop):
        return False
    line = entry.to_line()
    name = line_name(entry)
    if not objects.create(name, line, {}) and not _says_the_same(objects, name, entry):
        raise _conflict(path, objects.url(name))
    return True


def _ship_parts(entry: BackupEntry, path: Path, objects: Objects, stop: Callable[[], bool]) -> bool:
    known = objects.listing(parts_folder(entry))
    digest, offset = hashlib.sha256(), 0
    with path.open("rb") as file:
        while data := file.read(_size_of_part(entry, offset, known)):
            if stop():
                return False
            name = part_name(entry, offset)
            if not objects.create(name, data, known):
                raise _conflict(path, objects.url(name))
            digest.update(data)
            offset += len(data)
    if digest.hexdigest() != entry.sha256:
        raise DamagedError(_OPERATION, path, "changed while it was shipped, so it is no backup off-site")
    return True


def _size_of_part(entry: BackupEntry, offset: int, known: Mapping[str, StoredObject]) -> int:
    """Return the size of the part that is there already, whatever size its maker chose, or that of a new one."""
    there = known.get(part_name(entry, offset))
    return there.size_bytes if there is not None and 0 < there.size_bytes <= entry.size_bytes - offset else _PART_BYTES


def _says_the_same(objects: Objects, name: str, entry: BackupEntry) -> bool:
    """Say whether the line off-site is of the same file: a catalog made anew may say less of how it came about."""
    line = objects.listing(entry.database).get(name)
    there = BackupEntry.from_line(objects.read(name, 0, line.size_bytes)) if line and line.size_bytes else None
    return there is not None and (there.id, there.file, there.size_bytes, there.sha256) == (
        entry.id,
        entry.file,
        entry.size_bytes,
        entry.sha256,
    )


def _conflict(path: Path, url: str) -> ConflictError:
    problem = f"cannot be shipped: {url} is there with another content; both are kept as they are"
    return ConflictError(
        _OPERATION, path, problem, hint="give each deployment a prefix of its own in ARAGORA_OFFSITE_URL"
    )
