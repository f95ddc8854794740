"""What comes over besides the rows of our own tables: tables of theirs as they are, columns beside, counters.

Leaves out: our own tables (``rows``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist.migrations.adoption.report import AdoptedTable
from aragora_persist.storage.memory.tiers import TIER_NAMES, strength, tier_named
from aragora_persist.storage.names import folded, quoted
from aragora_persist.times import from_text

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Sequence

    from aragora_persist.migrations.adoption.report import Findings
    from aragora_persist.migrations.adoption.tables import Table

    _Connections = tuple[sqlite3.Connection, sqlite3.Connection]
    """The one that reads theirs, and the one that writes ours."""

_SEQUENCES = "SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'"
_COUNTED = "INSERT INTO tier_counts (tier, memories) SELECT ?, count(*) FROM memories WHERE tier = ? AND red_line = 0"


def carry_over(connections: _Connections, table: Table, theirs: Collection[str], findings: Findings) -> AdoptedTable:
    """Make a table of theirs again as it is, with its indexes; where its name is taken, its rows alone, beside it."""
    reader, writer = connections
    name = _beside(writer, table, theirs) if _is_taken(writer, table.name) else table.name
    if name == table.name:
        writer.execute(table.sql)
    else:
        writer.execute(f"CREATE TABLE {quoted(name)} ({', '.join(map(quoted, table.stored))})")
        findings.note(table.name, f"is {name} now: one of ours has its name")
    rows = _copy(connections, table, name, table.stored, findings)
    keep_counting(connections, table, table._replace(name=name))
    indexes = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL"
    for index, sql in reader.execute(indexes, (table.name,)).fetchall() if name == table.name else ():
        if _is_taken(writer, index):
            findings.note(table.name, f"its index {index} is left out: one of ours has its name")
        else:
            writer.execute(sql)
    return AdoptedTable(name, table.name, rows)


def keep_beside(
    connections: _Connections, table: Table, columns: Sequence[str], theirs: Collection[str], findings: Findings
) -> list[AdoptedTable]:
    """Keep columns that have no place here in a table of their own, with the key, where they hold anything."""
    reader, writer = connections
    held = " OR ".join(f"{quoted(name)} IS NOT NULL" for name in columns)
    name = _beside(writer, table, theirs)
    names = tuple(dict.fromkeys((*table.key, *columns)))
    if not reader.execute(f"SELECT 1 FROM {quoted(table.name)} WHERE {held} LIMIT 1").fetchone():  # noqa: S608 - quoted names
        return []
    writer.execute(f"CREATE TABLE {quoted(name)} ({', '.join(map(quoted, names))})")
    return [AdoptedTable(name, table.name, _copy(connections, table, name, names, findings))]


def keep_counting(connections: _Connections, theirs: Table, ours: Table) -> None:
    """See that an id that was once used there is not used again here."""
    reader, writer = connections
    if not (theirs.counts_up and ours.counts_up and writer.execute(_SEQUENCES).fetchone()):
        return
    row = reader.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (theirs.name,)).fetchone()
    if row is None:
        return
    changed = writer.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (row[0], ours.name))
    if not changed.rowcount:
        writer.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (ours.name, row[0]))


def finish_memories(writer: sqlite3.Connection) -> None:
    """Compute what our memories are ordered by, and count them: no other program has either."""

    def ordered_by(tier: str, importance: float, updated_at: str) -> float:
        return strength(tier_named(tier), importance, from_text(updated_at))

    writer.create_function("strength", 3, ordered_by, deterministic=True)
    writer.execute("UPDATE memories SET strength = strength(tier, importance, updated_at)")
    writer.executemany(_COUNTED, [(tier, tier) for tier in TIER_NAMES])


def _is_taken(writer: sqlite3.Connection, name: str) -> bool:
    found = writer.execute("SELECT 1 FROM sqlite_master WHERE lower(name) = lower(?)", (name,))
    return found.fetchone() is not None


def _beside(writer: sqlite3.Connection, table: Table, theirs: Collection[str]) -> str:
    """Return the name under which a table is kept beside ours; ``theirs`` are the folded names of all their tables."""
    name = f"adopted_{table.name}"
    while folded(name) in theirs or _is_taken(writer, name):
        name = f"adopted_{name}"
    return name


def _copy(connections: _Connections, table: Table, name: str, columns: Sequence[str], findings: Findings) -> int:
    """Copy rows value by value: what is in a table of theirs is theirs to say, as long as its text is text."""
    reader, writer = connections
    listed, marks = ", ".join(map(quoted, columns)), ", ".join("?" * len(columns))
    insert = f"INSERT INTO {quoted(name)} ({listed}) VALUES ({marks})"  # noqa: S608 - quoted names
    cursor = reader.execute(f"SELECT {listed} FROM {quoted(table.name)}")  # noqa: S608 - as above
    number = 0
    for number, row in enumerate(cursor, 1):
        try:
            writer.execute(insert, row)
        except UnicodeEncodeError:
            findings.differ(table.name, "", f"row {number}", "holds text that is not UTF-8", "correct it")
    return number
