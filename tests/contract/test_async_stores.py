"""The asynchronous stores over every backend: they do what their stores do, and a cancellation leaves nothing half."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from aragora_persist.aio.replay_store import AsyncReplayStore
from aragora_persist.aio.user_store import AsyncUserStore
from aragora_persist.errors import ConflictError, MisuseError
from aragora_persist.storage.replays.trace import Trace, new_event, new_trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from aragora_persist.storage.port import Backend, Transaction

pytest_plugins = ("tests.contract.backends",)

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def replay(place: int) -> Trace:
    """Return a whole replay of several rows."""
    events = [new_event("message", {"n": number}, NOON, event_id=f"{number}").document for number in range(10)]
    header = new_trace("debate", "task", [], NOON, trace_id=f"t{place}").header
    return Trace.from_document({**header, "events": events}, accept_bad_checksum=True)


def test_many_tasks_write_at_once(open_database: Callable[[str], Backend]) -> None:
    """Each gets its own answer: one of two with the same email succeeds, and all others do."""
    backend = open_database("users")

    async def main() -> None:
        async with AsyncUserStore(backend) as users:
            emails = [f"user{number}@example.com" for number in range(20)]
            made = await asyncio.gather(*map(users.create, emails * 2), return_exceptions=True)
            assert sum(isinstance(one, ConflictError) for one in made) == 20
            found = await asyncio.gather(*map(users.get_by_email, emails))
            assert all(one in made for one in found)

    asyncio.run(main())
    with backend.read("test") as view:  # what was open before stays open
        assert view.one("SELECT COUNT(*) FROM users") == (20,)


def test_a_transaction_is_whole(open_database: Callable[[str], Backend]) -> None:
    """What a failing function wrote is gone, what another one wrote is there together."""
    backend = open_database("users")

    async def main() -> None:
        async with AsyncUserStore(backend) as users:

            def work(tx: Transaction) -> list[str]:
                return [users.blocking.create(f"{name}@example.com", tx=tx).id for name in names]

            names = ["ada", "bob", "ada"]
            with pytest.raises(ConflictError):
                await users.database.run(work)
            assert await users.get_by_email("bob@example.com") is None
            names = ["ada", "bob"]
            made = await users.database.run(work)
            assert [one.id for one in [await users.get(made[0]), await users.get(made[1])] if one] == made

    asyncio.run(main())


def test_a_recording_in_a_loop(open_database: Callable[[str], Backend]) -> None:
    """A replay is recorded, streamed and finished as its store does it."""
    backend = open_database("replay")

    async def main() -> None:
        async with AsyncReplayStore(backend) as store:
            await store.begin(new_trace("debate", "task", [], NOON, trace_id="live"))
            events = [new_event("message", {"n": number}, NOON, event_id=f"{number}") for number in range(250)]
            assert await store.append_events("live", events, position=0) == 250
            assert [event async for event in store.iter_events("live")] == events
            summary = await store.finish("live", NOON, {})
            assert (summary, summary.event_count) == (await store.get_summary("live"), 250)
            await store.verify("live")
            assert [one async for one in store.iter_replays()] == [summary]

    asyncio.run(main())


def test_a_cancelled_write_is_whole_or_absent(open_database: Callable[[str], Backend]) -> None:
    """Whatever the database holds when the cancellation comes back, it holds later too."""
    backend = open_database("replay")

    async def one(store: AsyncReplayStore, place: int) -> tuple[Trace, Trace | None]:
        task = asyncio.create_task(store.save(replay(place)))
        for _ in range(place % 6):
            await asyncio.sleep(0.0003)
        task.cancel()
        await asyncio.wait([task])
        return replay(place), await store.get(f"t{place}")

    async def main() -> None:
        async with AsyncReplayStore(backend, threads=2) as store:
            outcomes = await asyncio.gather(*(one(store, place) for place in range(40)))
            for whole, then in outcomes:
                assert then in (None, whole)
                assert await store.get(whole.trace_id) == then

    asyncio.run(main())


def test_a_store_of_another_database_is_refused(open_database: Callable[[str], Backend]) -> None:
    """As its store does it."""
    with pytest.raises(MisuseError, match="is the database 'users', not 'replay'"):
        asyncio.run(AsyncReplayStore(open_database("users")).open())
