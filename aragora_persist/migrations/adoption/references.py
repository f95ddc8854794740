"""Rows that refer to no row: found after rows were copied with foreign keys off, all of them at once.

Such a row is a difference, and goes from the copy, so that what comes after finds only sound rows. Whoever refers only
to a row that was left out already is no difference of its own.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, NamedTuple

from aragora_persist.migrations.adoption.tables import read_tables
from aragora_persist.storage.names import folded, quoted
from aragora_persist.wording import count_text

if TYPE_CHECKING:
    from aragora_persist.migrations.adoption.report import Findings
    from aragora_persist.migrations.adoption.tables import Table

_ROWS_AT_ONCE = 5_000
_WAY_OUT = "add the row that it refers to, or delete it"


class _Orphan(NamedTuple):
    table: str
    rowid: int | None
    """None in a table WITHOUT ROWID."""
    parent: str
    number: int
    """Of the foreign key, among those of the table."""


def take_out_orphans(writer: sqlite3.Connection, findings: Findings, left_out: dict[str, set[str]]) -> None:
    """Note the rows that refer to nothing, and delete them; ``left_out`` are the ids of rows that are out already."""
    tables = [table for table in read_tables(writer).values() if table.kind == "table"]
    again = True
    while again:  # whoever referred to a row that is out now refers to nothing
        again = False
        for table in tuple(tables):
            try:
                check = f"PRAGMA foreign_key_check({quoted(table.name)})"
                found = [_Orphan(*row) for row in writer.execute(check).fetchmany(_ROWS_AT_ONCE)]
            except sqlite3.OperationalError as error:  # it refers to columns that nothing can refer to
                findings.differ(table.name, "", "", str(error), "correct its definition")
                tables.remove(table)
                continue
            if found and found[0].rowid is None:
                _note_without_rowid(writer, table, findings)
                tables.remove(table)
                continue
            for orphan in found:
                _take_out(writer, table, orphan, findings, left_out)
            again = again or bool(found)


def _note_without_rowid(writer: sqlite3.Connection, table: Table, findings: Findings) -> None:
    """Note how many rows of a table of another program refer to nothing: SQLite does not say which."""
    counts = "SELECT parent, fkid, count(*) FROM pragma_foreign_key_check(?) GROUP BY fkid ORDER BY fkid"
    for parent, number, rows in writer.execute(counts, (table.name,)).fetchall():
        names = ", ".join(_referring(writer, table, number))
        problem = f"refers to no row of {parent} in {count_text(rows, 'row')}"
        findings.differ(table.name, names, "", problem, _WAY_OUT)


def _take_out(
    writer: sqlite3.Connection, table: Table, orphan: _Orphan, findings: Findings, left_out: dict[str, set[str]]
) -> None:
    names = _referring(writer, table, orphan.number)
    shown = table.key or ("rowid",)
    columns = ", ".join(quoted(name) if name != "rowid" else name for name in (*names, *shown))
    row = writer.execute(f"SELECT {columns} FROM {quoted(table.name)} WHERE rowid = ?", (orphan.rowid,)).fetchone()  # noqa: S608 - quoted names
    if row is None:
        return  # it referred to nothing in two ways, and is out already
    ident = "".join(map(str, row[: len(names)]))
    if ident not in left_out.get(folded(orphan.parent), ()):
        key = ", ".join(f"{name} {value!r}" for name, value in zip(shown, row[len(names) :], strict=True))
        problem = f"refers to no row of {orphan.parent}"
        findings.differ(table.name, ", ".join(names), key, problem, _WAY_OUT)
    left_out.setdefault(folded(table.name), set()).add("".join(map(str, row[len(names) :])))
    writer.execute(f"DELETE FROM {quoted(table.name)} WHERE rowid = ?", (orphan.rowid,))  # noqa: S608 - as above


def _referring(writer: sqlite3.Connection, table: Table, number: int) -> list[str]:
    keys = writer.execute(f"PRAGMA foreign_key_list({quoted(table.name)})").fetchall()
    return [str(key[3]) for key in keys if key[0] == number]
