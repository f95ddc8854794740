"""What a migration's body may not do, and may not have done when it ends.

While it runs, an authorizer denies every statement that would end our transaction (``executescript`` and ``with conn:``
commit behind the author's back). When it has run, tables that it did not name must have as many rows as before (a
rebuild can empty another table by a cascade), and no foreign key may dangle.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aragora_persist.errors import MigrationError

if TYPE_CHECKING:
    from collections.abc import Iterator

_DENIED = {
    sqlite3.SQLITE_TRANSACTION: "begins or ends a transaction (executescript and `with conn:` do)",
    sqlite3.SQLITE_ATTACH: "attaches another database",
    sqlite3.SQLITE_DETACH: "detaches a database",
}
_CHANGES_ROWS = frozenset(
    (sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE, sqlite3.SQLITE_DROP_TABLE)
)


@contextmanager
def guarded(connection: sqlite3.Connection, name: str) -> Iterator[None]:
    """Run one body of the migration ``name`` inside the open transaction.

    Raises:
        MigrationError: the body broke one of the rules, or raised.

    """
    before = _row_counts(connection)
    named: set[str] = set()
    denied: list[str] = []

    def authorize(action: int, first: str | None, second: str | None, _database: str | None, _via: str | None) -> int:
        if action in _DENIED:
            denied.append(_DENIED[action])
            return sqlite3.SQLITE_DENY
        if action in _CHANGES_ROWS and first is not None:
            named.add(first)
        elif action == sqlite3.SQLITE_ALTER_TABLE and second is not None:
            named.add(second)
        return sqlite3.SQLITE_OK

    connection.set_authorizer(authorize)
    try:
        yield
    except MigrationError:
        raise
    except Exception as error:
        if not denied:
            raise MigrationError("migrate", name, f"{type(error).__name__}: {error}") from error
    finally:
        connection.set_authorizer(None)
    if denied:
        raise MigrationError("migrate", name, denied[0], hint="use conn.execute, statement by statement")
    _check_untouched(connection, name, {table: count for table, count in before.items() if table not in named})
    _check_foreign_keys(connection, name)


def _row_counts(connection: sqlite3.Connection) -> dict[str, int]:
    tables = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
    )
    return {name: _count(connection, name) for (name,) in tables.fetchall()}


def _count(connection: sqlite3.Connection, table: str) -> int:
    quoted = table.replace('"', '""')
    count: int = connection.execute(f'SELECT count(*) FROM "{quoted}"').fetchone()[0]  # noqa: S608 - quoted
    return count


def _check_untouched(connection: sqlite3.Connection, name: str, expected: dict[str, int]) -> None:
    actual = _row_counts(connection)
    for table, count in expected.items():
        if actual.get(table) != count:
            raise MigrationError(
                "migrate",
                name,
                f"table {table}, which it does not name, had {count} rows and has {actual.get(table, 'gone')}",
            )


def _check_foreign_keys(connection: sqlite3.Connection, name: str) -> None:
    row = connection.execute("PRAGMA foreign_key_check").fetchone()
    if row is not None:
        raise MigrationError("migrate", name, f"a row of {row[0]} (rowid {row[1]}) refers to no row of {row[2]}")
