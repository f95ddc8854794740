"""What a migration's body may have lost without saying so: rows of tables that it does not name, and references.

Both are looked for where they can be, so that a small migration of a large database stays small:

- Rows go where something removes them. Only if the body deletes, drops, or sets off a trigger, every table that it does
  not name itself must still have the rows that it had.
- A row can begin to refer to nothing only where it was written, or what it refers to was. Only such tables are checked.
  Rows that referred to nothing before the migration are no fault of its, and it may leave them: refused is a migration
  after which there are more of them.

The state before is still there while the transaction is open: for another connection. A database in memory, or a new
one that is made whole in this transaction, has none; whatever it holds, this process made.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, TypeAlias

from aragora_persist.errors import MigrationError
from aragora_persist.storage.names import quoted
from aragora_persist.storage.sqlite.tables import count_rows, file_of

if TYPE_CHECKING:
    from collections.abc import Iterator

Definitions: TypeAlias = dict[str, str]
"""Each table's definition, by its name in lower case."""

_TABLES = "SELECT lower(name), sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
_REFERENCES = "REFERENCES"


class Touched:
    """The tables that a body's statements concern, in lower case, as SQLite told when it compiled them.

    ``named`` are those whose rows it changed, or that it made or dropped; ``removes`` says whether there may be fewer
    rows somewhere.
    """

    def __init__(self) -> None:
        self.named: set[str] = set()
        self.by_triggers: set[str] = set()
        self.altered: set[str] = set()
        self.lost_index: set[str] = set()
        self.removes = False


def definitions(connection: sqlite3.Connection) -> Definitions:
    """Return how the tables are defined now."""
    return dict(connection.execute(_TABLES))


def check_losses(connection: sqlite3.Connection, name: str, touched: Touched, before: Definitions) -> None:
    """Refuse the migration ``name`` if it lost rows or references; ``before`` is what was defined before it.

    Raises:
        MigrationError: it did.

    """
    after = definitions(connection)
    if touched.removes:
        _check_rows(connection, name, before.keys() - touched.named - touched.altered)
    changed = touched.named | touched.by_triggers | touched.lost_index
    changed |= {table for table in touched.altered if _loses_references(before.get(table), after.get(table))}
    if changed:
        _check_references(connection, name, sorted(_concerned(connection, after, changed)))


def _check_rows(connection: sqlite3.Connection, name: str, tables: set[str]) -> None:
    with _committed(connection) as other:
        if other is None:
            return
        for table in sorted(tables & definitions(other).keys()):  # of a new database, nothing is committed yet
            had, has = count_rows(other, table), count_rows(connection, table)
            if has < had:
                problem = f"table {table}, which it does not name, had {had} rows and has {has}"
                raise MigrationError("migrate", name, problem, hint="if that is meant, let the migration say so itself")


def _loses_references(before: str | None, after: str | None) -> bool:
    """Say whether ALTER TABLE may have broken a reference: all of it can, but for adding a column that has none."""
    if before is None or after is None:
        return True
    pairs = enumerate(zip(before, after, strict=False))
    start = next((at for at, (was, now) in pairs if was != now), len(before))
    added = len(after) - len(before)
    if added < 0 or not after.endswith(before[start:]):
        return True
    return _REFERENCES in after[start : start + added].upper()


def _concerned(connection: sqlite3.Connection, tables: Definitions, changed: set[str]) -> Iterator[str]:
    """Yield the tables with references, if they or what they refer to changed."""
    for table, sql in tables.items():
        if _REFERENCES not in sql.upper():
            continue
        if table in changed:
            yield table
            continue
        keys = connection.execute(f"PRAGMA foreign_key_list({quoted(table)})")
        if any(key[2].lower() in changed for key in keys.fetchall()):
            yield table


def _check_references(connection: sqlite3.Connection, name: str, tables: list[str]) -> None:
    dangling = _dangling(connection, tables)
    if not dangling:
        return
    with _committed(connection) as other:
        already = _dangling(other, tables) if other is not None else Counter[tuple[str, str]]()
    for (child, parent), count in sorted(dangling.items()):
        had = already[child, parent]
        if count > had:
            what = f"{count} rows of {child} refer" if count > 1 else f"a row of {child} refers"
            problem = f"{what} to no row of {parent}" if parent else f"{child} refers to columns that are not unique"
            raise MigrationError("migrate", name, problem + (f" ({had} did before it)" if had else ""))


def _dangling(connection: sqlite3.Connection, tables: list[str]) -> Counter[tuple[str, str]]:
    """Count the rows that refer to nothing, by their table and the one that they refer to.

    A table whose references SQLite cannot even check (they lead to columns that are not unique) counts once, as ''.
    """
    found: Counter[tuple[str, str]] = Counter()
    for table in tables:
        try:
            for child, _, parent, _ in connection.execute(f"PRAGMA foreign_key_check({quoted(table)})"):
                found[child, parent] += 1
        except sqlite3.OperationalError as error:
            if "foreign key mismatch" in str(error):
                found[table, ""] += 1
            elif "no such table" not in str(error):  # the state before need not have it
                raise
    return found


@contextmanager
def _committed(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection | None]:
    """Give a connection that sees the database as it was before the open transaction; None where it was empty."""
    file = file_of(connection)
    if file is None:
        yield None
        return
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, isolation_level=None)) as other:
        yield other if definitions(other) else None
