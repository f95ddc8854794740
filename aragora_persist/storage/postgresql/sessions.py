"""What a block of reads or writes can do: the two sides of the port, over one connection of ``psycopg``.

A session takes its connection when the block begins and gives it back when it ends; from then on it refuses to work.
Leaves out: where connections come from and how their transactions begin and end (``backend``).
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Self

from aragora_persist.errors import MisuseError
from aragora_persist.storage.postgresql.faults import DRIVER_ERRORS, translate
from aragora_persist.storage.postgresql.statements import numbered
from aragora_persist.storage.slow import report_slow
from aragora_persist.storage.sqlite.turns import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from psycopg import Cursor

    from aragora_persist.settings import Durability
    from aragora_persist.storage.port import Backend, Context, Result, Row, Transaction, Value
    from aragora_persist.storage.postgresql.backend import PostgresqlDatabase
    from aragora_persist.storage.postgresql.connecting import Connection

_STREAMED_AT_ONCE = 256


class Session:
    """The reading half, which both kinds share."""

    __slots__ = ("_connection", "_context", "_database", "_inherited", "_operation", "_spent_s", "_streams")

    def __init__(self, database: PostgresqlDatabase, operation: str, context: Context | None = None) -> None:
        self._database = database
        self._operation = operation
        self._context = context
        self._connection: Connection | None = None
        self._inherited = False
        self._streams = 0
        self._spent_s = 0.0

    def one(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        """Return the first row, or None when there is none."""
        return self._run(numbered(sql), parameters).fetchone()

    def all(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Return every row."""
        return self._run(numbered(sql), parameters).fetchall()

    def stream(self, sql: str, parameters: Sequence[Value] = ()) -> Iterator[Row]:
        """Yield the rows one by one, in bounded memory; valid while the block is open."""
        name = b"stream%d" % self._streams
        self._streams += 1
        self._run(b"DECLARE %b NO SCROLL CURSOR FOR %b" % (name, numbered(sql)), parameters)
        fetch = b"FETCH FORWARD %d FROM %b" % (_STREAMED_AT_ONCE, name)
        while rows := self._run(fetch).fetchall():
            yield from rows

    def disown(self) -> None:
        """Refuse everything from now on, as a forked child of the process that began this block."""
        self._connection = None
        self._inherited = True

    def _run(self, sql: bytes, parameters: Sequence[Value] = ()) -> Cursor[Row]:
        connection = self._live()
        start = perf_counter()
        try:
            return connection.execute(sql, parameters)
        except DRIVER_ERRORS as error:
            raise translate(error, self._operation, self._database.target) from None
        finally:
            self._spent_s += perf_counter() - start

    def _live(self) -> Connection:
        if self._connection is not None:
            return self._connection
        if self._inherited:
            problem, hint = "belongs to the parent of this forked process", "begin a transaction of the child's own"
        else:
            problem, hint = "has ended", "keep the work inside the `with` block"
        raise MisuseError("use transaction", "this block", problem, hint=hint)

    def _report(self) -> None:
        report_slow(self._operation, self._context, self._spent_s, self._database.slow_query_ms)


class View(Session):
    """A consistent view for reading: every statement in the block sees the same state. See ``blocks.Session``."""

    __slots__ = ()

    def begin(self) -> Self:
        """Take a connection."""
        self._connection = self._database.begin_read(self._operation, self)
        return self

    def finish(self, *, failed: bool) -> None:  # noqa: ARG002 - a view ends alike with and without a failure
        """Give the connection back."""
        self.abandon()
        self._report()

    def abandon(self) -> None:
        """Keep no read transaction open."""
        if self._connection is not None:
            self._database.end(self._connection)
            self._connection = None


class WriteTransaction(Session):
    """A write transaction: commits when the block ends, rolls back on every exception. See ``blocks.Session``."""

    __slots__ = ("_durability", "_place")

    def __init__(
        self,
        database: PostgresqlDatabase,
        operation: str,
        durability: Durability | None,
        context: Context | None = None,
    ) -> None:
        super().__init__(database, operation, context)
        self._durability = durability
        self._place: Place[None] = Place()

    def begin(self) -> Self:
        """Wait for the turn, and begin."""
        self._place = Place()
        self._connection = self._database.begin_write(self._operation, self, self._durability, self._place)
        return self

    def finish(self, *, failed: bool) -> None:
        """Commit, unless the block failed; then let the next writer begin."""
        if not failed:
            start = perf_counter()
            self._database.commit(self._live(), self._operation)  # in a forked child, refused: it has done nothing
            self._spent_s += perf_counter() - start
        self.abandon()
        self._report()

    def abandon(self) -> None:
        """Roll back what is not committed, and give the turn back."""
        try:
            if self._connection is not None:
                self._database.end(self._connection)
                self._connection = None
        finally:
            self._database.let_next(self._place)

    def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Run one statement and return how many rows it changed."""
        return max(self._run(numbered(sql), parameters).rowcount, 0)

    def execute_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> int:
        """Run one statement for each row of parameters and return how many rows it changed in all."""
        cursor = self._live().cursor()
        start = perf_counter()
        try:
            cursor.executemany(numbered(sql), rows)
        except DRIVER_ERRORS as error:
            raise translate(error, self._operation, self._database.target) from None
        finally:
            self._spent_s += perf_counter() - start
        return max(cursor.rowcount, 0)

    def nested(self, work: Callable[[Transaction], Result]) -> Result:
        """Run ``work`` in a savepoint. See ``port.Transaction``."""
        self._run(b"SAVEPOINT nested")
        try:
            result = work(self)
        except BaseException:
            self._run(b"ROLLBACK TO nested")
            self._run(b"RELEASE nested")
            raise
        self._run(b"RELEASE nested")
        return result

    def belongs_to(self, database: Backend) -> bool:
        """Whether this is a transaction of that database."""
        return database is self._database
