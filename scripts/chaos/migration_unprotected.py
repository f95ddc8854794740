"""Puts an applying of migrations with a protection taken out in the place of the product's: a rig must fail then."""

from __future__ import annotations

from contextlib import nullcontext
from time import perf_counter
from typing import TYPE_CHECKING

from aragora_persist.errors import MisuseError
from aragora_persist.migrations import apply as product
from aragora_persist.migrations import ledger, plan, turn
from aragora_persist.migrations.folder import Body

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from aragora_persist.migrations.plan import Migration


def without_transaction() -> None:
    """Let every statement of a body commit by itself, and the ledger's row after them."""

    def apply(
        connection: sqlite3.Connection,
        migrations: Sequence[Migration],
        target: object,
        before: Callable[[], object],
        *_: object,
    ) -> tuple[Migration, ...]:
        todo = plan.pending(migrations, ledger.read(connection), target)
        if todo:
            before()
        connection.execute("PRAGMA foreign_keys=OFF")
        _apply(connection, todo)
        return todo

    product.apply_pending = apply


def without_lock() -> None:
    """Take no turn, and look at what is pending without the lock under which it is then applied."""

    def apply(
        connection: sqlite3.Connection,
        migrations: Sequence[Migration],
        target: object,
        before: Callable[[], object],
        *_: object,
    ) -> tuple[Migration, ...]:
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

    product.apply_pending = apply
    turn.turn = lambda _path, _timeout_s, progress: nullcontext(progress)


def _apply(connection: sqlite3.Connection, todo: Sequence[Migration]) -> None:
    ledger.create(connection)
    for migration in todo:
        body, start = Body(migration), perf_counter()
        upgrade = body.step("upgrade")
        try:
            upgrade(connection)
        except MisuseError:  # it rebuilds a table, and asks for a transaction before anything else
            with connection:
                connection.execute("BEGIN")
                upgrade(connection)
        product.record(connection, migration, body, start)
