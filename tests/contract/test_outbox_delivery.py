"""What the sender does to the outbox: batches, removal of exactly what was sent, dead letters."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from aragora_persist.cloud import delivery
from aragora_persist.cloud.delivery import (
    next_batch,
    note_problem,
    redrive,
    remove_delivered,
    set_aside,
    waiting_tables,
)
from aragora_persist.cloud.models import NomicCycle, Record, StreamEvent
from aragora_persist.cloud.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aragora_persist.storage.port import Row

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture(params=["file", "memory"])
def outbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Outbox]:
    """Open an empty outbox."""
    with Outbox(":memory:" if request.param == "memory" else tmp_path / "aragora_outbox.db") as opened:
        yield opened


def event(number: int, text: str = "") -> Record:
    """Return the record of an event."""
    return StreamEvent("loop", number, "message", {"text": text}, timestamp=NOON).to_record()


def cycle(stage: str, revision: int) -> Record:
    """Return the record of one and the same cycle, in this stage."""
    return NomicCycle("loop", 1, "debate", stage, NOON).to_record(revision)


def rows(outbox: Outbox, sql: str) -> list[Row]:
    """Look into the database."""
    with outbox.read("test") as view:
        return view.all(sql)


def dead_letters(outbox: Outbox) -> list[Row]:
    """Return what is known of each dead letter."""
    return rows(outbox, "SELECT table_name, record_key, revision, attempts, reason FROM dead_letters ORDER BY id")


def numbers(outbox: Outbox) -> list[Any]:
    """Return the numbers of the events that wait, in their order."""
    return [entry.payload["cycle"] for entry in outbox.pending()]


def test_tables_with_waiting_records_are_listed_once(outbox: Outbox) -> None:
    """Each table that something waits for, and no other."""
    assert waiting_tables(outbox) == []
    outbox.enqueue([event(1), cycle("voting", 1), event(2)])

    assert waiting_tables(outbox) == ["nomic_cycles", "stream_events"]


def test_a_batch_is_the_oldest_of_one_table(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order in which they came, at most so many, and of nothing else."""
    monkeypatch.setattr(delivery, "BATCH_RECORDS", 2)
    outbox.enqueue([event(1), cycle("voting", 1), event(2), event(3)])

    assert [entry.payload["cycle"] for entry in next_batch(outbox, "stream_events").entries] == [1, 2]
    assert [entry.table for entry in next_batch(outbox, "nomic_cycles").entries] == ["nomic_cycles"]
    assert next_batch(outbox, "agent_metrics").entries == []


def test_a_batch_of_large_records_is_short(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text of a batch is bounded; a record that is larger than that comes alone."""
    monkeypatch.setattr(delivery, "BATCH_CHARACTERS", 1000)
    outbox.enqueue([event(1, "x" * 300), event(2, "x" * 300), event(3, "x" * 2000), event(4)])
    batches = []
    while entries := next_batch(outbox, "stream_events").entries:
        batches.append([entry.payload["cycle"] for entry in entries])
        remove_delivered(outbox, entries)

    assert batches == [[1, 2], [3], [4]]


def test_what_was_delivered_is_removed_and_noted(outbox: Outbox) -> None:
    """The others stay, and the time of the delivery is known."""
    outbox.enqueue([event(1), event(2), event(3)])
    assert rows(outbox, "SELECT last_success_at FROM sync_state") == [(None,)]
    remove_delivered(outbox, next_batch(outbox, "stream_events").entries[:2])

    assert numbers(outbox) == [3]
    [(noted,)] = rows(outbox, "SELECT last_success_at FROM sync_state")
    assert str(noted).endswith("Z")


def test_a_newer_revision_survives_the_removal_of_an_older_one(outbox: Outbox) -> None:
    """What was enqueued while its older state was under way stays."""
    outbox.enqueue([cycle("proposing", 1)])
    sent = next_batch(outbox, "nomic_cycles").entries
    outbox.enqueue([cycle("voting", 2)])
    remove_delivered(outbox, sent)

    assert [entry.payload["stage"] for entry in outbox.pending()] == ["voting"]


@pytest.mark.parametrize("removal", ["delivered", "refused"])
def test_another_record_under_the_same_id_stays(outbox: Outbox, removal: str) -> None:
    """In a database that was restored meanwhile, an id may stand for another record, or for another state."""
    outbox.enqueue([event(1), cycle("proposing", 1)])
    sent = [next_batch(outbox, table).entries[0] for table in ("stream_events", "nomic_cycles")]
    with outbox.transaction("restore") as tx:
        tx.execute("UPDATE outbox SET record_key = 'another' WHERE table_name = 'stream_events'")
        tx.execute("UPDATE outbox SET revision = 2 WHERE table_name = 'nomic_cycles'")
    if removal == "delivered":
        remove_delivered(outbox, sent)
    else:
        assert [set_aside(outbox, entry, "bad") for entry in sent] == [0, 0]

    assert outbox.count() == 2
    assert dead_letters(outbox) == []


def test_a_refused_record_becomes_a_dead_letter_with_its_reason(outbox: Outbox) -> None:
    """It waits no more, and everything of it is kept."""
    outbox.enqueue([event(1), event(2)])
    first, _ = next_batch(outbox, "stream_events").entries
    before = rows(outbox, "SELECT payload, enqueued_at FROM outbox WHERE id = 1")

    assert set_aside(outbox, first, "too odd") == 1
    assert numbers(outbox) == [2]
    assert dead_letters(outbox) == [("stream_events", first.key, 0, 1, "too odd")]
    assert rows(outbox, "SELECT payload, enqueued_at FROM dead_letters") == before


def test_of_one_record_the_newest_dead_letter_is_kept(outbox: Outbox) -> None:
    """A newer state takes the place of an older one, an older one changes nothing; the refusals are counted."""
    key = cycle("", 1).key
    seen = []
    for revision, stage in ((2, "voting"), (3, "executing"), (1, "proposing")):
        outbox.enqueue([cycle(stage, revision)])
        [entry] = next_batch(outbox, "nomic_cycles").entries
        assert set_aside(outbox, entry, stage) == 1
        seen.append(dead_letters(outbox))

    assert seen[0] == [("nomic_cycles", key, 2, 1, "voting")]
    assert seen[1] == seen[2] == [("nomic_cycles", key, 3, 2, "executing")]
    assert outbox.count() == 0


DAMAGE = ("payload = '{'", "payload = '[]'", "enqueued_at = 'soon'", "revision = 'x'", f"payload = '{'[' * 100_000}'")


@pytest.mark.parametrize("change", DAMAGE, ids=["text", "list", "time", "revision", "depth"])
def test_a_damaged_record_holds_nothing_up(outbox: Outbox, change: str) -> None:
    """It is told apart from the others, and can be set aside as it is."""
    outbox.enqueue([event(1), event(2), event(3)])
    with outbox.transaction("damage") as tx:
        tx.execute(f"UPDATE outbox SET {change} WHERE id = 2")
    stored = rows(outbox, "SELECT table_name, record_key, revision, payload, enqueued_at FROM outbox WHERE id = 2")
    batch = next_batch(outbox, "stream_events")

    assert [entry.id for entry in batch.entries] == [1, 3]
    [damaged] = batch.damaged
    assert damaged.problem == "is not what was enqueued"
    assert set_aside(outbox, damaged, damaged.problem) == 1
    assert rows(outbox, "SELECT table_name, record_key, revision, payload, enqueued_at FROM dead_letters") == stored
    assert next_batch(outbox, "stream_events").damaged == []


def test_dead_letters_wait_again_after_a_redrive(outbox: Outbox) -> None:
    """With new ids and behind all others; a second redrive finds none."""
    outbox.enqueue([event(1), event(2), event(3)])
    for entry in next_batch(outbox, "stream_events").entries[:2]:
        set_aside(outbox, entry, "bad")
    payloads = rows(outbox, "SELECT payload FROM dead_letters ORDER BY id")

    assert redrive(outbox) == 2
    assert numbers(outbox) == [3, 1, 2]
    assert rows(outbox, "SELECT payload FROM outbox WHERE id > 3 ORDER BY id") == payloads
    assert dead_letters(outbox) == []
    assert redrive(outbox) == 0
    assert numbers(outbox) == [3, 1, 2]


@pytest.mark.parametrize(("waiting", "stays"), [(1, "dead"), (2, "waiting"), (3, "waiting")])
def test_a_redrive_leaves_the_newest_state(outbox: Outbox, waiting: int, stays: str) -> None:
    """Where the record waits already, the higher revision wins, and the one that waits where they are the same."""
    outbox.enqueue([cycle("dead", 2)])
    [entry] = next_batch(outbox, "nomic_cycles").entries
    set_aside(outbox, entry, "bad")
    outbox.enqueue([cycle("waiting", waiting)])

    assert redrive(outbox) == 1
    assert [entry.payload["stage"] for entry in outbox.pending()] == [stays]


def test_a_problem_is_noted_with_its_beginning(outbox: Outbox) -> None:
    """The same problem keeps its time, another one gets a new one, none has none."""

    def noted() -> Row:
        [row] = rows(outbox, "SELECT problem, problem_since FROM sync_state")
        return row

    assert noted() == ("", None)
    note_problem(outbox, "no answer")
    first = noted()
    note_problem(outbox, "no answer")
    assert first == noted()
    assert (first[0], str(first[1])[-1]) == ("no answer", "Z")
    note_problem(outbox, "wrong key")
    assert noted()[0] == "wrong key"
    assert str(noted()[1]) > str(first[1])
    note_problem(outbox, "")
    assert noted() == ("", None)
