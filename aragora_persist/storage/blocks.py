"""What ``with`` holds while a session of a database is open: it ends the session, however the block comes to its end.

In the main thread a handler of a signal can raise between any two calls, so also when ``__exit__`` has been called and
has done nothing yet. What ends the session then is the end of this object, which only the interpreter holds: the
caller's variable is the session itself, and may live on for long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar
from weakref import ref

if TYPE_CHECKING:
    from types import TracebackType


class Session(Protocol):
    """What a block begins and ends."""

    def begin(self) -> Self:
        """Take a connection, and begin a transaction."""
        ...

    def finish(self, *, failed: bool) -> None:
        """End the transaction, and give the connection back; what was written stays unless the block has failed."""
        ...

    def abandon(self) -> None:
        """Give back what is still kept, and let nothing stay of what is not committed. May be called at any time."""
        ...


Held = TypeVar("Held", bound=Session)


class Block(Generic[Held]):
    """A block around a session."""

    __slots__ = ("__weakref__", "_cut_off", "_session")

    def __init__(self, session: Held) -> None:
        self._session = session
        self._cut_off: ref[Block[Held]] | None = None

    def __enter__(self) -> Held:
        session = self._session
        # A destructor would run at the end of every block, and swallow an interrupt that comes just then.
        self._cut_off = ref(self, lambda _: session.abandon())
        try:
            return session.begin()
        except BaseException:
            session.abandon()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._session.finish(failed=kind is not None)
        except BaseException:
            self._session.abandon()
            raise
        self._cut_off = None
