"""A connection that notes which statements migrations run, how long each takes and how many rows it touches.

Statements are noted as they are written: bound values never are. Leaves out: what is run on it (``rehearsal``).
"""

from __future__ import annotations

import sqlite3
import sys
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

    from aragora_persist.migrations.plan import Migration


class Statement(NamedTuple):
    """One statement of a migration, with all of its executions."""

    sql: str
    """As written: with ``?`` where values are bound."""
    duration_ms: float
    rows: int | None
    """How many it wrote, also by its triggers and foreign keys; None for one that writes no rows, or returns them."""
    times: int = 1
    """How often it was executed. ``executemany`` counts once."""


class RecordingConnection(sqlite3.Connection):
    """Notes the statements that come from a migration's file or from what it calls, and not what the runner does."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - those of sqlite3.connect
        super().__init__(*arguments, **options)
        self._bodies: dict[str, dict[str, Statement]] = {}
        self._failure: tuple[BaseException, str] | None = None

    def watch(self, migrations: Iterable[Migration]) -> None:
        """Note from now on what these migrations run."""
        self._bodies = {str(migration.path): {} for migration in migrations}

    def statements(self, migration: Migration) -> tuple[Statement, ...]:
        """Return what it ran, in the order in which each statement first came."""
        return tuple(self._bodies[str(migration.path)].values())

    def failed_at(self, errors: Iterable[BaseException]) -> str | None:
        """Return the statement that raised one of these errors, or None."""
        return next((self._failure[1] for error in errors if self._failure and self._failure[0] is error), None)

    def cursor(self, factory: Any = None) -> Any:  # noqa: ANN401 - as sqlite3 declares it
        """Return a cursor that notes."""
        return super().cursor(factory or _RecordingCursor)

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:  # noqa: ANN401 - as sqlite3 declares it
        """Run a statement on a cursor that notes: the inherited method has its cursor not always from ``cursor``."""
        cursor: sqlite3.Cursor = self.cursor().execute(sql, parameters)
        return cursor

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> sqlite3.Cursor:
        """Run a statement for each of the parameters."""
        cursor: sqlite3.Cursor = self.cursor().executemany(sql, parameters)
        return cursor

    def executescript(self, sql_script: str, /) -> sqlite3.Cursor:
        """Run a script, which a migration is not allowed to do."""
        cursor: sqlite3.Cursor = self.cursor().executescript(sql_script)
        return cursor

    def note(self, sql: str, run: Callable[[], object], cursor: sqlite3.Cursor) -> None:
        """Run a statement and note it. For cursors."""
        body = self._calling_body()
        if body is None:
            run()
            return
        before, start = self.total_changes, perf_counter()
        try:
            run()
        except BaseException as error:
            self._failure = (error, sql)
            raise
        duration_ms = (perf_counter() - start) * 1000
        counted = cursor.rowcount >= 0 and cursor.description is None  # RETURNING is counted when its rows are read
        rows = self.total_changes - before if counted else None
        known = body.get(sql)
        if known is not None:
            duration_ms += known.duration_ms
            rows = None if rows is None else rows + (known.rows or 0)
        body[sql] = Statement(sql, duration_ms, rows, known.times + 1 if known else 1)

    def _calling_body(self) -> dict[str, Statement] | None:
        """Return the notes of the migration whose file is among the callers."""
        frame: FrameType | None = sys._getframe(3)  # noqa: SLF001 - inspect wraps the same, and takes long to import
        while frame is not None:
            body = self._bodies.get(frame.f_code.co_filename)
            if body is not None:
                return body
            frame = frame.f_back
        return None


class _RecordingCursor(sqlite3.Cursor):
    connection: RecordingConnection

    def execute(self, sql: str, parameters: Any = (), /) -> Self:  # noqa: ANN401 - as sqlite3 declares it
        self.connection.note(sql, lambda: super(_RecordingCursor, self).execute(sql, parameters), self)
        return self

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Self:
        self.connection.note(sql, lambda: super(_RecordingCursor, self).executemany(sql, parameters), self)
        return self

    def executescript(self, sql_script: str, /) -> sqlite3.Cursor:
        self.connection.note(sql_script, lambda: super(_RecordingCursor, self).executescript(sql_script), self)
        return self
