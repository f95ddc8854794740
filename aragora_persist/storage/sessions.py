"""What a block of reads or writes can do: the two sides of the port, over one connection of ``sqlite3``.

A session takes its connection when the block begins and gives it back when it ends; from then on it refuses to work.
Leaves out: where connections come from and how their transactions begin and end (``readers``, ``writer``).
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, NoReturn, Protocol, Self

from aragora_persist.errors import MisuseError
from aragora_persist.storage.faults import DRIVER_ERRORS, translate
from aragora_persist.storage.slow import report_slow

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType

    from aragora_persist.settings import Durability
    from aragora_persist.storage.port import Backend, Context, Result, Row, Transaction, Value

_STREAMED_AT_ONCE = 256


class ReadSource(Protocol):
    """Where a view takes its connection from."""

    target: str
    slow_query_ms: float

    def take(self, operation: str) -> sqlite3.Connection:
        """Return a connection that nobody else uses, with a read transaction open."""
        ...

    def give(self, connection: sqlite3.Connection) -> None:
        """Take it back, and end its read transaction."""
        ...


class WriteSource(Protocol):
    """Where a transaction takes its connection from; ``present`` is the one that has it."""

    target: str
    slow_query_ms: float
    present: WriteTransaction | None

    def begin(self, operation: str, durability: Durability | None) -> sqlite3.Connection:
        """Return the connection, with a write transaction open."""
        ...

    def commit(self, connection: sqlite3.Connection, operation: str) -> None:
        """Commit, or roll back and raise; either way the connection is given back."""
        ...

    def rollback(self, connection: sqlite3.Connection) -> None:
        """Roll back and give the connection back."""
        ...


class _Ended:
    """Stands where the connection was before the block began and after it has ended."""

    def execute(self, *_: object) -> NoReturn:
        raise MisuseError("use transaction", "this block", "has ended", hint="keep the work inside the `with` block")

    executemany = execute


class _Inherited(_Ended):
    """Stands where the connection was, in a child that was forked inside the block.

    What the child wrote through the parent's connection would fall into the parent's write-ahead log, over what the
    parent has committed since.
    """

    def execute(self, *_: object) -> NoReturn:
        raise MisuseError(
            "use transaction",
            "this block",
            "belongs to the parent of this forked process",
            hint="begin a transaction of the child's own",
        )

    executemany = execute


_ENDED = _Ended()
_INHERITED = _Inherited()


class _Session:
    """The reading half, which both kinds share."""

    __slots__ = ("_connection", "_context", "_cursors", "_operation", "_spent_s", "_target")

    def __init__(self, operation: str, target: str, context: Context | None = None) -> None:
        self._operation = operation
        self._context = context
        self._target = target
        self._connection: sqlite3.Connection | _Ended = _ENDED
        self._cursors: list[sqlite3.Cursor] = []
        self._spent_s = 0.0

    def one(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        """Return the first row, or None when there is none."""
        start = perf_counter()
        try:
            row: Row | None = self._connection.execute(sql, parameters).fetchone()
        except DRIVER_ERRORS as error:
            raise translate(error, self._operation, self._target) from error
        finally:
            self._spent_s += perf_counter() - start
        return row

    def all(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Return every row."""
        start = perf_counter()
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except DRIVER_ERRORS as error:
            raise translate(error, self._operation, self._target) from error
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
            raise translate(error, self._operation, self._target) from error
        self._spent_s += perf_counter() - start

    def _end(self) -> None:
        """Let nothing of this block outlive it: an open cursor would keep the read transaction open."""
        self._connection = _ENDED
        for cursor in self._cursors:
            cursor.close()


class View(_Session):
    """A consistent view for reading: every statement in the block sees the same state."""

    __slots__ = ("_source",)

    def __init__(self, source: ReadSource, operation: str, context: Context | None = None) -> None:
        super().__init__(operation, source.target, context)
        self._source = source

    def __enter__(self) -> Self:
        self._connection = self._source.take(self._operation)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        connection = self._connection
        self._end()
        if not isinstance(connection, _Ended):
            self._source.give(connection)
        report_slow(self._operation, self._context, self._spent_s, self._source.slow_query_ms)


class WriteTransaction(_Session):
    """A write transaction: commits when the block ends, rolls back on every exception."""

    __slots__ = ("_durability", "_source")

    def __init__(
        self,
        source: WriteSource,
        operation: str,
        durability: Durability | None,
        context: Context | None = None,
    ) -> None:
        super().__init__(operation, source.target, context)
        self._source = source
        self._durability = durability

    def __enter__(self) -> Self:
        self._connection = self._source.begin(self._operation, self._durability)
        self._source.present = self
        return self

    def disown(self) -> None:
        """Refuse everything from now on, as a forked child of the process that began this transaction."""
        self._connection = _INHERITED

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        connection = self._connection
        self._end()
        if connection is _INHERITED and kind is None:
            _INHERITED.execute()  # the child's block has done nothing, and must not seem to have
        if isinstance(connection, _Ended):
            return
        self._source.present = None
        if kind is not None:
            self._source.rollback(connection)
        else:
            start = perf_counter()
            self._source.commit(connection, self._operation)
            self._spent_s += perf_counter() - start
        report_slow(self._operation, self._context, self._spent_s, self._source.slow_query_ms)

    def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Run one statement and return how many rows it changed."""
        start = perf_counter()
        try:
            cursor = self._connection.execute(sql, parameters)
            if cursor.description is not None:
                cursor.fetchall()  # the count of a RETURNING statement is known, and its work done, after its last row
        except DRIVER_ERRORS as error:
            raise translate(error, self._operation, self._target) from error
        finally:
            self._spent_s += perf_counter() - start
        return max(cursor.rowcount, 0)

    def execute_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> int:
        """Run one statement for each row of parameters and return how many rows it changed in all."""
        start = perf_counter()
        try:
            cursor = self._connection.executemany(sql, rows)
        except DRIVER_ERRORS as error:
            raise translate(error, self._operation, self._target) from error
        finally:
            self._spent_s += perf_counter() - start
        return max(cursor.rowcount, 0)

    def nested(self, work: Callable[[Transaction], Result]) -> Result:
        """Run ``work`` in a savepoint. See ``port.Transaction``."""
        self.execute("SAVEPOINT nested")
        try:
            result = work(self)
        except BaseException:
            self.execute("ROLLBACK TO nested")
            self.execute("RELEASE nested")
            raise
        self.execute("RELEASE nested")
        return result

    def belongs_to(self, database: Backend) -> bool:
        """Whether this is a transaction of that database."""
        return getattr(database, "writer", None) is self._source
