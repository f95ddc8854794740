"""What every asynchronous store is: a store, called in threads, opened and closed with its block.

Leaves out: the methods, which are generated from each store's own.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING, Generic, ParamSpec, Self, TypeVar

from aragora_persist.aio.database import THREADS, AsyncDatabase
from aragora_persist.aio.threads import in_thread
from aragora_persist.errors import MisuseError
from aragora_persist.storage.store import Store
from aragora_persist.times import utc_now

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
    from datetime import datetime
    from typing import Any

    from aragora_persist.aio.threads import Threads
    from aragora_persist.settings import Settings
    from aragora_persist.storage.port import Backend

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Item = TypeVar("Item")
BlockingStore = TypeVar("BlockingStore", bound=Store)

_TAKEN_AT_ONCE = 100


class AsyncStore(Generic[BlockingStore]):
    """A store for event loops: ``async with AsyncUserStore() as users: user = await users.get(user_id)``.

    ``db_path`` is what the store itself takes, or the ``database`` of another asynchronous store, which both then
    share, and which is not closed with this one. With a path it is opened by ``async with``, or by ``open`` for one
    that lives as long as the process.

    Methods are those of the store, awaited. None takes ``tx``: a transaction is what ``database.run`` gives to a plain
    function, and in there the store is ``blocking``. Iterables that are passed in are read in a thread.

    A call whose task is cancelled has come to its end, or never begins: see ``threads.settle``.
    """

    _kind: type[BlockingStore]

    def __init__(
        self,
        db_path: str | os.PathLike[str] | Backend | AsyncDatabase | None = None,
        *,
        migrate: bool = False,
        settings: Settings | None = None,
        clock: Callable[[], datetime] = utc_now,
        threads: int = THREADS,
    ) -> None:
        self._threads = threads
        self._opening = Lock()
        self._store: BlockingStore | None = None
        self._database = db_path if isinstance(db_path, AsyncDatabase) else None
        self._own = self._database is None
        place = db_path.blocking if isinstance(db_path, AsyncDatabase) else db_path
        self._make = partial(self._kind, place, migrate=migrate, settings=settings, clock=clock)
        if self._database is not None:
            self._store = self._make()

    @property
    def blocking(self) -> BlockingStore:
        """The store that this one calls, for the work of a transaction.

        Raises:
            MisuseError: it is not open.

        """
        if self._store is None:
            raise self._not_open()
        return self._store

    @property
    def database(self) -> AsyncDatabase:
        """The database, for transactions, and for other stores of it.

        Raises:
            MisuseError: it is not open.

        """
        if self._database is None:
            raise self._not_open()
        return self._database

    async def open(self) -> Self:
        """Open the database, in a thread: a new one is migrated meanwhile. Opening twice does nothing, at once too."""
        if self._store is None:
            opened: list[BlockingStore] = []
            try:
                await in_thread(partial(self._open, opened))
            except BaseException:
                if opened:
                    await self.close()
                raise
        return self

    async def close(self) -> None:
        """Take no more calls, and give the database back when the last one has ended. Closing twice does nothing."""
        if self._own and self._store is not None and self._database is not None:
            threads, store = self._database.threads, self._store
            self._database = self._store = None
            await in_thread(partial(_close, threads, store))

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _open(self, opened: list[BlockingStore]) -> None:
        """Open the database, of several tasks that want it in one, and add to ``opened`` what this one did."""
        with self._opening:
            if self._store is None:
                store = self._make()
                self._database = AsyncDatabase(store.database, self._threads)
                self._store = store
                opened.append(store)

    def _not_open(self) -> MisuseError:
        hint = "use it inside of `async with`, or `await` its open() first"
        return MisuseError("call store", type(self).__name__, "is not open", hint=hint)

    def _read(
        self, function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Coroutine[Any, Any, Result]:
        return self.database.threads.read(function, *args, **kwargs)

    def _write(
        self, function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Coroutine[Any, Any, Result]:
        return self.database.threads.write(function, *args, **kwargs)

    async def _iterate(
        self, function: Callable[Parameters, Iterator[Item]], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> AsyncGenerator[Item, None]:
        """Yield what an iterator of the store gives, some at a time: no thread is held while the caller works."""
        iterator = await self._read(function, *args, **kwargs)
        while taken := await self._read(lambda: list(islice(iterator, _TAKEN_AT_ONCE))):
            for item in taken:
                yield item


def _close(threads: Threads, store: Store) -> None:
    threads.close()
    store.close()
