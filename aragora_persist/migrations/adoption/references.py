"""Rows that refer to no row: found after rows were copied with foreign keys off, all of them at once.

Such a row is a difference, and goes from the copy, so that what comes after finds only sound rows. Whoever refers only
to a row that was left out already is no difference of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aragora_persist.errors import MigrationError
from aragora_persist.migrations.adoption.tables import quoted, read_tables
from aragora_persist.storage.sqlite.faults import DRIVER_ERRORS

if TYPE_CHECKING:
    import sqlite3

    from aragora_persist.migrations.adoption.report import Findings

_ROWS_AT_ONCE = 5_000
_WAY_OUT = "add the row that it refers to, or delete it"


class _Orphan(NamedTuple):
    table: str
    rowid: int | None
    parent: str
    number: int
    """Of the foreign key, among those of the table."""


def take_out_orphans(writer: sqlite3.Connection, findings: Findings, left_out: dict[str, set[str]]) -> None:
    """Note the rows that refer to nothing, and delete them; ``left_out`` are the ids of rows that are missing already.

    Raises:
        MigrationError: a table of another program refers to columns that nothing can refer to.

    """
    try:
        while found := writer.execute("PRAGMA foreign_key_check").fetchmany(_ROWS_AT_ONCE):
            for row in found:
                _take_out(writer, _Orphan(*row), findings, left_out)
    except DRIVER_ERRORS as error:
        raise MigrationError("adopt", "foreign keys", str(error), hint="correct the table in a copy") from error


def _take_out(writer: sqlite3.Connection, orphan: _Orphan, findings: Findings, left_out: dict[str, set[str]]) -> None:
    if orphan.rowid is None:
        raise MigrationError("adopt", orphan.table, f"a row of it refers to no row of {orphan.parent}", hint=_WAY_OUT)
    table = quoted(orphan.table)
    keys = writer.execute(f"PRAGMA foreign_key_list({table})").fetchall()
    names = [str(key[3]) for key in keys if key[0] == orphan.number]
    shown = read_tables(writer)[orphan.table.lower()].key or ("rowid",)
    columns = ", ".join(quoted(name) if name != "rowid" else name for name in (*names, *shown))
    row = writer.execute(f"SELECT {columns} FROM {table} WHERE rowid = ?", (orphan.rowid,)).fetchone()  # noqa: S608 - quoted names
    if row is None:
        return  # it referred to nothing in two ways, and is out already
    ident = "".join(map(str, row[: len(names)]))
    if ident not in left_out.get(orphan.parent.lower(), ()):
        key = ", ".join(f"{name} {value!r}" for name, value in zip(shown, row[len(names) :], strict=True))
        problem = f"refers to no row of {orphan.parent}"
        findings.differ(orphan.table, ", ".join(names), key, problem, _WAY_OUT)
    left_out.setdefault(orphan.table.lower(), set()).add("".join(map(str, row[len(names) :])))
    writer.execute(f"DELETE FROM {table} WHERE rowid = ?", (orphan.rowid,))  # noqa: S608 - as above
