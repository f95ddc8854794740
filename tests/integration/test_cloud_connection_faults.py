"""Between the connection and Supabase stands a gateway that fails: nothing is lost, and nothing is doubled."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from aragora_persist.cloud import connection as connection_module
from aragora_persist.cloud.connection import CloudConnection
from aragora_persist.cloud.models import NomicCycle, StreamEvent
from aragora_persist.cloud.pages import Query
from aragora_persist.cloud.rows import to_row
from aragora_persist.errors import PersistError, RejectedError, UnreachableError
from aragora_persist.settings import Secret
from tests.integration.faulty_gateway import AFTER, BEFORE, FaultyGateway
from tests.waiting import PATIENCE_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.supabase_stack import LocalSupabase

pytestmark = pytest.mark.engine
pytest_plugins = ("tests.supabase_fixtures",)

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
SLOW = ("stall", "drip")
PASSING = ("reset", "502", "busy", "portal", *AFTER)
MENDED = tuple(fault for fault in PASSING if fault != "portal")
EVENTS = Query(table="stream_events", columns=("cycle",), equal={"loop_id": "loop"}, order="timestamp")


@pytest.fixture
def gateway(supabase: LocalSupabase) -> Iterator[FaultyGateway]:
    """Give a gateway in front of an empty Supabase."""
    supabase.empty()
    with FaultyGateway(supabase.url) as listening:
        yield listening


@pytest.fixture
def connection(gateway: FaultyGateway, supabase: LocalSupabase) -> Iterator[CloudConnection]:
    """Give a connection through that gateway."""
    with CloudConnection(gateway.url, Secret(supabase.service_key), timeout_s=3) as opened:
        yield opened


@pytest.fixture
def impatient(gateway: FaultyGateway, supabase: LocalSupabase) -> Iterator[CloudConnection]:
    """Give one that waits for next to nothing."""
    with CloudConnection(gateway.url, Secret(supabase.service_key), timeout_s=0.3) as opened:
        yield opened


def events(*numbers: int) -> list[dict[str, Any]]:
    """Return rows of events."""
    return [to_row(StreamEvent("loop", number, "error", {}, timestamp=NOON).to_record()) for number in numbers]


def cycle(stage: str, revision: int) -> dict[str, Any]:
    """Return a row of one and the same cycle."""
    return to_row(NomicCycle("loop", 1, "debate", stage, NOON).to_record(revision))


def stored(supabase: LocalSupabase, sql: str) -> list[Any]:
    """Return the first column of what the database itself says."""
    with psycopg.connect(supabase.admin_db_url) as database:
        return [row[0] for row in database.execute(sql.encode()).fetchall()]


def stored_events(supabase: LocalSupabase) -> list[int]:
    """Return the numbers of the events that are stored."""
    return stored(supabase, "select cycle from stream_events order by cycle")


@pytest.mark.parametrize("fault", MENDED)
def test_a_write_that_is_tried_again_took_place_once(
    fault: str, gateway: FaultyGateway, connection: CloudConnection, supabase: LocalSupabase
) -> None:
    """Whether the first attempts reached the database or not."""
    gateway.faults.extend([fault] if fault in SLOW else [fault, fault])
    faults = len(gateway.faults)
    connection.write("stream_events", events(1, 2, 3))

    assert stored_events(supabase) == [1, 2, 3]
    assert len(gateway.requests) == faults + (2 if fault == "drip" else 1)  # what drips is asked for in halves


@pytest.mark.parametrize("fault", ["lose", "late 502", "stall", "cut"])
def test_a_state_whose_answer_was_lost_counts_as_saved(
    fault: str, gateway: FaultyGateway, connection: CloudConnection, supabase: LocalSupabase
) -> None:
    """The database drops the second attempt, which is no newer: what is stored is what was to be saved."""
    gateway.faults.append(fault)

    assert connection.merge("nomic_cycles", cycle("voting", 5))
    assert not connection.merge("nomic_cycles", cycle("proposing", 4))
    assert stored(supabase, "select stage from nomic_cycles") == ["voting"]


@pytest.mark.parametrize("fault", PASSING)
def test_an_outage_is_told_and_later_the_same_call_does_it(
    fault: str,
    gateway: FaultyGateway,
    impatient: CloudConnection,
    connection: CloudConnection,
    supabase: LocalSupabase,
) -> None:
    """After as many attempts as were allowed, with the host, and with nothing of a page or a key."""
    gateway.faults.extend([fault] * 3)
    with pytest.raises(UnreachableError) as unreachable:
        impatient.write("stream_events", events(1))
    gateway.faults.clear()

    assert unreachable.value.target == gateway.url.removeprefix("http://")
    assert "secret" not in str(unreachable.value)
    assert (unreachable.value.__cause__, unreachable.value.__context__) == (None, None)
    assert len(gateway.requests) == (1 if fault == "portal" else 3)
    connection.write("stream_events", events(1))
    assert stored_events(supabase) == [1]


@pytest.mark.parametrize("fault", MENDED)
def test_a_page_is_read_again(fault: str, gateway: FaultyGateway, connection: CloudConnection) -> None:
    """A read that failed half-way gives the whole page."""
    connection.write("stream_events", events(*range(5)))
    gateway.faults.extend(["", fault])
    pages = connection.pages(replace(EVENTS, page_rows=2), operation="test")

    assert sorted(row["cycle"] for page in pages for row in page) == [0, 1, 2, 3, 4]


def test_a_redirect_is_not_followed(
    gateway: FaultyGateway, connection: CloudConnection, supabase: LocalSupabase
) -> None:
    """It could take the key to anybody, or turn the write into a read that looks like a success."""
    with FaultyGateway(supabase.url) as elsewhere:
        gateway.redirect_to = elsewhere.url
        gateway.faults.extend(["redirect"] * 3)
        with pytest.raises(UnreachableError, match="redirects to http"):
            connection.write("stream_events", events(1))

        assert elsewhere.requests == []
    assert stored_events(supabase) == []


def test_an_answer_that_drips_is_bounded_in_time(gateway: FaultyGateway, impatient: CloudConnection) -> None:
    """As a whole, although each of its bytes comes in time: it would never end by itself."""
    gateway.faults.extend(["drip"] * 3)
    with pytest.raises(UnreachableError, match=r"only a part of an answer within 0\.3 s"):
        impatient.page(replace(EVENTS, page_rows=1), operation="test")


def test_pages_that_take_too_long_become_smaller(gateway: FaultyGateway, connection: CloudConnection) -> None:
    """A slow line or large rows end no stream: it goes on in halves, and does not go back to the whole."""
    connection.write("stream_events", events(*range(10)))
    gateway.faults.extend(["", "too slow", "too slow"])
    pages = list(connection.pages(replace(EVENTS, page_rows=4), operation="test"))

    assert [len(page) for page in pages] == [4, *[1] * 6]
    assert sorted(row["cycle"] for page in pages for row in page) == list(range(10))


def test_a_server_that_asks_to_wait_is_given_the_time(gateway: FaultyGateway, connection: CloudConnection) -> None:
    """No attempt comes sooner than it asks."""
    gateway.retry_after = "1"
    gateway.faults.append("busy")
    began = time.monotonic()
    connection.write("stream_events", events(1))

    assert time.monotonic() - began >= 1


def test_a_server_that_asks_for_too_long_is_not_waited_for(gateway: FaultyGateway, connection: CloudConnection) -> None:
    """The caller learns at once how long it asks for."""
    gateway.retry_after = "120"
    gateway.faults.append("busy")
    with pytest.raises(UnreachableError, match="in 120 s"):
        connection.write("stream_events", events(1))

    assert len(gateway.requests) == 1


def test_closing_ends_the_wait_for_the_next_attempt(
    gateway: FaultyGateway, supabase: LocalSupabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that ends need not wait for a server that does not answer."""
    monkeypatch.setattr(connection_module, "_LONGEST_WAIT_S", 1000.0)
    gateway.retry_after = "1000"
    gateway.faults.append("busy")
    connection = CloudConnection(gateway.url, Secret(supabase.service_key), attempts=2)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(connection.write, "stream_events", events(1))
        wait_until(lambda: bool(gateway.requests), "the request")
        connection.close()
        with pytest.raises(PersistError):
            writing.result(PATIENCE_S)

    assert len(gateway.requests) == 1


def test_eight_threads_through_one_connection_lose_nothing(gateway: FaultyGateway, supabase: LocalSupabase) -> None:
    """Every tenth request fails in one of the ways; each thread saves again what an error left open."""
    chance = random.Random(4)  # noqa: S311 - the same faults in every run
    faults = [fault for fault in (*BEFORE, *AFTER) if fault not in {"redirect", "stall", "drip"}]
    gateway.faults.extend(chance.choice(faults) if chance.random() < 0.1 else "" for _ in range(2000))
    with CloudConnection(gateway.url, Secret(supabase.service_key)) as connection, ThreadPoolExecutor(8) as pool:

        def save(thread: int) -> None:
            for number in range(40):
                rows = events(*range(1000 * thread + 5 * number, 1000 * thread + 5 * number + 5))
                for _ in range(5):
                    try:
                        connection.write("stream_events", rows)
                    except UnreachableError:
                        continue
                    break

        list(pool.map(save, range(8)))

    assert stored_events(supabase) == sorted(1000 * thread + number for thread in range(8) for number in range(200))
    assert len(gateway.requests) > 320


def test_a_batch_that_is_too_large_for_a_gateway_goes_in_halves(
    gateway: FaultyGateway, connection: CloudConnection, supabase: LocalSupabase
) -> None:
    """Until they fit; a row that is too large alone is refused, and what came before it is stored."""
    rows = events(*range(8))
    gateway.largest_bytes = 800
    connection.write("stream_events", rows)
    assert stored_events(supabase) == list(range(8))
    assert len(gateway.requests) > 2

    more = events(8, 9, 10)
    more[1]["event_data"] = {"text": "x" * 1000}
    with pytest.raises(RejectedError, match="413"):
        connection.write("stream_events", more)
    assert stored_events(supabase) == list(range(9))
