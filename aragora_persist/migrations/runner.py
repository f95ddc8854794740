"""Migrations of database files: status, migrating, rolling back.

``python -m aragora_persist.migrations.runner`` is the documented command line over it (``command``). Leaves out: the
rehearsal (``rehearsal``), and databases of other programs (``adoption``). What only a change needs is imported when
there is one: a status is asked for every few seconds, and mostly nothing is pending.
"""

from __future__ import annotations

if __name__ == "__main__":
    # Before all that its `--help` does not need is imported.
    from aragora_persist.migrations.command import main

    raise SystemExit(main())

from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from aragora_persist.errors import NotFoundError
from aragora_persist.migrations.progress import no_progress
from aragora_persist.migrations.standing import Expected, Refused
from aragora_persist.settings import Settings
from aragora_persist.storage.sqlite.connecting import connect_reader, connect_writer
from aragora_persist.storage.sqlite.files import MEMORY, is_there, make_ready, resolve
from aragora_persist.storage.sqlite.readonly import open_readonly

if TYPE_CHECKING:
    import os
    import sqlite3
    from pathlib import Path

    from aragora_persist.errors import PersistError
    from aragora_persist.migrations.plan import Applied, Migration
    from aragora_persist.migrations.progress import Progress


class Status(NamedTuple):
    """How one database stands to the migrations of this release."""

    database: str
    path: Path
    exists: bool
    applied: tuple[Applied, ...]
    pending: tuple[Migration, ...]
    latest: int
    state: str
    """``missing``, ``current``, ``outdated``; or why it is refused: ``foreign`` (not made by this database's
    migrations), ``newer`` (than this release), ``edited`` (its migrations were, since it had them)."""
    refusal: PersistError | None = None
    """What migrating it would raise; nothing is ``pending`` then."""

    @property
    def version(self) -> int:
        """The version of its schema; 0 for none."""
        return len(self.applied)


class Change(NamedTuple):
    """What a run did: the migrations applied or undone, in that order, and the snapshot taken before."""

    migrations: tuple[Migration, ...]
    snapshot: Path | None
    lost: tuple[str, ...] = ()
    """What a rollback took away with tables and columns, such as "12 rows of table webhooks"."""


def status(path: str | os.PathLike[str], database: str, *, folder: Path | None = None) -> Status:
    """Say how the file stands. Strictly read-only: neither it nor a ``-wal`` or ``-shm`` beside it is made or written.

    Raises:
        MigrationError: this release's own migrations are not in order.
        DamagedError: the file is not a database.
        StorageError: it cannot be read.

    """
    place = resolve(path)
    expected = Expected(place, database, folder)
    latest = len(expected.migrations)
    if not is_there(place):
        return Status(
            database, place, exists=False, applied=(), pending=expected.migrations, latest=latest, state="missing"
        )
    with open_readonly(place) as connection:
        try:
            applied, pending = expected.judge(connection)
        except Refused as refused:
            return Status(
                database,
                place,
                exists=True,
                applied=refused.applied,
                pending=(),
                latest=latest,
                state=refused.state,
                refusal=refused.error,
            )
    state = "outdated" if pending else "current"
    return Status(database, place, exists=True, applied=applied, pending=pending, latest=latest, state=state)


def migrate(
    path: str | os.PathLike[str],
    database: str,
    *,
    backup: bool = True,
    folder: Path | None = None,
    settings: Settings | None = None,
    progress: Progress = no_progress,
) -> Change:
    """Bring the file up to date; a missing one is made. Applying again does nothing; many at once are safe.

    Where another process migrates the file, it is waited for as long as it lives (``turn``). What is refused, is not
    even opened for writing.

    Raises:
        MigrationError: a migration was refused or failed; those before it stay, and the hint names the snapshot.
        SchemaTooNewError: the file is newer than this release.
        BusyError: the write lock was not had in time.

    """
    settings = settings or Settings.from_env()
    place = resolve(path)
    expected = Expected(place, database, folder)
    make_ready(place)
    with closing(connect_reader(place, settings.db_timeout_s)) as connection:
        if not expected.pending(connection):
            from aragora_persist.migrations.turn import clear_turn  # noqa: PLC0415 - see the module's docstring

            clear_turn(place)
            return Change((), None)
    with closing(connect_writer(place, settings.db_timeout_s)) as connection:
        return _bring_up_to_date(connection, place, expected, settings, progress, backup=backup)


def migrate_connection(
    connection: sqlite3.Connection,
    path: Path | None,
    database: str,
    *,
    folder: Path | None = None,
    settings: Settings,
) -> Change:
    """Do what ``migrate`` does on a connection in autocommit mode; ``path`` None is a database in memory."""
    expected = Expected(path, database, folder)
    if not expected.pending(connection):
        return Change((), None)
    if path is None:
        from aragora_persist.migrations.apply import apply_pending  # noqa: PLC0415 - as above

        return Change(apply_pending(connection, expected.migrations, MEMORY, lambda: None), None)
    return _bring_up_to_date(connection, path, expected, settings, no_progress, backup=True)


def rollback(
    path: str | os.PathLike[str],
    database: str,
    *,
    to: int | None = None,
    backup: bool = True,
    folder: Path | None = None,
    settings: Settings | None = None,
    progress: Progress = no_progress,
) -> Change:
    """Undo the migrations above version ``to`` (None: the last one), after a rehearsal of it on a copy.

    Raises:
        NotFoundError: there is no such file.
        InvalidValueError: there is nothing above ``to``.
        MigrationError: a downgrade is missing, failed, or does not restore the earlier schema. In the rehearsal:
            nothing was changed. Afterwards, which takes data that came meanwhile: those undone before it stay undone.

    """
    from aragora_persist.migrations.apply import undo  # noqa: PLC0415 - as above
    from aragora_persist.migrations.snapshots import SnapshotBefore, kept  # noqa: PLC0415 - as above
    from aragora_persist.migrations.turn import turn  # noqa: PLC0415 - as above
    from aragora_persist.migrations.undoing import rehearse_undo  # noqa: PLC0415 - as above

    settings = settings or Settings.from_env()
    place = resolve(path)
    if not is_there(place):
        raise NotFoundError("roll back", place, "is not there")
    expected = Expected(place, database, folder)
    make_ready(place)
    with turn(place, settings.db_timeout_s, progress) as told:
        goal, lost = rehearse_undo(place, expected, to, settings, told)
        with closing(connect_writer(place, settings.db_timeout_s)) as connection:
            snapshot = SnapshotBefore(place, database, settings.backup_dir, settings.db_timeout_s)
            with kept(snapshot, connection):
                done = undo(connection, expected.migrations, goal, place, snapshot if backup else lambda: None, told)
    return Change(done, snapshot.path, lost)


def _bring_up_to_date(
    connection: sqlite3.Connection,
    path: Path,
    expected: Expected,
    settings: Settings,
    progress: Progress,
    *,
    backup: bool,
) -> Change:
    """Apply what is pending when the turn has come; by then it may be nothing."""
    from aragora_persist.migrations.apply import apply_pending  # noqa: PLC0415 - as above
    from aragora_persist.migrations.snapshots import SnapshotBefore, kept  # noqa: PLC0415 - as above
    from aragora_persist.migrations.turn import turn  # noqa: PLC0415 - as above

    snapshot = SnapshotBefore(path, expected.database, settings.backup_dir, settings.db_timeout_s)

    def before() -> None:
        expected.pending(connection)  # again, under the lock: another program may have made its tables meanwhile
        if backup and connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
            snapshot()

    with turn(path, settings.db_timeout_s, progress) as told, kept(snapshot, connection):
        done = apply_pending(connection, expected.migrations, path, before, told)
    return Change(done, snapshot.path)
