"""What the outbox promises, in a file and in memory."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from aragora_persist import times
from aragora_persist.cloud.models import NomicCycle, Record, StreamEvent
from aragora_persist.cloud.outbox import Outbox
from aragora_persist.errors import DamagedError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)

CRASHING_WRITER = """
import os, signal, sys
from aragora_persist.cloud.models import StreamEvent
from aragora_persist.cloud.outbox import Outbox
outbox = Outbox(sys.argv[1])
outbox.enqueue(StreamEvent("loop", n, "error", {}).to_record() for n in range(3))
with outbox.transaction("half") as tx:
    outbox.enqueue([StreamEvent("loop", 3, "error", {}).to_record()], tx=tx)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(params=["file", "memory"])
def outbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Outbox]:
    """Open an empty outbox."""
    with Outbox(":memory:" if request.param == "memory" else tmp_path / "aragora_outbox.db") as opened:
        yield opened


def event(number: int, **data: Any) -> Record:  # noqa: ANN401 - the content of an event is free
    """Return the record of an event."""
    return StreamEvent("loop", number, "error", data, timestamp=NOON).to_record()


def cycle(stage: str, revision: int | None = None) -> Record:
    """Return the record of one and the same cycle, in this stage."""
    return NomicCycle("loop", 1, "debate", stage, NOON).to_record(revision)


def test_records_wait_in_the_order_in_which_they_came(outbox: Outbox) -> None:
    """What was enqueued is there, whole, with rising ids."""
    before = times.utc_now()
    records = [event(1, text="é\n"), cycle("voting", 5), event(2)]

    assert outbox.enqueue(records) == 3
    waiting = outbox.pending()
    assert [(entry.table, entry.key, entry.revision, entry.payload) for entry in waiting] == [
        (record.table, record.key, record.revision, record.payload) for record in records
    ]
    assert [entry.id for entry in waiting] == sorted({entry.id for entry in waiting})
    assert all(before <= entry.enqueued_at <= times.utc_now() for entry in waiting)
    assert outbox.count() == 3


def test_pages_are_read_by_key(outbox: Outbox) -> None:
    """A page begins after the last id of the one before, and the last page is empty."""
    outbox.enqueue(event(number) for number in range(5))
    seen, after = [], 0
    while page := outbox.pending(limit=2, after=after):
        assert len(page) <= 2
        seen += [entry.payload["cycle"] for entry in page]
        after = page[-1].id

    assert seen == [0, 1, 2, 3, 4]


def test_an_immutable_record_waits_once(outbox: Outbox) -> None:
    """Enqueueing a fact again, in one call or in two, changes nothing."""
    assert outbox.enqueue([event(1), event(1)]) == 1
    first = outbox.pending()
    assert outbox.enqueue([event(1)]) == 0

    assert outbox.pending() == first


def test_a_newer_revision_replaces_an_older_one_under_a_new_id(outbox: Outbox) -> None:
    """Only the newest state waits; its id is new, so that who removes the id it has sent cannot remove it."""
    outbox.enqueue([cycle("proposing", 1)])
    (first,) = outbox.pending()
    assert outbox.enqueue([cycle("voting", 2)]) == 1

    (second,) = outbox.pending()
    assert (second.revision, second.payload["stage"]) == (2, "voting")
    assert second.id > first.id


@pytest.mark.parametrize("revision", [1, 2])
def test_an_older_revision_changes_nothing(outbox: Outbox, revision: int) -> None:
    """A state that comes late, or again, does not overwrite what waits."""
    outbox.enqueue([cycle("voting", 2)])
    before = outbox.pending()

    assert outbox.enqueue([cycle("proposing", revision)]) == 0
    assert outbox.pending() == before


def test_the_newest_of_one_call_waits(outbox: Outbox) -> None:
    """Several states of one record in one call leave the one with the highest revision, whatever their order."""
    assert outbox.enqueue([cycle("voting", 3), cycle("executing", 9), cycle("proposing", 1)]) == 1

    assert [entry.payload["stage"] for entry in outbox.pending()] == ["executing"]


def test_a_revision_that_is_not_given_is_above_all_before(outbox: Outbox) -> None:
    """Numbers follow the clock, but never go back, even where an earlier one was far in the future."""
    present = int(times.utc_now().timestamp() * 1_000_000)
    outbox.enqueue([cycle("proposing"), cycle("critiquing")])
    (entry,) = outbox.pending()
    assert present < entry.revision < present + 60_000_000
    assert entry.payload["stage"] == "critiquing"

    future = present * 2
    outbox.enqueue([NomicCycle("other loop", 1, "debate", "voting", NOON).to_record(future)])
    outbox.enqueue([cycle("voting")])
    outbox.enqueue([cycle("executing")])
    assert [(entry.revision, entry.payload["stage"]) for entry in outbox.pending()] == [
        (future, "voting"),
        (future + 2, "executing"),
    ]


def test_ids_are_never_used_again(outbox: Outbox) -> None:
    """After everything was sent and removed, the next record still gets a new id."""
    outbox.enqueue([event(1), event(2)])
    last = outbox.pending()[-1].id
    with outbox.transaction("send") as tx:
        tx.execute("DELETE FROM outbox")
    outbox.enqueue([event(3)])

    assert outbox.pending()[0].id > last


@pytest.mark.parametrize("value", [float("nan"), "a\0b", "\ud800"], ids=["nan", "nul", "surrogate"])
def test_a_record_that_supabase_cannot_store_is_refused(outbox: Outbox, value: object) -> None:
    """The whole call is refused with the path of what is wrong, and nothing of it waits."""
    bad = Record("stream_events", "9c151cf9-5259-4029-81df-2972b37628a0", {"event_data": {"x": [value]}}, 0)
    with pytest.raises(InvalidValueError) as caught:
        outbox.enqueue([event(1), bad])

    assert caught.value.target == f"stream_events {bad.key}.event_data.x[0]"
    assert outbox.count() == 0


@pytest.mark.parametrize("change", ["payload = '{'", "payload = '[]'", "enqueued_at = 'yesterday'"])
def test_a_damaged_record_is_said(outbox: Outbox, change: str) -> None:
    """The error names the record, and it stays."""
    outbox.enqueue([event(1), event(2)])
    with outbox.transaction("damage") as tx:
        tx.execute(f"UPDATE outbox SET {change} WHERE id = 2")
    with pytest.raises(DamagedError) as caught:
        outbox.pending()
    assert caught.value.target == "record 2"
    assert (len(outbox.pending(limit=1)), outbox.count()) == (1, 2)


def test_a_transaction_that_fails_enqueues_nothing(outbox: Outbox) -> None:
    """Records enqueued in a caller's transaction come and go with it."""
    with outbox.transaction("keep") as tx:
        outbox.enqueue([event(1)], tx=tx)
        assert tx.one("SELECT COUNT(*) FROM outbox") == (1,)
    with pytest.raises(ZeroDivisionError), outbox.transaction("fail") as tx:
        outbox.enqueue([event(2), cycle("voting", 10**17)], tx=tx)
        raise ZeroDivisionError

    assert [entry.payload["cycle"] for entry in outbox.pending()] == [1]
    outbox.enqueue([cycle("voting")])
    assert outbox.pending()[-1].revision < 10**17


def test_enqueueing_nothing_is_nothing(outbox: Outbox) -> None:
    """An empty call is allowed."""
    assert outbox.enqueue([]) == 0
    assert outbox.pending() == []


def test_many_threads_enqueue_the_same_records(outbox: Outbox) -> None:
    """Eight threads with the same facts leave each of them once, and count each as new once."""
    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(lambda _: outbox.enqueue(event(number) for number in range(50)), range(8)))

    assert sum(counts) == 50
    assert sorted(int(str(entry.payload["cycle"])) for entry in outbox.pending()) == list(range(50))


def test_a_kill_keeps_what_was_acknowledged_and_nothing_else(tmp_path: Path) -> None:
    """After SIGKILL the records of the call that had returned wait; those of the open transaction do not."""
    path = tmp_path / "aragora_outbox.db"
    killed = subprocess.run([sys.executable, "-c", CRASHING_WRITER, str(path)], check=False, capture_output=True)

    assert killed.returncode == -signal.SIGKILL
    with Outbox(path) as outbox:
        assert [entry.payload["cycle"] for entry in outbox.pending()] == [0, 1, 2]


def test_there_is_room_for_dead_letters(tmp_path: Path) -> None:
    """The table that the worker moves refused records to holds all of a record, with time, attempts and reason."""
    path = tmp_path / "aragora_outbox.db"
    Outbox(path).close()
    with closing(sqlite3.connect(path)) as connection:
        columns = {name for _, name, *_ in connection.execute("PRAGMA table_info(dead_letters)")}
        waiting = {name for _, name, *_ in connection.execute("PRAGMA table_info(outbox)")}

    assert columns == waiting | {"failed_at", "attempts", "reason"}
