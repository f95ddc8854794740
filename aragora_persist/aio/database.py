"""An open database for event loops: what several asynchronous stores share, and their transactions.

Leaves out: a transaction as an ``async with`` block. It would hold the one writer of its database through every
``await`` inside, while the loop does other things for any length of time, and for ever in a task that never comes back.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, TypeVar

from aragora_persist.aio.threads import Threads
from aragora_persist.errors import MisuseError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aragora_persist.settings import Durability
    from aragora_persist.storage.port import Backend, Transaction

Result = TypeVar("Result")
THREADS = 8
"""How many calls that read, and how many that write, run at once at most."""


class AsyncDatabase:
    """One open database and the threads in which its stores work; a store's ``database``."""

    def __init__(self, blocking: Backend, threads: int) -> None:
        self.blocking = blocking
        self.threads = Threads(blocking.target, threads)

    async def run(
        self,
        work: Callable[[Transaction], Result],
        *,
        operation: str = "transaction",
        durability: Durability | None = None,
    ) -> Result:
        """Run ``work`` in one write transaction, over any stores of this database, and return its result.

        ``work`` is a plain function, called in a thread: it passes its transaction on as ``tx=`` to methods of the
        stores' ``blocking``, and all that they write comes true together when it returns, or nothing if it raises. It
        holds the one writer, so it does nothing that takes long, and never waits for the event loop. If the task is
        cancelled, either the whole of it takes place or nothing.

        Raises:
            MisuseError: ``work`` is a coroutine function.
            BusyError: the writer or the write lock was not had within the timeout; nothing was written.

        """
        if inspect.iscoroutinefunction(work):
            hint = "give a plain function, which uses the stores' `blocking`"
            raise MisuseError(operation, self.blocking.target, "work is a coroutine function", hint=hint)

        def transaction() -> Result:
            with self.blocking.transaction(operation, durability=durability) as tx:
                return work(tx)

        return await self.threads.write(transaction)
