"""Stores in event loops: what blocks what, what a cancellation leaves, what opens and closes."""

from __future__ import annotations

import asyncio
import contextvars
import random
import subprocess
import sys
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from aragora_persist.aio.replay_store import AsyncReplayStore
from aragora_persist.aio.user_store import AsyncUserStore
from aragora_persist.errors import ConflictError, MisuseError, NotFoundError
from aragora_persist.storage.replay_store import ReplayStore
from aragora_persist.storage.replays.trace import Trace, new_event, new_trace
from aragora_persist.storage.user_store import UserStore
from tests.waiting import PATIENCE_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aragora_persist.storage.port import Transaction

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


class Gate:
    """Work that stands in its thread until it is let through."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.opened = threading.Event()
        self.ended = threading.Event()

    def __call__(self, _: Transaction | None = None) -> str:
        """Wait."""
        self.begun.set()
        assert self.opened.wait(PATIENCE_S)
        self.ended.set()
        return "through"


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until the condition holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in a thread
            await asyncio.sleep(0.001)


def whole(trace_id: str) -> Trace:
    """Return a replay of several rows, so that half of it could be told from the whole."""
    events = [new_event("message", {"n": number}, NOON, event_id=f"{number}").document for number in range(20)]
    header = new_trace("debate", "task", [], NOON, trace_id=trace_id).header
    return Trace.from_document({**header, "events": events}, accept_bad_checksum=True)


@pytest.mark.parametrize(
    ("module", "is_loaded"),
    [
        ("aragora_persist", False),
        ("aragora_persist.storage.user_store", False),
        ("aragora_persist.aio.user_store", True),
    ],
)
def test_asyncio_is_loaded_only_by_who_uses_it(module: str, *, is_loaded: bool) -> None:
    """The blocking stores do not pay for the others."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, {module}; print('asyncio' in sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )

    assert done.stdout.strip() == str(is_loaded)


def test_a_store_opens_and_closes_with_its_block(tmp_path: Path) -> None:
    """Before and after it, every call is refused; the next block opens it again."""

    async def main() -> None:
        store = AsyncUserStore(tmp_path / "users.db")
        for _ in range(2):
            with pytest.raises(MisuseError, match="AsyncUserStore: is not open"):
                await store.get("x")
            async with store as users:
                assert await users.open() is users
                assert await users.get("x") is None
            await store.close()
        with pytest.raises(MisuseError, match="is not open"):
            await store.database.run(print)

    asyncio.run(main())
    assert {path.name for path in tmp_path.iterdir()} == {"users.db"}


def test_errors_are_those_of_the_store(tmp_path: Path) -> None:
    """They come through as they are, and the loop goes on."""

    async def main() -> None:
        async with AsyncUserStore(tmp_path / "users.db") as users:
            await users.create("user@example.com")
            with pytest.raises(ConflictError, match="taken") as refused:
                await users.create("User@example.com")
            assert refused.value.target == "email"
            with pytest.raises(NotFoundError):
                await users.update("nobody", name="x")

    asyncio.run(main())


def test_stores_of_one_database_change_together(tmp_path: Path) -> None:
    """What fails in a transaction leaves nothing in either; the second store does not close what the first opened."""

    async def main() -> None:
        async with AsyncUserStore(tmp_path / "users.db") as users:

            def both(tx: Transaction, *, fails: bool) -> str:
                user = users.blocking.create("one@example.com", tx=tx)
                again.blocking.update(user.id, name="changed", tx=tx)
                assert not fails or 1 / 0
                return user.id

            async with AsyncUserStore(users.database) as again:
                with pytest.raises(ZeroDivisionError):
                    await users.database.run(lambda tx: both(tx, fails=True))
                assert await users.get_by_email("one@example.com") is None
                user_id = await users.database.run(lambda tx: both(tx, fails=False))
            user = await users.get(user_id)
            assert user is not None
            assert user.name == "changed"

    asyncio.run(main())


def test_a_transaction_is_no_coroutine(tmp_path: Path) -> None:
    """A function that would wait for the loop with the writer in its hands is refused before it begins."""

    async def work(_: Transaction) -> None:
        raise AssertionError

    async def main() -> None:
        async with AsyncUserStore(tmp_path / "users.db") as users:
            with pytest.raises(MisuseError, match="is a coroutine function"):
                await users.database.run(work)  # type: ignore[unused-coroutine] # there is none: it is refused

    asyncio.run(main())


def test_neither_the_loop_nor_a_reader_waits_for_writers(tmp_path: Path) -> None:
    """With more writers than threads, all standing, the loop turns and reads are answered."""

    async def main() -> None:
        async with AsyncUserStore(tmp_path / "users.db", threads=2) as users:
            user = await users.create("user@example.com")
            gate = Gate()
            writers = [asyncio.create_task(users.database.run(gate)) for _ in range(5)]
            await until(gate.begun.is_set)
            assert await users.get(user.id) == user
            assert not any(writer.done() for writer in writers)
            gate.opened.set()
            assert await asyncio.gather(*writers) == ["through"] * 5

    asyncio.run(main())


def test_a_cancelled_call_that_waits_never_runs(tmp_path: Path) -> None:
    """It is out of the queue when the cancellation comes back, and the others go on."""

    async def main() -> None:
        async with AsyncUserStore(tmp_path / "users.db", threads=1) as users:
            gate = Gate()
            first = asyncio.create_task(users.database.run(gate))
            await until(gate.begun.is_set)
            second, third = (asyncio.create_task(users.create(f"{name}@example.com")) for name in ("second", "third"))
            await asyncio.sleep(0)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            gate.opened.set()
            await asyncio.gather(first, third)
            assert await users.get_by_email("third@example.com") is not None
            assert await users.get_by_email("second@example.com") is None

    asyncio.run(main())


@pytest.mark.parametrize("cancellations", [1, 3])
def test_a_cancelled_call_that_runs_comes_to_its_end_first(tmp_path: Path, cancellations: int) -> None:
    """However often it is cancelled, the cancellation is passed on when the write has taken place, and not before."""

    async def main() -> None:
        async with AsyncUserStore(tmp_path / "users.db") as users:
            gate = Gate()

            def work(tx: Transaction) -> None:
                users.blocking.create("user@example.com", tx=tx)
                gate()

            task = asyncio.create_task(users.database.run(work))
            await until(gate.begun.is_set)
            for _ in range(cancellations):
                task.cancel()
                await asyncio.sleep(0.001)
                assert not task.done()
            gate.opened.set()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert gate.ended.is_set()
            assert await users.get_by_email("user@example.com") is not None

    asyncio.run(main())


def test_a_time_limit_is_one_after_the_end(tmp_path: Path) -> None:
    """A timeout is told as such, and what failed meanwhile is not reported as lost."""

    async def main() -> None:
        async with AsyncUserStore(tmp_path / "users.db") as users:
            gate = Gate()

            def work(_: Transaction) -> None:
                gate()
                raise ZeroDivisionError

            asyncio.get_running_loop().call_later(0.05, gate.opened.set)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await users.database.run(work)
            assert gate.ended.is_set()

    asyncio.run(main())


def test_a_write_that_is_cancelled_at_any_instant_is_whole_or_absent(tmp_path: Path) -> None:
    """What the database holds when a cancellation comes back is all of the replay or nothing, and stays so."""
    chance = random.Random(7)  # noqa: S311 - the same instants in every run

    async def one(store: AsyncReplayStore, place: int, seen: dict[str, bool]) -> None:
        trace_id = f"t{place}"
        task = asyncio.create_task(store.save(whole(trace_id)))
        for _ in range(chance.randrange(8)):
            await asyncio.sleep(chance.choice((0, 0, 0.0002, 0.001)))
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            seen[trace_id] = await store.get(trace_id) is not None
        else:
            assert await store.get(trace_id) == whole(trace_id)

    async def main() -> dict[str, bool]:
        seen: dict[str, bool] = {}
        async with AsyncReplayStore(tmp_path / "replay.db", threads=2) as store:
            for start in range(0, 160, 8):
                await asyncio.gather(*(one(store, place, seen) for place in range(start, start + 8)))
        return seen

    seen = asyncio.run(main())
    with ReplayStore(tmp_path / "replay.db") as store:
        assert {trace_id: store.get(trace_id) is not None for trace_id in seen} == seen
        for summary in store.iter_replays():
            store.verify(summary.trace_id)
            assert store.get(summary.trace_id) == whole(summary.trace_id)
    assert set(seen.values()) == {True, False}, "the instants hit only one of the two outcomes"


def test_closing_waits_for_what_was_begun(tmp_path: Path) -> None:
    """The end of the block comes after the last write, and what comes later is refused."""

    async def main() -> None:
        users = await AsyncUserStore(tmp_path / "users.db").open()
        database, gate = users.database, Gate()
        task = asyncio.create_task(database.run(gate))
        await until(gate.begun.is_set)
        closing = asyncio.create_task(users.close())
        await asyncio.sleep(0.01)
        assert not closing.done()
        with pytest.raises(MisuseError):
            await users.get("x")
        gate.opened.set()
        await closing
        assert await task == "through"
        with pytest.raises(MisuseError, match="the database was closed"):
            await database.run(gate)

    asyncio.run(main())


def test_two_loops_share_a_database_until_it_is_closed(tmp_path: Path) -> None:
    """Each call comes back in its own loop, and one that comes too late is refused, at whatever instant that is."""
    users = asyncio.run(AsyncUserStore(tmp_path / "users.db").open())
    sharing, counts, refused = AsyncUserStore(users.database), {"a": 0, "b": 0}, list[MisuseError]()

    async def use(name: str) -> None:
        while True:
            await sharing.create(f"{name}{counts[name]}@example.com")
            counts[name] += 1

    def loop(name: str) -> None:
        try:
            asyncio.run(use(name))
        except MisuseError as error:
            refused.append(error)

    threads = [threading.Thread(target=loop, args=(name,)) for name in counts]
    for thread in threads:
        thread.start()
    wait_until(lambda: min(counts.values()) > 3, "writes of both loops")
    asyncio.run(users.close())
    for thread in threads:
        thread.join(PATIENCE_S)

    assert [error.problem for error in refused] == ["the database was closed"] * 2
    with UserStore(tmp_path / "users.db") as stored:
        assert sum(1 for _ in stored.iter_users()) == sum(counts.values())


def test_an_opening_that_is_cancelled_leaves_nothing_open(tmp_path: Path) -> None:
    """The file can be taken away at once; no thread works on it any more."""

    async def main() -> None:
        users = AsyncUserStore(tmp_path / "users.db")
        task = asyncio.create_task(users.open())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(MisuseError, match="is not open"):
            await users.get("x")

    asyncio.run(main())
    for path in tmp_path.iterdir():
        path.unlink()
    with UserStore(tmp_path / "users.db") as users:
        assert users.get("x") is None


def test_tasks_that_open_it_at_once_share_one_database(tmp_path: Path) -> None:
    """None of them opens another one, which nobody would close; one that is cancelled closes nobody else's."""
    opened: list[UserStore] = []

    class Counted(UserStore):
        def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as the store's own
            super().__init__(*args, **kwargs)
            opened.append(self)

    class AsyncCounted(AsyncUserStore):
        _kind = Counted

    async def main() -> None:
        users = AsyncCounted(tmp_path / "users.db")
        first, *others = [asyncio.create_task(users.open()) for _ in range(5)]
        await asyncio.sleep(0)
        others[-1].cancel()
        await asyncio.gather(first, *others[:-1])
        await asyncio.wait(others)
        assert await users.get("x") is None
        await users.close()

    asyncio.run(main())
    assert len(opened) == 1


def test_a_stream_holds_nothing_while_the_caller_works(tmp_path: Path) -> None:
    """With one thread in each lane, reads and writes go on in its middle, and what is appended comes too."""

    async def main() -> None:
        async with AsyncReplayStore(tmp_path / "replay.db", threads=1) as store:
            await store.begin(new_trace("debate", "task", [], NOON, trace_id="live"))
            events = [new_event("message", {}, NOON, event_id=f"e{number:03d}") for number in range(450)]
            await store.append_events("live", events)
            seen = []
            async for event in store.iter_events("live"):
                seen.append(event.event_id)
                if len(seen) == 3:
                    assert await store.append_events("live", [new_event("message", {}, NOON, event_id="last")]) == 1
            assert seen == [*(event.event_id for event in events), "last"]
            stream = store.iter_events("live", agent="nobody")
            assert [event async for event in stream] == []
            with pytest.raises(NotFoundError):
                await anext(store.iter_events("nothing"))

    asyncio.run(main())


def test_what_a_task_knows_its_call_knows(tmp_path: Path) -> None:
    """Context variables, such as a request's id in the logs, are those of the caller."""
    request = contextvars.ContextVar("request", default="")

    async def main() -> str:
        async with AsyncUserStore(tmp_path / "users.db") as users:
            request.set("r1")
            return await users.database.run(lambda _: request.get())

    assert asyncio.run(main()) == "r1"


def test_threads_are_bounded_and_end(tmp_path: Path) -> None:
    """Many calls at once take no more threads than were asked for, and none is left."""

    async def main() -> int:
        async with AsyncUserStore(tmp_path / "users.db", threads=3) as users:
            user = await users.create("user@example.com")
            await asyncio.gather(*(users.record_activity(user.id) for _ in range(50)))
            return sum(thread.name.startswith("aragora-write") for thread in threading.enumerate())

    assert 1 <= asyncio.run(main()) <= 3
    wait_until(lambda: not any(thread.name.startswith("aragora-") for thread in threading.enumerate()), "their end")
