"""When the sender sends, waits and gives up: against a stub that answers as told, with a clock of the test's own."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from aragora_persist.cloud import delivery
from aragora_persist.cloud.backoff import Backoff
from aragora_persist.cloud.connection import CloudConnection
from aragora_persist.cloud.models import AgentMetrics, NomicCycle, Record, StreamEvent
from aragora_persist.cloud.outbox import Outbox
from aragora_persist.cloud.suspicion import ENOUGH
from aragora_persist.cloud.sync import LEAST_WAIT_S, LONGEST_WAIT_S, Sender
from aragora_persist.settings import FileSecret, Secret
from tests.contract.rest_stub import (
    BAD_ROW,
    MISSING_COLUMN,
    MISSING_GRANT,
    MISSING_TABLE,
    UNREACHABLE,
    WRONG_KEY,
    Refusal,
    RestStub,
    Row,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


class Clock:
    """Shows what it was set to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    """Open an empty outbox."""
    with Outbox(tmp_path / "aragora_outbox.db") as opened:
        yield opened


@pytest.fixture
def stub() -> Iterator[RestStub]:
    """Run a stub that takes everything."""
    with RestStub() as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    """Give a clock."""
    return Clock()


@contextmanager
def sending(outbox: Outbox, url: str, clock: Clock, *, key: Secret | None = None, **more: Any) -> Iterator[Sender]:  # noqa: ANN401 - what a sender takes
    """Give a sender that tries each request once and takes nothing off its waits."""
    secret = key or Secret("sb_secret_of_a_test")
    with Sender(
        outbox, lambda: CloudConnection(url, secret, attempts=1), clock=clock, chance=lambda: 0.0, **more
    ) as sender:
        yield sender


def event(number: int) -> Record:
    """Return the record of an event."""
    return StreamEvent("loop", number, "message", {}, timestamp=NOON).to_record()


def metrics(number: int) -> Record:
    """Return the record of an agent's metrics."""
    return AgentMetrics("loop", number, "agent", timestamp=NOON).to_record()


def cycle(number: int) -> Record:
    """Return the record of a cycle."""
    return NomicCycle("loop", number, "debate", "voting", NOON).to_record(7)


def refusing(table: str, refusal: Refusal) -> Callable[[str, Sequence[Row]], Refusal | None]:
    """Return an answer for one table; the others take everything."""
    return lambda asked, _rows: refusal if asked == table else None


def noted(outbox: Outbox) -> str:
    """Return the problem that others see."""
    with outbox.read("test") as view:
        row = view.one("SELECT problem FROM sync_state")
    assert row is not None
    return str(row[0])


def test_everything_is_sent_once_in_batches_of_one_table(
    outbox: Outbox, stub: RestStub, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mixed records go table by table, each table's in their order, and nothing waits afterwards."""
    monkeypatch.setattr(delivery, "BATCH_RECORDS", 2)
    outbox.enqueue(record for number in range(3) for record in (event(number), cycle(number)))
    with sending(outbox, stub.url, clock) as sender:
        moved = [sender.round() for _ in range(3)]

    assert moved == [True, True, False]
    assert stub.requests == [("nomic_cycles", 2), ("stream_events", 2), ("nomic_cycles", 1), ("stream_events", 1)]
    assert [row["cycle"] for table, row in stub.rows if table == "stream_events"] == [0, 1, 2]
    assert (sender.sent, sender.refused, outbox.count()) == (6, 0, 0)


def test_a_row_is_the_payload_with_its_key_and_revision(outbox: Outbox, stub: RestStub, clock: Clock) -> None:
    """Mutable kinds carry their revision; the tables of immutable ones have no such column."""
    outbox.enqueue([event(1), cycle(1)])
    with sending(outbox, stub.url, clock) as sender:
        sender.round()

    assert stub.rows == [
        ("nomic_cycles", {**cycle(1).payload, "id": cycle(1).key, "revision": 7}),
        ("stream_events", {**event(1).payload, "id": event(1).key}),
    ]


def test_a_record_that_became_newer_under_way_stays(outbox: Outbox, stub: RestStub, clock: Clock) -> None:
    """Its newer state is sent in the next round."""

    def enqueue_newer(_table: str, rows: Sequence[Row]) -> None:
        if rows[0]["revision"] == 7:
            outbox.enqueue([NomicCycle("loop", 1, "debate", "executing", NOON).to_record(8)])

    stub.answer = enqueue_newer
    outbox.enqueue([cycle(1)])
    with sending(outbox, stub.url, clock) as sender:
        sender.round()
        left = [entry.revision for entry in outbox.pending()]
        sender.round()

    assert left == [8]
    assert [row["revision"] for _, row in stub.rows] == [7, 8]
    assert outbox.count() == 0


def test_an_outage_stops_everything_and_is_told_once(
    outbox: Outbox, stub: RestStub, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """One request finds it out; nothing is lost; the waits grow to a minute; it is logged at its beginning and end."""
    caplog.set_level(logging.INFO, logger="aragora_persist")
    stub.answer = lambda _table, _rows: UNREACHABLE
    outbox.enqueue([event(1), metrics(1), cycle(1)])
    with sending(outbox, stub.url, clock) as sender:
        asked_at: list[float] = []
        while len(asked_at) < 9:
            assert not sender.round()
            asked_at += [clock.now] * (len(stub.requests) - len(asked_at))
            clock.now += 0.5
        told = noted(outbox)
        stub.answer = lambda _table, _rows: None
        clock.now += LONGEST_WAIT_S
        while sender.round():
            pass

    assert [later - earlier for earlier, later in pairwise(asked_at)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert "503" in told
    assert "check SUPABASE_URL" in told
    assert [record.getMessage() for record in caplog.records] == [
        f"records wait: {told}",
        "records are delivered again",
    ]
    assert (sender.sent, outbox.count(), noted(outbox), sender.problem) == (3, 0, "", "")


def test_tables_take_turns_while_there_is_an_outage(outbox: Outbox, stub: RestStub, clock: Clock) -> None:
    """So one table whose requests alone time out does not keep the others from being tried."""
    stub.answer = refusing("agent_metrics", UNREACHABLE)
    outbox.enqueue([event(1), metrics(1), cycle(1)])
    with sending(outbox, stub.url, clock) as sender:
        sender.round()
        clock.now += LEAST_WAIT_S
        sender.round()

    assert [table for table, _ in stub.requests][:3] == ["agent_metrics", "nomic_cycles", "stream_events"]
    assert [entry.table for entry in outbox.pending()] == ["agent_metrics"]


@pytest.mark.parametrize("refusal", [MISSING_GRANT, MISSING_TABLE], ids=["grant", "table"])
def test_a_table_that_cannot_be_written_to_holds_up_no_other(
    outbox: Outbox, stub: RestStub, clock: Clock, refusal: Refusal
) -> None:
    """It is left alone for a while, its records wait, the way out is shown, and the others go on."""
    stub.answer = refusing("agent_metrics", refusal)
    outbox.enqueue([event(1), metrics(1), cycle(1)])
    with sending(outbox, stub.url, clock) as sender:
        assert [sender.round(), sender.round()] == [True, False]
        first = len(stub.requests)
        told = noted(outbox)
        outbox.enqueue([event(2)])
        sender.round()
        stub.answer = lambda _table, _rows: None
        clock.now += LEAST_WAIT_S
        sender.round()

    assert first == 3
    assert told.startswith("agent_metrics: ")
    assert ("GRANT" if refusal is MISSING_GRANT else "aragora-persist supabase apply") in told
    assert sender.refused == 0
    assert (outbox.count(), noted(outbox)) == (0, "")


def test_a_problem_of_many_tables_is_told_as_one(outbox: Outbox, stub: RestStub, clock: Clock) -> None:
    """A project without the schema names its tables and the way out once."""
    stub.answer = lambda _table, _rows: MISSING_TABLE
    outbox.enqueue([event(1), metrics(1), cycle(1)])
    with sending(outbox, stub.url, clock) as sender:
        sender.round()

    assert noted(outbox).startswith("agent_metrics, nomic_cycles, stream_events: 404")
    assert noted(outbox).count("supabase apply") == 1


def test_a_key_that_was_changed_is_taken_up(outbox: Outbox, stub: RestStub, clock: Clock, tmp_path: Path) -> None:
    """A file without a key, a refused key and then the right one: each is told, none needs a restart."""
    stub.answer = lambda _table, _rows: WRONG_KEY
    outbox.enqueue([event(1), metrics(1)])
    key_file = tmp_path / "key"
    told = []
    with sending(outbox, stub.url, clock, key=FileSecret(key_file, "SUPABASE_KEY_FILE")) as sender:
        for content in ("", "sb_secret_old", "sb_secret_new"):
            key_file.write_text(content)
            if content == "sb_secret_new":
                stub.answer = lambda _table, _rows: None
            clock.now += LONGEST_WAIT_S
            sender.round()
            told.append(noted(outbox))

    assert "SUPABASE_KEY_FILE" in told[0]
    assert "refuses the key" in told[1]
    assert told[2] == ""
    assert (outbox.count(), sender.refused) == (0, 0)


def test_poison_is_found_and_set_aside(outbox: Outbox, stub: RestStub, clock: Clock) -> None:
    """One bad record among many becomes a dead letter with the reason; all others arrive, in their order."""
    stub.answer = lambda _table, rows: BAD_ROW if any(row["cycle"] == 37 for row in rows) else None
    outbox.enqueue(event(number) for number in range(100))
    with sending(outbox, stub.url, clock) as sender:
        sender.round()
        assert not sender.round()

    with outbox.read("test") as view:
        letters = view.all("SELECT table_name, record_key, attempts, reason FROM dead_letters")
    assert letters == [("stream_events", event(37).key, 1, "is refused: 400 22P02 invalid input syntax")]
    assert [row["cycle"] for _, row in stub.rows] == [number for number in range(100) if number != 37]
    assert len(stub.requests) <= 15
    assert (sender.sent, sender.refused, outbox.count(), noted(outbox)) == (99, 1, 0, "")


def test_an_outage_while_poison_is_looked_for_loses_nothing(outbox: Outbox, stub: RestStub, clock: Clock) -> None:
    """What had arrived is removed, the rest waits, and the search goes on after the outage."""

    def answer(_table: str, rows: Sequence[Row]) -> Refusal | None:
        if 4 <= len(stub.requests) <= 6:
            return UNREACHABLE
        return BAD_ROW if any(row["cycle"] == 5 for row in rows) else None

    stub.answer = answer
    outbox.enqueue(event(number) for number in range(8))
    with sending(outbox, stub.url, clock) as sender:
        sender.round()
        between = (sender.sent, sender.refused, outbox.count())
        clock.now += LEAST_WAIT_S
        while sender.round():
            pass

    assert between == (4, 0, 4)
    assert (sender.sent, sender.refused, outbox.count()) == (7, 1, 0)


@pytest.mark.parametrize("refusal", [UNREACHABLE, Refusal(403)], ids=["no answer", "a gateway's page"])
def test_a_record_that_the_service_breaks_down_over_holds_nothing_up(
    outbox: Outbox, stub: RestStub, clock: Clock, refusal: Refusal
) -> None:
    """All others arrive at once, later ones too; it is given up after so many failures while they did."""
    stub.answer = lambda _table, rows: refusal if any(row["cycle"] in {37, 38} for row in rows) else None
    outbox.enqueue(event(number) for number in range(100))
    left = []
    with sending(outbox, stub.url, clock) as sender:
        sender.round()
        clock.now += LEAST_WAIT_S
        sender.round()
        told_of_one = sender.problem
        for number in range(100, 100 + 2 * ENOUGH):
            left.append([entry.payload["cycle"] for entry in outbox.pending()])
            outbox.enqueue([event(number)])
            clock.now += LONGEST_WAIT_S
            sender.round()
        told = sender.problem

    assert told_of_one.startswith(f"stream_events {event(37).key}: fails, while others get through: ")
    assert told_of_one.endswith(f"(it is given up after {ENOUGH} such failures)")
    assert left == [[37, 38]] * (2 * ENOUGH - 2) + [[], []]
    assert [row["cycle"] for _, row in stub.rows if row["cycle"] >= 100] == list(range(100, 100 + 2 * ENOUGH))
    assert (sender.sent, sender.refused, outbox.count(), told) == (98 + 2 * ENOUGH, 2, 0, "")
    with outbox.read("test") as view:
        reasons = [str(reason) for (reason,) in view.all("SELECT reason FROM dead_letters")]
    assert all(reason.startswith("fails again and again, while others get through: ") for reason in reasons)


def test_a_record_that_fails_alone_is_never_given_up(outbox: Outbox, stub: RestStub, clock: Clock) -> None:
    """Nothing tells it from an outage: it waits, and the problem is told; other tables are not kept waiting."""
    stub.answer = lambda _table, rows: UNREACHABLE if rows[0]["loop_id"] == "loop" and "cycle" in rows[0] else None
    outbox.enqueue([event(1)])
    with sending(outbox, stub.url, clock) as sender:
        for number in range(3 * ENOUGH):
            outbox.enqueue([cycle(number)])
            clock.now += LONGEST_WAIT_S
            sender.round()
            clock.now += LEAST_WAIT_S
            sender.round()
        told = sender.problem

    assert "503" in told
    assert (sender.sent, sender.refused, outbox.count()) == (3 * ENOUGH, 0, 1)


def test_a_column_that_is_not_there_yet_holds_up_only_who_has_it(outbox: Outbox, stub: RestStub, clock: Clock) -> None:
    """Records of a newer release wait for its schema however often they fail, and arrive with it."""
    new = replace(event(0), payload={**event(0).payload, "new_column": 1})
    stub.answer = lambda _table, rows: MISSING_COLUMN if any("new_column" in row for row in rows) else None
    outbox.enqueue([new])
    with sending(outbox, stub.url, clock) as sender:
        for number in range(1, 3 * ENOUGH):
            outbox.enqueue([event(number)])
            clock.now += LONGEST_WAIT_S
            sender.round()
        waiting, told = [entry.payload["cycle"] for entry in outbox.pending()], sender.problem
        stub.answer = lambda _table, _rows: None
        clock.now += LONGEST_WAIT_S
        sender.round()

    assert waiting == [0]
    assert "aragora-persist supabase apply" in told
    assert (sender.sent, sender.refused, outbox.count(), sender.problem) == (3 * ENOUGH, 0, 0, "")


def test_a_large_suspect_does_not_stand_before_the_others(
    outbox: Outbox, stub: RestStub, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would fill a batch of its own each time."""
    monkeypatch.setattr(delivery, "BATCH_CHARACTERS", 100)
    stub.answer = lambda _table, rows: UNREACHABLE if rows[0]["event_data"] else None
    outbox.enqueue([StreamEvent("loop", 0, "message", {"text": "x" * 200}, timestamp=NOON).to_record()])
    with sending(outbox, stub.url, clock) as sender:
        sender.round()
        outbox.enqueue([event(1)])
        clock.now += LEAST_WAIT_S
        sender.round()

    assert [entry.payload["cycle"] for entry in outbox.pending()] == [0]


def test_a_stop_comes_between_two_requests(outbox: Outbox, stub: RestStub, clock: Clock) -> None:
    """The request under way is completed and counted; no other one begins."""
    outbox.enqueue([event(1), metrics(1), cycle(1)])
    with sending(outbox, stub.url, clock, stopping=lambda: bool(stub.requests)) as sender:
        sender.round()

    assert len(stub.requests) == 1
    assert (sender.sent, outbox.count()) == (1, 2)


def test_a_key_in_an_answer_is_not_shown(outbox: Outbox, stub: RestStub, clock: Clock) -> None:
    """Neither in the noted problem nor in the reason of a dead letter."""
    secret = "sb_secret_that_nobody_may_see"
    stub.answer = refusing("stream_events", Refusal(400, "22P02", f"bad {secret}"))
    outbox.enqueue([event(1)])
    with sending(outbox, stub.url, clock) as sender:
        sender.round()
        stub.answer = refusing("stream_events", Refusal(503, "", f"bad {secret}"))
        outbox.enqueue([event(2)])
        sender.round()

    with outbox.read("test") as view:
        [row] = view.all("SELECT reason FROM dead_letters")
    reason = str(row[0])
    assert secret not in reason + noted(outbox)
    assert "22P02" in reason
    assert "503" in noted(outbox)


def test_waits_double_within_bounds_and_vary_by_chance() -> None:
    """Up to half of a wait is taken off, so that many do not come back in the same moment."""
    longest, shortest = Backoff(1, 60, lambda: 0.0), Backoff(1, 60, lambda: 1.0)

    assert [longest.next_s() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert [shortest.next_s() for _ in range(3)] == [0.5, 1, 2]
    assert 0.5 <= Backoff(1, 60).next_s() <= 1
