"""What there is: the state of every database, its backups and the records on their way to Supabase.

A pure read: it changes nothing and creates nothing, no ``-wal`` and no ``-shm`` file, and works on a read-only mount.
Leaves out: whether the contents are sound (``backups --check`` and ``doctor`` look further) and how busy they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aragora_persist import times
from aragora_persist.backup.litestream.record import Record, read_record
from aragora_persist.backup.names import SUPABASE
from aragora_persist.backup.report import BackupReport, take_report
from aragora_persist.cloud.lease import is_taken
from aragora_persist.databases import DATABASES, find_database
from aragora_persist.errors import PersistError
from aragora_persist.migrations import runner
from aragora_persist.storage.sqlite.readonly import open_readonly
from aragora_persist.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from aragora_persist.backup.records import Drill
    from aragora_persist.databases import Database
    from aragora_persist.settings import Settings


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
    """Why the file cannot be worked with, or ''."""
    hint: str
    """The way out of the problem, or ''."""
    last_drill: Drill | None = None
    """The last restore of a backup of it into scratch space."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Dead letters of one table that were refused for one reason."""

    table: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxStatus:
    """Records on their way to Supabase."""

    pending: int
    dead_letters: int
    oldest_at: datetime | None
    """When the record that waits longest was enqueued."""
    last_success_at: datetime | None
    """When records were delivered last."""
    problem: str
    """What keeps records from being delivered, or ''."""
    problem_since: datetime | None

    def oldest_age_s(self, now: datetime) -> float:
        """How long the oldest record has been waiting, in seconds; 0 where none waits."""
        return max(0.0, (now - self.oldest_at).total_seconds()) if self.oldest_at else 0.0

    def to_json(self, now: datetime) -> dict[str, object]:
        """Return the record as plain JSON values."""
        return {
            "pending": self.pending,
            "dead_letters": self.dead_letters,
            "oldest_age_s": round(self.oldest_age_s(now), 3) if self.oldest_at else None,
            "last_success_at": self.last_success_at and times.to_text(self.last_success_at),
            "problem": self.problem or None,
            "problem_since": self.problem_since and times.to_text(self.problem_since),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Everything at one moment; ``outbox`` is None where there is no readable outbox.

    ``supabase_configured`` says that records are sent: by whoever has these settings, or by a process with others, such
    as the service whose databases a backup sidecar looks at.
    """

    taken_at: datetime
    version: str
    nomic_dir: Path
    backup_dir: Path
    databases: tuple[DatabaseStatus, ...]
    supabase_configured: bool
    outbox: OutboxStatus | None
    backups: BackupReport = field(default_factory=BackupReport)
    """What the catalog says of all backups, also those of databases that are not among these."""
    litestream: Record | None = None
    """What Litestream has shipped, as its sidecar tells; None where there never was one."""

    @property
    def catalog_problem(self) -> str:
        """What is wrong with the catalog of backups, or ''."""
        return self.backups.problem

    @property
    def supabase_backup(self) -> BackupStatus | None:
        """The newest verified backup of the cloud half, where this folder holds one."""
        return _newest_backup(SUPABASE, self.backups)

    def to_json(self) -> dict[str, object]:
        """Return the record as plain JSON values; times in the one text form, ages in seconds."""
        return {
            "taken_at": times.to_text(self.taken_at),
            "version": self.version,
            "nomic_dir": str(self.nomic_dir),
            "backup_dir": str(self.backup_dir),
            "databases": [_database_json(database, self.taken_at) for database in self.databases],
            "supabase_configured": self.supabase_configured,
            "supabase_backup": _backup_json(self.supabase_backup, self.taken_at),
            "supabase_drill": _drill_json(self.backups.drills.get(SUPABASE), self.taken_at),
            "outbox": self.outbox and self.outbox.to_json(self.taken_at),
            "catalog_problem": self.catalog_problem or None,
            "offsite_lag_s": self.backups.offsite_lag_s and round(self.backups.offsite_lag_s, 3),
            "offsite_held_back": self.backups.offsite_held_back,
            "litestream": self.litestream and self.litestream.to_json(self.taken_at),
        }


def collect_status(
    settings: Settings, names: Sequence[str] | None = None, *, backups: BackupReport | None = None
) -> Status:
    """Return the status of these databases (None: all of the registry).

    What is wrong with one database or with the catalog is part of the answer, not an error. ``backups`` None looks them
    up, which takes longest: a caller that asks often passes what ``take_report`` returned a while ago.

    Raises:
        InvalidValueError: there is no database of a name.

    """
    databases = DATABASES if names is None else tuple(find_database(name) for name in names)
    backups = take_report(settings, times.utc_now()) if backups is None else backups
    found = tuple(_look_at(one, settings.nomic_dir, backups) for one in databases)
    outbox = next((one.path for one in found if one.name == "outbox" and _is_current(one)), None)
    configured = settings.supabase_configured or (outbox is not None and is_taken(outbox))
    return Status(
        taken_at=times.utc_now(),
        version=VERSION,
        nomic_dir=settings.nomic_dir,
        backup_dir=settings.backup_dir,
        databases=found,
        supabase_configured=configured,
        outbox=_outbox(outbox, configured=configured) if outbox else None,
        backups=backups,
        litestream=read_record(settings.backup_dir),
    )


def find_refusals(outbox: Path) -> list[Refusal]:
    """Return why there are dead letters, the ten most frequent reasons. It reads all of them, and changes nothing."""
    with open_readonly(outbox) as connection:
        return [
            Refusal(*row)
            for row in connection.execute(
                "SELECT table_name, reason, count(*) FROM dead_letters GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT 10"
            )
        ]


def _look_at(database: Database, nomic_dir: Path, backups: BackupReport) -> DatabaseStatus:
    path = database.path(nomic_dir)
    size = wal_size = None
    version = latest = pending = 0
    problem = hint = ""
    try:
        size, wal_size = _size(path), _size(path.with_name(path.name + "-wal"))
        schema = runner.status(path, database.name)
        version, latest, pending = schema.version, schema.latest, len(schema.pending)
        if schema.refusal is not None:
            problem, hint = schema.refusal.problem, schema.refusal.hint
    except PersistError as error:
        problem, hint = error.problem, error.hint
    except OSError as error:  # a folder that this user may not look into, or a file in the place of one
        problem, hint = error.strerror or str(error), f"look at {nomic_dir}"
    return DatabaseStatus(
        name=database.name,
        purpose=database.purpose,
        path=path,
        present=size is not None,
        size_bytes=size or 0,
        wal_size_bytes=wal_size or 0,
        schema_version=version,
        schema_latest=latest,
        schema_pending=pending,
        newest_backup=_newest_backup(database.name, backups),
        problem=problem,
        hint=hint,
        last_drill=backups.drills.get(database.name),
    )


def _newest_backup(name: str, backups: BackupReport) -> BackupStatus | None:
    newest = backups.newest.get(name)
    if newest is None:
        return None
    return BackupStatus(id=newest.id, taken_at=newest.created_at, size_bytes=newest.size_bytes)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _is_current(database: DatabaseStatus) -> bool:
    return database.schema_version > 0 and not database.schema_pending


def _outbox(path: Path, *, configured: bool) -> OutboxStatus | None:
    try:
        with open_readonly(path) as connection:
            pending, dead_letters, oldest_at, last_success_at, problem, problem_since = connection.execute(
                "SELECT (SELECT count(*) FROM outbox), (SELECT count(*) FROM dead_letters),"
                " (SELECT enqueued_at FROM outbox ORDER BY id LIMIT 1), last_success_at, problem, problem_since"
                " FROM sync_state"
            ).fetchone()
        return OutboxStatus(
            pending=pending,
            dead_letters=dead_letters,
            oldest_at=_moment(oldest_at),
            last_success_at=_moment(last_success_at),
            # Where nothing is to be sent any more, what once kept it back is none.
            problem=problem if configured else "",
            problem_since=_moment(problem_since) if configured else None,
        )
    except PersistError:
        return None  # the database's own entry says what is wrong


def _moment(text: str | None) -> datetime | None:
    return times.from_text(text) if text else None


def _database_json(database: DatabaseStatus, now: datetime) -> dict[str, object]:
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
        "newest_backup": _backup_json(database.newest_backup, now),
        "last_drill": _drill_json(database.last_drill, now),
        "problem": database.problem or None,
        "hint": database.hint or None,
    }


def _backup_json(backup: BackupStatus | None, now: datetime) -> dict[str, object] | None:
    if backup is None:
        return None
    return {
        "id": backup.id,
        "taken_at": times.to_text(backup.taken_at),
        "age_s": round(backup.age_s(now), 3),
        "size_bytes": backup.size_bytes,
    }


def _drill_json(drill: Drill | None, now: datetime) -> dict[str, object] | None:
    if drill is None:
        return None
    return {
        "backup": drill.backup,
        "at": times.to_text(drill.at),
        "age_s": round((now - drill.at).total_seconds(), 3),
        "ok": drill.ok,
        "seconds": drill.seconds,
        "source": drill.source,
        "problem": drill.problem or None,
    }
