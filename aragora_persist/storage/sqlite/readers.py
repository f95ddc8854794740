"""Where views get their connections: a pool for a file, the writer's own for a database in memory."""

from __future__ import annotations

import sqlite3
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING

from aragora_persist.errors import MisuseError
from aragora_persist.storage.blocks import Block
from aragora_persist.storage.slow import report_slow
from aragora_persist.storage.sqlite.connecting import connect_reader
from aragora_persist.storage.sqlite.faults import DRIVER_ERRORS, translate
from aragora_persist.storage.sqlite.sessions import View

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from aragora_persist.settings import Settings
    from aragora_persist.storage.port import Context, Row, Value
    from aragora_persist.storage.sqlite.writer import Writer

_KEPT_OPEN = 16


class ReaderPool:
    """Reading connections to one file: made when none is free, reused last in, first out (its cache is the warmest).

    No lock: both ends of a deque are atomic, so a view costs its thread nothing but its two statements.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self.target = str(path)
        self.slow_query_ms = settings.slow_query_ms
        self._path = path
        self._timeout_s = settings.db_timeout_s
        self._free: deque[sqlite3.Connection] = deque()
        self._lent: set[sqlite3.Connection] = set()
        self._closed = False

    def take(self, operation: str) -> sqlite3.Connection:
        """Return a connection with a read transaction open."""
        connection = self._free_one(operation)
        try:
            self._lent.add(connection)
            connection.execute("BEGIN")
        except BaseException as error:
            self._lent.discard(connection)
            connection.close()
            if isinstance(error, DRIVER_ERRORS):
                raise translate(error, operation, self.target) from error
            raise
        return connection

    def give(self, connection: sqlite3.Connection) -> None:
        """End the read transaction; keep the connection unless it broke, or there are plenty, or all was closed."""
        if connection not in self._lent:
            return  # inherited by a forked child, where not even closing it is allowed, or let go
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._lent.discard(connection)
            connection.close()
            return
        self._take_back(connection)

    def let_go(self, connection: sqlite3.Connection) -> None:
        """See ``sessions.ReadSource``. Unless it is free again, it closes itself with its last user."""
        self._lent.discard(connection)

    def one(self, operation: str, sql: str, parameters: Sequence[Value], context: Context | None) -> Row | None:
        """Return the first row. One statement sees one state by itself, and needs no transaction for that."""
        connection = self._free_one(operation)
        start = perf_counter()
        try:
            self._lent.add(connection)
            row: Row | None = connection.execute(sql, parameters).fetchone()
        except DRIVER_ERRORS as error:
            raise translate(error, operation, self.target) from error
        finally:
            try:
                self._take_back(connection)
            except BaseException:  # interrupted
                self.let_go(connection)
                raise
            spent_s = perf_counter() - start
            if spent_s * 1000 > self.slow_query_ms:
                report_slow(operation, context, spent_s, self.slow_query_ms)
        return row

    def close(self) -> None:
        """Close what is free now, and what is lent when it comes back."""
        self._closed = True
        self._close_free()

    def abandon(self) -> list[sqlite3.Connection]:
        """See ``forks.Holder``."""
        inherited = [*self._free, *self._lent]
        self._free = deque()
        self._lent = set()
        return inherited

    def _free_one(self, operation: str) -> sqlite3.Connection:
        if self._closed:
            raise MisuseError(operation, self.target, "the database was closed", hint="open the store again")
        try:
            return self._free.pop()
        except IndexError:
            return connect_reader(self._path, self._timeout_s)

    def _take_back(self, connection: sqlite3.Connection) -> None:
        self._lent.discard(connection)
        if len(self._free) < _KEPT_OPEN:
            self._free.append(connection)
            if self._closed:
                self._close_free()
        else:
            connection.close()

    def _close_free(self) -> None:
        while self._free:
            try:
                self._free.pop().close()
            except IndexError:  # another thread closed the last one
                return


class SharedConnection:
    """Reads of a database in memory: on the writer's connection, one block at a time."""

    def __init__(self, writer: Writer) -> None:
        self.target = writer.target
        self.slow_query_ms = writer.slow_query_ms
        self._writer = writer

    def take(self, operation: str) -> sqlite3.Connection:
        """Return the connection with a read transaction open."""
        connection = self._writer.take(operation)
        try:
            connection.execute("PRAGMA query_only=ON")
            connection.execute("BEGIN")
        except BaseException:
            self.give(connection)
            raise
        return connection

    def give(self, connection: sqlite3.Connection) -> None:
        """End the read transaction."""
        if self._writer.owns(connection) and self._writer.turns.mine():
            try:
                connection.execute("PRAGMA query_only=OFF")
            finally:
                self._writer.give()

    def let_go(self, connection: sqlite3.Connection) -> None:
        """See ``sessions.ReadSource``."""
        self.give(connection)

    def one(self, operation: str, sql: str, parameters: Sequence[Value], context: Context | None) -> Row | None:
        """Return the first row."""
        with Block(View(self, operation, context)) as view:
            return view.one(sql, parameters)

    def close(self) -> None:
        """Do nothing: the writer closes its connection."""
