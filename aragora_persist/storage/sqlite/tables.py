"""What a table of a SQLite file is: its columns, its rowid, what was made for it, and how much room it takes.

Leaves out: changing any of it (``storage.rebuild``).
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import NamedTuple

from aragora_persist.storage.names import free_rowid, quoted
from aragora_persist.storage.rebuild_rules import Column

_GENERATED = (2, 3)  # table_xinfo's "hidden": virtual and stored


class Table(NamedTuple):
    """What a table is; ``rowid`` a name of its rowid that no column hides, ``key`` the column that is its rowid."""

    columns: tuple[Column, ...]
    rowid: str | None
    key: str | None


class Companion(NamedTuple):
    """An index or a trigger that was made for a table."""

    kind: str
    name: str
    sql: str


def find_table(conn: sqlite3.Connection, table: str) -> tuple[str, str] | None:
    """Return the name as the schema has it, and the kind (``table``, ``view``, ``virtual``, ``shadow``)."""
    query = "SELECT name, type FROM pragma_table_list WHERE schema = 'main' AND lower(name) = lower(?)"
    found: tuple[str, str] | None = conn.execute(query, (table,)).fetchone()
    return found


def read_table(conn: sqlite3.Connection, table: str) -> Table:
    """Return what this table is."""
    query = 'SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?)'
    columns = conn.execute(query, (table,)).fetchall()
    query = "SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ?"
    (without_rowid,) = conn.execute(query, (table,)).fetchone()
    keys = [(name, kind) for name, kind, _, _, in_key, _ in columns if in_key]
    key = keys[0][0] if len(keys) == 1 and keys[0][1].upper() == "INTEGER" and not without_rowid else None
    return Table(
        tuple(
            Column(name, bool(not_null) and default is None and name != key, hidden in _GENERATED)
            for name, _, not_null, default, _, hidden in columns
        ),
        None if without_rowid else free_rowid(column[0] for column in columns),
        key,
    )


def file_of(conn: sqlite3.Connection) -> Path | None:
    """Return the file that the connection has open; None for a database in memory."""
    # As bytes: the name of a file need not be text.
    (name,) = conn.execute("SELECT CAST(file AS BLOB) FROM pragma_database_list WHERE name = 'main'").fetchone()
    return Path(os.fsdecode(name)) if name else None


def count_rows(conn: sqlite3.Connection, table: str) -> int:
    """Return how many rows a table has."""
    count: int = conn.execute(f"SELECT count(*) FROM {quoted(table)}").fetchone()[0]  # noqa: S608 - quoted
    return count


def companions_of(conn: sqlite3.Connection, table: str) -> list[Companion]:
    """Return the indexes of a table that its definition does not bring, then its triggers.

    A trigger's ``tbl_name`` is as the trigger spells it.
    """
    query = (
        "SELECT type, name, sql FROM sqlite_master "
        "WHERE lower(tbl_name) = lower(?) AND type IN ('index', 'trigger') AND sql IS NOT NULL ORDER BY type, rowid"
    )
    return [Companion(*row) for row in conn.execute(query, (table,))]


def sequence_of(conn: sqlite3.Connection, table: str) -> int | None:
    """Return the highest id that AUTOINCREMENT has ever given, None where it has given none."""
    if conn.execute("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'").fetchone() is None:
        return None
    row = conn.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return None if row is None else int(row[0])


def size_bytes(conn: sqlite3.Connection, table: str) -> int:
    """Return the size of a table with its indexes; 0 where this SQLite was made without the means to tell."""
    query = (
        "SELECT total(pgsize) FROM dbstat "
        "WHERE aggregate = TRUE AND name IN (SELECT name FROM sqlite_master WHERE tbl_name = ?)"
    )
    try:
        return int(conn.execute(query, (table,)).fetchone()[0])
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
            raise
        return 0
