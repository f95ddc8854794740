"""Running migrations one after the other on sample rows, and noting what each does to schema and rows.

What is seen is what happens, wherever the SQL comes from: a loop, an f-string, a function of another module. Leaves
out: judging it (``rules``), and whatever depends on rows that the samples are not like.
"""

from __future__ import annotations

import re
import sqlite3
import sys
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from aragora_persist.errors import MigrationError
from aragora_persist.migrations import ledger
from aragora_persist.migrations.folder import Body
from aragora_persist.migrations.guard import run_guarded
from aragora_persist.migrations.lint.picture import Picture, Table, take
from aragora_persist.migrations.lint.rows import lost_values
from aragora_persist.migrations.lint.sample import clear, fill, insertion
from aragora_persist.migrations.recording import RecordingConnection
from aragora_persist.migrations.schema import read_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    from aragora_persist.migrations.plan import Migration

_SCHEMA_STEP = re.compile(r"\s*(?:CREATE|ALTER|DROP)\b", re.IGNORECASE)
_TABLE_IS_THERE = re.compile(r'table "?([^"\s]+)"? already exists')
_COLUMN_IS_THERE = re.compile(r"duplicate column name: (\S+)")
_TABLE_OF_CONFLICT = re.compile(r"constraint failed: (\w+)\.")
# Their statements have another form on PostgreSQL, which they bring themselves.
_OF_BOTH_DATABASES = frozenset(("aragora_persist.storage.schema", "aragora_persist.storage.rebuild"))


class Observation(NamedTuple):
    """What one migration did."""

    migration: Migration
    body: Body
    before: Picture
    after: Picture
    statements: tuple[str, ...]
    """As written in the file, or in what it calls; not those of ``safe_add_column`` and ``rebuild_table``."""
    failure: str = ""
    """How ``upgrade`` failed with the sample rows; it was then run without any."""
    repeated: tuple[tuple[str, str], ...] = ()
    """What a second run did to which table."""
    refused: tuple[tuple[str, str], ...] = ()
    """Tables that afterwards refuse a row which they took before, and how."""
    downgrade: str = ""
    """What is wrong with it."""
    unfilled: frozenset[str] = frozenset()
    """Tables for which no sample row was found."""


def observe(migrations: Sequence[Migration]) -> Iterator[Observation]:
    """Run the migrations and yield what each did; one that fails without rows, too, is the last.

    Raises:
        MigrationError: a file cannot be loaded.

    """
    with ExitStack() as stack:
        base = stack.enter_context(closing(_connect()))
        ledger.create(base)
        for migration in migrations:
            body = Body(migration)
            fill(base)
            after = stack.enter_context(_copy(base))
            before, failure = take(base), _run(after, migration, body, "upgrade")
            if failure:
                clear(base)
                before, after = take(base), stack.enter_context(_copy(base))
                if _run(after, migration, body, "upgrade"):
                    yield Observation(migration, body, before, before, (), failure)
                    return
            yield Observation(
                migration,
                body,
                before,
                take(after),
                after.written(migration),
                failure,
                _repeated(after, migration, body, before),
                _refused(after, before),
                _downgrade(after, migration, body, base),
                _unfilled(after),
            )
            base = after


class _Connection(RecordingConnection):
    """Notes statements with where they come from; in a second run, passes over what is there already."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - those of sqlite3.connect
        super().__init__(*arguments, **options)
        self.second: _SecondRun | None = None
        self._translated: set[str] = set()

    def note(self, sql: str, run: Callable[[], object], cursor: sqlite3.Cursor) -> None:
        if _is_of_both_databases():
            self._translated.add(sql)
        try:
            super().note(sql, run, cursor)
        except sqlite3.DatabaseError as error:
            if self.second is None or not self.second.passes_over(sql, error):
                raise

    def written(self, migration: Migration) -> tuple[str, ...]:
        return tuple(done.sql for done in self.statements(migration) if done.sql not in self._translated)


class _SecondRun:
    """What the database refused, because the first run had done it already."""

    def __init__(self) -> None:
        self.tables: set[str] = set()
        self.columns: set[str] = set()
        self.conflicts: list[tuple[str, str]] = []

    def passes_over(self, sql: str, error: sqlite3.DatabaseError) -> bool:
        text, changes_schema = str(error), _SCHEMA_STEP.match(sql)
        if isinstance(error, sqlite3.IntegrityError) and not changes_schema:
            table = _TABLE_OF_CONFLICT.search(text)
            self.conflicts.append((table[1] if table else sql, text))
            return True
        self.tables.update(_TABLE_IS_THERE.findall(text))
        self.columns.update(_COLUMN_IS_THERE.findall(text))
        return isinstance(error, sqlite3.OperationalError) and changes_schema is not None


def _connect() -> _Connection:
    return sqlite3.connect(":memory:", isolation_level=None, factory=_Connection)


@contextmanager
def _copy(connection: sqlite3.Connection) -> Iterator[_Connection]:
    """Yield a copy to try something on, which may end in any state."""
    with closing(_connect()) as copy:
        connection.backup(copy)
        yield copy


def _run(connection: _Connection, migration: Migration, body: Body, name: Literal["upgrade", "downgrade"]) -> str:
    """Run a function of the migration as the runner does, and say how it failed."""
    connection.watch([migration])
    connection.execute("BEGIN")
    try:
        run_guarded(connection, migration, body.step(name))
        connection.execute("COMMIT")
    except MigrationError as error:
        return error.problem
    return ""


def _repeated(
    connection: _Connection, migration: Migration, body: Body, before: Picture
) -> tuple[tuple[str, str], ...]:
    """Run ``upgrade`` a second time, and say what that did to rows of tables and columns that it finds there.

    What the database refuses to make a second time is passed over, and what happens in it does not count: a person who
    does the rest by hand would go on, too, and a rollback takes it away.
    """
    after = take(connection)
    with _copy(connection) as copy:
        copy.second = second = _SecondRun()
        refused = _run(copy, migration, body, "upgrade")  # as a whole
        copy.second = None
        later = after if refused else take(copy)
    found = [(table, problem) for table, problem in second.conflicts if table not in second.tables]
    for name in sorted((before.tables.keys() & after.tables.keys() & later.tables.keys()) - second.tables):
        known = before.tables[name].columns.keys() | (after.tables[name].columns.keys() - second.columns)
        columns = sorted(known & after.tables[name].columns.keys() & later.tables[name].columns.keys())
        once, twice = (_content(picture.tables[name], columns) for picture in (after, later))
        if len(once) != len(twice):
            found.append((name, f"it has {len(once)} rows after the first run and {len(twice)} after the second"))
        elif once != twice:
            found.append((name, "its values change again"))
    return tuple(dict.fromkeys(found))


def _refused(connection: _Connection, before: Picture) -> tuple[tuple[str, str], ...]:
    """Write what the release before could write, by the names that it knows, as far as they are still there."""
    problems: dict[str, str] = {}
    after = take(connection)
    with _copy(connection) as copy:
        clear(copy)
        for name in before.tables.keys() & after.tables.keys():
            names = sorted(before.tables[name].columns.keys() & after.tables[name].columns.keys())
            insert = insertion(name, names)
            for row in before.tables[name].rows:
                try:
                    copy.execute(insert, [row[column] for column in names])
                except sqlite3.DatabaseError as error:
                    problems[name] = str(error)
    return tuple(sorted(problems.items()))


def _downgrade(connection: _Connection, migration: Migration, body: Body, base: _Connection) -> str:
    made, restored, before = read_schema(connection), read_schema(base), take(base)
    with _copy(connection) as copy:
        if problem := _run(copy, migration, body, "downgrade"):
            return problem
        found = read_schema(copy)
        if found == restored:
            lost = list(lost_values(take(connection), take(copy), among=before))
            return f"takes away what was there before: {', '.join(lost)}" if lost else ""
        if found == made:
            return "does nothing"
        return f"does not restore {', '.join(sorted({name for name, _ in set(found) ^ set(restored)}))}"


def _unfilled(connection: _Connection) -> frozenset[str]:
    with _copy(connection) as copy:
        return frozenset(fill(copy))


def _content(table: Table, columns: Sequence[str]) -> list[tuple[str, ...]]:
    return sorted(tuple(repr(row[name]) for name in columns) for row in table.rows)


def _is_of_both_databases() -> bool:
    """Whether the statement comes from a function that PostgreSQL has of its own."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - inspect wraps the same
    while frame is not None:
        if frame.f_globals.get("__name__") in _OF_BOTH_DATABASES:
            return True
        frame = frame.f_back
    return False
