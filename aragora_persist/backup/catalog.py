"""The catalog: which backups there are and what each must hold. A file it does not name is no backup.

``catalog.jsonl`` in the backup folder grows by lines; each is one JSON object that carries its own checksum. The line
of a backup is written after its file is whole and verified; the line of a deletion before the file goes. So at whatever
point a run is killed, everything that the catalog offers is there. Leaves out: the files (``inventory``) and
what is kept how long (``retention``).
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aragora_persist import times
from aragora_persist.backup.files import flush, locked, partial
from aragora_persist.backup.verify import Content, TableContent
from aragora_persist.errors import InvalidValueError, StorageError
from aragora_persist.storage.sqlite.files import sync_folder

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

FILE_NAME = "catalog.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupEntry:
    """One verified backup. ``file`` is its name in the backup folder, ``id`` the same without its ending.

    ``created_at`` is the moment before the snapshot began; ``duration_s`` runs until it was verified.
    """

    id: str
    database: str
    file: str
    created_at: datetime
    duration_s: float
    size_bytes: int
    sha256: str
    content: Content
    method: str
    package_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogState:
    """What the catalog says: the backups not deleted, in the order in which they were made, and what is wrong."""

    backups: tuple[BackupEntry, ...]
    deleted: tuple[BackupEntry, ...]
    damaged_lines: tuple[int, ...]
    """Numbers of lines, from 1, that are not what was written."""
    torn: bool
    """The last line is incomplete, as a crash leaves it; the next write removes it."""

    @property
    def known_files(self) -> frozenset[str]:
        """The names of all files that are or were backups."""
        return frozenset(entry.file for entry in (*self.backups, *self.deleted))


class Catalog:
    """The catalog of one backup folder."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / FILE_NAME

    def read(self) -> CatalogState:
        """Return what the catalog says; without a file there is nothing. Needs no lock and writes nothing."""
        backups: dict[str, BackupEntry] = {}
        deleted: dict[str, BackupEntry] = {}
        damaged = []
        lines, rest = _split(self._bytes())
        torn = rest != b"" and _parse(rest) is None
        for number, line in enumerate(lines if torn or not rest else (*lines, rest), start=1):
            if not _take_in(_parse(line), backups, deleted):
                damaged.append(number)
        return CatalogState(
            backups=tuple(backups.values()),
            deleted=tuple(deleted.values()),
            damaged_lines=tuple(damaged),
            torn=torn,
        )

    def newest_first(self) -> Iterator[BackupEntry]:
        """Yield the backups that are not deleted, the last one first; parses no more lines than are asked for."""
        lines, rest = _split(self._bytes())
        deleted: set[object] = set()
        for line in reversed((*lines, rest)):
            record, found = _parse(line), dict[str, BackupEntry]()
            if record is not None and record.get("kind") == "deleted":
                deleted.add(record.get("id"))
            elif _take_in(record, found, {}):
                yield from (entry for entry in found.values() if entry.id not in deleted)

    @contextmanager
    def writing(self, *, timeout_s: float) -> Iterator[CatalogWriter]:
        """Hold the folder's lock, so that only one process names files and writes to the catalog.

        Raises:
            BusyError: another process held it for ``timeout_s``.

        """
        with locked(self.directory, timeout_s=timeout_s, operation="write backup catalog"):
            yield CatalogWriter(self)

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
        self._append({"kind": "backup", **_entry_to_json(entry)})

    def add_deletion(self, entry: BackupEntry, *, at: datetime, reason: str) -> None:
        """Record that a backup is no more; its file is removed afterwards."""
        self._append({"kind": "deleted", "id": entry.id, "deleted_at": times.to_text(at), "reason": reason})

    def forget(self, gone: Collection[BackupEntry]) -> None:
        """Write the catalog anew without these deleted backups, whose files are removed; all other lines stay as is."""
        path = self._catalog.path
        ids = {entry.id for entry in gone}
        lines, rest = _split(path.read_bytes())
        if _parse(rest) is not None:
            lines.append(rest)  # without its newline alone, a line is still complete
        kept = [line for line in lines if not ((record := _parse(line)) and record.get("id") in ids)]
        with partial(path) as file:
            file.path.write_bytes(b"".join(line + b"\n" for line in kept))
            file.replace(path)

    def _append(self, record: dict[str, object]) -> None:
        path = self._catalog.path
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # Without a buffer: what a full disk refused would be written once more when the file is closed.
        with open(descriptor, "r+b", buffering=0) as file:  # noqa: PTH123 - a descriptor, opened with its rights
            lines, rest = _split(file.read())
            if _parse(rest) is None:
                file.seek(-len(rest), os.SEEK_END)  # a crash tore this line: nobody was told that it was written
            else:
                file.write(b"\n")
            end = file.tell()
            file.truncate()
            try:
                unwritten = memoryview(_line(record))
                while unwritten:
                    unwritten = unwritten[file.write(unwritten) :]
                flush(file.fileno())
            except OSError:
                file.truncate(end)  # a full disk must not leave half a line
                raise
        if not lines:
            sync_folder(path.parent)


def _take_in(
    record: Mapping[str, Any] | None, backups: dict[str, BackupEntry], deleted: dict[str, BackupEntry]
) -> bool:
    """Take a line's record in, and say whether it could be; a kind that a later release added is passed over."""
    try:
        if record is None:
            return False
        if record["kind"] == "backup":
            backups[record["id"]] = _entry_from_json(record)
        elif record["kind"] == "deleted" and record["id"] in backups:
            deleted[record["id"]] = backups.pop(record["id"])
    except (KeyError, TypeError, InvalidValueError):
        return False
    return True


def _split(data: bytes) -> tuple[list[bytes], bytes]:
    """Return the lines that end in a newline, and what comes after the last one."""
    *lines, rest = data.split(b"\n")
    return lines, rest


def _line(record: Mapping[str, object]) -> bytes:
    return json.dumps({**record, "checksum": _checksum(record)}, ensure_ascii=True).encode() + b"\n"


def _parse(line: bytes) -> dict[str, object] | None:
    """Return the record of a line, or None when the line is not what was written."""
    try:
        record = json.loads(line)
        if not isinstance(record, dict) or record.pop("checksum", None) != _checksum(record):
            return None
    except (ValueError, RecursionError):
        return None
    # Whitespace and escapes can be written in several ways: only ours is what was written.
    return record if _line(record) == line + b"\n" else None


def _checksum(record: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def _entry_to_json(entry: BackupEntry) -> dict[str, object]:
    content = entry.content
    return {
        "id": entry.id,
        "database": entry.database,
        "file": entry.file,
        "created_at": times.to_text(entry.created_at),
        "duration_s": entry.duration_s,
        "size_bytes": entry.size_bytes,
        "sha256": entry.sha256,
        "schema_version": content.schema_version,
        "foreign_key_violations": content.foreign_key_violations,
        "tables": {name: {"rows": table.rows, "digest": table.digest} for name, table in content.tables.items()},
        "method": entry.method,
        "package_version": entry.package_version,
    }


def _entry_from_json(record: Mapping[str, Any]) -> BackupEntry:
    return BackupEntry(
        id=record["id"],
        database=record["database"],
        file=record["file"],
        created_at=times.from_text(record["created_at"]),
        duration_s=record["duration_s"],
        size_bytes=record["size_bytes"],
        sha256=record["sha256"],
        content=Content(
            schema_version=record["schema_version"],
            foreign_key_violations=record["foreign_key_violations"],
            tables={name: TableContent(**table) for name, table in record["tables"].items()},
        ),
        method=record["method"],
        package_version=record["package_version"],
    )
