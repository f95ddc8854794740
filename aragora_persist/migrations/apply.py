"""Applying and undoing migrations on one connection: all or nothing.

The write lock comes first, then the question what is pending, so that of many starters one works and the others find
nothing to do. All pending bodies and their ledger rows are one transaction: a failure in the third leaves none of them,
and a process killed at any point leaves the schema as it was. Leaves out: files and backups (``runner``).
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING

from aragora_persist.errors import MigrationError
from aragora_persist.migrations import ledger, plan
from aragora_persist.migrations.folder import Body
from aragora_persist.migrations.guard import guarded
from aragora_persist.migrations.schema import read_schema
from aragora_persist.storage.sqlite.faults import DRIVER_ERRORS, translate
from aragora_persist.times import to_text, utc_now
from aragora_persist.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from aragora_persist.migrations.plan import Migration


def apply_pending(
    connection: sqlite3.Connection, migrations: Sequence[Migration], target: object, before: Callable[[], object]
) -> tuple[Migration, ...]:
    """Apply what is pending and return it; ``before`` is called under the write lock, before the first change.

    Raises:
        MigrationError: a migration was refused or failed; the schema is as it was.
        SchemaTooNewError: the database is newer than ``migrations``.
        BusyError: the write lock was not had in time.

    """
    with _exclusive(connection, target):
        todo = plan.pending(migrations, ledger.read(connection), target)
        if todo:
            before()
            ledger.create(connection)
        for migration in todo:
            _upgrade(connection, migration)
    return todo


def undo(
    connection: sqlite3.Connection,
    migrations: Sequence[Migration],
    to: int | None,
    target: object,
    before: Callable[[], object],
) -> tuple[Migration, ...]:
    """Undo the migrations above version ``to`` (None: the last one) and return them.

    The result must be the schema that the migrations up to ``to`` make, otherwise nothing is changed.

    Raises:
        MigrationError: a downgrade is missing, failed, or does not restore the earlier schema.
        InvalidValueError: there is nothing above ``to``.
        BusyError: the write lock was not had in time.

    """
    with _exclusive(connection, target):
        todo = plan.to_undo(migrations, ledger.read(connection), to, target)
        before()
        for migration in todo:
            with guarded(connection, migration.name):
                Body(migration).step("downgrade")(connection)
            ledger.remove(connection, migration.version)
        kept = migrations[: todo[-1].version - 1]
        if read_schema(connection) != expected_schema(kept):
            raise MigrationError(
                "roll back",
                todo[-1].name,
                f"its downgrade does not restore the schema of version {len(kept)}",
                hint="write the downgrade, or restore a backup",
            )
    return todo


def expected_schema(migrations: Sequence[Migration]) -> list[tuple[str, str]]:
    """Return the schema that these migrations make from nothing."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        ledger.create(connection)
        apply_pending(connection, migrations, ":memory:", lambda: None)
        return read_schema(connection)
    finally:
        connection.close()


@contextmanager
def _exclusive(connection: sqlite3.Connection, target: object) -> Iterator[None]:
    """Hold the write lock with foreign keys off: SQLite lets nobody switch them off inside a transaction."""
    foreign_keys = connection.execute("PRAGMA foreign_keys").fetchone()[0]
    connection.execute("PRAGMA foreign_keys=OFF")
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    except DRIVER_ERRORS as error:
        raise translate(error, "migrate", target) from error
    finally:
        connection.execute(f"PRAGMA foreign_keys={foreign_keys}")


def _upgrade(connection: sqlite3.Connection, migration: Migration) -> None:
    start = perf_counter()
    with guarded(connection, migration.name):
        body = Body(migration)
        body.step("upgrade")(connection)
    record(connection, migration, body, start)


def record(connection: sqlite3.Connection, migration: Migration, body: Body, start: float) -> None:
    """Write into the ledger that a migration was applied, from ``start`` (of ``perf_counter``) until now."""
    ledger.add(
        connection,
        plan.Applied(
            version=migration.version,
            name=migration.name,
            checksum=migration.checksum,
            applied_at=to_text(utc_now()),
            duration_ms=round((perf_counter() - start) * 1000, 3),
            package_version=VERSION,
            min_reader=body.min_reader or VERSION,
        ),
    )
