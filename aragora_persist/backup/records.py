"""What the catalog records: a backup, a drill, a shipment, and the line of each.

Leaves out: the form of a line (``lines``), and the file that they stand in (``catalog``).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from aragora_persist import times
from aragora_persist.backup.lines import parse, to_line
from aragora_persist.backup.names import id_of, is_name
from aragora_persist.backup.verify import Content, TableContent
from aragora_persist.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

NOT_A_RECORD = (KeyError, TypeError, AttributeError, InvalidValueError)
"""What reading a record raises that lacks something, or has something else in its place."""


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
    def from_line(cls, line: bytes) -> Self | None:
        """Return the entry that a line holds, or None when it is not the line of a backup as it was written."""
        record = parse(line.removesuffix(b"\n"))
        try:
            return cls.from_record(record) if record and record["kind"] == "backup" else None
        except NOT_A_RECORD:
            return None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Return the entry that was recorded; ``NOT_A_RECORD`` where this is none."""
        name = is_name(record["id"], record["database"])
        if not name or id_of(record["file"]) != record["id"]:
            raise InvalidValueError("read backup catalog", "file", "is not the name of a backup's file")
        return cls(
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

    def to_line(self) -> bytes:
        """Return this drill as a line of a catalog."""
        return to_line({"kind": "drill", **asdict(self), "at": times.to_text(self.at)})

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Return the drill that was recorded; ``NOT_A_RECORD`` where this is none."""
        return cls(
            backup=record["backup"],
            database=record["database"],
            at=times.from_text(record["at"]),
            ok=record["ok"],
            seconds=record["seconds"],
            source=record["source"],
            problem=record["problem"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    """A backup that is off-site, read back and found equal; ``url`` says where, without any secret."""

    backup: str
    """The backup's id."""
    at: datetime
    url: str

    def to_line(self) -> bytes:
        """Return this shipment as a line of a catalog."""
        return to_line({"kind": "shipped", **asdict(self), "at": times.to_text(self.at)})

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Return the shipment that was recorded; ``NOT_A_RECORD`` where this is none."""
        return cls(backup=record["backup"], at=times.from_text(record["at"]), url=record["url"])
