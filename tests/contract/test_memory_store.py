"""The contract of MemoryStore: one suite over every backend."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from aragora_persist.errors import ConflictError, DamagedError, InvalidValueError, NotFoundError
from aragora_persist.json_text import unstorable
from aragora_persist.settings import Durability
from aragora_persist.storage.memory.records import ArchivedMemory, Memory, RedLineEvent, Swept, TierTransition
from aragora_persist.storage.memory.tiers import TIER_NAMES, learned, next_tier, strength, tier_named
from aragora_persist.storage.memory_store import MemoryStore
from aragora_persist.testing import Clock
from aragora_persist.times import to_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from aragora_persist.storage.port import Backend

pytest_plugins = ("tests.contract.backends",)

TABLES = ("memories", "memory_archive", "tier_transitions", "red_line_events", "tier_counts", "memory_outcomes")
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20) | st.sampled_from(["x" * 255, "x" * 256])
NOTHING = Swept(0, 0, 0, 0)


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the store."""
    return Clock()


@pytest.fixture
def memories(open_database: Callable[[str], Backend], clock: Clock) -> MemoryStore:
    """Return an empty store on each backend."""
    return MemoryStore(open_database("memory"), clock=clock)


def clear(memories: MemoryStore) -> None:
    """Take every row away, for the next example."""
    with memories.database.transaction() as tx:
        for table in TABLES:
            tx.execute(f"DELETE FROM {table}")


def everything(memories: MemoryStore) -> list[list[Any]]:
    """Return every row of every table."""
    with memories.database.read("everything") as view:
        return [sorted(view.all(f"SELECT * FROM {table}"), key=repr) for table in TABLES]


def counts(memories: MemoryStore) -> dict[Any, Any]:
    """Return the numbers that are kept of the tiers, where they are not nothing."""
    with memories.database.read("counts") as view:
        return {row[0]: row[1] for row in view.all("SELECT tier, memories FROM tier_counts WHERE memories <> 0")}


def put(memories: MemoryStore, memory_id: str, **columns: Any) -> None:  # noqa: ANN401 - any column
    """Write columns of a memory behind the store's back, and its strength after them."""
    with memories.database.transaction() as tx:
        for column, value in columns.items():
            tx.execute(f"UPDATE memories SET {column} = ? WHERE id = ?", (value, memory_id))
    memory = memories.get(memory_id)
    assert memory is not None
    now_strength = strength(tier_named(memory.tier), memory.importance, memory.updated_at)
    with memories.database.transaction() as tx:
        tx.execute("UPDATE memories SET strength = ? WHERE id = ?", (now_strength, memory_id))


def fill(memories: MemoryStore, tier: str, count: int, importance: float, now: datetime) -> None:
    """Put many memories into a tier at once."""
    rows = [
        (
            f"{tier}-{number:05d}",
            tier,
            "filler",
            importance,
            to_text(now),
            to_text(now),
            strength(tier_named(tier), importance, now),
        )
        for number in range(count)
    ]
    with memories.database.transaction() as tx:
        tx.execute_many(
            "INSERT INTO memories (id, tier, content, importance, created_at, updated_at, strength)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            rows,
        )


def ids(found: Any) -> list[str]:  # noqa: ANN401 - memories of both kinds
    """Return their ids."""
    return [memory.id for memory in found]


def test_a_memory_comes_back_as_it_was_added(memories: MemoryStore, clock: Clock) -> None:
    """Every field, with the documented defaults, under an id of its own."""
    memory = memories.add("a fact", importance=0.8, tier="slow", metadata={"ü": [1, None]})

    assert memory == Memory(
        *(memory.id, "slow", "a fact", 0.8, 0.8, 0.0, 0.0, 0, 0, 0, False),
        *({"ü": [1, None]}, clock.now, clock.now, None, None),
    )
    assert memories.get(memory.id) == memory
    default = memories.add("another")
    assert (default.tier, default.importance, default.metadata, len(default.id)) == ("fast", 0.5, {}, 32)
    assert memories.get("unknown") is None


def test_adding_it_again_changes_nothing(memories: MemoryStore) -> None:
    """Whatever happened to it since; other content is refused, and so is one that is in the archive."""
    memories.add("a fact", memory_id="m1")
    accessed = memories.access("m1")

    assert memories.add("a fact", memory_id="m1", tier="slow") == accessed
    for other in ({"content": "a lie"}, {"importance": 0.6}, {"metadata": {"a": 1}}):
        with pytest.raises(ConflictError, match="m1: is another memory"):
            memories.add(**{"content": "a fact", "memory_id": "m1", **other})  # type: ignore[arg-type] # the test
    assert memories.get("m1") == accessed
    memories.archive("m1")
    with pytest.raises(ConflictError, match="m1: is in the archive"):
        memories.add("a fact", memory_id="m1")


def test_importance_decays_when_it_is_read(memories: MemoryStore, clock: Clock) -> None:
    """By its tier's half-life since it was last touched; reading writes nothing."""
    for tier in TIER_NAMES:
        memories.add("a fact", importance=0.8, tier=tier, memory_id=tier)
    before = everything(memories)
    clock.advance(hours=24)
    left = {memory.id: memory.decayed_importance for memory in memories.iter_memories()}

    assert left["medium"] == 0.4
    assert left["fast"] == pytest.approx(0.8 * 0.5**24)
    assert left["slow"] == pytest.approx(0.8 * 0.5 ** (1 / 7))
    assert everything(memories) == before
    assert memories.access("medium").decayed_importance == 0.8


@pytest.mark.parametrize("durability", [None, Durability.DURABLE])
def test_an_access_counts_and_strengthens(memories: MemoryStore, clock: Clock, durability: Durability | None) -> None:
    """Count and time are noted; nothing is learned from it."""
    memory = memories.add("a fact", memory_id="m1")
    later = clock.advance(hours=1)
    accessed = memories.access("m1") if durability is None else memories.access("m1", durability=durability)

    assert accessed == dataclasses.replace(memory, access_count=1, last_accessed_at=later, updated_at=later)
    assert memories.access("m1").access_count == 2
    with pytest.raises(NotFoundError, match="unknown"):
        memories.access("unknown")


def test_outcomes_teach_and_move(memories: MemoryStore, clock: Clock) -> None:
    """Two successes make a fast memory stable enough for the next tier, which is noted; its numbers come along."""
    memories.add("a fact", memory_id="m1")
    first = memories.record_outcome("m1", success=True)
    assert (first.tier, first.success_count, first.surprise, first.stability) == ("fast", 1, 0.15, 0.15)
    moved_at = clock.advance(minutes=5)
    second = memories.record_outcome("m1", success=True)

    assert (second.tier, second.success_count, second.failure_count) == ("medium", 2, 0)
    assert counts(memories) == {"medium": 1}
    assert (second.tier_changed_at, second.updated_at) == (moved_at, moved_at)
    assert second.stability == pytest.approx(0.15 + 0.3 * (2 / 3 - 0.15))
    assert list(memories.iter_transitions("m1")) == [TierTransition("m1", "fast", "medium", "demotion", moved_at)]
    third = memories.record_outcome("m1", success=False)
    assert (third.success_count, third.failure_count) == (2, 1)


def test_an_outcome_with_a_key_counts_once(memories: MemoryStore, clock: Clock) -> None:
    """Told again it changes nothing; its key stands for no other outcome; one that failed has not been noted."""
    with pytest.raises(NotFoundError):
        memories.record_outcome("m1", success=True, event_key="k1")
    memories.add("a fact", memory_id="m1")
    memories.add("another", memory_id="m2")
    first = memories.record_outcome("m1", success=True, event_key="k1")
    clock.advance(minutes=5)
    before = everything(memories)
    assert memories.record_outcome("m1", success=True, event_key="k1").success_count == first.success_count == 1
    for other, success in (("m1", False), ("m2", True)):
        with pytest.raises(ConflictError, match="event_key"):
            memories.record_outcome(other, success=success, event_key="k1")
    assert everything(memories) == before
    assert memories.record_outcome("m1", success=True, event_key="k2").success_count == 2
    assert memories.record_outcome("m1", success=True).success_count == 3


def test_keys_of_outcomes_are_forgotten_when_they_are_old(
    memories: MemoryStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep after 30 days takes them all, in whatever batches, and no younger one."""
    monkeypatch.setattr("aragora_persist.storage.memory_store._BATCH", 2)
    memories.add("a fact", memory_id="m1")
    memories.mark_red_line("m1", "stays")
    for number in range(5):
        memories.record_outcome("m1", success=True, event_key=f"old-{number}")
    clock.advance(days=30)
    memories.record_outcome("m1", success=True, event_key="young")
    memories.sweep()
    assert memories.record_outcome("m1", success=True, event_key="old-0").success_count == 6
    clock.advance(seconds=1)
    memories.sweep()
    assert memories.record_outcome("m1", success=True, event_key="young").success_count == 6
    assert memories.record_outcome("m1", success=True, event_key="old-0").success_count == 7


def test_a_surprise_promotes_after_the_cooldown(memories: MemoryStore, clock: Clock) -> None:
    """Within a day of the last move it stays, and the next outcome or sweep moves it."""
    for name in ("m1", "m2"):
        memories.add("a fact", tier="glacial", memory_id=name)
        put(memories, name, surprise=0.9, tier_changed_at=to_text(clock.now))
    clock.advance(hours=23)
    assert memories.record_outcome("m1", success=True).tier == "glacial"
    assert memories.sweep() == NOTHING
    moved_at = clock.advance(hours=1)

    assert memories.record_outcome("m1", success=True).tier == "slow"
    assert memories.sweep() == Swept(expired=0, demoted=0, promoted=1, crowded_out=0)
    assert list(memories.iter_transitions("m2")) == [TierTransition("m2", "glacial", "slow", "promotion", moved_at)]
    assert memories.sweep() == NOTHING


def test_memories_are_listed_by_what_is_left_of_them(memories: MemoryStore, clock: Clock) -> None:
    """Over tiers and pages, each once, also when time passes between the pages."""
    start = clock.now
    for number in range(24):
        tier = TIER_NAMES[number % 4]
        memories.add(f"fact {number}", importance=(number * 7 % 24) / 24, tier=tier, memory_id=f"m{number:02d}")
        clock.advance(minutes=number * 3 % 7)
    found = list(memories.iter_memories())
    left = [memory.decayed_importance for memory in found]
    pages, after = [], None
    for _ in range(4):
        page = memories.list_memories(limit=7, after=after)
        pages += ids(page.items)
        after = page.next
        clock.advance(hours=9)

    assert (len(found), left) == (24, sorted(left, reverse=True))
    assert (pages, after) == (ids(found), None)
    clock.now = start
    assert ids(memories.iter_memories("slow")) == [one for one in ids(found) if int(one[1:]) % 4 == 2]
    assert memories.list_memories("glacial", limit=1).next is not None


def test_a_search_takes_a_text_as_it_is(memories: MemoryStore) -> None:
    """Anywhere in the content, upper and lower case apart, and no character is a pattern."""
    for number, content in enumerate(("50% of Zürich", "50 of zürich", "a_b", "aXb", "\\'\"")):
        memories.add(content, importance=1 - number / 10, memory_id=f"m{number}")

    for text, expected in (("Zür", ["m0"]), ("0% ", ["m0"]), ("_", ["m2"]), ("50", ["m0", "m1"]), ("\\'", ["m4"])):
        assert ids(memories.iter_memories(containing=text)) == expected
    assert ids(memories.list_memories("fast", containing="", limit=2).items) == ["m0", "m1"]
    assert memories.list_memories(containing="nowhere").items == []


def test_what_is_forgotten_goes_into_the_archive(
    memories: MemoryStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After two half-lives without a touch; in batches of any size; what was touched stays."""
    for number in range(5):
        memories.add("a fact", memory_id=f"m{number}", metadata={"n": number})
    memories.add("a fact", tier="medium", memory_id="slower")
    added = clock.now
    clock.advance(hours=1)
    memories.access("m0")
    clock.advance(hours=1)
    assert memories.sweep() == NOTHING
    clock.advance(microseconds=1)

    monkeypatch.setattr("aragora_persist.storage.memory_store._BATCH", 3)
    assert memories.sweep() == Swept(expired=4, demoted=0, promoted=0, crowded_out=0)
    assert memories.sweep() == NOTHING
    assert sorted(ids(memories.iter_memories())) == ["m0", "slower"]
    assert ids(memories.iter_archived()) == ["m4", "m3", "m2", "m1"]
    assert memories.get_archived("m1") == ArchivedMemory(
        *("m1", "fast", "a fact", 0.5, False, {"n": 1}, "retention", added, clock.now)
    )
    assert (memories.get("m1"), memories.get_archived("m0")) == (None, None)


def test_a_sweep_moves_each_memory_once(memories: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stable beyond all thresholds goes one tier down a sweep, not three."""
    for name in ("m1", "m2", "m3"):
        memories.add("a fact", memory_id=name)
        put(memories, name, stability=0.9)

    monkeypatch.setattr("aragora_persist.storage.memory_store._BATCH", 2)
    assert memories.sweep() == Swept(expired=0, demoted=3, promoted=0, crowded_out=0)
    assert {memory.tier for memory in memories.iter_memories()} == {"medium"}
    assert memories.sweep().demoted == memories.sweep().demoted == 3
    assert memories.sweep() == NOTHING
    assert [move.to_tier for move in memories.iter_transitions("m1")] == ["medium", "slow", "glacial"]


def test_a_full_tier_loses_its_weakest(memories: MemoryStore, clock: Clock) -> None:
    """Whoever comes in, by being added, moved or restored; never the newcomer, and never a red line."""
    fill(memories, "fast", 1000, 0.5, clock.now)
    assert memories.sweep() == NOTHING
    memories.mark_red_line("fast-00000", "policy")
    memories.add("the first takes the place that the red line left", importance=0.9)
    assert list(memories.iter_archived()) == []
    memories.add("a weak newcomer", importance=0.0, memory_id="weak")

    assert ids(memories.iter_archived()) == ["fast-00001"]
    assert memories.get("weak") is not None
    memories.add("another", importance=0.9)
    assert memories.get("weak") is None
    archived = memories.get_archived("weak")
    assert archived is not None
    assert archived.reason == "cap"
    clock.advance(minutes=1)
    memories.restore("fast-00001")
    assert (memories.get("fast-00000") is None, memories.get("fast-00001") is None) == (False, False)
    assert memories.get_archived("fast-00002") is not None
    memories.add("surprising", tier="medium", memory_id="m1")
    put(memories, "m1", surprise=0.95)
    assert memories.record_outcome("m1", success=True).tier == "fast"
    assert memories.get_archived("fast-00003") is not None


def test_a_sweep_enforces_the_caps(memories: MemoryStore, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what was put there otherwise, the weakest go, in batches."""
    fill(memories, "fast", 1005, 0.5, clock.now)
    put(memories, "fast-01004", importance=0.1)

    monkeypatch.setattr("aragora_persist.storage.memory_store._BATCH", 2)
    assert memories.sweep() == Swept(expired=0, demoted=0, promoted=0, crowded_out=5)
    assert sorted(ids(memories.iter_archived())) == [*(f"fast-0000{number}" for number in range(4)), "fast-01004"]
    assert memories.sweep() == NOTHING


def test_a_red_line_leaves_only_for_a_stated_reason(memories: MemoryStore, clock: Clock) -> None:
    """Neither by hand nor by time; each thing that is done to it is noted, and outlives it."""
    memories.add("never deploy on Fridays", memory_id="m1")
    marked = memories.mark_red_line("m1", "policy 7")
    assert (marked.red_line, memories.mark_red_line("m1", "again")) == (True, marked)
    clock.advance(days=999)
    assert memories.sweep() == NOTHING
    for refused in (memories.archive, memories.delete):
        with pytest.raises(ConflictError, match="m1: is a red line"):
            refused("m1")
    assert ids(memories.iter_memories()) == ids(memories.iter_red_lines()) == ["m1"]

    memories.archive("m1", reason="policy 8")
    with pytest.raises(ConflictError, match="m1: is a red line"):
        memories.delete("m1")
    assert memories.restore("m1").red_line
    assert not memories.lift_red_line("m1", "policy 9").red_line
    memories.mark_red_line("m1", "policy 10")
    memories.delete("m1", reason="policy 11")
    assert (memories.get("m1"), memories.get_archived("m1"), list(memories.iter_red_lines())) == (None, None, [])
    events = list(memories.iter_red_line_events("m1"))
    assert [event.reason for event in events] == ["policy 7", "policy 8", "policy 9", "policy 10", "policy 11"]
    assert [event.action for event in events] == ["marked", "archived", "lifted", "marked", "deleted"]
    assert events[1] == RedLineEvent("m1", "archived", "policy 8", clock.now)


def test_a_memory_comes_back_from_the_archive_whole(memories: MemoryStore, clock: Clock) -> None:
    """With all that it had learned, touched now; it can be archived again."""
    memories.add("a fact", memory_id="m1", metadata={"a": 1})
    memories.access("m1")
    for success in (True, True, False):
        memory = memories.record_outcome("m1", success=success)
    memories.archive("m1", reason="tidying")
    archived = memories.get_archived("m1")
    assert archived is not None
    assert archived.reason == "tidying"
    later = clock.advance(days=400)

    assert memories.restore("m1") == memories.get("m1") == dataclasses.replace(memory, updated_at=later)
    assert memories.get_archived("m1") is None
    assert memories.sweep() == NOTHING
    memories.archive("m1")
    assert [memory.reason for memory in memories.iter_archived()] == ["archived"]
    for unknown in ("m1", "unknown"):
        with pytest.raises(NotFoundError):
            memories.archive(unknown)
    with pytest.raises(NotFoundError):
        memories.restore("unknown")


def test_what_is_deleted_is_gone(memories: MemoryStore) -> None:
    """In the archive too; again, it is unknown."""
    memories.add("a fact", memory_id="m1")
    memories.add("a fact", memory_id="m2")
    memories.archive("m2")
    memories.delete("m1")
    memories.delete("m2")

    assert everything(memories)[:2] == [[], []]
    with pytest.raises(NotFoundError, match="m1"):
        memories.delete("m1")


def test_other_lists_come_in_pages(memories: MemoryStore, clock: Clock) -> None:
    """The archive, the red lines, and what is noted of a memory."""
    for number in range(5):
        memories.add("a fact", memory_id=f"m{number}")
        memories.mark_red_line(f"m{number}", "policy")
    first = memories.list_red_lines(limit=3)
    assert ids(first.items + memories.list_red_lines(after=first.next).items) == [f"m{number}" for number in range(5)]
    for number in range(5):
        memories.archive(f"m{number}", reason="over")
        clock.advance(seconds=number % 2)
    archived = memories.list_archived(limit=3)
    rest = memories.list_archived(limit=3, after=archived.next)
    assert (ids(archived.items + rest.items), rest.next) == (["m4", "m3", "m2", "m1", "m0"], None)
    events = memories.list_red_line_events("m1", limit=1)
    assert [event.action for event in memories.list_red_line_events("m1", after=events.next).items] == ["archived"]
    assert memories.list_transitions("m1").items == []


def test_a_transaction_of_the_caller_decides(memories: MemoryStore) -> None:
    """A refused part leaves the rest of it; a failed whole leaves nothing."""
    with memories.database.transaction() as tx:
        memories.add("a fact", memory_id="m1", tx=tx)
        memories.mark_red_line("m1", "policy", tx=tx)
        with pytest.raises(ConflictError):
            memories.archive("m1", tx=tx)
        memories.access("m1", tx=tx)
    before = everything(memories)
    with pytest.raises(RuntimeError), memories.database.transaction() as tx:
        memories.record_outcome("m1", success=True, tx=tx)
        memories.delete("m1", reason="why not", tx=tx)
        raise RuntimeError

    assert everything(memories) == before
    assert [len(table) for table in before] == [1, 0, 0, 1, 1, 0]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"content": ""}, "content"),
        ({"content": "a\0"}, "content"),
        ({"content": "\ud800"}, "content"),
        ({"content": "x" * 10_000_000}, "content"),
        ({"content": 5}, "content"),
        ({"importance": -0.1}, "importance"),
        ({"importance": 1.1}, "importance"),
        ({"importance": float("nan")}, "importance"),
        ({"tier": "Fast"}, "tier"),
        ({"tier": None}, "tier"),
        ({"metadata": [1]}, "metadata"),
        ({"metadata": {"a": float("inf")}}, "metadata.a"),
        ({"memory_id": ""}, "memory_id"),
    ],
)
def test_a_bad_memory_is_refused(memories: MemoryStore, arguments: dict[str, Any], field: str) -> None:
    """The error names the field, and nothing is written."""
    with pytest.raises(InvalidValueError) as refused:
        memories.add(**{"content": "a fact", **arguments})
    assert refused.value.target == field
    assert everything(memories) == [[] for _ in TABLES]


def test_other_bad_values_are_refused(memories: MemoryStore) -> None:
    """Ids, reasons, outcomes, pages and batches; nothing changes."""
    memories.add("a fact", memory_id="m1")
    before = everything(memories)
    calls: list[Callable[[], object]] = [
        lambda: memories.get(""),
        lambda: memories.access(5),  # type: ignore[arg-type] # the test
        lambda: memories.record_outcome("m1", success=1),  # type: ignore[arg-type] # the test
        lambda: memories.record_outcome("m1", success=True, event_key="a\0b"),
        lambda: memories.mark_red_line("m1", ""),
        lambda: memories.mark_red_line("m1", None),  # type: ignore[arg-type] # the test
        lambda: memories.lift_red_line("m1", "x" * 1001),
        lambda: memories.delete("m1", reason=""),
        lambda: memories.archive("m1", reason="a\0"),
        lambda: memories.list_memories("nowhere"),
        lambda: memories.list_memories(limit=0),
        lambda: memories.list_memories(after="W10="),
        lambda: memories.list_memories(containing="\ud800"),
        lambda: memories.list_archived(limit=1001),
        lambda: memories.list_red_lines(after="x"),
        lambda: memories.list_transitions("m1", limit=-1),
        lambda: memories.list_red_line_events("", limit=1),
    ]
    for call in calls:
        with pytest.raises(InvalidValueError):
            call()
    assert everything(memories) == before


@pytest.mark.parametrize(("column", "value"), [("updated_at", "soon"), ("metadata", "[1]")])
def test_damaged_rows_are_said(memories: MemoryStore, column: str, value: str) -> None:
    """They are errors of the data, not wrong records."""
    memories.add("a fact", memory_id="m1")
    with memories.database.transaction() as tx:
        tx.execute(f"UPDATE memories SET {column} = ?", (value,))
    with pytest.raises(DamagedError, match=f"memory m1: its {column}"):
        memories.get("m1")


def test_accesses_and_outcomes_at_once_are_all_counted(memories: MemoryStore) -> None:
    """Eight threads on one memory, with sweeps in between: no count is lost."""
    memories.add("a fact", memory_id="m1", tier="glacial")
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(8):
                memories.access("m1")
                memories.record_outcome("m1", success=(number + turn) % 2 == 0)
                if turn % 4 == 0:
                    memories.sweep()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test must see it
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    memory = memories.get("m1")
    assert memory is not None
    assert (memory.access_count, memory.success_count, memory.failure_count) == (64, 32, 32)


def test_any_text_and_number_is_stored_exactly_or_refused(memories: MemoryStore) -> None:
    """Whatever is added, it reads as it was told, is listed and found, or there is nothing."""

    @settings(max_examples=50)
    @given(
        content=ANY_TEXT,
        memory_id=ANY_TEXT,
        importance=st.floats() | st.floats(0, 1),
        metadata=st.dictionaries(ANY_TEXT, st.none() | st.floats() | ANY_TEXT, max_size=2),
    )
    def check(content: str, memory_id: str, importance: float, metadata: dict[str, Any]) -> None:
        clear(memories)
        texts = [content, memory_id, *metadata, *(value for value in metadata.values() if isinstance(value, str))]
        try:
            memory = memories.add(content, memory_id=memory_id, importance=importance, metadata=metadata)
        except InvalidValueError:
            assert everything(memories) == [[] for _ in TABLES]
            return
        assert not any(unstorable(text) for text in texts)
        assert (memory.content, memory.id, memory.importance, memory.metadata) == (
            *(content, memory_id, importance),
            metadata,
        )
        assert list(memories.iter_memories(containing=content[1:])) == [memory]
        memories.archive(memory_id)
        assert memories.restore(memory_id) == memory

    check()


@dataclasses.dataclass
class Modelled:
    """A memory of the model."""

    tier: str
    touched: datetime
    surprise: float = 0.0
    stability: float = 0.0
    counts: tuple[int, int] = (0, 0)
    moved: datetime | None = None
    red: bool = False
    archived: bool = False

    def move(self, now: datetime) -> None:
        """Move where that is due."""
        due = next_tier(tier_named(self.tier), self.surprise, self.stability, self.moved, now)
        if due and not self.archived:
            self.tier, self.moved, self.touched = due[0].name, now, now


class Machine(RuleBasedStateMachine):
    """Calls in any order, beside memories in a dict."""

    memories: ClassVar[MemoryStore]
    clock: ClassVar[Clock]
    names = st.sampled_from(["a", "b", "c"])

    def __init__(self) -> None:
        super().__init__()
        clear(self.memories)
        self.model: dict[str, Modelled] = {}

    def there(self, name: str) -> bool:
        """Tell whether a memory is outside of the archive."""
        return name in self.model and not self.model[name].archived

    @rule(name=names, tier=st.sampled_from(("fast", *TIER_NAMES)))
    def add(self, name: str, tier: str) -> None:
        """Add one, or the same again."""
        if name in self.model and self.model[name].archived:
            with pytest.raises(ConflictError):
                self.memories.add("a fact", tier=tier, memory_id=name)
        else:
            self.memories.add("a fact", tier=tier, memory_id=name)
            self.model.setdefault(name, Modelled(tier, self.clock.now))

    @rule(name=names, outcomes=st.lists(st.booleans(), min_size=2, max_size=6))
    def learn(self, name: str, outcomes: list[bool]) -> None:
        """Use one, with outcomes."""
        if not self.there(name):
            with pytest.raises(NotFoundError):
                self.memories.access(name)
            return
        self.memories.access(name)
        one = self.model[name]
        one.touched = self.clock.now
        for success in outcomes:
            self.memories.record_outcome(name, success=success)
            values = one.surprise, one.stability
            one.surprise, one.stability = learned(tier_named(one.tier), *values, one.counts, success=success)
            one.counts = (one.counts[0] + success, one.counts[1] + (not success))
            one.move(self.clock.now)

    @rule(name=names, red=st.booleans())
    def mark(self, name: str, red: bool) -> None:  # noqa: FBT001 - hypothesis passes it by name
        """Mark or lift a red line."""
        if self.there(name):
            (self.memories.mark_red_line if red else self.memories.lift_red_line)(name, "why")
            self.model[name].red = red

    @rule(name=names)
    def archive(self, name: str) -> None:
        """Archive or restore one, or be refused."""
        if name in self.model and self.model[name].archived:
            self.memories.restore(name)
            self.model[name].archived, self.model[name].touched = False, self.clock.now
        elif self.there(name) and self.model[name].red:
            with pytest.raises(ConflictError):
                self.memories.archive(name)
        elif self.there(name):
            self.memories.archive(name)
            self.model[name].archived = True

    @rule(name=names)
    def delete(self, name: str) -> None:
        """Delete one wherever it is, or be refused."""
        if name not in self.model or self.model[name].red:
            with pytest.raises(ConflictError if name in self.model else NotFoundError):
                self.memories.delete(name)
        else:
            self.memories.delete(name)
            del self.model[name]

    @rule(hours=st.sampled_from([1, 3, 25, 500]))
    def sweep(self, hours: int) -> None:
        """Let time pass, and sweep."""
        now = self.clock.advance(hours=hours)
        self.memories.sweep()
        for one in self.model.values():
            kept = timedelta(hours=2 * tier_named(one.tier).half_life_hours)
            one.archived = one.archived or (now - one.touched > kept and not one.red)
            one.move(now)

    @invariant()
    def same(self) -> None:
        """Tiers, counts, marks and places are the model's."""
        found = {memory.id: memory for memory in self.memories.iter_memories()}
        assert found.keys() == {name for name in self.model if self.there(name)}
        assert {memory.id for memory in self.memories.iter_archived()} == self.model.keys() - found.keys()
        assert counts(self.memories) == Counter(
            one.tier for one in self.model.values() if not (one.archived or one.red)
        )
        for name, memory in found.items():
            one = self.model[name]
            assert (memory.tier, memory.updated_at, memory.red_line) == (one.tier, one.touched, one.red)
            assert (memory.success_count, memory.failure_count) == one.counts
            assert (memory.surprise, memory.stability) == (one.surprise, one.stability)


def test_it_behaves_like_a_dict_of_memories(
    memories: MemoryStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any sequence of calls gives what plain Python gives."""
    monkeypatch.setattr("aragora_persist.storage.memory_store._BATCH", 1)
    Machine.memories, Machine.clock = memories, clock
    run_state_machine_as_test(Machine, settings=settings(max_examples=20, stateful_step_count=12))
    assert memories.sweep().crowded_out == 0
