"""What a block can read: that side of the port, over one connection of ``sqlite3``.

A session has its connection while its block runs; before and after, it refuses to work.
Leaves out: where connections come from (``readers``), and writing (``transactions``).
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Generic, NoReturn, Protocol, Self, TypeVar

from aragora_persist.errors import MisuseError
from aragora_persist.storage.slow import report_slow
from aragora_persist.storage.sqlite.faults import DRIVER_ERRORS, translate

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from aragora_persist.errors import PersistError
    from aragora_persist.storage.port import Context, Row, Value

_STREAMED_AT_ONCE = 256


class Source(Protocol):
    """Where a session takes its connection from."""

    target: str
    slow_query_ms: float


class ReadSource(Source, Protocol):
    """Where a view takes its connection from."""

    def take(self, operation: str) -> sqlite3.Connection:
        """Return a connection that nobody else uses, with a read transaction open."""
        ...

    def give(self, connection: sqlite3.Connection) -> None:
        """Take it back, and end its read transaction."""
        ...

    def let_go(self, connection: sqlite3.Connection) -> None:
        """Keep no hold of one that an interrupt kept from being given back, or may have kept from it."""
        ...


class Ended:
    """Stands where the connection was before the block began and after it has ended."""

    problem, hint = "has ended", "keep the work inside its block"

    def refusal(self) -> MisuseError:
        """Return the error that says why nothing works here."""
        return MisuseError("use transaction", "this block", self.problem, hint=self.hint)

    def execute(self, *_: object) -> NoReturn:
        """Refuse."""
        raise self.refusal()

    executemany = execute


ENDED = Ended()


From = TypeVar("From", bound=Source)


class Session(Generic[From]):
    """The reading half, which both kinds share."""

    __slots__ = ("_connection", "_context", "_cursors", "_operation", "_source", "_spent_s")

    def __init__(self, source: From, operation: str, context: Context | None = None) -> None:
        self._source = source
        self._operation = operation
        self._context = context
        self._connection: sqlite3.Connection | Ended = ENDED
        self._cursors: list[sqlite3.Cursor] = []
        self._spent_s = 0.0

    def one(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        """Return the first row, or None when there is none."""
        start = perf_counter()
        try:
            row: Row | None = self._connection.execute(sql, parameters).fetchone()
        except DRIVER_ERRORS as error:
            raise self._translated(error) from error
        finally:
            self._spent_s += perf_counter() - start
        return row

    def all(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Return every row."""
        start = perf_counter()
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except DRIVER_ERRORS as error:
            raise self._translated(error) from error
        finally:
            self._spent_s += perf_counter() - start

    def stream(self, sql: str, parameters: Sequence[Value] = ()) -> Iterator[Row]:
        """Yield the rows one by one, in bounded memory; valid while the block is open."""
        start = perf_counter()
        try:
            cursor = self._connection.execute(sql, parameters)
            self._cursors.append(cursor)
            rows = cursor.fetchmany(_STREAMED_AT_ONCE)
            while rows:
                self._spent_s += perf_counter() - start
                yield from rows
                start = perf_counter()
                rows = cursor.fetchmany(_STREAMED_AT_ONCE)
        except DRIVER_ERRORS as error:
            raise self._translated(error) from error
        self._spent_s += perf_counter() - start

    def _translated(self, error: BaseException) -> PersistError:
        if isinstance(self._connection, Ended):  # a stream that is read on after its block
            return self._connection.refusal()
        return translate(error, self._operation, self._source.target)

    def report(self) -> None:
        """Write to the slow-query log, where there is reason to."""
        report_slow(self._operation, self._context, self._spent_s, self._source.slow_query_ms)

    def end(self) -> None:
        """Let nothing of this block outlive it: an open cursor would keep the read transaction open."""
        for cursor in self._cursors:
            cursor.close()
        self._connection = ENDED


class View(Session[ReadSource]):
    """A consistent view for reading: every statement in the block sees the same state. See ``blocks.Session``."""

    __slots__ = ("_lent",)

    def __init__(self, source: ReadSource, operation: str, context: Context | None = None) -> None:
        super().__init__(source, operation, context)
        self._lent: sqlite3.Connection | None = None

    def begin(self) -> Self:
        """Take a connection."""
        self._connection = self._lent = self._source.take(self._operation)
        return self

    def finish(self, *, failed: bool) -> None:  # noqa: ARG002 - a view ends alike with and without a failure
        """Give the connection back."""
        self.end()
        if self._lent is not None:
            self._source.give(self._lent)
            self._lent = None
            self.report()

    def abandon(self) -> None:
        """Keep no read transaction open."""
        self.end()
        if self._lent is not None:
            self._source.let_go(self._lent)
            self._lent = None
