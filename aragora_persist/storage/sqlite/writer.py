"""The one writing connection of a process to one file, and who may use it when.

A turn is waited for in order and at most for the timeout; the rest of that time is left for other processes' locks.
Every transaction begins ``IMMEDIATE``: a deferred one fails in its middle when it turns from reading to writing.
Leaves out: what is done in a transaction (``transactions``), and several callers in one (``group``).
"""

from __future__ import annotations

import sqlite3
import threading
from time import monotonic
from typing import TYPE_CHECKING

from aragora_persist.errors import BusyError, MisuseError
from aragora_persist.settings import Durability
from aragora_persist.storage.sqlite.checkpointer import under_litestream
from aragora_persist.storage.sqlite.connecting import busy_timeout_ms
from aragora_persist.storage.sqlite.faults import DRIVER_ERRORS, translate
from aragora_persist.storage.sqlite.turns import Place, Turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from aragora_persist.settings import Settings
    from aragora_persist.storage.sqlite.checkpointer import Checkpointer
    from aragora_persist.storage.sqlite.group import Member
    from aragora_persist.storage.sqlite.transactions import Writing

_TIDY_WAIT_S = 0.25
_FORK_WAIT_S = 5.0
_SYNCHRONOUS = {Durability.DURABLE: "FULL", Durability.COMMITTED: "NORMAL"}


class Writer:
    """Owns the writing connection; made again when it broke, closed for good by ``close``."""

    def __init__(
        self,
        target: str,
        settings: Settings,
        connect: Callable[[], sqlite3.Connection],
        checkpointer: Checkpointer | None = None,
    ) -> None:
        self.target = target
        self.slow_query_ms = settings.slow_query_ms
        self.timeout_s = settings.db_timeout_s
        self.durability = settings.durability
        self.turns: Turns[Member] = Turns()
        self.present: Writing | None = None
        self._connect = connect
        self._checkpointer = checkpointer
        self._committed = False
        self._closed = False
        self._paused_by: int | None = None
        self._forked_inside = False
        self._connection: sqlite3.Connection | None = None
        self._level: Durability | None = None
        self._busy_ms = -1

    def line_up(self, operation: str, place: Place[Member]) -> None:
        """Wait until ``place`` has the turn, or its job was done.

        Raises:
            BusyError: neither came about within the timeout, and the job will not be done.
            MisuseError: this thread has the turn already.

        """
        if self.turns.mine():
            raise MisuseError(
                operation,
                self.target,
                "this thread already has a transaction open here",
                hint="work through the open one: pass it on as tx=",
            )
        if not self.turns.take(self.timeout_s, place):
            raise BusyError(
                operation,
                self.target,
                f"other threads kept the writer for {self.timeout_s:g} s",
                hint="look for a long-running transaction, or raise DB_TIMEOUT",
            )

    def take(self, operation: str) -> sqlite3.Connection:
        """Wait for the turn and return the connection, with no transaction open.

        Raises:
            BusyError: the turn was not had within the timeout.
            MisuseError: this thread has it already, or the database was closed.

        """
        place: Place[Member] = Place()
        try:
            self.line_up(operation, place)
            return self._opened(operation)
        except BaseException:
            if self.turns.has(place):
                self.give()
            raise

    def give(self) -> None:
        """Roll back what is open, and give the turn back; what was closed meanwhile is closed now.

        Without the turn, this does nothing: an interrupt can come before any of its steps, and then it is called again.
        """
        if self.turns.mine():
            self.present = None
            self.rollback()
            if self._closed:
                self._drop()
                if self._checkpointer:
                    self._checkpointer.close()
            elif self._committed:
                self._committed = False
                self._checkpoint()
            self.turns.give()

    def owns(self, connection: sqlite3.Connection) -> bool:
        """Whether this is the present connection, and not one that a forked child inherited."""
        return connection is self._connection

    def begin(self, operation: str, level: Durability, deadline: float) -> sqlite3.Connection:
        """Return the connection with a write transaction open; the caller has the turn.

        Other processes' locks are waited for until ``deadline`` on the clock ``time.monotonic``.
        """
        if self._forked_inside:
            raise MisuseError(
                operation,
                self.target,
                "this process was forked while its parent was in a transaction",
                hint="fork outside of transactions",
            )
        connection = self._opened(operation)
        try:
            if level is not self._level:
                connection.execute(f"PRAGMA synchronous={_SYNCHRONOUS[level]}")
                self._level = level
            if self._busy_ms:
                self._set_busy(connection, 0)
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                left_s = deadline - monotonic()
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or left_s <= 0:
                    raise
                self._set_busy(connection, left_s)
                connection.execute("BEGIN IMMEDIATE")
        except BaseException as error:
            self.rollback()  # an interrupt can come when the transaction has just begun
            if isinstance(error, DRIVER_ERRORS):
                raise translate(error, operation, self.target) from error
            raise
        return connection

    def commit(self, operation: str, writing: Writing) -> None:
        """Commit, and say so in ``writing.committed``; on an error of SQLite nothing of the transaction stays.

        An interrupt that comes meanwhile neither prevents the commit nor hides that it took place: it is raised after.
        """
        connection = self._connection
        if connection is None:
            raise MisuseError(operation, self.target, "a forked child must not end its parent's transaction")
        interrupt: BaseException | None = None
        while True:
            try:
                self._committed = True
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                self.rollback()
                raise translate(error, operation, self.target) from error
            except BaseException as error:  # noqa: BLE001 - raised when it is known what became of the commit
                interrupt = error
            if not connection.in_transaction:
                writing.committed = True
                break
        if interrupt is not None:
            raise interrupt

    def rollback(self) -> None:
        """Roll back what is open; a connection that cannot even do that is replaced. The caller has the turn."""
        connection = self._connection
        try:
            if connection is not None and connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._drop()  # closing rolls back

    def tidy(self) -> None:
        """Refresh stale statistics of the query planner, and empty the write-ahead log as far as nobody needs it.

        Raises:
            BusyError: the turn, or for a moment the write lock of the file, was not had.

        """
        connection = self.take("tidy")
        try:
            self._set_busy(connection, _TIDY_WAIT_S)
            connection.execute("PRAGMA optimize")
            if not under_litestream(connection):
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # where others are in the way, as far as it can
        except DRIVER_ERRORS as error:
            raise translate(error, "tidy", self.target) from error
        finally:
            self.give()

    def close(self, wait_s: float) -> None:
        """Wait for the turn, at most so long, and close; SQLite clears the WAL away with the last connection.

        Who still waits to write is refused.

        Raises:
            BusyError: a transaction is still running; its end closes the connection, and nothing new begins.

        """
        self._closed = True
        place: Place[Member] = Place()
        try:
            if self.turns.mine() or not self.turns.take(wait_s, place):
                raise BusyError("close database", self.target, "a transaction is still open")
        finally:
            if self.turns.has(place):
                self.give()

    def pause(self) -> None:
        """See ``forks.Pausing``."""
        if not self.turns.mine() and self.turns.take(min(self.timeout_s, _FORK_WAIT_S)):
            self._paused_by = threading.get_ident()

    def resume(self) -> None:
        """See ``forks.Pausing``."""
        if self._paused_by == threading.get_ident():
            self._paused_by = None
            self.turns.give()

    def abandon(self) -> list[sqlite3.Connection]:
        """See ``forks.Holder``."""
        inherited = [] if self._connection is None else [self._connection]
        self._forked_inside = any(connection.in_transaction for connection in inherited)
        self._paused_by = None
        self._connection = None
        if self._checkpointer:
            self._checkpointer.abandon()
        self.turns = Turns()
        if self.present is not None:
            self.present.disown()
            self.present = None
        return inherited

    def _opened(self, operation: str) -> sqlite3.Connection:
        if self._closed:
            raise MisuseError(operation, self.target, "the database was closed", hint="open the store again")
        if self._connection is None:
            self._connection = self._connect()
            if self._checkpointer:
                self._checkpointer.prepare(self._connection)
            self._level = None
            self._busy_ms = -1
        return self._connection

    def _checkpoint(self) -> None:
        if self._checkpointer and self._connection and self._checkpointer.due():
            self.turns.done()  # those whose work is committed need not wait for this
            self._set_busy(self._connection, self._checkpointer.patience_s)
            self._checkpointer.run(self._connection)

    def _set_busy(self, connection: sqlite3.Connection, left_s: float) -> None:
        milliseconds = busy_timeout_ms(left_s)
        if milliseconds != self._busy_ms:
            connection.execute(f"PRAGMA busy_timeout={milliseconds}")
            self._busy_ms = milliseconds

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
