"""Applying and undoing migrations on one connection: each one all or nothing.

The write lock comes first, then the question what is pending, and it comes anew for each migration: so of many
starters one works and the others find nothing to do. A body and its row of the ledger are one transaction: a failure in
the third migration leaves two, and so does a process that is killed in it; only a new database is one transaction from
nothing to the newest version. What was committed survives a loss of power. Leaves out: what a body may do (``guard``),
files and snapshots (``runner``).
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager, suppress
from time import perf_counter
from typing import TYPE_CHECKING, Literal

from aragora_persist.errors import MigrationError
from aragora_persist.migrations import ledger, plan
from aragora_persist.migrations.folder import Body
from aragora_persist.migrations.guard import refuse_exit, run_guarded
from aragora_persist.migrations.progress import no_progress, step
from aragora_persist.migrations.schema import read_schema
from aragora_persist.storage.sqlite.faults import DRIVER_ERRORS, translate
from aragora_persist.times import to_text, utc_now
from aragora_persist.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from aragora_persist.migrations.plan import Migration
    from aragora_persist.migrations.progress import Progress

    _ByVersion = dict[int, list[tuple[str, str]]]

_NORMAL = 1
_SHOWN = 5


def apply_pending(
    connection: sqlite3.Connection,
    migrations: Sequence[Migration],
    target: object,
    before: Callable[[], object],
    progress: Progress = no_progress,
) -> tuple[Migration, ...]:
    """Apply what is pending and return it; ``before`` is called under the write lock, before the first change.

    The connection is in autocommit mode; on a file, in WAL mode.

    Raises:
        MigrationError: a migration was refused or failed; those before it stay, as the hint says.
        SchemaTooNewError: the database is newer than ``migrations``.
        BusyError: the write lock was not had in time.

    """
    done: list[Migration] = []
    bodies: dict[int, _Loaded] = {}
    with _session(connection, "migrate", target) as session:
        todo = plan.pending(migrations, ledger.read(connection), target)
        while todo:
            with _transaction(connection):
                applied = ledger.read(connection)
                todo = plan.pending(migrations, applied, target)
                if todo and not bodies:
                    # All of them first: what cannot even be loaded is found while nothing has changed.
                    bodies = {migration.version: _Loaded(migration, "upgrade") for migration in todo}
                    before()
                    ledger.create(connection)
                # A new database is made whole or not at all: who opens one half-made would take it for an old one.
                together = todo[:1] if applied else todo
                for migration in together:
                    session.operation = f"migrate {migration.name}"
                    with step(progress, f"{migration.name} {migration.version}/{len(migrations)}"):
                        _upgrade(connection, bodies.get(migration.version) or _Loaded(migration, "upgrade"))
            done += together
            todo = todo[len(together) :]
    return tuple(done)


def undo(
    connection: sqlite3.Connection,
    migrations: Sequence[Migration],
    to: int | None,
    target: object,
    before: Callable[[], object],
    progress: Progress = no_progress,
) -> tuple[Migration, ...]:
    """Undo the migrations above version ``to`` (None: the last one), the newest first, and return them.

    After each one the schema must be what the migrations below it make, otherwise that one is not undone.

    Raises:
        MigrationError: a downgrade is missing, failed, or does not restore the earlier schema; those that were undone
            before it stay so, as the hint says.
        InvalidValueError: there is nothing above ``to``.
        BusyError: the write lock was not had in time.

    """
    done: list[Migration] = []
    with _session(connection, "roll back", target) as session:
        todo = plan.to_undo(migrations, ledger.read(connection), to, target)
        goal = todo[-1].version - 1
        bodies: dict[int, _Loaded] = {}
        schemas: _ByVersion = {}
        while todo:
            with _transaction(connection):
                applied = ledger.read(connection)
                todo = plan.to_undo(migrations, applied, goal, target) if len(applied) > goal else ()
                if todo and todo[0].version not in bodies:
                    bodies = {migration.version: _Loaded(migration, "downgrade") for migration in todo}
                    # Of what is applied alone: a pending migration that does not work may be why this one goes back.
                    schemas = _schemas(migrations[: len(applied)], first=goal)
                if todo and not done:
                    before()
                if todo:
                    session.operation = f"roll back {todo[0].name}"
                    with step(progress, f"{todo[0].name} {len(done) + 1}/{len(done) + len(todo)}"):
                        _downgrade(connection, bodies[todo[0].version], schemas)
            done += todo[:1]
            todo = todo[1:]
    return tuple(done)


def _schemas(migrations: Sequence[Migration], *, first: int) -> _ByVersion:
    """Return the schema of each version from ``first`` on."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        ledger.create(connection)
        schemas = {}
        for version in range(first, len(migrations) + 1):
            apply_pending(connection, migrations[:version], ":memory:", lambda: None)
            schemas[version] = read_schema(connection)
        return schemas
    finally:
        connection.close()


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


class _Loaded:
    """A migration whose file was run and has what is needed of it.

    Raises:
        MigrationError: it has not, or cannot be run.

    """

    def __init__(self, migration: Migration, step: Literal["upgrade", "downgrade"]) -> None:
        self.migration = migration
        try:
            self.body = Body(migration)
        except SystemExit as error:
            refuse_exit(error, migration)
            raise
        self.function = self.body.step(step)
        self.min_reader = self.body.min_reader


def _upgrade(connection: sqlite3.Connection, loaded: _Loaded) -> None:
    start = perf_counter()
    run_guarded(connection, loaded.migration, loaded.function)
    record(connection, loaded.migration, loaded.body, start)


def _downgrade(connection: sqlite3.Connection, loaded: _Loaded, schemas: _ByVersion) -> None:
    migration = loaded.migration
    # What no migration made, such as the tables of an adopted database, is none of its business.
    others = set(read_schema(connection)) - set(schemas[migration.version])
    run_guarded(connection, migration, loaded.function)
    ledger.remove(connection, migration.version)
    _check_restored(connection, migration, schemas[migration.version - 1], others)


def _check_restored(
    connection: sqlite3.Connection, migration: Migration, expected: list[tuple[str, str]], others: set[tuple[str, str]]
) -> None:
    found = [one for one in read_schema(connection) if one not in others]
    if found == expected:
        return
    other = sorted({name for name, _ in set(found) ^ set(expected)})
    shown = ", ".join(other[:_SHOWN]) + (", …" if len(other) > _SHOWN else "")
    raise MigrationError(
        "roll back",
        migration.name,
        f"its downgrade does not restore the schema of version {migration.version - 1}: {shown} would differ",
        hint="write the downgrade, or restore a backup from before it",
    )


class _Session:
    """What is being done, as an error that comes outside of a body (at a commit, on a full disk) says it."""

    def __init__(self, operation: str) -> None:
        self.operation = operation


@contextmanager
def _session(connection: sqlite3.Connection, operation: str, target: object) -> Iterator[_Session]:
    """Set the connection up for migrations, and back."""
    foreign_keys, synchronous = (_pragma(connection, name) for name in ("foreign_keys", "synchronous"))
    # SQLite lets nobody switch foreign keys inside a transaction; on, a rebuild would empty other tables by a cascade.
    connection.execute("PRAGMA foreign_keys=OFF")
    if synchronous == _NORMAL:  # "off" is a copy's that is thrown away
        connection.execute("PRAGMA synchronous=FULL")
    level, connection.isolation_level = connection.isolation_level, "DEFERRED"  # see `guard`
    session = _Session(operation)
    try:
        yield session
    except DRIVER_ERRORS as error:
        raise translate(error, session.operation, target) from error
    finally:
        with suppress(sqlite3.ProgrammingError):  # a body has closed it
            # An interrupt can come in a rollback: then the level would commit. Closing the connection rolls back.
            if not connection.in_transaction:
                connection.isolation_level = level
                connection.execute(f"PRAGMA synchronous={synchronous}")
                connection.execute(f"PRAGMA foreign_keys={foreign_keys}")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Hold the write lock; what was done is committed at the end of the block, or rolled back."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.ProgrammingError):  # a body has closed it, and so rolled back
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        raise
