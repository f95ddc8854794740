"""What a rebuild of a table may do, on SQLite and on PostgreSQL alike: pure decisions over names and counts.

Leaves out: doing it (``rebuild``, ``postgresql.rebuilding``), and whether the SQL is right, which the database says.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from aragora_persist.errors import ConflictError, InvalidValueError
from aragora_persist.storage.names import folded

if TYPE_CHECKING:
    from collections.abc import Sequence

OPERATION = "rebuild table"

_HEAD = re.compile(r'\s*CREATE\s+TABLE\s+(?:"(?P<quoted>(?:[^"]|"")+)"|(?P<plain>\w+))\s*(?=\()', re.IGNORECASE)
_NO_CODE = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/""", re.DOTALL)
_WATCHED = re.compile(r"\bUPDATE\s+OF\s+(.+?)\s+ON\s", re.IGNORECASE | re.DOTALL)
_BRACKETS = re.compile(r"\([^()]*\)")


class Column(NamedTuple):
    """A column, as far as copying goes; ``required`` is one that every new row must be given a value for."""

    name: str
    required: bool
    generated: bool


def definition_of(table: str, new_sql: str) -> str:
    """Return what follows the name in ``CREATE TABLE name (…)``.

    Raises:
        InvalidValueError: it is another statement, or makes another table.

    """
    head = _HEAD.match(new_sql)
    name = "" if head is None else head["plain"] or head["quoted"].replace('""', '"')
    if head is None or folded(name) != folded(table):
        hint = f"the whole definition as it is to be: CREATE TABLE {table} (…)"
        raise InvalidValueError(OPERATION, table, "new_sql is not the definition of this table", hint=hint)
    return new_sql[head.end() :]


def columns_to_fill(
    table: str, old: Sequence[Column], new: Sequence[Column], selected: Sequence[str] | None
) -> tuple[str, ...]:
    """Return the columns of the new table that the copy fills; ``selected`` None: those that the old one has, too.

    Raises:
        ConflictError: values that the old table holds would be lost, or a column would be left without one.
        InvalidValueError: ``selected`` names a column that the new table does not have, or that it generates.

    """
    had = {folded(column.name): column for column in old}
    fillable = {folded(column.name): column.name for column in new if not column.generated}
    if selected is None:
        generated = {folded(column.name) for column in new if column.generated}
        kept_so = {name for name, column in had.items() if column.generated and name in generated}
        _refuse(
            table,
            [column.name for name, column in had.items() if name not in fillable and name not in kept_so],
            "would lose {}",
            "pass copy=, a SELECT that says what becomes of the others",
        )
        filled = [fillable[name] for name in had if name in fillable]
    else:
        if unknown := [name for name in selected if folded(name) not in fillable]:
            raise InvalidValueError(
                OPERATION, table, f"copy selects what the new table takes no values for: {', '.join(unknown)}"
            )
        filled = [fillable[folded(name)] for name in selected]
        _refuse(
            table,
            [name for key, name in fillable.items() if key in had and name not in filled],
            "would lose the values of {}, which copy does not select",
            "select it, or what is to stand there instead: NULL AS name",
        )
    _refuse(
        table,
        [column.name for column in new if column.required and column.name not in filled],
        "has rows without a value for {}, which is NOT NULL",
        "give it a DEFAULT, or pass copy=, a SELECT that fills it",
    )
    return tuple(filled)


def check_count(table: str, before: int, copied: int, copy: str | None) -> None:
    """Refuse a copy that has left out rows and did not say so with a WHERE of its own, or that has made more.

    Raises:
        ConflictError: it has.

    """
    if copied < before and copy is not None and _has_where(copy):
        return
    if copied != before:
        raise ConflictError(
            OPERATION,
            table,
            f"has {before:,} rows, and the new one would have {copied:,}",
            hint="rows to be left out are named by a WHERE of copy=, outside of brackets",
        )


def updates_watched(trigger: str) -> set[str]:
    """Return the folded names of the columns that a trigger is ``UPDATE OF``; SQLite lets them be of no column."""
    found = _WATCHED.search(trigger)
    return {folded(name.strip().strip('"`[]').replace('""', '"')) for name in found[1].split(",")} if found else set()


def without_texts(sql: str) -> str:
    """Return SQL without what no keyword stands in: texts, quoted names, comments."""
    return _NO_CODE.sub(" ", sql)


def _has_where(copy: str) -> bool:
    text, inner = without_texts(copy), 1
    while inner:
        text, inner = _BRACKETS.subn(" ", text)
    return re.search(r"\bWHERE\b", text, re.IGNORECASE) is not None


def _refuse(table: str, names: Sequence[str], problem: str, hint: str) -> None:
    if names:
        raise ConflictError(OPERATION, table, problem.format(", ".join(names)), hint=hint)
