"""Applying migrations with a protection taken out, to put in the place of the product's: a rig must fail then."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from aragora_persist.migrations import ledger, plan
from aragora_persist.migrations.apply import record
from aragora_persist.migrations.folder import Body

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from aragora_persist.migrations.plan import Migration


def apply_without_transaction(
    connection: sqlite3.Connection,
    migrations: Sequence[Migration],
    target: object,
    before: Callable[[], object],
    *_: object,
) -> tuple[Migration, ...]:
    """Let every statement commit by itself, the ledger's row as the last."""
    todo = plan.pending(migrations, ledger.read(connection), target)
    if todo:
        before()
    connection.execute("PRAGMA foreign_keys=OFF")
    _apply(connection, todo)
    return todo


def apply_what_was_pending(
    connection: sqlite3.Connection,
    migrations: Sequence[Migration],
    target: object,
    before: Callable[[], object],
    *_: object,
) -> tuple[Migration, ...]:
    """Look at what is pending without the lock under which it is then applied."""
    todo = plan.pending(migrations, ledger.read(connection), target)
    connection.execute("PRAGMA foreign_keys=OFF")
    connection.execute("BEGIN IMMEDIATE")
    try:
        if todo:
            before()
        _apply(connection, todo)
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    return todo


def _apply(connection: sqlite3.Connection, todo: Sequence[Migration]) -> None:
    ledger.create(connection)
    for migration in todo:
        body, start = Body(migration), perf_counter()
        body.step("upgrade")(connection)
        record(connection, migration, body, start)
