"""What a database looks like at one moment, as far as the rules of the lint compare it: schema and rows.

Leaves out: judging differences (``rules``); the ledger, SQLite's own tables and virtual ones.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from aragora_persist.migrations import ledger
from aragora_persist.storage.names import quoted

if TYPE_CHECKING:
    import sqlite3

_TABLES = """
SELECT name, sql FROM sqlite_master
WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!' AND name <> ?
AND name IN (SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table') ORDER BY name
"""
_OTHERS = "SELECT name, type, sql FROM sqlite_master WHERE type IN ('view', 'trigger') ORDER BY name"
_TOKEN = re.compile(r"""(?:--[^\n]*|/\*.*?\*/)|('(?:[^']|'')*'|"(?:[^"]|"")*"|\d+\.\d+|\w+|[<>=!|]+|\S)""", re.DOTALL)
_WHERE = re.compile(r"\bWHERE\b(.*)", re.IGNORECASE | re.DOTALL)

_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")

Value = str | int | float | bytes | None
Row = dict[str, Value]


class Column(NamedTuple):
    """A column; ``key`` is its place in the primary key, from 1, and 0 outside of it."""

    name: str
    kind: str
    not_null: bool
    default: str | None
    key: int

    @property
    def needs_a_value(self) -> bool:
        """Whether an INSERT that does not name it fails."""
        rowid = self.key and self.kind.upper() == "INTEGER"
        return self.not_null and not rowid and (self.default is None or self.default.upper() == "NULL")

    @property
    def may_be_null(self) -> bool:
        """Whether NULL makes sense in it: of a primary key, SQLite allows it by mistake."""
        return not self.not_null and not self.key

    @property
    def fallback(self) -> Value:
        """What a row has in it that does not name it, where that is a literal; otherwise None."""
        text = self.default or ""
        if text.startswith("'"):
            return text[1:-1].replace("''", "'")
        if not _NUMBER.fullmatch(text):
            return None
        return float(text) if self.kind.upper() == "REAL" or "." in text else int(text)

    @property
    def starts_as_null(self) -> bool:
        """Whether rows of code that does not know it have no value in it."""
        return not self.not_null and (self.default is None or self.default.upper() == "NULL")


class Index(NamedTuple):
    """An index, also that of a UNIQUE or a primary key; a column None is an expression."""

    name: str
    unique: bool
    columns: tuple[str | None, ...]
    where: str | None
    sql: str | None


class ForeignKey(NamedTuple):
    """A reference; ``found`` says whether the rows that refer to one are found without reading all of the table."""

    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str | None, ...]
    found: bool


class Table(NamedTuple):
    """A table with its rows; ``counter`` is the highest id that AUTOINCREMENT has given."""

    name: str
    sql: str
    columns: dict[str, Column]
    indexes: tuple[Index, ...]
    foreign_keys: tuple[ForeignKey, ...]
    checks: frozenset[str]
    counter: int | None
    rows: tuple[Row, ...]

    @property
    def key(self) -> tuple[str, ...]:
        """The columns of the primary key."""
        keyed = sorted((column.key, column.name) for column in self.columns.values() if column.key)
        return tuple(name for _, name in keyed)


class Picture(NamedTuple):
    """A whole database."""

    tables: dict[str, Table]
    others: dict[str, str]
    """The kind of each view and trigger."""


def take(connection: sqlite3.Connection) -> Picture:
    """Return what the database looks like now."""
    tables = {name: _table(connection, name, sql) for name, sql in connection.execute(_TABLES, (ledger.TABLE,))}
    return Picture(tables, {name: kind for name, kind, _ in connection.execute(_OTHERS)})


def words(sql: str) -> list[str]:
    """Return the tokens of SQL, without spaces and comments."""
    return [match[1] for match in _TOKEN.finditer(sql) if match[1]]


def literals(sql: str) -> list[str | float]:
    """Return the texts and numbers in SQL, in their order."""
    found: list[str | float] = []
    for token in words(sql):
        if token.startswith("'"):
            found.append(token[1:-1].replace("''", "'"))
        elif _NUMBER.fullmatch(token):
            found.append(float(token) if "." in token else int(token))
    return found


def _table(connection: sqlite3.Connection, name: str, sql: str) -> Table:
    columns = {
        column: Column(column, kind, bool(not_null), default, key)
        for _, column, kind, not_null, default, key, hidden in connection.execute(f"PRAGMA table_xinfo({quoted(name)})")
        if not hidden
    }
    found = connection.execute(f"SELECT * FROM {quoted(name)}")  # noqa: S608 - quoted
    names = [column[0] for column in found.description]
    rows = tuple(dict(zip(names, values, strict=True)) for values in found)
    indexes = _indexes(connection, name)
    key = sorted((column.key, column.name) for column in columns.values() if column.key)
    if key and not any(index.name == "primary key" for index in indexes):  # that of the rowid has no index
        indexes = (*indexes, Index("primary key", True, tuple(name for _, name in key), None, None))  # noqa: FBT003 - unique
    return Table(
        name, sql, columns, indexes, _foreign_keys(connection, name), _checks(sql), _counter(connection, name), rows
    )


def _indexes(connection: sqlite3.Connection, table: str) -> tuple[Index, ...]:
    indexes = []
    for _, name, unique, origin, partial in connection.execute(f"PRAGMA index_list({quoted(table)})").fetchall():
        columns = tuple(row[2] for row in connection.execute(f"PRAGMA index_info({quoted(name)})"))
        (sql,) = connection.execute(
            "SELECT sql FROM sqlite_master WHERE type = 'index' AND name = ?", (name,)
        ).fetchone()
        where = _WHERE.search(sql) if partial else None
        title = {"c": name, "u": "UNIQUE", "pk": "primary key"}[origin]
        indexes.append(Index(title, bool(unique), columns, " ".join(words(where[1])) if where else None, sql))
    return tuple(indexes)


def _foreign_keys(connection: sqlite3.Connection, table: str) -> tuple[ForeignKey, ...]:
    parts: dict[int, list[tuple[Any, ...]]] = {}
    for row in connection.execute(f"PRAGMA foreign_key_list({quoted(table)})"):
        parts.setdefault(row[0], []).append(row)
    keys = []
    for rows in parts.values():
        columns = tuple(row[3] for row in rows)
        keys.append(
            ForeignKey(columns, rows[0][2], tuple(row[4] for row in rows), _is_found(connection, table, columns))
        )
    return tuple(keys)


def _is_found(connection: sqlite3.Connection, table: str, columns: tuple[str, ...]) -> bool:
    """Ask SQLite how it would look for the rows of one parent: it knows which partial index serves."""
    condition = " AND ".join(f"{quoted(column)} = ?" for column in columns)
    query = f"EXPLAIN QUERY PLAN SELECT 1 FROM {quoted(table)} WHERE {condition}"  # noqa: S608 - quoted
    plan: str = connection.execute(query, columns).fetchone()[3]
    return plan.startswith("SEARCH") and (plan.count("=?") == len(columns) or "rowid=?" in plan)


def _checks(sql: str) -> frozenset[str]:
    """Return the conditions of the CHECKs in a table's definition: SQLite tells of them nowhere else."""
    tokens = words(sql)
    checks = set()
    for start, token in enumerate(tokens):
        if token.upper() != "CHECK":
            continue
        depth = 0
        for end in range(start + 1, len(tokens)):
            depth += {"(": 1, ")": -1}.get(tokens[end], 0)
            if depth == 0:
                checks.add(" ".join(tokens[start + 2 : end]))
                break
    return frozenset(checks)


def _counter(connection: sqlite3.Connection, table: str) -> int | None:
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'").fetchone() is None:
        return None
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return None if row is None else int(row[0])
