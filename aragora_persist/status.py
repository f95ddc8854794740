"""What there is: the state of every database, its backups and the records on their way to Supabase.

A pure read: it changes nothing and creates nothing, no ``-wal`` and no ``-shm`` file, and works on a read-only mount.
Leaves out: whether the contents are sound (``backups --check`` and ``doctor`` look further) and how busy they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aragora_persist import times

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupStatus:
    """The newest verified backup of a database."""

    id: str
    taken_at: datetime
    size_bytes: int

    def age_s(self, now: datetime) -> float:
        """How long ago it was taken, in seconds."""
        return (now - self.taken_at).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseStatus:
    """One database of the registry; sizes and versions are 0 where there is no file."""

    name: str
    purpose: str
    path: Path
    present: bool
    size_bytes: int
    wal_size_bytes: int
    schema_version: int
    schema_latest: int
    schema_pending: int
    newest_backup: BackupStatus | None
    problem: str
    """Why the file could not be read, or ''."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxStatus:
    """Records on their way to Supabase."""

    pending: int
    dead_letters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Everything at one moment; ``outbox`` is None where there is no readable outbox."""

    taken_at: datetime
    version: str
    nomic_dir: Path
    backup_dir: Path
    databases: tuple[DatabaseStatus, ...]
    outbox: OutboxStatus | None

    def to_json(self) -> dict[str, object]:
        """Return the record as plain JSON values; times in the one text form, ages in seconds."""
        return {
            "taken_at": times.to_text(self.taken_at),
            "version": self.version,
            "nomic_dir": str(self.nomic_dir),
            "backup_dir": str(self.backup_dir),
            "databases": [_database_json(database, self.taken_at) for database in self.databases],
            "outbox": self.outbox and {"pending": self.outbox.pending, "dead_letters": self.outbox.dead_letters},
        }


def _database_json(database: DatabaseStatus, now: datetime) -> dict[str, object]:
    backup = database.newest_backup
    return {
        "name": database.name,
        "purpose": database.purpose,
        "path": str(database.path),
        "present": database.present,
        "size_bytes": database.size_bytes,
        "wal_size_bytes": database.wal_size_bytes,
        "schema_version": database.schema_version,
        "schema_latest": database.schema_latest,
        "schema_pending": database.schema_pending,
        "newest_backup": backup
        and {
            "id": backup.id,
            "taken_at": times.to_text(backup.taken_at),
            "age_s": round(backup.age_s(now), 3),
            "size_bytes": backup.size_bytes,
        },
        "problem": database.problem or None,
    }
