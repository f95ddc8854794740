"""Whether a CHECK asks more than those before it did: tried with values around everything that they compare with.

A longer list of states is not tighter, a shorter one is. Leaves out: rows between the values that are tried.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from itertools import islice, product
from typing import TYPE_CHECKING

from aragora_persist.migrations.lint.picture import Value, literals, words
from aragora_persist.storage.names import quoted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from aragora_persist.migrations.lint.picture import Column

_MOST_ROWS = 5000
_OTHER_TEXT = "something else"


def is_tighter(check: str, before: Collection[str], columns: Mapping[str, Column]) -> bool:
    """Say whether ``check`` refuses a row that the checks ``before`` allowed, as far as values that are tried tell."""
    related = [one for one in before if names(one, columns) & names(check, columns)]
    if not related:
        return True
    asked = sorted(names(" ".join((check, *related)), columns))
    rows = product(*(list(_around(columns[name], (check, *related))) for name in asked))
    definition = ", ".join(f"{quoted(name)} {columns[name].kind}" for name in asked)
    allowed = " AND ".join(f"({one}) IS NOT FALSE" for one in related)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        try:
            connection.execute(f"CREATE TABLE tried ({definition})")
            marks = ", ".join("?" * len(asked))
            connection.executemany(f"INSERT INTO tried VALUES ({marks})", islice(rows, _MOST_ROWS))  # noqa: S608 - marks
            query = f"SELECT 1 FROM tried WHERE {allowed} AND ({check}) IS FALSE"  # noqa: S608 - from a table's definition
            return connection.execute(query).fetchone() is not None
        except sqlite3.DatabaseError:  # a function that is not SQLite's own
            return True


def names(check: str, columns: Collection[str]) -> set[str]:
    """Return the columns that a condition names."""
    known = {name.lower(): name for name in columns}
    return {known[word.strip('"').lower()] for word in words(check) if word.strip('"').lower() in known}


def _around(column: Column, checks: Collection[str]) -> Iterator[Value]:
    """Yield values of which one is on each side of every literal."""
    text = column.kind.upper() == "TEXT"
    steps = (-1, 0, 1) if column.kind.upper() == "INTEGER" else (-1, -0.5, 0, 0.5, 1)
    yield None
    yield _OTHER_TEXT if text else -1
    for value in {literal for check in checks for literal in literals(check)}:
        if isinstance(value, str):
            yield value
        elif text:
            yield from ("x" * max(int(value) + step, 0) for step in (-1, 0, 1))
        else:
            yield from (sign * value + step for sign in (-1, 1) for step in steps)
