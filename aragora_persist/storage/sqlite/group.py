"""Several callers' work in one transaction: one commit, one wait for the disk, for all who write at the same time.

Whoever has the writer's turn does the work of those who wait behind it too, each in a savepoint of its own, commits,
and tells each its outcome; then the next in the line has the turn. Neighbours that do the same to items of their own
have it done at once. No thread of its own: nothing to start, to stop, or to lose in a fork. The main thread works for
itself alone: there a handler of a signal raises whatever it likes, which in another's work could not be told from a
failure of that. Leaves out: the line itself (``turns``).
"""

from __future__ import annotations

import sqlite3
import threading
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any

from aragora_persist.errors import PersistError
from aragora_persist.settings import Durability
from aragora_persist.storage.sqlite.sessions import Ended
from aragora_persist.storage.sqlite.transactions import Writing
from aragora_persist.storage.sqlite.turns import Place, State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aragora_persist.storage.port import Context
    from aragora_persist.storage.sqlite.writer import Writer

_LARGEST = 128
"""For how many others one caller works at most before it has its own result."""
NOTHING = object()
"""The item of a caller whose work is not done to one."""


def write(writer: Writer, member: Member) -> Any:  # noqa: ANN401 - whatever its work returns
    """Do a caller's work in a write transaction, alone or with others'. See ``port.Backend.write``."""
    place = Place(member)
    try:
        try:
            writer.line_up(member.operation, place)
            if place.state is State.HAD:
                _lead(writer, member)
        finally:
            if place.state is State.HAD:
                try:
                    _end_turn(writer, member)
                except BaseException:  # interrupted: once more
                    _end_turn(writer, member)
                    raise
        member.report()
        return member.outcome()
    except BaseException as error:
        if member.committed or (place.state is State.DONE and member.error is None):
            error.add_note(f"{member.operation} was written before this")
        member.error = None  # or error, traceback and this frame would keep each other alive
        raise


class Member(Writing):
    """One caller's work and what became of it; with an item, the work takes those of several callers."""

    __slots__ = ("_result", "_work", "deadline", "error", "item", "joined", "level", "operation")

    def __init__(
        self,
        writer: Writer,
        operation: str,
        work: Callable[..., Any],
        durability: Durability | None,
        context: Context | None,
        item: object = NOTHING,
    ) -> None:
        super().__init__(writer, operation, context)
        self.operation = operation
        self.item = item
        self.level = durability or writer.durability
        self.deadline = monotonic() + writer.timeout_s
        self.error: BaseException | None = None
        self.joined: Sequence[Member] = ()  # whose work is done with its own
        self._work = work
        self._result: object = None

    def run(self, connection: sqlite3.Connection) -> None:
        """Do the work, in the transaction that is open."""
        self._connection = connection
        self._source.present = self
        try:
            self._do()
            if isinstance(self._connection, Ended):  # rolled back by a failure, or inherited by a forked child
                raise self._connection.refusal()
        finally:
            self._source.present = None
            self.end()

    def run_nested(self, connection: sqlite3.Connection) -> bool:
        """Do the work in a savepoint and keep its outcome; False when its failure took the whole transaction along."""
        self.error = None
        try:
            connection.execute("SAVEPOINT member")
            self.run(connection)
            connection.execute("RELEASE member")
        except BaseException as error:
            if not self._source.owns(connection):  # in a forked child, which leaves its parent's transaction by this
                raise
            if self.joined:
                self._source.rollback()
                return False
            self.error = self._translated(error) if isinstance(error, sqlite3.Error) else error
            return _taken_back(connection)
        return True

    def share_commit(self, took_s: float) -> None:
        """Count the time of the common commit."""
        self._spent_s += took_s

    def share_failure(self, failure: PersistError) -> None:
        """Keep the error of the common commit for the caller, unless the work had failed before."""
        if self.error is None:
            self.error = type(failure)(self.operation, failure.target, failure.problem, hint=failure.hint)
            self.error.__cause__ = failure.__cause__

    def outcome(self) -> Any:  # noqa: ANN401 - whatever the work returned
        """Return what the work returned, or raise what it raised."""
        if self.error is not None:
            raise self.error
        return self._result

    def joins(self, other: Member) -> bool:
        """Whether its work is that of another, for an item of its own."""
        return self.item is not NOTHING and self._work == other._work and self.operation == other.operation

    def take(self, result: object, spent_s: float) -> None:
        """Keep what came of its item in the hands of another."""
        self.error = None
        self._result = result
        self._spent_s = spent_s

    def _do(self) -> None:
        if self.item is NOTHING:
            self._result = self._work(self)
            return
        together = [self, *self.joined]
        results = self._work(self, [member.item for member in together])
        for member, result in zip(together, results, strict=True):
            member.take(result, self._spent_s)


def _lead(writer: Writer, own: Member) -> None:
    """Do own work, and that of those who wait, in one transaction.

    A failure of one of the others can take it all back, and one of joined work does; then the rest runs again, without
    that one, and each by itself.
    """
    own.error, own.joined = None, ()  # of a run for another leader, which was taken back
    alone = threading.current_thread() is threading.main_thread()
    join = True
    others: list[Member] | None = None
    while others is None:
        level = own.level
        weak = level is Durability.COMMITTED and not alone
        if weak and any(job.level is Durability.DURABLE for job in writer.turns.jobs()):
            level = Durability.DURABLE
        connection = writer.begin(own.operation, level, own.deadline)
        if alone:
            own.run(connection)
            others = []
        else:
            others = _run_all(writer, connection, own, level, join=join)
        join = False
    start = perf_counter()
    try:
        writer.commit(own.operation, own)
    except PersistError as failure:
        for member in others:
            member.share_failure(failure)
        writer.give()
        raise
    took_s = perf_counter() - start
    for member in (own, *others):
        member.share_commit(took_s)


def _run_all(
    writer: Writer, connection: sqlite3.Connection, own: Member, level: Durability, *, join: bool
) -> list[Member] | None:
    """Do own work and that of those who wait, and return them; None when a failure has taken back everything."""
    others: list[Member] = []
    _take_up(writer, level, others, own, join=join)
    try:
        own.run(connection)  # no savepoint: before it there is nothing that its failure could take back
    except Exception:
        if not own.joined or not writer.owns(connection):
            raise
        writer.rollback()
        writer.turns.put_back()
        return None
    while _next_joins(writer, level, others, None):
        member = others[-1]
        _take_up(writer, level, others, member, join=join)
        if not member.run_nested(connection):
            if not member.joined:
                writer.turns.done_alone(len(others) - 1)
            writer.turns.put_back()
            return None
    return others


def _take_up(writer: Writer, level: Durability, others: list[Member], member: Member, *, join: bool) -> None:
    """Take up the work of those right behind a member that is the same as its own, and of nobody from a run before."""
    first = len(others)
    while join and member.item is not NOTHING and _next_joins(writer, level, others, member):
        pass
    member.joined = others[first:]


def _next_joins(writer: Writer, level: Durability, others: list[Member], like: Member | None) -> bool:
    """Take up the work of the next who waits, if there is one whose work can be done now."""
    count = len(others)
    if not count < len(writer.turns) - 1 or count >= _LARGEST:
        return False

    def fits(job: Member) -> bool:
        return (level is Durability.DURABLE or job.level is level) and (like is None or job.joins(like))

    place = writer.turns.next_job(count, fits)
    if place is None or place.job is None:
        return False
    others.append(place.job)
    return True


def _end_turn(writer: Writer, own: Member) -> None:
    """Hand the turn on. The others' work is done if the transaction was committed; else they wait as before."""
    if not own.committed and writer.turns.mine():
        writer.rollback()
        writer.turns.put_back()
    writer.give()


def _taken_back(connection: sqlite3.Connection) -> bool:
    """Take back what was done since the savepoint; False when that was only to be had with the whole transaction."""
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK TO member")
            connection.execute("RELEASE member")
            return True
    except sqlite3.Error:
        connection.execute("ROLLBACK")
    return False
