"""The one writing connection of a process to one file, and who may use it when.

A turn is waited for in order and at most for the timeout; the rest of that time is left for other processes' locks.
Every transaction begins ``IMMEDIATE``: a deferred one fails in its middle when it turns from reading to writing.
Leaves out: batching several callers' transactions into one commit.
"""

from __future__ import annotations

import sqlite3
from time import monotonic
from typing import TYPE_CHECKING

from aragora_persist.errors import BusyError, MisuseError
from aragora_persist.settings import Durability
from aragora_persist.storage.connecting import busy_timeout_ms
from aragora_persist.storage.faults import DRIVER_ERRORS, translate
from aragora_persist.storage.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from aragora_persist.settings import Settings
    from aragora_persist.storage.sessions import WriteTransaction

_TIDY_WAIT_S = 0.25
_SYNCHRONOUS = {Durability.DURABLE: "FULL", Durability.COMMITTED: "NORMAL"}


class Writer:
    """Owns the writing connection; made again when it broke, closed for good by ``close``."""

    def __init__(self, target: str, settings: Settings, connect: Callable[[], sqlite3.Connection]) -> None:
        self.target = target
        self.slow_query_ms = settings.slow_query_ms
        self._timeout_s = settings.db_timeout_s
        self._default = settings.durability
        self._connect = connect
        self._turns = Turns()
        self._closed = False
        self._connection: sqlite3.Connection | None = None
        self._level: Durability | None = None
        self._busy_ms = -1
        self.present: WriteTransaction | None = None

    def take(self, operation: str) -> sqlite3.Connection:
        """Wait for the turn and return the connection, with no transaction open.

        Raises:
            BusyError: the turn was not had within the timeout.
            MisuseError: this thread has it already, or the database was closed.

        """
        if self._turns.mine():
            raise MisuseError(
                operation,
                self.target,
                "this thread already has a transaction open here",
                hint="work through the open one: pass it on as tx=",
            )
        if not self._turns.take(self._timeout_s):
            raise BusyError(
                operation,
                self.target,
                f"other threads kept the writer for {self._timeout_s:g} s",
                hint="look for a long-running transaction, or raise DB_TIMEOUT",
            )
        try:
            return self._opened(operation)
        except BaseException:
            self._turns.give()
            raise

    def give(self) -> None:
        """Give the turn back."""
        self._turns.give()

    def owns(self, connection: sqlite3.Connection) -> bool:
        """Whether this is the present connection, and not one that a forked child inherited."""
        return connection is self._connection

    def begin(self, operation: str, durability: Durability | None) -> sqlite3.Connection:
        """Return the connection with a write transaction of this durability open."""
        asked = monotonic()
        connection = self.take(operation)
        try:
            self._set_level(connection, durability or self._default)
            self._set_busy(connection, self._timeout_s - (monotonic() - asked))
            connection.execute("BEGIN IMMEDIATE")
        except BaseException as error:
            self.rollback(connection)  # an interrupt can come when the transaction has just begun
            if isinstance(error, DRIVER_ERRORS):
                raise translate(error, operation, self.target) from error
            raise
        return connection

    def commit(self, connection: sqlite3.Connection, operation: str) -> None:
        """Commit and give the turn back; on an error nothing of the transaction stays."""
        if not self.owns(connection):
            raise MisuseError(operation, self.target, "a forked child must not end its parent's transaction")
        try:
            # With a transaction that a failure or a statement in the block has ended, this raises: nothing is reported
            # as written that is not.
            connection.execute("COMMIT")
        except BaseException as error:
            self.rollback(connection)
            if isinstance(error, DRIVER_ERRORS):
                raise translate(error, operation, self.target) from error
            raise
        self._end()

    def rollback(self, connection: sqlite3.Connection) -> None:
        """Roll back and give the turn back; a connection that cannot even do that is replaced."""
        if not self.owns(connection):
            return  # only the parent may end a transaction that this process was forked out of
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._drop()  # closing rolls back
        finally:
            self._end()

    def tidy(self) -> None:
        """Refresh stale statistics of the query planner, and empty the write-ahead log as far as nobody needs it.

        Raises:
            BusyError: the turn, or for a moment the write lock of the file, was not had.

        """
        connection = self.take("tidy")
        try:
            self._set_busy(connection, _TIDY_WAIT_S)
            connection.execute("PRAGMA optimize")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # where others are in the way, it does what it can
        except DRIVER_ERRORS as error:
            raise translate(error, "tidy", self.target) from error
        finally:
            self.give()

    def close(self, wait_s: float) -> None:
        """Wait for the turn, at most so long, and close; SQLite clears the WAL away with the last connection.

        Raises:
            BusyError: a transaction is still running; its end closes the connection, and nothing new begins.

        """
        self._closed = True
        if self._turns.mine() or not self._turns.take(wait_s):
            raise BusyError("close database", self.target, "a transaction is still open")
        self._drop()
        self._turns.give()

    def abandon(self) -> list[sqlite3.Connection]:
        """See ``forks.Holder``."""
        inherited = [] if self._connection is None else [self._connection]
        self._connection = None
        self._turns = Turns()
        if self.present is not None:
            self.present.disown()
            self.present = None
        return inherited

    def _opened(self, operation: str) -> sqlite3.Connection:
        if self._closed:
            raise MisuseError(operation, self.target, "the database was closed", hint="open the store again")
        if self._connection is None:
            self._connection = self._connect()
            self._level = None
            self._busy_ms = -1
        return self._connection

    def _set_level(self, connection: sqlite3.Connection, level: Durability) -> None:
        if level is not self._level:
            connection.execute(f"PRAGMA synchronous={_SYNCHRONOUS[level]}")
            self._level = level

    def _set_busy(self, connection: sqlite3.Connection, left_s: float) -> None:
        milliseconds = busy_timeout_ms(left_s)
        if milliseconds != self._busy_ms:
            connection.execute(f"PRAGMA busy_timeout={milliseconds}")
            self._busy_ms = milliseconds

    def _end(self) -> None:
        """Give the turn back after a transaction; what was closed during it is closed now."""
        if self._closed:
            self._drop()
        self._turns.give()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
