"""The port through which stores speak to a database: read, write, transaction, close.

Stores know this module, never ``sqlite3`` or ``psycopg``; they write SQL in the subset that SQLite and PostgreSQL
share, with ``?`` for parameters. Rows are tuples. Leaves out: how a backend makes writes fast or safe; that is the
backend's own matter, within the promises written here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from aragora_persist.settings import Durability

    Context = Mapping[str, str | int | float | None]

Value = str | int | float | bytes | None
Row = tuple[Value, ...]
Result = TypeVar("Result")
Item = TypeVar("Item")


class Reader(Protocol):
    """A consistent view for reading."""

    def one(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        """Return the first row, or None when there is none."""
        ...

    def all(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Return every row."""
        ...

    def stream(self, sql: str, parameters: Sequence[Value] = ()) -> Iterator[Row]:
        """Yield the rows one by one, in bounded memory; valid while the view is open."""
        ...


class Transaction(Reader, Protocol):
    """A write transaction: reads see its own writes, and nothing of it shows outside before it ends."""

    def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Run one statement and return how many rows it changed.

        Raises:
            ConflictError: a constraint (unique, foreign key, check, not null) refuses it.

        """
        ...

    def execute_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> int:
        """Run one statement for each row of parameters and return how many rows it changed in all."""
        ...

    def nested(self, work: Callable[[Transaction], Result]) -> Result:
        """Run ``work`` in a savepoint: an exception takes back what it wrote, and only that, and is raised on."""
        ...

    def belongs_to(self, database: Backend) -> bool:
        """Whether this is a transaction of that database."""
        ...


class Backend(Protocol):
    """One open database."""

    @property
    def name(self) -> str:
        """Its name in the registry of databases (``"users"``)."""
        ...

    @property
    def target(self) -> str:
        """What errors call it: a path, or an address without its password."""
        ...

    def read(self, operation: str, context: Context | None = None) -> AbstractContextManager[Reader]:
        """Open a view for reading; ``operation`` names it in errors and in the slow-query log (``"user.get"``).

        ``context`` is what of the call may stand in that log beside the operation: no secret, nothing personal.
        """
        ...

    def read_one(
        self, operation: str, sql: str, parameters: Sequence[Value] = (), context: Context | None = None
    ) -> Row | None:
        """Return the first row of one statement, or None: what a view with ``one`` does, at half its cost."""
        ...

    def write(
        self,
        operation: str,
        work: Callable[[Transaction], Result],
        *,
        durability: Durability | None = None,
        context: Context | None = None,
    ) -> Result:
        """Run ``work`` in a write transaction and return its result, once the write has reached ``durability``.

        This is how stores write, and how a backend may commit the work of several callers at once; each is still alone
        in its own: an exception of ``work`` takes back what it wrote, fails only its caller, and is raised there.
        ``work`` may run in another thread than the caller's, and again when a run was taken back without being its
        fault; so it keeps nothing from one run to the next, does nothing but speak to its transaction, and never waits.
        ``durability`` None is the configured default.

        When this returns or raises, it is decided whether the write took place; an interrupt (Ctrl-C) that came too
        late to prevent it carries a note that says so.

        Raises:
            BusyError: the turn or the write lock was not had within the timeout; nothing was written.

        """
        ...

    def write_together(
        self,
        operation: str,
        item: Item,
        work: Callable[[Transaction, Sequence[Item]], Sequence[Result]],
        *,
        durability: Durability | None = None,
        context: Context | None = None,
    ) -> Result:
        """Do ``work`` to ``item``, as ``write`` would, and return its result.

        For what is less work for many items at once: ``work`` takes some, and returns a result for each. A backend may
        hand it those of several callers whose ``operation`` and ``work`` are equal, in the order in which they came.
        When it raises then, what it wrote is taken back and every item is tried by itself: so an exception fails only
        the caller whose item it is about.
        """
        ...

    def transaction(
        self, operation: str = "transaction", *, durability: Durability | None = None
    ) -> AbstractContextManager[Transaction]:
        """Open a write transaction for a block of the caller's own code, over several stores for instance.

        It commits when the block ends and rolls back on any exception. When the block has ended without an error, the
        write has reached ``durability``. An interrupt during the commit carries a note that says so; one that comes
        just behind the block does not.

        Raises:
            BusyError: the write lock was not had within the timeout; nothing was written.

        """
        ...

    def close(self) -> None:
        """Give the database back; the last one of a process closes it cleanly."""
        ...
