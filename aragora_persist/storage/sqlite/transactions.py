"""What can be written: that side of the port, over the connection of the one writer.

A transaction begins and ends where its block or its work does, and nowhere else: statements that would begin or end one
are refused. Leaves out: whose turn it is (``writer``), and several callers in one transaction (``group``).
"""

from __future__ import annotations

import re
from functools import lru_cache
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Self

from aragora_persist.errors import MisuseError
from aragora_persist.storage.sqlite.faults import DRIVER_ERRORS
from aragora_persist.storage.sqlite.sessions import Ended, Session
from aragora_persist.storage.sqlite.turns import Place

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from aragora_persist.errors import PersistError
    from aragora_persist.settings import Durability
    from aragora_persist.storage.port import Backend, Context, Result, Row, Transaction, Value
    from aragora_persist.storage.sqlite.group import Member
    from aragora_persist.storage.sqlite.writer import Writer

_CONTROL = re.compile(
    r"(?:[\s;\ufeff]|--[^\n]*\n|/\*.*?\*/)*(?:BEGIN|COMMIT|END|ROLLBACK|SAVEPOINT|RELEASE)\b", re.IGNORECASE | re.DOTALL
)


class _Inherited(Ended):
    """Stands where the connection was, in a child that was forked inside the block.

    What the child wrote through the parent's connection would fall into the parent's write-ahead log, over what the
    parent has committed since.
    """

    problem = "belongs to the parent of this forked process"
    hint = "fork outside of transactions"


class _Lost(Ended):
    """Stands where the connection was, when a failure has made SQLite roll the whole transaction back.

    What came after it would be written at once, outside of any transaction.
    """

    problem = "was rolled back by a failure before"
    hint = "let the first error end the block"


_INHERITED = _Inherited()
_LOST = _Lost()


class Writing(Session["Writer"]):
    """The writing half, which every transaction has."""

    __slots__ = ("committed",)

    def __init__(self, writer: Writer, operation: str, context: Context | None = None) -> None:
        super().__init__(writer, operation, context)
        self.committed = False

    def one(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        """Return the first row, or None when there is none."""
        _refuse_control(sql)
        return super().one(sql, parameters)

    def all(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Return every row."""
        _refuse_control(sql)
        return super().all(sql, parameters)

    def stream(self, sql: str, parameters: Sequence[Value] = ()) -> Iterator[Row]:
        """Yield the rows one by one, in bounded memory; valid while the transaction is open."""
        _refuse_control(sql)
        return super().stream(sql, parameters)

    def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Run one statement and return how many rows it changed."""
        _refuse_control(sql)
        start = perf_counter()
        try:
            cursor = self._connection.execute(sql, parameters)
            if cursor.description is not None:
                cursor.fetchall()  # the count of a RETURNING statement is known, and its work done, after its last row
        except DRIVER_ERRORS as error:
            raise self._translated(error) from error
        finally:
            self._spent_s += perf_counter() - start
        return max(cursor.rowcount, 0)

    def execute_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> int:
        """Run one statement for each row of parameters and return how many rows it changed in all."""
        _refuse_control(sql)
        start = perf_counter()
        try:
            cursor = self._connection.executemany(sql, rows)
        except DRIVER_ERRORS as error:
            raise self._translated(error) from error
        finally:
            self._spent_s += perf_counter() - start
        return max(cursor.rowcount, 0)

    def nested(self, work: Callable[[Transaction], Result]) -> Result:
        """Run ``work`` in a savepoint. See ``port.Transaction``."""
        self._control("SAVEPOINT nested")
        try:
            result = work(self)
        except BaseException:
            if not isinstance(self._connection, Ended):  # it was rolled back as a whole, or is the parent's
                self._control("ROLLBACK TO nested")
                self._control("RELEASE nested")
            raise
        self._control("RELEASE nested")
        return result

    def belongs_to(self, database: Backend) -> bool:
        """Whether this is a transaction of that database."""
        return getattr(database, "writer", None) is self._source

    def disown(self) -> None:
        """Refuse everything from now on, as a forked child of the process that began this transaction."""
        self._connection = _INHERITED

    def _control(self, sql: str) -> None:
        try:
            self._connection.execute(sql)
        except DRIVER_ERRORS as error:
            raise self._translated(error) from error

    def _translated(self, error: BaseException) -> PersistError:
        translated = super()._translated(error)
        if not isinstance(self._connection, Ended) and not self._connection.in_transaction:
            self._connection = _LOST
        return translated


class WriteTransaction(Writing):
    """A write transaction over a block: commits when it ends, rolls back on every exception. See ``blocks.Session``."""

    __slots__ = ("_durability", "_place")

    def __init__(self, writer: Writer, operation: str, durability: Durability | None) -> None:
        super().__init__(writer, operation)
        self._durability = durability or writer.durability
        self._place: Place[Member] = Place()

    def begin(self) -> Self:
        """Wait for the turn, and begin."""
        writer = self._source
        deadline = monotonic() + writer.timeout_s
        self._place = Place()
        self.committed = False
        writer.line_up(self._operation, self._place)
        self._connection = writer.begin(self._operation, self._durability, deadline)
        writer.present = self
        return self

    def finish(self, *, failed: bool) -> None:
        """Commit, unless the block failed; then let the next writer begin."""
        connection = self._connection
        try:
            self.end()
            if not failed:
                self._commit(connection)
            self.abandon()
            self.report()
        except BaseException as error:
            if self.committed:
                error.add_note(f"{self._operation} was written before this")
            raise

    def abandon(self) -> None:
        """Roll back what is not committed, and give the turn back."""
        self.end()
        if self._source.turns.has(self._place):
            self._source.give()

    def _commit(self, connection: sqlite3.Connection | Ended) -> None:
        if isinstance(connection, Ended):
            raise connection.refusal()  # nothing of the block stays, and it must not seem so
        start = perf_counter()
        try:
            self._source.commit(self._operation, self)
        finally:
            self._spent_s += perf_counter() - start


@lru_cache(maxsize=1024)
def _refuse_control(sql: str) -> None:
    if _CONTROL.match(sql):
        raise MisuseError(
            "use transaction",
            sql.split(maxsplit=1)[0],
            "begins or ends a transaction",
            hint="let the block's end do it; for a part that may fail, nested()",
        )
