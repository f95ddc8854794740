"""Ends a process by SIGKILL at one exact moment of its work with SQLite.

The moments are counted: before and after each statement (and between the rows of an ``executemany``), each copy of a
database, and each change of a folder (a file made, named, removed or locked). Leaves out: what lies between two of
them, where only chance leads a kill.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import killing

from aragora_persist.migrations import ledger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LOOKS = {"SELECT", "PRAGMA"}
_FILE_EVENTS = {
    "os.link": "link",
    "os.remove": "unlink",
    "os.rename": "rename",
    "os.mkdir": "mkdir",
    "os.rmdir": "rmdir",
}
_FILE_EVENTS |= {"fcntl.flock": "flock"}


class Boundaries(killing.Boundaries):
    """Those of a process that works with SQLite."""

    def install(self) -> None:
        """Count what this process does from now on; for a process of its own, since it cannot be taken back."""
        sqlite3.connect = partial(sqlite3.connect, factory=_CountedConnection)  # type: ignore[assignment] # it is the point
        _CountedConnection.boundaries = self
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _FILE_EVENTS:
            self.reach(f"before {_FILE_EVENTS[event]}")
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT:
            self.reach("before making a file")


class _CountedConnection(sqlite3.Connection):
    """A connection to a file whose statements are moments; one in memory leaves nothing, wherever it ends."""

    boundaries: Boundaries

    def __init__(self, database: str, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - those of sqlite3
        super().__init__(database, *arguments, **options)
        self._counted = str(database) != ":memory:"

    def cursor(self, *_: object) -> sqlite3.Cursor:
        return super().cursor(_CountedCursor if self._counted else sqlite3.Cursor)

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:  # noqa: ANN401 - those of sqlite3
        return self.cursor().execute(sql, *parameters)

    def executemany(self, sql: str, rows: Iterable[Any]) -> sqlite3.Cursor:
        return self.cursor().executemany(sql, rows)

    def backup(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - those of sqlite3
        self.boundaries.reach("before copying")
        super().backup(*arguments, **options)
        self.boundaries.reach("after copying")


class _CountedCursor(sqlite3.Cursor):
    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:  # noqa: ANN401 - those of sqlite3
        reach, name = _CountedConnection.boundaries.reach, _kind(sql)
        reach(f"before {name}")
        super().execute(sql, *parameters)
        reach(f"after {name}")
        return self

    def executemany(self, sql: str, rows: Iterable[Any]) -> sqlite3.Cursor:
        reach, name = _CountedConnection.boundaries.reach, _kind(sql)

        def each() -> Iterator[Any]:
            for row in rows:
                reach(f"before a row's {name}")
                yield row

        super().executemany(sql, each())
        reach(f"after {name}")
        return self


def _kind(sql: str) -> str:
    """Return what a report calls a statement."""
    word = sql.split(maxsplit=1)[0].upper()
    if word in _LOOKS:
        return "look"
    return "ledger" if ledger.TABLE in sql else word
