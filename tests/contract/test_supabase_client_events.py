"""Events against a real Supabase and the one in memory: streamed in order, and followed as they arrive."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from aragora_persist.cloud import subscription as subscription_module
from aragora_persist.cloud.connection import CloudConnection
from aragora_persist.cloud.models import StreamEvent
from aragora_persist.errors import UnreachableError
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aragora_persist.cloud.pages import Query
    from aragora_persist.cloud.subscription import EventSubscription
    from aragora_persist.supabase_client import SupabaseClient
    from tests.supabase_stack import LocalSupabase

# Where a test is held over the real one, this adds pytest.mark.engine to it.
pytest_plugins = ("tests.contract.cloud_fixtures",)

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
OFTEN_S = 0.02


def event(number: int, loop_id: str = "loop", **data: Any) -> StreamEvent:  # noqa: ANN401 - the content of an event is free
    """Return an event that happened so many seconds after noon."""
    return StreamEvent(loop_id, number, "error", data, timestamp=NOON + timedelta(seconds=number))


def numbers(events: Iterator[StreamEvent] | EventSubscription, count: int) -> list[int]:
    """Return the numbers of the next events."""
    return [one.cycle for one in islice(events, count)]


def insert(database: psycopg.Connection, number: int, *, arrived: datetime | None = None) -> None:
    """Store an event past the client, as having arrived then."""
    record = event(number).to_record()
    database.execute(
        "insert into stream_events (id, loop_id, cycle, event_type, event_data, timestamp, inserted_at)"
        " values (%s, 'loop', %s, 'error', '{}', %s, coalesce(%s, now()))",
        (record.key, number, event(number).timestamp, arrived),
    )


def test_events_come_in_the_order_of_their_time(client: SupabaseClient) -> None:
    """Beyond what the server gives at once, many of them at the same moment, each once and as it was saved."""
    saved = [
        StreamEvent("loop", n, "error", {"n": n}, timestamp=NOON + timedelta(seconds=n // 900)) for n in range(2700)
    ]
    client.save_events(reversed(saved))
    client.save_event(event(1, "other"))
    found = list(client.iter_events("loop"))

    assert sorted(found, key=lambda one: one.cycle) == saved
    assert [one.timestamp for one in found] == sorted(one.timestamp for one in found)
    assert list(client.iter_events("nobody")) == []


def test_a_span_of_time_is_streamed(client: SupabaseClient) -> None:
    """From a moment on, and before another one; a naive one means UTC."""
    client.save_events(event(number) for number in range(10))
    since, until = NOON + timedelta(seconds=3), (NOON + timedelta(seconds=6)).replace(tzinfo=None)

    assert numbers(client.iter_events("loop", since=since, until=until), 10) == [3, 4, 5]
    assert numbers(client.iter_events("loop", since=since), 10) == [3, 4, 5, 6, 7, 8, 9]
    assert numbers(client.iter_events("loop", until=until), 10) == [0, 1, 2, 3, 4, 5]


def test_a_stream_holds_one_page(client: SupabaseClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one is asked for when it is needed."""
    client.save_events(event(number) for number in range(2500))
    sizes: list[int] = []
    page = CloudConnection.page

    def counted(self: CloudConnection, query: Query, *, operation: str) -> tuple[list[dict[str, Any]], Query]:
        rows, following = page(self, query, operation=operation)
        sizes.append(len(rows))
        return rows, following

    monkeypatch.setattr(CloudConnection, "page", counted)
    events = client.iter_events("loop")
    assert (numbers(events, 1000), sizes) == (list(range(1000)), [1000])
    assert (next(events).cycle, sizes) == (1000, [1000, 1000])


def test_events_are_followed_from_now_on(client: SupabaseClient) -> None:
    """What was there before does not come; what is saved afterwards does, even before the first step."""
    client.save_events(event(number) for number in range(5))
    with client.subscribe_events("loop", poll_interval_s=OFTEN_S) as following:
        client.save_event(event(5))
        client.save_event(event(5, "other"))
        assert numbers(following, 1) == [5]
        client.save_events([event(3), event(1, again=True), event(0, again=True)])
        assert sorted(numbers(following, 2)) == [0, 1]
        client.save_event(event(6))
        assert numbers(following, 1) == [6]


def test_the_first_event_of_a_loop_is_followed(client: SupabaseClient) -> None:
    """A loop that has none yet is no special case."""
    with client.subscribe_events("loop", poll_interval_s=OFTEN_S) as following:
        client.save_event(event(1))
        client.save_event(event(2))

        assert sorted(numbers(following, 2)) == [1, 2]


def test_what_arrived_since_a_time_comes_first(client: SupabaseClient, supabase: LocalSupabase) -> None:
    """In the order of arrival, beyond one page, and then what arrives."""
    now = datetime.now(UTC)
    with psycopg.connect(supabase.admin_db_url) as database:
        for number in range(2400):
            insert(database, number, arrived=now - timedelta(minutes=60) + timedelta(seconds=number))
    with client.subscribe_events("loop", since=now - timedelta(minutes=50), poll_interval_s=OFTEN_S) as following:
        assert numbers(following, 1800) == list(range(600, 2400))
        client.save_event(event(3000))
        assert numbers(following, 1) == [3000]
        assert len(following._seen) < 20


def test_an_event_that_becomes_visible_late_is_not_missed(client: SupabaseClient, supabase: LocalSupabase) -> None:
    """Its transaction began before, and ended after, that of an event which was followed already."""
    with (
        psycopg.connect(supabase.admin_db_url) as slow,
        client.subscribe_events("loop", poll_interval_s=OFTEN_S) as following,
    ):
        insert(slow, 1)
        client.save_events(event(number) for number in range(2, 5))
        assert sorted(numbers(following, 3)) == [2, 3, 4]
        client.save_event(event(5))
        assert numbers(following, 1) == [5]
        slow.commit()
        assert numbers(following, 1) == [1]
        client.save_event(event(6))
        assert numbers(following, 1) == [6]


def test_without_looking_back_the_late_event_would_be_missed(
    client: SupabaseClient, supabase: LocalSupabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is what the overlap is for: with none, the test above fails."""
    monkeypatch.setattr(subscription_module, "OVERLAP", timedelta(0))
    with (
        psycopg.connect(supabase.admin_db_url) as slow,
        client.subscribe_events("loop", poll_interval_s=OFTEN_S) as following,
    ):
        insert(slow, 1)
        client.save_event(event(2))
        assert numbers(following, 1) == [2]
        client.save_event(event(3))
        assert numbers(following, 1) == [3]
        slow.commit()
        client.save_event(event(4))

        assert numbers(following, 1) == [4]


def test_what_is_remembered_is_bounded(
    client: SupabaseClient, supabase: LocalSupabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids are forgotten once nothing can come before them any more."""
    monkeypatch.setattr(subscription_module, "OVERLAP", timedelta(seconds=1))
    now = datetime.now(UTC)
    with (
        psycopg.connect(supabase.admin_db_url, autocommit=True) as database,
        client.subscribe_events("loop", poll_interval_s=OFTEN_S) as following,
    ):
        for number in range(60):
            insert(database, number, arrived=now + timedelta(seconds=number))
            assert numbers(following, 1) == [number]

        assert len(following._seen) <= 3


def test_stopping_ends_the_wait(client: SupabaseClient) -> None:
    """From another thread, long before it would look again, and for good."""
    following = client.subscribe_events("loop", poll_interval_s=1000)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(list, following)
        threading.Timer(0.3, following.stop).start()

        assert waiting.result(PATIENCE_S) == []
    client.save_event(event(1))
    assert next(following, None) is None


def test_an_outage_ends_no_subscription(client: SupabaseClient, supabase: LocalSupabase) -> None:
    """It is told; the next step goes on where the last one was, and what arrived meanwhile comes once."""
    with client.subscribe_events("loop", poll_interval_s=OFTEN_S) as following:
        client.save_event(event(1))
        assert numbers(following, 1) == [1]
        client.save_event(event(2))
        supabase.stop_rest()
        try:
            with pytest.raises(UnreachableError):
                next(following)
        finally:
            supabase.start_rest()
        client.save_event(event(3))

        assert sorted(numbers(following, 2)) == [2, 3]


def test_eight_writers_are_followed(client: SupabaseClient) -> None:
    """Whatever the order in which their transactions end: nothing is missed, and nothing comes twice."""

    def save(writer: int) -> None:
        for number in range(25):
            client.save_events(event(1000 * writer + 10 * number + one) for one in range(10))

    with client.subscribe_events("loop", poll_interval_s=OFTEN_S) as following, ThreadPoolExecutor(8) as pool:
        writing = [pool.submit(save, writer) for writer in range(8)]
        found = numbers(following, 2000)
        for one in writing:
            one.result()
        client.save_event(event(9999))
        found += numbers(following, 1)

    assert sorted(found) == [*(1000 * writer + number for writer in range(8) for number in range(250)), 9999]
