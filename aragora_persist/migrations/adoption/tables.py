"""The tables of a database file, theirs or ours, as SQLite describes them.

Leaves out: SQLite's own tables, and those of Litestream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aragora_persist.storage.names import folded

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

_OTHERS_OWN = ("sqlite_", "_litestream_")
_TABLES = """
SELECT list.name, list.type, master.sql FROM pragma_table_list AS list
LEFT JOIN sqlite_master AS master ON master.name = list.name AND master.type IN ('table', 'view')
WHERE list.schema = 'main' ORDER BY list.name
"""
_COLUMNS = 'SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?)'
_COMPUTED = (2, 3)


class Column(NamedTuple):
    """One column; ``place`` is its place in the primary key, 0 for none."""

    name: str
    type: str
    is_required: bool
    default: str | None
    place: int
    is_computed: bool


class Table(NamedTuple):
    """One table; ``kind`` is ``table``, ``view``, ``virtual`` or ``shadow``. Columns are found by their folded names.

    Only ``table`` has columns here: a view may refer to what is gone, a virtual table to a module that is not there.
    """

    name: str
    kind: str
    sql: str
    columns: Mapping[str, Column]

    @property
    def key(self) -> tuple[str, ...]:
        """The names of the primary key's columns, in its order."""
        return tuple(column.name for column in sorted(self.columns.values(), key=lambda one: one.place) if column.place)

    @property
    def stored(self) -> tuple[str, ...]:
        """The names of the columns that hold what was written into them."""
        return tuple(column.name for column in self.columns.values() if not column.is_computed)

    @property
    def counts_up(self) -> bool:
        """Whether an id of it is never used again."""
        return "autoincrement" in self.sql.lower()

    def needs(self, column: Column) -> bool:
        """Whether no row can be written without this column (SQLite alone would let a key be NULL)."""
        numbers_itself = self.key == (column.name,) and column.type.upper() == "INTEGER"
        return (column.is_required or bool(column.place)) and column.default is None and not numbers_itself


def read_tables(connection: sqlite3.Connection) -> dict[str, Table]:
    """Return the tables by their folded names."""
    found = connection.execute(_TABLES).fetchall()
    return {
        folded(str(name)): Table(
            str(name), str(kind), str(sql or ""), _columns(connection, name) if kind == "table" else {}
        )
        for name, kind, sql in found
        if not folded(str(name)).startswith(_OTHERS_OWN)
    }


def _columns(connection: sqlite3.Connection, table: str) -> dict[str, Column]:
    return {
        folded(str(name)): Column(str(name), str(kind), bool(required), default, int(place), hidden in _COMPUTED)
        for name, kind, required, default, place, hidden in connection.execute(_COLUMNS, (table,))
    }
