"""The catalog: which backups there are and what each must hold. A file it does not name is no backup.

``catalog.jsonl`` in the backup folder grows by lines (``lines``). The line of a backup is written after its file is
whole and verified; the line of a deletion before the file goes. So at whatever point a run is killed, everything that
the catalog offers is there. Drills and shipments have lines too. Leaves out: what a line says (``records``), the files
(``inventory``) and what is kept how long (``retention``).
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aragora_persist import times
from aragora_persist.backup.files import flush, locked, partial, write_all
from aragora_persist.backup.lines import is_torn, parse, split, to_line
from aragora_persist.backup.records import NOT_A_RECORD, BackupEntry, Drill, Shipment
from aragora_persist.errors import StorageError
from aragora_persist.storage.sqlite.files import sync_folder

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

FILE_NAME = "catalog.jsonl"
_MOST_DRILLS = 1000
"""How many drills the catalog may hold; more would make it grow for ever, and every look at it slower."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogState:
    """What the catalog says: the backups not deleted, in the order in which they were made, and what is wrong."""

    backups: tuple[BackupEntry, ...]
    deleted: tuple[BackupEntry, ...]
    drills: tuple[Drill, ...] = ()
    """Of each database the last good one and the last one at all, in the order in which they were made."""
    shipments: Mapping[str, Shipment] = field(default_factory=dict)
    """The last one of each backup, by the backup's id."""
    damaged_lines: tuple[int, ...] = ()
    """Numbers of lines, from 1, that are not what was written."""
    torn: bool = False
    """The last line is incomplete, as a crash leaves it; the next write removes it."""

    @property
    def known_files(self) -> frozenset[str]:
        """The names of all files that are or were backups."""
        return frozenset(entry.file for entry in (*self.backups, *self.deleted))

    @property
    def known_ids(self) -> frozenset[str]:
        """The ids of all that are or were backups."""
        return frozenset(entry.id for entry in (*self.backups, *self.deleted))


class _Found:
    """What was found in the lines so far."""

    def __init__(self) -> None:
        self.backups: dict[str, BackupEntry] = {}
        self.deleted: dict[str, BackupEntry] = {}
        self.drills: list[Drill] = []
        self.shipments: dict[str, Shipment] = {}

    def take_in(self, record: Mapping[str, Any] | None) -> bool:
        """Take a line's record in, and say whether it could be; a kind that a later release added is passed over."""
        try:
            if record is None:
                return False
            self._take_in(record)
        except NOT_A_RECORD:
            return False
        return True

    def _take_in(self, record: Mapping[str, Any]) -> None:
        kind = record["kind"]
        if kind == "backup":
            self.backups[record["id"]] = BackupEntry.from_record(record)
        elif kind == "deleted" and record["id"] in self.backups:
            self.deleted[record["id"]] = self.backups.pop(record["id"])
        elif kind == "drill":
            self.drills.append(Drill.from_record(record))
        elif kind == "shipped":
            self.shipments[record["backup"]] = Shipment.from_record(record)

    def last_drills(self) -> tuple[Drill, ...]:
        last = {drill.database: drill for drill in self.drills}
        last_good = {drill.database: drill for drill in self.drills if drill.ok}
        kept = {id(drill) for drill in (*last.values(), *last_good.values())}
        return tuple(drill for drill in self.drills if id(drill) in kept)


class Catalog:
    """The catalog of one backup folder."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / FILE_NAME

    def read(self) -> CatalogState:
        """Return what the catalog says; without a file there is nothing. Needs no lock and writes nothing."""
        found = _Found()
        damaged = []
        lines, rest = split(self._bytes())
        torn = is_torn(rest)
        for number, line in enumerate(lines if torn or not rest else (*lines, rest), start=1):
            if not found.take_in(parse(line)):
                damaged.append(number)
        return CatalogState(
            backups=tuple(found.backups.values()),
            deleted=tuple(found.deleted.values()),
            drills=found.last_drills(),
            shipments=found.shipments,
            damaged_lines=tuple(damaged),
            torn=torn,
        )

    def newest_first(self) -> Iterator[BackupEntry]:
        """Yield the backups that are not deleted, the last one first; parses no more lines than are asked for."""
        deleted: set[object] = set()
        for record in self._last_first("backup", "deleted"):
            found = _Found()
            if record["kind"] == "deleted":
                deleted.add(record.get("id"))
            elif found.take_in(record):
                yield from (entry for entry in found.backups.values() if entry.id not in deleted)

    def drills_newest_first(self) -> Iterator[Drill]:
        """Yield the drills, the last one first; parses no more lines than are asked for."""
        for record in self._last_first("drill"):
            found = _Found()
            if found.take_in(record):
                yield from found.drills

    @contextmanager
    def writing(self, *, timeout_s: float) -> Iterator[CatalogWriter]:
        """Hold the folder's lock, so that only one process names files and writes to the catalog.

        Raises:
            BusyError: another process held it for ``timeout_s``.

        """
        with locked(self.directory, timeout_s=timeout_s, operation="write backup catalog"):
            yield CatalogWriter(self)

    def _last_first(self, *kinds: str) -> Iterator[dict[str, Any]]:
        starts = tuple(f'{{"kind": "{kind}"'.encode() for kind in kinds)
        lines, rest = split(self._bytes())
        for line in reversed((*lines, rest)):
            # Each line begins with its kind: lines of other kinds need not be parsed.
            if line.startswith(starts) and (record := parse(line)):
                yield record

    def _bytes(self) -> bytes:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            problem = error.strerror or str(error)
            raise StorageError(
                "read backup catalog", self.path, problem, hint="this user must be able to read it"
            ) from error


class CatalogWriter:
    """The right to write to a catalog; valid inside ``Catalog.writing``."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def read(self) -> CatalogState:
        """Return what the catalog says; nobody else changes it meanwhile."""
        return self._catalog.read()

    def add_backup(self, entry: BackupEntry) -> None:
        """Record a backup whose file is on the disk; the record is there too when this returns."""
        self._append(entry.to_line())

    def add_deletion(self, entry: BackupEntry, *, at: datetime, reason: str) -> None:
        """Record that a backup is no more; its file is removed afterwards."""
        record = {"kind": "deleted", "id": entry.id, "deleted_at": times.to_text(at), "reason": reason}
        self._append(to_line(record))

    def add_drill(self, drill: Drill) -> None:
        """Record what came of a drill; when many of earlier ones have come together, they are forgotten."""
        self._append(drill.to_line())
        if sum(1 for _ in self._catalog.drills_newest_first()) > _MOST_DRILLS:
            self.forget(())

    def add_shipment(self, shipment: Shipment) -> None:
        """Record that a backup is off-site."""
        self._append(shipment.to_line())

    def forget(self, gone: Collection[BackupEntry]) -> None:
        """Write the catalog anew without these deleted backups, whose files are removed, and without earlier drills.

        All other lines stay as they are, damaged ones too.
        """
        path = self._catalog.path
        ids = {entry.id for entry in gone}
        drills = self.read().drills
        lines, rest = split(path.read_bytes())
        if rest and not is_torn(rest):
            lines.append(rest)
        with partial(path) as file:
            file.path.write_bytes(b"".join(line + b"\n" for line in lines if _matters(parse(line), ids, drills)))
            file.replace(path)

    def _append(self, line: bytes) -> None:
        path = self._catalog.path
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with open(descriptor, "r+b", buffering=0) as file:  # noqa: PTH123 - a descriptor, opened with its rights
            lines, rest = split(file.read())
            if is_torn(rest):
                file.seek(-len(rest), os.SEEK_END)  # nobody was told that this line was written
            elif rest:
                file.write(b"\n")
            end = file.tell()
            file.truncate()
            try:
                write_all(file, line)
                flush(file.fileno())
            except OSError:
                file.truncate(end)  # a full disk must not leave half a line
                raise
        if not lines:
            sync_folder(path.parent)


def _matters(record: Mapping[str, Any] | None, gone: Collection[str], drills: Collection[Drill]) -> bool:
    """Say whether a line stays when backups are forgotten."""
    found = _Found()
    if record is None or not found.take_in(record):
        return True
    if found.drills:
        return found.drills[0] in drills
    return record.get("id") not in gone and record.get("backup") not in gone
