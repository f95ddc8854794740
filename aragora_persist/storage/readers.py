"""Where views get their connections: a pool for a file, the writer's own for a database in memory."""

from __future__ import annotations

import sqlite3
from collections import deque
from typing import TYPE_CHECKING

from aragora_persist.errors import MisuseError
from aragora_persist.storage.connecting import connect_reader
from aragora_persist.storage.faults import DRIVER_ERRORS, translate

if TYPE_CHECKING:
    from pathlib import Path

    from aragora_persist.settings import Settings
    from aragora_persist.storage.writer import Writer

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
        if self._closed:
            raise MisuseError(operation, self.target, "the database was closed", hint="open the store again")
        try:
            connection = self._free.pop()
        except IndexError:
            connection = connect_reader(self._path, self._timeout_s)
        try:
            connection.execute("BEGIN")
        except DRIVER_ERRORS as error:
            connection.close()
            raise translate(error, operation, self.target) from error
        self._lent.add(connection)
        return connection

    def give(self, connection: sqlite3.Connection) -> None:
        """End the read transaction; keep the connection unless it broke, or there are plenty, or all was closed."""
        if connection not in self._lent:
            return  # inherited by a forked child: not even closing it is allowed
        self._lent.discard(connection)
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            connection.close()
            return
        if len(self._free) < _KEPT_OPEN:
            self._free.append(connection)
            if self._closed:
                self._close_free()
        else:
            connection.close()

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
        if self._writer.owns(connection):
            connection.execute("PRAGMA query_only=OFF")
            self._writer.give()

    def close(self) -> None:
        """Do nothing: the writer closes its connection."""
