"""The port through which stores speak to a database: read, transaction, close.

Stores know this module, never ``sqlite3``; they write SQL in the subset that SQLite and PostgreSQL share, with ``?``
for parameters. Rows are tuples. Leaves out: how a backend makes writes fast or safe; that is the backend's own matter,
within the promises written here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from aragora_persist.settings import Durability

Value = str | int | float | bytes | None
Row = tuple[Value, ...]


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


class Backend(Protocol):
    """One open database."""

    def read(self, operation: str) -> AbstractContextManager[Reader]:
        """Open a view for reading; ``operation`` names it in errors and in the slow-query log (``"user.get"``)."""
        ...

    def transaction(
        self, operation: str = "transaction", *, durability: Durability | None = None
    ) -> AbstractContextManager[Transaction]:
        """Open a write transaction. It commits when the block ends and rolls back on any exception.

        When the block has ended without an error, the write has reached ``durability`` (None: the configured default).

        Raises:
            BusyError: the write lock was not had within the timeout; nothing was written.

        """
        ...

    def close(self) -> None:
        """Give the database back; the last one of a process closes it cleanly."""
        ...
