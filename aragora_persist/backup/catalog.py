"""The catalog: which backups there are and what each must hold. A file it does not name is no backup.

``catalog.jsonl`` in the backup folder grows by lines (``lines``). The line of a backup is written after its file is
whole and verified; the line of a deletion before the file goes. So at whatever point a run is killed, everything that
the catalog offers is there. Drills and shipments have lines too. Leaves out: the files (``inventory``) and what is kept
how long (``retention``).
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from aragora_persist import times
from aragora_persist.backup.files import flush, locked, partial
from aragora_persist.backup.lines import parse, split, to_line
from aragora_persist.backup.names import id_of
from aragora_persist.backup.verify import Content, TableContent
from aragora_persist.errors import InvalidValueError, StorageError
from aragora_persist.storage.sqlite.files import sync_folder

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

FILE_NAME = "catalog.jsonl"
_MOST_DRILLS = 1000
"""How many drills the catalog may hold; more would make it grow for ever, and every look at it slower."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupEntry:
    """One verified backup. ``file`` is its name in the backup folder, ``id`` the same without its ending.

    ``created_at`` is the moment before the snapshot began; ``duration_s`` runs until the backup was whole.
    """

    id: str
    database: str
    file: str
    created_at: datetime
    duration_s: float
    size_bytes: int
    """Of the file as it is stored, as is ``sha256``."""
    sha256: str
    plain_size_bytes: int
    """Of the database file inside, as is ``plain_sha256``; the same where it is stored plain."""
    plain_sha256: str
    content: Content
    method: str
    package_version: str
    run: str = ""
    """Backups of one run share it; '' where an earlier release recorded none."""
    recipients: tuple[str, ...] = ()
    """Fingerprints of the public keys that it was encrypted to; none where it is not encrypted."""

    def to_line(self) -> bytes:
        """Return this entry as a line of a catalog, with its newline; it carries its own checksum."""
        content = self.content
        return to_line(
            {
                "kind": "backup",
                "id": self.id,
                "database": self.database,
                "file": self.file,
                "created_at": times.to_text(self.created_at),
                "duration_s": self.duration_s,
                "size_bytes": self.size_bytes,
                "sha256": self.sha256,
                "schema_version": content.schema_version,
                "foreign_key_violations": content.foreign_key_violations,
                "tables": {name: asdict(table) for name, table in content.tables.items()},
                "method": self.method,
                "package_version": self.package_version,
                "run": self.run,
                "plain_size_bytes": self.plain_size_bytes,
                "plain_sha256": self.plain_sha256,
                "recipients": self.recipients,
            }
        )

    @classmethod
    def from_line(cls, line: bytes) -> BackupEntry | None:
        """Return the entry that a line holds, or None when it is not the line of a backup as it was written."""
        found = _Found()
        found.take_in(parse(line.removesuffix(b"\n")))
        return next(iter(found.backups.values()), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """A restore into scratch space that proved a backup, or failed to: then ``problem`` says why."""

    backup: str
    """The backup's id."""
    database: str
    at: datetime
    ok: bool
    seconds: float
    """From the choice of the backup until the restored database had been read: the measured recovery time."""
    source: str
    """``local`` or ``offsite``: where the backup's file came from."""
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    """A backup that is off-site, read back and found equal; ``url`` says where, without any secret."""

    backup: str
    """The backup's id."""
    at: datetime
    url: str


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
        except (KeyError, TypeError, AttributeError, InvalidValueError):
            return False
        return True

    def _take_in(self, record: Mapping[str, Any]) -> None:
        kind = record["kind"]
        if kind == "backup":
            self.backups[record["id"]] = _entry(record)
        elif kind == "deleted" and record["id"] in self.backups:
            self.deleted[record["id"]] = self.backups.pop(record["id"])
        elif kind == "drill":
            self.drills.append(_drill(record))
        elif kind == "shipped":
            self.shipments[record["backup"]] = _shipment(record)

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
        torn = rest != b"" and parse(rest) is None
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
            raise StorageError("read backup catalog", self.path, problem, hint="this user must be able to") from error


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
        self._append(to_line({"kind": "drill", **asdict(drill), "at": times.to_text(drill.at)}))
        if sum(1 for _ in self._catalog.drills_newest_first()) > _MOST_DRILLS:
            self.forget(())

    def add_shipment(self, shipment: Shipment) -> None:
        """Record that a backup is off-site."""
        self._append(to_line({"kind": "shipped", **asdict(shipment), "at": times.to_text(shipment.at)}))

    def forget(self, gone: Collection[BackupEntry]) -> None:
        """Write the catalog anew without these deleted backups, whose files are removed, and without earlier drills.

        All other lines stay as they are, damaged ones too.
        """
        path = self._catalog.path
        ids = {entry.id for entry in gone}
        drills = self.read().drills
        lines, rest = split(path.read_bytes())
        if parse(rest) is not None:
            lines.append(rest)  # without its newline alone, a line is still complete
        with partial(path) as file:
            file.path.write_bytes(b"".join(line + b"\n" for line in lines if _matters(parse(line), ids, drills)))
            file.replace(path)

    def _append(self, line: bytes) -> None:
        path = self._catalog.path
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # Without a buffer: what a full disk refused would be written once more when the file is closed.
        with open(descriptor, "r+b", buffering=0) as file:  # noqa: PTH123 - a descriptor, opened with its rights
            lines, rest = split(file.read())
            if parse(rest) is None:
                file.seek(-len(rest), os.SEEK_END)  # a crash tore this line: nobody was told that it was written
            else:
                file.write(b"\n")
            end = file.tell()
            file.truncate()
            try:
                unwritten = memoryview(line)
                while unwritten:
                    unwritten = unwritten[file.write(unwritten) :]
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


def _entry(record: Mapping[str, Any]) -> BackupEntry:
    if id_of(record["file"]) != record["id"] or "/" in record["file"]:
        raise InvalidValueError("read backup catalog", "file", "is not the name of a backup's file")
    return BackupEntry(
        id=record["id"],
        database=record["database"],
        file=record["file"],
        created_at=times.from_text(record["created_at"]),
        duration_s=record["duration_s"],
        size_bytes=record["size_bytes"],
        sha256=record["sha256"],
        # What follows with a default is not in the lines of release 0.1.0.
        plain_size_bytes=record.get("plain_size_bytes", record["size_bytes"]),
        plain_sha256=record.get("plain_sha256", record["sha256"]),
        content=Content(
            schema_version=record["schema_version"],
            foreign_key_violations=record["foreign_key_violations"],
            tables={name: TableContent(**table) for name, table in record["tables"].items()},
        ),
        method=record["method"],
        package_version=record["package_version"],
        run=record.get("run", ""),
        recipients=tuple(record.get("recipients", ())),
    )


def _drill(record: Mapping[str, Any]) -> Drill:
    return Drill(
        backup=record["backup"],
        database=record["database"],
        at=times.from_text(record["at"]),
        ok=record["ok"],
        seconds=record["seconds"],
        source=record["source"],
        problem=record["problem"],
    )


def _shipment(record: Mapping[str, Any]) -> Shipment:
    return Shipment(backup=record["backup"], at=times.from_text(record["at"]), url=record["url"])
