"""What a rebuild must leave whole around its table: its indexes and triggers, and whatever else names it.

Each of these SQLite itself would lose or change without a word. Leaves out: the rebuild (``rebuild``).
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from aragora_persist.errors import ConflictError
from aragora_persist.storage.names import folded
from aragora_persist.storage.rebuild_rules import OPERATION, updates_watched

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aragora_persist.storage.rebuild_rules import Column
    from aragora_persist.storage.sqlite.tables import Companion

_TEMPORARY = "SELECT type, name FROM sqlite_temp_master WHERE lower(tbl_name) IN (lower(?), lower(?))"
_PROBE = "aragora_rebuild_probe"


def refuse_temporary(conn: sqlite3.Connection, table: str, scratch: str) -> None:
    """Refuse where a temporary table has one of the two names, which SQLite would find first, or a trigger is on it."""
    temporary = conn.execute(_TEMPORARY, (table, scratch)).fetchone()
    if temporary is not None:
        problem = f"the temporary {' '.join(temporary)} is on this name, and would be mistaken for it, or lost"
        raise ConflictError(OPERATION, table, problem, hint="drop it before")


def refuse_lost_columns(
    conn: sqlite3.Connection, table: str, companions: Sequence[Companion], old: Sequence[Column], new: Sequence[Column]
) -> None:
    """Refuse before the rows are copied what SQLite would refuse after that, or would not say at all."""
    present = {folded(column.name) for column in new}
    lost = [column.name for column in old if folded(column.name) not in present]
    for companion in companions:
        if companion.kind == "index":
            rows = conn.execute("SELECT name FROM pragma_index_info(?)", (companion.name,))
            named = {folded(name) for (name,) in rows if name is not None}
        else:
            named = updates_watched(companion.sql)
        if gone := [name for name in lost if folded(name) in named]:
            raise refused(table, companion, f"is on {', '.join(gone)}, which would be gone")


def meanings(conn: sqlite3.Connection, table: str, problem: str, hint: str) -> dict[str, str]:
    """Return the rest of the schema as SQLite understands it: a name in double quotes that is no column is a text.

    Refuses where a view or a trigger, of whatever table, refers to what is not there. Renaming a column tells both.
    """
    conn.execute("SAVEPOINT meanings")
    try:
        conn.execute(f"CREATE TABLE {_PROBE} (a)")
        conn.execute(f"ALTER TABLE {_PROBE} RENAME a TO b")
        query = "SELECT type || ' ' || name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> ?"
        return dict(conn.execute(query, (table,)))
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
            raise
        raise ConflictError(OPERATION, table, f"{problem}{error}", hint=hint) from error
    finally:
        if conn.in_transaction:  # a full disk ends it
            conn.execute("ROLLBACK TO meanings")
            conn.execute("RELEASE meanings")


def refuse_other_meanings(conn: sqlite3.Connection, table: str, before: dict[str, str]) -> None:
    """Refuse where what was there ``before`` is broken now, or means something else."""
    hint = "drop it before, and make it again afterwards"
    after = meanings(conn, table, "would break the schema: ", hint)
    for what, meaning in before.items():
        if after.get(what) != meaning:
            problem = "has a name in double quotes that would turn from a column into a text, or into one from that"
            raise ConflictError(OPERATION, f"{table}, {what}", problem, hint=hint)


def refused(table: str, companion: Companion, problem: str) -> ConflictError:
    """Return the error that names an index or a trigger that stands in the way."""
    hint = f"drop it before: DROP {companion.kind.upper()} {companion.name}"
    return ConflictError(OPERATION, f"{table}, {companion.kind} {companion.name}", problem, hint=hint)
