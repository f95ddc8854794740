"""The rules about one migration: its file, the schema that it makes, and what it does to rows. Pure.

Leaves out: what it changed of a schema that was there (``differences``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aragora_persist.errors import MigrationError, UnsupportedError
from aragora_persist.migrations.lint import catalog
from aragora_persist.migrations.lint.rows import lost_values
from aragora_persist.storage.postgresql.translation import translated
from aragora_persist.version import VERSION, order

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aragora_persist.migrations.lint.catalog import Finding
    from aragora_persist.migrations.lint.observing import Observation
    from aragora_persist.migrations.lint.picture import Column

_TYPES = frozenset(("TEXT", "INTEGER", "REAL", "BLOB"))
_LITERAL = re.compile(r"\(*\s*(?:[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|[xX]?'(?:[^']|'')*'|NULL)\s*\)*", re.IGNORECASE)
_NOW = re.compile(r"\(*\s*strftime\(\s*'%Y-%m-%dT%H:%M:%f000Z'\s*,\s*'now'\s*\)\s*\)*")
_CREATED = r"\n\nCreated: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"


def rules(seen: Observation) -> Iterator[Finding]:
    """Yield what is wrong with a migration as such."""
    yield from _file(seen)
    yield from _reader(seen)
    yield from _made(seen)
    yield from _on_postgresql(seen)
    yield from _on_rows(seen)


def breaks_promise(seen: Observation, findings: list[Finding]) -> Iterator[Finding]:
    """Yield where MIN_READER lets releases go on whose code these findings break."""
    try:
        reader = seen.body.min_reader
    except MigrationError:  # which is a finding
        reader = None
    if reader is None or order(reader) >= order(VERSION):
        return
    for broken in (finding for finding in findings if catalog.RULES[finding.rule].breaks_readers):
        detail = f'MIN_READER = "{reader}" lets older releases than this one go on, and {broken.rule} breaks them'
        yield catalog.MIN_READER.found(seen.migration.name, broken.subject, detail)


def _file(seen: Observation) -> Iterator[Finding]:
    name = seen.migration.name
    text = seen.body.constant("__doc__")
    title = rf"Migration {seen.migration.version:03d}: \S[^\n]*"
    if not isinstance(text, str):
        yield catalog.FILE.found(name, "docstring", "it has none")
    elif not re.match(title, text.strip()):
        yield catalog.FILE.found(name, "docstring", f"it does not begin with Migration {seen.migration.version:03d}: ")
    elif not re.match(title + _CREATED, text.strip()):
        yield catalog.FILE.found(name, "docstring", "it has no line Created: with a time behind its title")
    if not seen.statements and not seen.failure and seen.before == seen.after:
        yield catalog.EMPTY.found(name, "upgrade")


def _reader(seen: Observation) -> Iterator[Finding]:
    try:
        reader = seen.body.min_reader
    except MigrationError as error:
        yield catalog.MIN_READER.found(seen.migration.name, "MIN_READER", error.problem)
        return
    if reader is None:
        yield catalog.MIN_READER.found(seen.migration.name, "MIN_READER", "it is not said")
    elif order(reader) > order(VERSION):
        detail = f"{reader} is later than this release, {VERSION}, which could not open what it made"
        yield catalog.MIN_READER.found(seen.migration.name, "MIN_READER", detail)


def _made(seen: Observation) -> Iterator[Finding]:
    """Judge columns and foreign keys that are new, or other than before."""
    name = seen.migration.name
    for table in seen.after.tables.values():
        old = seen.before.tables.get(table.name)
        columns = old.columns if old else {}
        for column in table.columns.values():
            if columns.get(column.name) != column:
                yield from _column(name, table.name, column)
        keys = {key.columns: key for key in old.foreign_keys} if old else {}
        for key in table.foreign_keys:
            if keys.get(key.columns) == key:
                continue
            subject = f"{table.name}({', '.join(key.columns)}) to {key.parent}"
            if not key.found:
                yield catalog.UNINDEXED_KEY.found(name, subject)
            if key.parent not in seen.after.tables:
                yield catalog.POSTGRESQL.found(name, subject, "there is no such table")


def _column(name: str, table: str, column: Column) -> Iterator[Finding]:
    subject, default = f"{table}.{column.name}", column.default
    if column.kind.upper() not in _TYPES:
        yield catalog.TYPE.found(name, subject, f"its type is {column.kind or 'not said'}")
    if default is not None and not _LITERAL.fullmatch(default) and not _NOW.fullmatch(default):
        yield catalog.DEFAULT.found(name, subject, f"its default is {default}")


def _on_postgresql(seen: Observation) -> Iterator[Finding]:
    """Translate the statements, and what functions that are not translated have made."""
    made = [
        sql
        for name, table in seen.after.tables.items()
        for sql in (table.sql, *(index.sql for index in table.indexes))
        if sql and (name not in seen.before.tables or sql not in _definitions(seen, name))
    ]
    problems: dict[str, str] = {}
    for statement in (*seen.statements, *made):
        try:
            translated(statement)
        except UnsupportedError as error:
            problems.setdefault(error.problem, error.target)
    for problem, subject in problems.items():
        yield catalog.POSTGRESQL.found(seen.migration.name, subject, problem)


def _definitions(seen: Observation, table: str) -> set[str | None]:
    old = seen.before.tables[table]
    return {old.sql, *(index.sql for index in old.indexes)}


def _on_rows(seen: Observation) -> Iterator[Finding]:
    name = seen.migration.name
    if seen.failure:
        yield catalog.FAILS.found(name, "upgrade", seen.failure)
    for lost in lost_values(seen.before, seen.after, among=seen.before):
        subject, _, detail = lost.partition(": ")
        yield catalog.LOST_DATA.found(name, subject, detail)
    for table, problem in seen.repeated:
        yield catalog.REPEAT.found(name, table, problem)
    if seen.downgrade:
        yield catalog.DOWNGRADE.found(name, "downgrade", seen.downgrade)
    for table in sorted(seen.unfilled):
        if seen.before.tables.get(table) != seen.after.tables.get(table):
            yield catalog.NO_SAMPLE.found(name, f"table {table}")
