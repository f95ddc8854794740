"""Migrations of database files: status, rehearsal, migrating, rolling back.

``python -m aragora_persist.migrations.runner`` is the documented command line over it (``command``).
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aragora_persist.databases import find_database
from aragora_persist.errors import MigrationError, NotFoundError
from aragora_persist.migrations import ledger, plan
from aragora_persist.migrations.apply import apply_pending, undo
from aragora_persist.migrations.folder import folder_of, load
from aragora_persist.settings import Settings
from aragora_persist.storage.sqlite.connecting import connect_writer
from aragora_persist.storage.sqlite.files import make_ready, resolve
from aragora_persist.storage.sqlite.readonly import open_readonly
from aragora_persist.times import utc_now

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from aragora_persist.migrations.plan import Applied, Migration


@dataclass(frozen=True, slots=True)
class Status:
    """How one database stands to the migrations of this release."""

    database: str
    path: Path
    exists: bool
    applied: tuple[Applied, ...]
    pending: tuple[Migration, ...]
    latest: int

    @property
    def version(self) -> int:
        """The version of its schema; 0 for none."""
        return len(self.applied)

    @property
    def state(self) -> str:
        """``missing``, ``current`` or ``outdated``."""
        if not self.exists:
            return "missing"
        return "outdated" if self.pending else "current"


@dataclass(frozen=True, slots=True)
class Change:
    """What a run did: the migrations applied or undone, in that order, and the snapshot taken before."""

    migrations: tuple[Migration, ...]
    snapshot: Path | None


def status(path: str | os.PathLike[str], database: str, *, folder: Path | None = None) -> Status:
    """Say how the file stands. Strictly read-only: neither it nor a ``-wal`` or ``-shm`` beside it is made or written.

    Raises:
        SchemaTooNewError: it is newer than this release.
        MigrationError: an applied migration was edited since.
        DamagedError: the file is not a database.

    """
    place = resolve(path)
    migrations = load(folder or folder_of(database))
    if not place.exists():
        return Status(database, place, exists=False, applied=(), pending=migrations, latest=len(migrations))
    with open_readonly(place) as connection:
        applied = ledger.read(connection)
    return Status(
        database,
        place,
        exists=True,
        applied=applied,
        pending=plan.pending(migrations, applied, place),
        latest=len(migrations),
    )


def rehearse(path: str | os.PathLike[str], database: str, *, folder: Path | None = None) -> tuple[Migration, ...]:
    """Apply what is pending to a copy, and return it; the original is only read.

    Raises:
        MigrationError: the migrations would be refused or would fail.

    """
    import tempfile  # noqa: PLC0415 - brings `random` and more, which opening a store does not need

    place = resolve(path)
    migrations = load(folder or folder_of(database))
    with tempfile.TemporaryDirectory(prefix="aragora-rehearsal-") as scratch:
        copy = Path(scratch, place.name)
        with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
            if place.exists():
                with open_readonly(place) as original:
                    original.backup(connection)
            return apply_pending(connection, migrations, place, lambda: None)


def migrate(
    path: str | os.PathLike[str],
    database: str,
    *,
    backup: bool = True,
    folder: Path | None = None,
    settings: Settings | None = None,
) -> Change:
    """Bring the file up to date; a missing one is made. Applying again does nothing; many at once are safe.

    Raises:
        MigrationError: a migration was refused or failed; the schema is as it was, and the hint names the snapshot.
        SchemaTooNewError: the file is newer than this release.
        BusyError: the write lock was not had in time.

    """
    settings = settings or Settings.from_env()
    place = resolve(path)
    make_ready(place)
    with closing(connect_writer(place, settings.db_timeout_s)) as connection:
        return migrate_connection(connection, place, database, backup=backup, folder=folder, settings=settings)


def migrate_connection(
    connection: sqlite3.Connection,
    path: Path | None,
    database: str,
    *,
    backup: bool = True,
    folder: Path | None = None,
    settings: Settings,
) -> Change:
    """Do what ``migrate`` does on a connection in autocommit mode; ``path`` None is a database in memory."""
    migrations = load(folder or folder_of(database))
    return _with_snapshot(
        connection,
        path if backup else None,
        database,
        settings,
        lambda before: apply_pending(connection, migrations, path or ":memory:", before),
    )


def rollback(
    path: str | os.PathLike[str],
    database: str,
    *,
    to: int | None = None,
    backup: bool = True,
    folder: Path | None = None,
    settings: Settings | None = None,
) -> Change:
    """Undo the migrations above version ``to`` (None: the last one).

    Raises:
        NotFoundError: there is no such file.
        InvalidValueError: there is nothing above ``to``.
        MigrationError: a downgrade is missing, failed, or does not restore the earlier schema; nothing was changed.

    """
    settings = settings or Settings.from_env()
    place = resolve(path)
    if not place.exists():
        raise NotFoundError("roll back", place, "is not there")
    migrations = load(folder or folder_of(database))
    with closing(connect_writer(place, settings.db_timeout_s)) as connection:
        return _with_snapshot(
            connection,
            place if backup else None,
            database,
            settings,
            lambda before: undo(connection, migrations, to, place, before),
        )


def _with_snapshot(
    connection: sqlite3.Connection,
    path: Path | None,
    database: str,
    settings: Settings,
    work: Callable[[Callable[[], None]], tuple[Migration, ...]],
) -> Change:
    """Run ``work``, which calls back under the write lock before its first change: then the snapshot is taken.

    Taken there, it holds exactly what the migrations found, and of many starters only one takes it.
    """
    taken: list[Path] = []

    def before() -> None:
        if path is not None and connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
            taken.append(_snapshot(path, database, settings.backup_dir))

    try:
        done = work(before)
    except MigrationError as error:
        if not taken:
            raise
        hint = "; ".join(filter(None, (error.hint, f"a snapshot from before is {taken[0]}")))
        raise MigrationError(error.operation, error.target, error.problem, hint=hint) from error
    return Change(done, taken[0] if taken else None)


def _snapshot(path: Path, database: str, folder: Path) -> Path:
    from aragora_persist.backup.files import clean_partials  # noqa: PLC0415 - only where there is something to migrate
    from aragora_persist.backup.snapshot import snapshot  # noqa: PLC0415 - as above

    clean_partials(folder)  # a killed run leaves the copy that it was making
    target = folder / f"{find_database(database).name}_{utc_now():%Y%m%d_%H%M%S_%f}_before_migration.db"
    snapshot(path, target)
    return target


if __name__ == "__main__":
    from aragora_persist.migrations.command import main

    sys.exit(main())
