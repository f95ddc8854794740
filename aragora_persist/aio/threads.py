"""The threads in which blocking calls run, so that an event loop never waits for a database.

Two lanes of bounded size: readers need not wait for writers, and so must not stand in a queue behind them. Leaves out:
what is called.
"""

from __future__ import annotations

import asyncio
import contextvars
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from aragora_persist.errors import MisuseError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor, Future

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Threads:
    """At most ``count`` threads for calls that read, and as many for those that write; begun when they are needed."""

    def __init__(self, target: str, count: int) -> None:
        self._target = target
        self._is_closed = False
        self._readers = ThreadPoolExecutor(count, thread_name_prefix="aragora-read")
        self._writers = ThreadPoolExecutor(count, thread_name_prefix="aragora-write")

    async def read(
        self, function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Result:
        """Call a function among the readers. See ``settle`` for what a cancellation does."""
        return await self._in(self._readers, partial(function, *args, **kwargs))

    async def write(
        self, function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Result:
        """Call a function among the writers. See ``settle`` for what a cancellation does."""
        return await self._in(self._writers, partial(function, *args, **kwargs))

    def close(self) -> None:
        """Take no more calls, and wait until those that were taken have ended. Blocks."""
        self._is_closed = True
        for waits in (False, True):
            for lane in (self._readers, self._writers):
                lane.shutdown(wait=waits)

    async def _in(self, lane: Executor, call: Callable[[], Result]) -> Result:
        try:
            begun = _submit(lane, call)
        except RuntimeError as error:
            if not self._is_closed:
                raise
            problem = "the database was closed"
            raise MisuseError("call store", self._target, problem, hint="open the store again") from error
        return await settle(begun)


async def settle(begun: Future[Result]) -> Result:
    """Wait for a call in a thread; when this has come back, nothing of it is running or will run any more.

    If the task is cancelled meanwhile, a call that waits for its thread is taken out of the queue and never runs; one
    that has begun runs to its end, and only then the cancellation goes on. So a cancelled write has either taken place
    as a whole or not at all, and the database does not change behind the back of who cancelled it.
    """
    ended = asyncio.wrap_future(begun)
    try:
        return await asyncio.shield(ended)
    except asyncio.CancelledError:
        if not begun.cancel():
            await _until(ended)
        raise


async def in_thread(call: Callable[[], Result]) -> Result:
    """Run one call in a thread of its own, as ``settle`` does."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="aragora-open")
    try:
        return await settle(_submit(pool, call))
    finally:
        pool.shutdown(wait=False)


def _submit(pool: Executor, call: Callable[[], Result]) -> Future[Result]:
    """Begin a call in a thread of the pool, with the context variables of the caller."""
    return pool.submit(partial(contextvars.copy_context().run, call))


async def _until(ended: asyncio.Future[Result]) -> None:
    """Wait for the end of a call, however often the waiting is cancelled: once is enough for the one who waits."""
    while not ended.done():
        try:
            await asyncio.wait([ended])
        except asyncio.CancelledError:
            continue
    if not ended.cancelled():
        ended.exception()  # looked at, so that asyncio does not report it as lost
