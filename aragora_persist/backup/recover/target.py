"""The new file that salvaged rows go to, and its table ``lost_and_found`` for those that their own table refuses.

Rows keep their rowids. Leaves out: where rows come from, and giving the file its name (``recover``).
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from itertools import count, groupby
from typing import TYPE_CHECKING, NamedTuple

from aragora_persist.backup.recover.format import BadText
from aragora_persist.backup.verify import count_violations
from aragora_persist.storage.names import free_rowid, quoted
from aragora_persist.storage.sqlite.faults import DRIVER_ERRORS, is_full

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from aragora_persist.backup.recover.format import Value
    from aragora_persist.backup.recover.schema import Thing

LOST_AND_FOUND = "lost_and_found"

_ROWS_AT_ONCE = 500
_BYTES_AT_ONCE = 2**20
_ROWS_IN_A_TRANSACTION = 20_000
_MOST_FIELDS = 1_900
_STORED = {0, 3}
"""Of ``table_xinfo``'s kinds of columns, those that are in the record: plain ones, and generated ones that are kept."""
_RULES = {sqlite3.SQLITE_CONSTRAINT_CHECK, sqlite3.SQLITE_CONSTRAINT_NOTNULL}


class Row(NamedTuple):
    """A row as it lay in the damaged file."""

    rowid: int
    values: list[Value]
    page: int
    size: int
    """That of its record, in bytes."""


class Column(NamedTuple):
    """A column as a record has it."""

    name: str
    kind: str
    required: bool
    written: bool
    """Not computed by SQLite."""


class Table(NamedTuple):
    """A table of the new file, as rows are written to it."""

    name: str
    columns: tuple[Column, ...]
    rowid: str
    """A name of the rowid that no column has taken; '' where there is none."""
    alias: int
    """Which column is the rowid; -1 for none. In its place a record holds NULL."""
    counts: bool
    """It gives no id a second time (AUTOINCREMENT)."""
    computes: bool
    """It has columns that SQLite computes."""

    def fits(self, row: Row) -> bool:
        """Say whether the table may have such a row, by its columns alone."""
        return len(row.values) <= len(self.columns) and all(
            _may_hold(column, value) if place != self.alias else value is None
            for place, (column, value) in enumerate(zip(self.columns, row.values, strict=False))
        )


class Target:
    """A new database in the empty file ``path``, which nobody else has open; to be closed at the end."""

    def __init__(self, path: Path, *, page_size: int, encoding: str) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.tables: dict[str, Table] = {}
        self.set_aside: Counter[str] = Counter()
        self.lost_and_found = LOST_AND_FOUND
        self._live: dict[str, str] = {}
        self._fields = 0
        self._uncommitted = 0
        # A torn file is thrown away, a whole one is flushed before it gets its name: only refused rows are undone.
        for pragma in (
            "locking_mode = EXCLUSIVE",
            f"page_size = {page_size}",
            f"encoding = '{encoding}'",
            "journal_mode = MEMORY",
            "synchronous = OFF",
            "foreign_keys = OFF",
            "cache_size = -65536",
        ):
            self.connection.execute(f"PRAGMA {pragma}")

    def close(self) -> None:
        """Let the file go."""
        self.connection.close()

    def make(self, thing: Thing) -> str:
        """Make what a row of the schema says; return '' or what is against it."""
        try:
            self.connection.execute(thing.sql)
        except DRIVER_ERRORS as error:
            if is_full(error):
                raise
            return str(error)
        if thing.kind == "table":
            self.tables[thing.name] = self._described(thing.name, counts="AUTOINCREMENT" in thing.sql.upper())
        return ""

    def is_index(self, table: str) -> bool:
        """Say whether a table is stored as an index (WITHOUT ROWID)."""
        query = "SELECT wr FROM pragma_table_list(?) WHERE schema = 'main'"
        return bool(self.connection.execute(query, (table,)).fetchone()[0])

    def takes(self, table: Table, rows: Sequence[Row]) -> bool:
        """Say whether the table's rules take these rows; nothing is written."""
        if not all(table.fits(row) for row in rows):
            return False
        self.connection.execute("SAVEPOINT trial")
        try:
            for row in rows:
                self.connection.execute(_statement(table, len(row.values)), _parameters(table, row))
        except sqlite3.IntegrityError as error:
            return error.sqlite_errorcode not in _RULES
        finally:
            self.connection.execute("ROLLBACK TO trial")
            self.connection.execute("RELEASE trial")
        return True

    def add(self, table: Table, rows: Iterable[Row]) -> int:
        """Write rows to their table, or to lost and found; return how many the table took."""
        added = 0
        for width, group in groupby(rows, key=lambda row: len(row.values)):
            while same := _some(group):
                added += self._add(table, width, same)
        return added

    def remember_live(self, table: Table, rowids: Iterable[int]) -> None:
        """Remember which rows the table had; in a file, for there may be many."""
        name = f"temp.{quoted(f'live {table.name}')}"
        self.connection.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY)")
        insert = f"INSERT OR IGNORE INTO {name} VALUES (?)"  # noqa: S608 - a quoted name
        self.connection.executemany(insert, ((rowid,) for rowid in rowids))
        self._live[table.name] = f"SELECT 1 FROM {name} WHERE id = ?"  # noqa: S608 - as above

    def knows_live(self, table: Table) -> bool:
        """Say whether it is remembered which rows the table had."""
        return table.name in self._live

    def is_live(self, table: Table, row: Row) -> bool:
        """Say whether the table had the row, where that is remembered; else it may have had any."""
        query = self._live.get(table.name)
        return query is None or self.connection.execute(query, (row.rowid,)).fetchone() is not None

    def keep_aside(self, row: Row, table: str, reason: str) -> None:
        """Write a row to lost and found."""
        fields = [*row.values[:_MOST_FIELDS]]
        if self._fields == 0:
            taken = {name.lower() for name in self.tables}  # by the one of an earlier salvage, for example
            free = (LOST_AND_FOUND if number == 1 else f"{LOST_AND_FOUND}_{number}" for number in count(1))
            self.lost_and_found = next(name for name in free if name not in taken)
            # The names of SQLite's own tool, where they say the same.
            columns = "number INTEGER PRIMARY KEY, belongs_to TEXT, reason TEXT, pgno INTEGER, id INTEGER"
            self.connection.execute(f"CREATE TABLE {self.lost_and_found} ({columns}, nfield INTEGER, c0)")
            self._fields = 1
        for place in range(self._fields, len(fields)):
            self.connection.execute(f"ALTER TABLE {self.lost_and_found} ADD COLUMN c{place}")
        self._fields = max(self._fields, len(fields))
        names = "".join(f", c{place}" for place in range(len(fields)))
        marks = ", ".join("?" * (5 + len(fields)))
        self.connection.execute(
            f"INSERT INTO {self.lost_and_found} (belongs_to, reason, pgno, id, nfield{names}) VALUES ({marks})",  # noqa: S608 - constants of this module
            (table, reason, row.page, row.rowid, len(row.values), *fields),
        )
        self.set_aside[table] += 1

    def merge_aside(self) -> None:
        """Keep one of each row in lost and found that was read twice: where it is, and where it had been before."""
        if not self._fields:
            return
        name = self.lost_and_found
        fields = "".join(f", c{place}" for place in range(self._fields))
        first = f"SELECT min(number) FROM {name} GROUP BY belongs_to, id, nfield{fields}"  # noqa: S608 - our own names
        self.connection.execute(f"DELETE FROM {name} WHERE number NOT IN ({first})")  # noqa: S608 - as above
        counts = f"SELECT belongs_to, count(*) FROM {name} GROUP BY belongs_to"  # noqa: S608 - as above
        self.set_aside = Counter(dict(self.connection.execute(counts).fetchall()))

    def commit(self) -> None:
        """Have what was written be in the file."""
        if self.connection.in_transaction:
            self.connection.execute("COMMIT")
        self._uncommitted = 0

    def set_sequence(self, table: str, last: int) -> None:
        """Have the table's next own id come after ``last``, so that the id of a lost row is not given away again."""
        known = self.connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
        if known is None:
            self.connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, last))
        elif known[0] < last:
            self.connection.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = ?", (last, table))

    def dangling(self, table: str) -> int:
        """Return how many rows of the table refer to rows that are not there."""
        return count_violations(self.connection, table)

    def finish(self, *, user_version: int, application_id: int) -> None:
        """Write the last, and leave a single file."""
        self.commit()
        self.connection.execute(f"PRAGMA user_version = {user_version}")
        self.connection.execute(f"PRAGMA application_id = {application_id}")
        self.connection.execute("PRAGMA journal_mode = DELETE")

    def _described(self, name: str, *, counts: bool) -> Table:
        rows = self.connection.execute(
            'SELECT name, type, "notnull", dflt_value, hidden FROM pragma_table_xinfo(?)', (name,)
        )
        columns = tuple(
            Column(name=column, kind=kind, required=bool(required) and default is None, written=hidden == 0)
            for column, kind, required, default, hidden in rows
            if hidden in _STORED
        )
        computes = not all(column.written for column in columns)
        rowid = free_rowid(column.name for column in columns) or ""
        return Table(name, columns, rowid, self._alias(name, columns), counts, computes)

    def _alias(self, name: str, columns: Sequence[Column]) -> int:
        """Return which column is the rowid: the only one of the primary key, an INTEGER, and without an index of it."""
        keys = [
            row[0] for row in self.connection.execute("SELECT name FROM pragma_table_info(?) WHERE pk > 0", (name,))
        ]
        indexes = self.connection.execute("SELECT 1 FROM pragma_index_list(?) WHERE origin = 'pk'", (name,)).fetchone()
        if len(keys) != 1 or indexes:
            return -1
        return next(place for place, column in enumerate(columns) if column.name == keys[0])

    def _add(self, table: Table, width: int, rows: list[Row]) -> int:
        if not self.connection.in_transaction:
            self.connection.execute("BEGIN")
        self._uncommitted += len(rows)
        self.connection.execute("SAVEPOINT batch")
        try:
            sound = width <= len(table.columns) and all(_problem(table, row) == "" for row in rows)
            if sound:
                self.connection.executemany(_statement(table, width), [_parameters(table, row) for row in rows])
        except sqlite3.IntegrityError:
            self.connection.execute("ROLLBACK TO batch")
            sound = False
        added = len(rows) if sound else sum(self._add_one(table, row) for row in rows)
        self.connection.execute("RELEASE batch")
        if self._uncommitted >= _ROWS_IN_A_TRANSACTION:
            self.commit()
        return added

    def _add_one(self, table: Table, row: Row) -> bool:
        reason = _problem(table, row)
        if not reason:
            try:
                self.connection.execute(_statement(table, len(row.values)), _parameters(table, row))
            except sqlite3.IntegrityError as error:
                reason = str(error)
                if self._is_there(table, row):
                    return False
            else:
                return True
        self.keep_aside(row, table.name, reason)
        return False

    def _is_there(self, table: Table, row: Row) -> bool:
        """Say whether the very same row is in the table already, found on another page."""
        names = _names(table, len(row.values))
        where = " AND ".join(f"{name} IS ?" for name in names)
        found = self.connection.execute(
            f"SELECT 1 FROM {quoted(table.name)} WHERE {where}",  # noqa: S608 - quoted names
            _parameters(table, row),
        ).fetchone()
        return found is not None


def _some(rows: Iterator[Row]) -> list[Row]:
    """Return the next rows, as many as can be held at once."""
    found, size = [], 0
    for row in rows:
        found.append(row)
        size += row.size
        if len(found) == _ROWS_AT_ONCE or size >= _BYTES_AT_ONCE:
            break
    return found


def _problem(table: Table, row: Row) -> str:
    """Return what is wrong with a row before SQLite is asked; '' for nothing."""
    if len(row.values) > len(table.columns):
        return "it has more values than the table has columns"
    if len(row.values) <= table.alias:
        return "it has too few values"
    if BadText in map(type, row.values):
        return "its text is not in the encoding of the database"
    if table.alias >= 0 and row.values[table.alias] is not None:
        return "it has a value where a row of the table has none"
    return ""


def _may_hold(column: Column, value: Value) -> bool:
    """Say whether SQLite can have stored the value in such a column (https://www.sqlite.org/datatype3.html, 3.1)."""
    if value is None:
        return not column.required
    kind = column.kind.upper()
    if any(part in kind for part in ("CHAR", "CLOB", "TEXT")) and "INT" not in kind:
        return isinstance(value, str | bytes)
    if any(part in kind for part in ("INT", "REAL", "FLOA", "DOUB")):
        return isinstance(value, int | float)
    return True


def _names(table: Table, width: int) -> list[str]:
    names = [quoted(column.name) for column in table.columns[:width] if column.written]
    return names if table.alias >= 0 or not table.rowid else [table.rowid, *names]


def _statement(table: Table, width: int) -> str:
    names = _names(table, width)
    return f"INSERT INTO {quoted(table.name)} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608 - quoted names


def _parameters(table: Table, row: Row) -> list[Value]:
    found = row.values
    if table.alias >= 0:
        found = [*found[: table.alias], row.rowid, *found[table.alias + 1 :]]
    if table.computes:
        found = [value for column, value in zip(table.columns, found, strict=False) if column.written]
    return found if table.alias >= 0 or not table.rowid else [row.rowid, *found]
