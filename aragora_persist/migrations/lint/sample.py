"""Rows to watch a migration with: a few in each table, which its constraints allow.

Each value is told apart from that of the next row, one row has NULL wherever that is allowed, references point at rows
that are there, and what a CHECK compares a column with is tried as its value. Leaves out: what no such guess finds.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import contextmanager, suppress
from itertools import islice, product
from typing import TYPE_CHECKING

from aragora_persist.migrations.lint.conditions import names
from aragora_persist.migrations.lint.picture import Row, Value, literals, take
from aragora_persist.storage.names import quoted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from aragora_persist.migrations.lint.picture import Column, Picture, Table

_ROWS = 3
_WITH_NULLS = 2
_MOST_ATTEMPTS = 2000
_LONGEST_TEXT = 200
_GIVEN_AND_DELETED = 100  # ids that AUTOINCREMENT gave to rows that are gone
_TIME = re.compile(r".*_(?:at|until)|timestamp")


def fill(connection: sqlite3.Connection) -> tuple[str, ...]:
    """Put new rows into every table in the place of all others; return the tables for which none was found."""
    clear(connection)
    picture = take(connection)
    with _no_triggers(connection):
        for name in _parents_first(picture):
            for number in range(1, _ROWS + 1):
                _insert(connection, picture, picture.tables[name], number)
        _delete_dangling(connection)
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'").fetchone():
        connection.execute("UPDATE sqlite_sequence SET seq = seq + ?", (_GIVEN_AND_DELETED,))
    return tuple(name for name, table in take(connection).tables.items() if not table.rows)


def clear(connection: sqlite3.Connection) -> None:
    """Empty every table."""
    with _no_triggers(connection):
        for name in take(connection).tables:
            connection.execute(f"DELETE FROM {quoted(name)}")  # noqa: S608 - quoted


@contextmanager
def _no_triggers(connection: sqlite3.Connection) -> Iterator[None]:
    """Take the triggers away for the block: one may forbid what is done in it, or do more."""
    triggers = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY rowid"
    ).fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {quoted(name)}")
    yield
    for _, sql in triggers:
        connection.execute(sql)


def insertion(table: str, columns: Collection[str]) -> str:
    """Return the statement that writes a row with these columns."""
    names, marks = ", ".join(map(quoted, columns)), ", ".join("?" * len(columns))
    return f"INSERT INTO {quoted(table)} ({names}) VALUES ({marks})"  # noqa: S608 - quoted


def _parents_first(picture: Picture) -> list[str]:
    """Return the tables, each after those that it refers to, as far as they do not refer to each other."""
    order: list[str] = []

    def add(name: str, waiting: tuple[str, ...]) -> None:
        if name in order or name in waiting or name not in picture.tables:
            return
        for key in picture.tables[name].foreign_keys:
            add(key.parent, (*waiting, name))
        order.append(name)

    for name in picture.tables:
        add(name, ())
    return order


def _insert(connection: sqlite3.Connection, picture: Picture, table: Table, number: int) -> None:
    referred = _referred(connection, picture, table, number)
    candidates = [
        referred[name] if name in referred else _candidates(table, column, number)
        for name, column in table.columns.items()
    ]
    insert = insertion(table.name, table.columns)
    for values in islice(product(*candidates), _MOST_ATTEMPTS):
        try:
            connection.execute(insert, values)
        except sqlite3.DatabaseError:
            continue
        return


def _referred(connection: sqlite3.Connection, picture: Picture, table: Table, number: int) -> dict[str, list[Value]]:
    """Return the values with which a row refers to one row of each table that it refers to."""
    values: dict[str, list[Value]] = {}
    for key in table.foreign_keys:
        if key.parent not in picture.tables:
            continue
        parents = _rows(connection, key.parent)
        row = parents[(number - 1) % len(parents)] if parents else {}
        referred = [name for name in key.parent_columns if name] or picture.tables[key.parent].key
        for column, of_parent in zip(key.columns, referred, strict=True):
            # Of its own table, or of one that comes later, the row is not there yet: it will have this value.
            value = row.get(of_parent, _plain(table.columns[column], number, name=of_parent))
            values[column] = [value]
            if table.columns[column].may_be_null:
                values[column].insert(0 if number == _WITH_NULLS else 1, None)
    return values


def _rows(connection: sqlite3.Connection, table: str) -> list[Row]:
    found = connection.execute(f"SELECT * FROM {quoted(table)}")  # noqa: S608 - quoted
    names = [column[0] for column in found.description]
    return [dict(zip(names, values, strict=True)) for values in found]


def _candidates(table: Table, column: Column, number: int) -> list[Value]:
    """Return the values to try, the best first."""
    hints = list(dict.fromkeys(_hints(table, column)))
    turned = hints[number % len(hints) :] + hints[: number % len(hints)] if hints else []
    values = [_plain(column, number), *turned]
    if column.may_be_null and (hints or number == _WITH_NULLS):
        values.insert(0 if number == _WITH_NULLS else len(values), None)
    return values if hints else values[:1]


def _hints(table: Table, column: Column) -> Iterator[Value]:
    """Yield what the CHECKs that name a column compare with: texts, numbers, and texts as long as the numbers say."""
    for check in table.checks:
        if column.name not in names(check, table.columns):
            continue
        for value in literals(check):
            lengths = column.kind.upper() == "TEXT" and not isinstance(value, str)
            yield "x" * int(min(float(value), _LONGEST_TEXT)) if lengths else value


def _plain(column: Column, number: int, *, name: str = "") -> Value:
    """Return a value of the column's kind that this row alone has."""
    kind = column.kind.upper()
    if kind == "INTEGER":
        return number
    if kind == "REAL":
        return number / 4
    if kind == "BLOB":
        return bytes([number]) * 8
    if column.default is not None and column.default[:2] in {"'{", "'["}:
        return f'{{"n": {number}}}' if column.default[1] == "{" else f"[{number}]"
    if _TIME.fullmatch(column.name):
        return f"2026-01-{number:02d}T00:00:00.000000Z"
    return f"{name or column.name} {number}"


def _delete_dangling(connection: sqlite3.Connection) -> None:
    """Take away rows that refer to one that could not be made, and then those that refer to them."""
    with suppress(sqlite3.OperationalError):  # references to what is not unique cannot even be checked
        while dangling := connection.execute("PRAGMA foreign_key_check").fetchall():
            for table, rowid, _, _ in dangling:
                where = "" if rowid is None else f" WHERE rowid = {rowid}"  # a table without rowids
                connection.execute(f"DELETE FROM {quoted(table)}{where}")  # noqa: S608 - quoted
