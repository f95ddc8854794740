"""The contract of ReplayStore: one suite over every backend."""

from __future__ import annotations

import io
import json
import random
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from aragora_persist.errors import ConflictError, DamagedError, InvalidValueError, NotFoundError, PersistError
from aragora_persist.storage.replay_store import ReplayStore
from aragora_persist.storage.replays import trace as traces
from aragora_persist.storage.replays.trace import Trace, TraceEvent, new_event, new_trace
from aragora_persist.testing import Clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from aragora_persist.storage.port import Backend
    from aragora_persist.storage.replays.records import EventFilter

pytest_plugins = ("tests.contract.backends",)

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
END = NOON + timedelta(hours=1)
RESULT = {"consensus_reached": True, "confidence": 0.5, "final_answer": "é", "rounds_used": 2}


@pytest.fixture
def store(open_database: Callable[[str], Backend]) -> ReplayStore:
    """Return an empty store on each backend."""
    return ReplayStore(open_database("replay"), clock=Clock())


def trace(trace_id: str = "trace-1", events: int = 3, **header: Any) -> Trace:  # noqa: ANN401 - header fields are free
    """Return a trace with numbered events."""
    document: dict[str, Any] = {
        "trace_id": trace_id,
        "debate_id": "debate-1",
        "task": "Pick a cache",
        "agents": ["claude", "gpt"],
        "started_at": "2026-01-02T03:04:05",
        "ours": {"kept": [1.0, "é"]},
        "events": [
            {
                "event_id": f"e{number}",
                "event_type": "message" if number % 2 else "a_type_of_tomorrow",
                "timestamp": f"2026-01-02T03:04:{number % 60:02d}",
                "round_num": number,
                "agent": "claude" if number % 2 else None,
                "content": {"content": f"é {number}", "weight": 1e-7},
                "extra": [None],
            }
            for number in range(events)
        ],
    }
    document |= header
    return Trace.from_document(document, accept_bad_checksum=True)


def with_events(*documents: dict[str, Any], **header: Any) -> Trace:  # noqa: ANN401 - as above
    """Return a trace with these events."""
    return Trace.from_document({**trace(**header).header, "events": [*documents]}, accept_bad_checksum=True)


def event(number: int, text: str = "said") -> TraceEvent:
    """Return an event whose id, time and round are numbered."""
    kind, agent = ("message", "claude") if number % 2 else ("round_start", None)
    moment = NOON + timedelta(seconds=number)
    return new_event(kind, {"text": text}, moment, event_id=f"e{number}", round_num=number // 2, agent=agent)


def recording(store: ReplayStore, events: int = 0, trace_id: str = "live") -> Trace:
    """Begin a recording of numbered events, and return its header."""
    begun = new_trace("debate-1", "Pick a cache", ["claude"], NOON, trace_id=trace_id, random_seed=2**70)
    store.begin(begun)
    store.append_events(trace_id, [event(number) for number in range(events)])
    return begun


def ids(store: ReplayStore, trace_id: str = "live") -> list[str]:
    """Return the ids of the events that are stored, in their order."""
    return [one.event_id for one in store.iter_events(trace_id)]


def change(store: ReplayStore, sql: str) -> None:
    """Change rows behind the store's back."""
    with store.database.transaction() as tx:
        tx.execute(sql)


class TestSaved:
    """Replays that are saved whole."""

    def test_a_replay_comes_back_as_it_was_saved(self, store: ReplayStore) -> None:
        """Header, events, their order and what this release does not know are all there."""
        saved = trace()

        assert store.save(saved) is True
        assert store.get("trace-1") == saved
        assert store.get("trace-2") is None
        store.verify("trace-1")

    def test_saving_the_same_replay_again_changes_nothing(self, store: ReplayStore) -> None:
        """A repeated save is told from the first one, and leaves the row as it was."""
        store.save(trace())
        before = store.list_replays()

        assert store.save(trace()) is False
        assert store.list_replays() == before

    @pytest.mark.parametrize("other", [{"task": "Another task"}, {"events": 2}], ids=["header", "events"])
    def test_another_content_under_the_same_id_is_refused(self, store: ReplayStore, other: dict[str, Any]) -> None:
        """The replay that is there stays, whole."""
        saved = trace()
        store.save(saved)
        with pytest.raises(ConflictError, match="trace-1: is stored with another content"):
            store.save(trace(**other))

        assert store.get("trace-1") == saved

    def test_ids_of_events_may_come_twice(self, store: ReplayStore) -> None:
        """The format does not forbid it: a trace of another tool is kept as it is."""
        saved = with_events(*[one.document for one in trace(events=2).events] * 2)
        store.save(saved)

        assert store.get("trace-1") == saved

    @pytest.mark.parametrize(
        ("broken", "field"),
        [
            (trace("x" * 256), "trace_id"),
            (trace(debate_id="x" * 256), "debate_id"),
            (trace(task="x" * 1_000_001), "task"),
            (trace(ours="x" * 10_000_000), "header"),
            (with_events({**event(0).document, "event_id": "x" * 256}), "events[0].event_id"),
            (with_events({**event(0).document, "metadata": {"x": "x" * 10_000_000}}), "events[0]"),
        ],
        ids=["trace_id", "debate_id", "task", "header", "event_id", "event"],
    )
    def test_what_is_too_long_is_refused(self, store: ReplayStore, broken: Trace, field: str) -> None:
        """The error names the field, and nothing is stored."""
        with pytest.raises(InvalidValueError) as refused:
            store.save(broken)

        assert refused.value.target == field
        assert store.list_replays().items == []

    def test_a_save_of_a_transaction_goes_with_it(self, store: ReplayStore) -> None:
        """What fails afterwards takes the replay back."""
        with pytest.raises(ZeroDivisionError), store.database.transaction() as tx:
            store.save(trace(), tx=tx)
            raise ZeroDivisionError

        assert store.get("trace-1") is None


class TestRecorded:
    """Replays that are recorded event by event."""

    def test_a_recording_is_read_while_it_grows(self, store: ReplayStore) -> None:
        """What was appended is there at once, in its order; there is no checksum yet."""
        begun = recording(store, 2)
        store.append_events("live", [event(2)])
        found = store.get("live")
        summary = store.get_summary("live")

        assert found is not None
        assert (found.header, found.events) == (begun.header, (event(0), event(1), event(2)))
        assert summary is not None
        assert (summary.is_recording, summary.event_count, summary.checksum) == (True, 3, None)
        assert json.loads(store.export("live"))["checksum"] == found.checksum
        store.verify("live")

    def test_a_finished_recording_is_the_same_as_a_saved_trace(self, store: ReplayStore) -> None:
        """Checksum and digest are those that a save of the whole makes."""
        recording(store, 450)
        summary = store.finish("live", END, RESULT)
        found = store.get("live")

        assert found is not None
        assert (summary.is_recording, summary.event_count, summary.checksum) == (False, 450, found.checksum)
        assert (found.completed_at, found.final_result, found.random_seed) == (END, RESULT, 2**70)
        assert traces.parse(store.export("live")) == found
        assert store.save(found) is False
        store.verify("live")

    def test_everything_may_be_repeated(self, store: ReplayStore) -> None:
        """A retry of what took place changes nothing, even after the end."""
        begun = recording(store)
        batch = [event(0), event(1)]
        assert store.append_events("live", batch) == 2
        assert store.append_events("live", batch) == 0
        assert store.append_events("live", [*batch, event(2)]) == 1
        assert store.append_events("live", [event(2), event(3)], position=2) == 1
        ended = store.finish("live", END, RESULT)

        assert store.begin(begun) is False
        assert store.append_events("live", batch, position=0) == 0
        assert store.finish("live", END, RESULT) == ended
        assert ids(store) == ["e0", "e1", "e2", "e3"]

    @pytest.mark.parametrize(
        ("events", "position", "problem"),
        [
            ([event(0, "other")], None, "another event under the id 'e0'"),
            ([event(5), event(0)], None, "in another order"),
            ([event(1), event(0)], None, "in another order"),
            ([event(0), event(5), event(1)], None, "in another order"),
            ([event(5)], 4, "has 3 events, and these begin at 3, not at 4"),
            ([event(5)], 2, "has 3 events, and these begin at 3, not at 2"),
            ([event(1)], 0, "has 3 events, and these begin at 1, not at 0"),
            ([event(0), event(2)], 0, "has 3 events"),
        ],
    )
    def test_what_contradicts_is_refused_whole(
        self, store: ReplayStore, events: list[TraceEvent], position: int | None, problem: str
    ) -> None:
        """A gap, another order or another content is told, and nothing of the batch is stored."""
        recording(store, 3)
        with pytest.raises(ConflictError, match=problem):
            store.append_events("live", events, position=position)

        assert ids(store) == ["e0", "e1", "e2"]

    def test_an_id_may_not_come_twice_in_a_batch(self, store: ReplayStore) -> None:
        """Which of the two is meant is not guessed."""
        recording(store)
        with pytest.raises(InvalidValueError, match="has an event_id twice"):
            store.append_events("live", [event(0), event(0)])

        assert ids(store) == []

    def test_a_finished_replay_takes_no_more(self, store: ReplayStore) -> None:
        """Neither events nor another end nor another begin."""
        begun = recording(store, 1)
        store.finish("live", END, RESULT)
        whole = store.export("live")
        with pytest.raises(ConflictError, match="is finished, and takes no more events"):
            store.append_events("live", [event(0), event(1)])
        for end, result in ((END + timedelta(microseconds=1), RESULT), (END, {})):
            with pytest.raises(ConflictError, match="with another end"):
                store.finish("live", end, result)
        with pytest.raises(ConflictError, match="with another content"):
            store.begin(new_trace("debate-1", "Another task", [], NOON, trace_id=begun.trace_id))

        assert store.export("live") == whole

    def test_a_recording_begins_without_events_and_end(self, store: ReplayStore) -> None:
        """What is whole already is saved."""
        for whole in (trace(), trace(events=0, completed_at="2026-01-02T03:04:06")):
            with pytest.raises(InvalidValueError, match="has events or an end already"):
                store.begin(whole)
        recording(store)
        with pytest.raises(ConflictError, match="is still being recorded"):
            store.save(trace("live"))

        assert [one.trace_id for one in store.list_replays().items] == ["live"]

    def test_unknown_replays_are_told(self, store: ReplayStore) -> None:
        """Whatever would change or read one that is not there says so."""
        for call in (
            lambda: store.append_events("x", [event(0)]),
            lambda: store.append_events("x", []),
            lambda: store.finish("x", END, {}),
            lambda: store.delete("x"),
            lambda: store.verify("x"),
            lambda: store.export("x"),
            lambda: store.list_events("x"),
            lambda: next(store.iter_events("x")),
            lambda: store.seek("x", round_num=0),
        ):
            with pytest.raises(NotFoundError, match="there is no replay with this trace id"):
                call()
        assert (store.get("x"), store.get_summary("x")) == (None, None)

    def test_recorders_at_once_lose_and_double_nothing(self, store: ReplayStore) -> None:
        """Each appends its own events and repeats every batch; all are there once, and each one's are in order."""
        recording(store)
        count = 12

        def record(name: str) -> None:
            for number in range(0, count, 3):
                batch = [new_event("message", {}, NOON, event_id=f"{name}{n:02d}") for n in range(number, number + 3)]
                for _ in range(2):
                    store.append_events("live", batch)

        threads = [threading.Thread(target=record, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stored = ids(store)

        assert len(stored) == 4 * count
        for name in "abcd":
            own = [one for one in stored if one.startswith(name)]
            assert own == [f"{name}{number:02d}" for number in range(count)]
        assert store.finish("live", END, {}).event_count == 4 * count
        store.verify("live")

    def test_an_end_while_others_append_is_of_all_that_is_stored(self, store: ReplayStore) -> None:
        """Whichever comes first: the checksum is that of the events, and later ones are refused."""
        recording(store, 100)
        refused: list[Exception] = []

        def record() -> None:
            try:
                for number in range(100, 200):
                    store.append_events("live", [event(number)])
            except ConflictError as error:
                refused.append(error)

        thread = threading.Thread(target=record)
        thread.start()
        ended = store.finish("live", END, RESULT)
        thread.join()

        assert ended.event_count == len(ids(store))
        assert bool(refused) == (ended.event_count < 200)
        store.verify("live")

    def test_a_recording_that_was_begun_anew_meanwhile_gets_no_end_of_the_old_one(self, store: ReplayStore) -> None:
        """It has as many events, of the same ids, and other content: the digest would be that of what is gone."""
        clock = Clock()

        class Interrupted(ReplayStore):
            def _write(self, operation: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the store's own
                if operation == "replay.finish":
                    clock.advance(microseconds=1)
                    anew = ReplayStore(self.database, clock=clock)
                    anew.delete("live")
                    recording(anew)
                    anew.append_events("live", [event(0, "another")])
                return super()._write(operation, *args, **kwargs)

        slow = Interrupted(store.database, clock=clock)
        recording(store, 1)
        with pytest.raises(ConflictError, match="was deleted meanwhile, and begun anew"):
            slow.finish("live", END, RESULT)

        assert store.finish("live", END, RESULT).event_count == 1
        store.verify("live")

    def test_a_transaction_holds_a_whole_recording(self, store: ReplayStore) -> None:
        """Begin, append and end in one transaction are there together or not at all."""
        begun = new_trace("debate-1", "task", [], NOON, trace_id="live")
        for fails in (True, False):
            try:
                with store.database.transaction() as tx:
                    store.begin(begun, tx=tx)
                    store.append_events("live", [event(0)], tx=tx)
                    ended = store.finish("live", END, RESULT, tx=tx)
                    assert not fails or 1 / 0
            except ZeroDivisionError:
                assert store.get("live") is None

        assert ended.event_count == 1
        store.verify("live")

    def test_deleting_a_replay_deletes_its_events(self, store: ReplayStore) -> None:
        """Nothing is left, and the id can be used again."""
        recording(store, 3)
        store.save(trace())
        store.delete("live")
        recording(store, 1)

        assert ids(store) == ["e0"]
        assert len(ids(store, "trace-1")) == 3


class TestRead:
    """Lists, filters, places."""

    def test_a_list_begins_with_the_newest(self, store: ReplayStore) -> None:
        """Summaries come in pages, those that began last first, of one debate or of all."""
        for number in range(5):
            store.save(
                trace(f"t{number}", started_at=f"2026-01-0{1 + number // 2}T00:00:00", debate_id=f"d{number % 2}")
            )
        first = store.list_replays(limit=3)

        assert [one.trace_id for one in first.items] == ["t4", "t3", "t2"]
        assert [one.trace_id for one in store.list_replays(limit=3, after=first.next).items] == ["t1", "t0"]
        assert [one.trace_id for one in store.list_replays(debate_id="d1").items] == ["t3", "t1"]
        assert [one.trace_id for one in store.iter_replays(debate_id="d0")] == ["t4", "t2", "t0"]
        assert first.items[0] == store.get_summary("t4")

    def test_a_summary_says_what_was_saved(self, store: ReplayStore) -> None:
        """Times are aware, whatever zone they came in."""
        saved = trace(completed_at="2026-01-02T05:04:05+01:00")
        store.save(saved)
        summary = store.get_summary("trace-1")

        assert summary is not None
        assert {name: getattr(summary, name) for name in type(summary).__slots__} == {
            "trace_id": "trace-1",
            "debate_id": "debate-1",
            "task": "Pick a cache",
            "started_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            "completed_at": datetime(2026, 1, 2, 4, 4, 5, tzinfo=UTC),
            "event_count": 3,
            "checksum": saved.checksum,
            "saved_at": Clock()(),
            "is_recording": False,
        }

    @pytest.mark.parametrize(
        ("wanted", "numbers"),
        [
            ({}, range(10)),
            ({"from_position": 7}, [7, 8, 9]),
            ({"event_types": ["message"]}, [1, 3, 5, 7, 9]),
            ({"event_types": {"message", "round_start"}, "agent": "claude"}, [1, 3, 5, 7, 9]),
            ({"event_types": []}, []),
            ({"agent": "nobody"}, []),
            ({"first_round": 1, "last_round": 2}, [2, 3, 4, 5]),
            ({"first_round": 2, "agent": "claude", "from_position": 6}, [7, 9]),
            ({"first_round": 3, "last_round": 2}, []),
        ],
    )
    def test_events_are_filtered(self, store: ReplayStore, wanted: EventFilter, numbers: list[int]) -> None:
        """All conditions hold at once; pages and stream give the same, in the order of the trace."""
        recording(store, 10)
        expected = [event(number) for number in numbers]
        paged, after = [], None
        while True:
            page = store.list_events("live", limit=2, after=after, **wanted)
            paged += page.items
            if (after := page.next) is None:
                break

        assert list(store.iter_events("live", **wanted)) == expected
        assert paged == expected

    def test_a_place_is_sought(self, store: ReplayStore) -> None:
        """By time or by round: the first event that is not before it."""
        recording(store, 10)

        assert store.seek("live", at=NOON) == 0
        assert store.seek("live", at=NOON + timedelta(seconds=3, microseconds=1)) == 4
        assert store.seek("live", at=END) is None
        assert store.seek("live", round_num=2) == 4
        assert store.seek("live", round_num=5) is None
        place = store.seek("live", round_num=4)
        assert place is not None
        assert list(store.iter_events("live", from_position=place)) == [event(8), event(9)]
        with pytest.raises(InvalidValueError, match="exactly one"):
            store.seek("live")

    def test_a_place_is_sought_behind_the_last_mark_before_it(
        self, store: ReplayStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Found is what reading from the start finds, however times and rounds go up and down, and with any marks."""
        monkeypatch.setattr("aragora_persist.storage.replays.marks.EVERY", 4)
        recording(store)
        chance, steps = random.Random(3), [3, 9, 1, 4, 12, 1, 0, 2]  # noqa: S311 - repeatable on purpose
        for size in steps:
            times = [NOON + timedelta(seconds=chance.randrange(40)) for _ in range(size)]
            events = [new_event("message", {}, moment, round_num=chance.randrange(9)) for moment in times]
            store.append_events("live", events)
        stored = list(store.iter_events("live"))

        def check() -> None:
            for second in range(41):
                moment = NOON + timedelta(seconds=second)
                later = (place for place, one in enumerate(stored) if one.timestamp >= moment)
                assert store.seek("live", at=moment) == next(later, None)
            for number in range(-1, 10):
                later = (place for place, one in enumerate(stored) if one.round_num >= number)
                assert store.seek("live", round_num=number) == next(later, None)

        check()
        places = "SELECT position FROM replay_marks ORDER BY position"
        with store.database.read("look") as view:
            assert view.all(places) == [(3 + 4 * number,) for number in range(sum(steps) // 4)]
        change(store, "DELETE FROM replay_marks WHERE position IN (3, 15, 31)")
        check()
        change(store, "UPDATE replay_marks SET latest_at = '' WHERE position = 27")
        assert store.seek("live", at=NOON) == 28
        store.delete("live")
        with store.database.read("look") as view:
            assert view.all(places) == []

    def test_no_transaction_is_open_while_the_caller_works(self, store: ReplayStore) -> None:
        """What is appended in the middle of a stream succeeds, and comes too."""
        recording(store, 250)
        stream = store.iter_events("live")
        assert next(stream) == event(0)
        store.append_events("live", [event(250)])

        assert len(list(stream)) == 250

    def test_no_events_and_no_replay_are_told_apart(self, store: ReplayStore) -> None:
        """A replay without events has an empty stream."""
        store.save(trace("empty", events=0))

        assert list(store.iter_events("empty")) == []
        assert store.list_events("empty").items == []

    @pytest.mark.parametrize("trace_id", ["../../etc/passwd", "a' OR '1'='1", "é\n", "."])
    def test_an_id_is_a_key_and_nothing_else(self, store: ReplayStore, trace_id: str) -> None:
        """Whatever it looks like, it comes back, and finds no other."""
        store.save(trace(trace_id))
        found = store.get(trace_id)

        assert found is not None
        assert found.trace_id == trace_id
        assert store.get("a") is None


class TestFiles:
    """Trace files in and out."""

    def test_an_export_is_a_trace_file_with_its_checksum(self, store: ReplayStore) -> None:
        """The exported text reads as the same trace, verified, and holds each event on a line of its own."""
        saved = trace(events=450)
        store.save(saved)
        text = store.export("trace-1")

        assert text == saved.to_text()
        assert traces.parse(text) == saved
        assert next(line for line in text.splitlines() if '"event_id"' in line).startswith('{"event_id": "e0"')

    @pytest.mark.parametrize("indent", [None, 4])
    def test_a_file_is_imported_as_it_is_saved(self, store: ReplayStore, indent: int | None) -> None:
        """However it is laid out and wherever its fields stand, the replay is that of the same trace saved whole."""
        saved = trace(events=450, completed_at="2026-01-02T03:05:06", final_result=RESULT)
        document = {"checksum": saved.checksum, "events": [one.document for one in saved.events], **saved.header}
        file = io.BytesIO(json.dumps(document, indent=indent).encode("utf-8-sig"))

        assert store.import_from(file) is True
        assert store.import_from(file) is False
        assert store.get("trace-1") == saved
        assert store.save(saved) is False
        store.verify("trace-1")

    def test_an_import_that_was_cut_off_is_completed(self, store: ReplayStore) -> None:
        """What a crash left shows as a recording; the same file again makes it whole, another one is refused."""
        saved = trace(events=450)
        text = saved.to_text().encode()
        begun = trace(events=0)
        store.begin(begun)
        store.append_events("trace-1", saved.events[:230])
        other = with_events(*(one.document for one in saved.events[:100]), event(1).document).to_text().encode()
        with pytest.raises(ConflictError, match="is stored with another content"):
            store.import_from(io.BytesIO(other))

        assert store.get_summary("trace-1").event_count == 230  # type: ignore[union-attr] # it is there
        assert store.import_from(io.BytesIO(text)) is True
        assert store.get("trace-1") == saved

    @pytest.mark.parametrize(
        ("spoil", "problem"),
        [
            (lambda text: text[:-3], "ends too soon"),
            (lambda text: text + "x", "something follows its end"),
            (lambda text: text.replace('"events": [', '"events": 7, "x": ['), "is not a list"),
            (lambda text: text.replace('"events"', '"evens"'), "is missing"),
            (lambda text: text.replace("{", "[", 1), "is expected"),
            (lambda text: text.replace('"round_num": 1,', '"round_num": "1",'), r"events\[1\].round_num: is a text"),
            (lambda text: text.replace("é 1", "é 9"), "checksum"),
            (lambda text: text.replace("1e-07", "NaN"), "JSON does not have"),
            (lambda text: text.replace("Pick a cache", "\\u0000"), "NUL"),
            (lambda text: text.replace("]\n,", "]\n,,").replace("\n]", ",\n]"), "is not JSON"),
            (lambda _: "[" * 100_000, "is expected"),
            (lambda _: '{"a": ' + "[" * 100_000, "nested too deeply"),
            (lambda text: text.replace('"é 1"', "[" * 300 + "]" * 300), "nested too deeply: more than 200"),
            (lambda text: text.replace('"é 1"', "9" * 5_000), "4300 digits"),
            (lambda text: text.replace("1e-07", "1e999"), "JSON does not have"),
            (lambda _: "", "ends too soon"),
        ],
    )
    def test_a_broken_file_is_refused(self, store: ReplayStore, spoil: Callable[[str], str], problem: str) -> None:
        """It is read to its end before anything is stored."""
        file = io.BytesIO(spoil(trace().to_text()).encode())
        with pytest.raises((InvalidValueError, DamagedError), match=problem):
            store.import_from(file)

        assert store.list_replays().items == []

    def test_a_file_that_changes_meanwhile_is_told(self, store: ReplayStore) -> None:
        """What was stored of it does not become whole, and gives way to the file as it is then."""
        before, after = (with_events(event(0, text).document).to_text().encode() for text in ("before", "after"))

        class Changing(io.BytesIO):
            def seek(self, offset: int, whence: int = 0) -> int:
                content = self.getvalue()
                self.__init__(after if content == before and self.tell() else content)  # type: ignore[misc] # another content
                return super().seek(offset, whence)

        with pytest.raises(ConflictError, match="was changed while it was read"):
            store.import_from(Changing(before))

        assert [one.is_recording for one in store.list_replays().items] == [True]
        store.delete("trace-1")
        assert store.import_from(io.BytesIO(after)) is True

    def test_a_header_without_end_is_refused_before_it_fills_the_memory(self, store: ReplayStore) -> None:
        """No more of it is read than a header may have, however much the file claims, and however little it gives."""

        class Endless(io.RawIOBase):
            pieces = 0

            def seek(self, _offset: int, _whence: int = 0) -> int:
                return 0

            def read(self, _size: int = -1) -> bytes:
                self.pieces += 1
                return b'{"trace_id": "a"' if self.pieces == 1 else b', "%d": "%s"' % (self.pieces, b"x" * 10_000)

        file = Endless()
        with pytest.raises(InvalidValueError, match="header: has more than 1,000,000 characters"):
            store.import_from(file)  # type: ignore[arg-type] # it reads, as a file does

        assert file.pieces < 200
        assert store.list_replays().items == []

    def test_a_file_may_give_less_than_it_was_asked_for(self, store: ReplayStore) -> None:
        """As raw files and such that come over a network do."""

        class Slow(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                return super().read(min(size or 0, 7))

        assert store.import_from(Slow(trace(events=9).to_text().encode())) is True
        assert store.get("trace-1") == trace(events=9)

    def test_what_is_no_text_is_refused(self, store: ReplayStore) -> None:
        """Bytes of another encoding are told, and a wrong checksum is taken where it is said."""
        with pytest.raises(InvalidValueError, match="is not UTF-8"):
            store.import_from(io.BytesIO(b'{"a": "\xff"}'))
        wrong = trace().to_text().replace(trace().checksum, "0" * 16).encode()

        assert store.import_from(io.BytesIO(wrong), accept_bad_checksum=True) is True
        assert store.get("trace-1") == trace()


DAMAGE = [
    "UPDATE replay_events SET body = replace(body, 'é 1', 'é 9')",
    "UPDATE replay_events SET body = substr(body, 1, 20)",
    "UPDATE replay_events SET agent = 'gpt' WHERE position = 1",
    "DELETE FROM replay_events WHERE position = 2",
    "DELETE FROM replay_events WHERE position = 1",
    "UPDATE replays SET header = '[]'",
    "UPDATE replays SET header = replace(header, 'cache', 'queue')",
]


class TestDamage:
    """What somebody else has changed."""

    @pytest.mark.parametrize("damage", DAMAGE)
    def test_a_damaged_replay_is_never_taken_for_whole(self, store: ReplayStore, damage: str) -> None:
        """It is refused on reading, on verifying and on export, and an export that began has no end."""
        store.save(trace())
        change(store, damage)
        file = io.BytesIO()
        for call in (store.get, store.verify, lambda trace_id: store.export_to(trace_id, file)):
            with pytest.raises(DamagedError, match="trace-1: is not what was saved") as caught:
                call("trace-1")
        assert "--accept-bad-checksum" not in caught.value.hint
        with pytest.raises(InvalidValueError):
            traces.parse(file.getvalue().decode())

    def test_a_damaged_recording_is_not_finished(self, store: ReplayStore) -> None:
        """It stays open, so that nobody takes it for whole."""
        recording(store, 3)
        change(store, "DELETE FROM replay_events WHERE position = 1")
        with pytest.raises(DamagedError):
            store.finish("live", END, RESULT)
        summary = store.get_summary("live")

        assert summary is not None
        assert summary.is_recording

    def test_an_unreadable_event_ends_the_stream_with_an_error(self, store: ReplayStore) -> None:
        """The events before it are given, then the damage is named."""
        store.save(trace())
        change(store, "UPDATE replay_events SET body = '{}' WHERE position = 1")
        events = store.iter_events("trace-1")
        assert next(events).event_id == "e0"
        with pytest.raises(DamagedError, match="trace-1: is not what was saved"):
            next(events)


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20) | st.sampled_from(["x" * 255, "x" * 256])
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=5,
)


def test_what_is_taken_is_read_back_exactly(store: ReplayStore) -> None:
    """Any content is either refused with a typed error, with nothing stored, or comes back as it was given."""

    @settings(max_examples=40)
    @given(trace_id=ANY_TEXT, task=ANY_TEXT, content=st.dictionaries(ANY_TEXT, ANY_JSON, max_size=3), agent=ANY_TEXT)
    def check(trace_id: str, task: str, content: dict[str, Any], agent: str) -> None:
        change(store, "DELETE FROM replays")
        try:
            store.begin(new_trace(trace_id, task, [agent], NOON, trace_id=trace_id))
            said = new_event("message", content, NOON, agent=agent)
            store.append_events(trace_id, [said])
        except InvalidValueError:
            assert [one.event_count for one in store.list_replays().items] in ([], [0])
            return
        store.finish(trace_id, END, {"final_answer": task})
        found = store.get(trace_id)
        assert found is not None
        assert (found.task, found.agents, found.final_result) == (task, (agent,), {"final_answer": task})
        assert [json.dumps(one.document) for one in found.events] == [json.dumps(said.document)]
        assert list(store.iter_events(trace_id, agent=agent)) == list(found.events)
        assert traces.parse(store.export(trace_id)) == found

    check()


@pytest.mark.parametrize("bad", ["", "a\0", "\udc80", "x" * 256, 7, None])
def test_a_bad_id_is_refused_everywhere(store: ReplayStore, bad: Any) -> None:  # noqa: ANN401 - of a wrong kind
    """No backend sees what not every one can store."""
    for call in (
        store.get,
        store.get_summary,
        store.delete,
        store.verify,
        store.export,
        store.list_events,
        store.iter_events,
        lambda trace_id: store.seek(trace_id, round_num=0),
        lambda trace_id: store.append_events(trace_id, []),
        lambda trace_id: store.finish(trace_id, END, {}),
    ):
        with pytest.raises(InvalidValueError) as refused:
            call(bad)
        assert refused.value.target == "trace_id"


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.list_replays(limit=0),
        lambda store: store.list_replays(after="x"),
        lambda store: store.list_replays(debate_id="\0"),
        lambda store: store.list_events("live", limit=1001),
        lambda store: store.list_events("live", after="WzEsMl0="),
        lambda store: store.list_events("live", agents="claude"),
        lambda store: store.list_events("live", event_types="message"),
        lambda store: store.list_events("live", event_types=["\0"]),
        lambda store: store.list_events("live", event_types=["x"] * 101),
        lambda store: store.list_events("live", first_round=1.5),
        lambda store: store.list_events("live", from_position=2**63),
        lambda store: store.append_events("live", [], position=-1),
        lambda store: store.append_events("live", [{}]),
        lambda store: store.append_events("live", [event(1, "x" * 10_000_000)]),
        lambda store: store.finish("live", END.replace(tzinfo=None), {}),
        lambda store: store.finish("live", END, {"confidence": "high"}),
        lambda store: store.finish("live", END, {"confidence": float("nan")}),
        lambda store: store.finish("live", END, []),
        lambda store: store.seek("live", at=NOON, round_num=0),
        lambda store: store.seek("live", at=NOON.replace(tzinfo=None)),
        lambda _: new_event("message", {}, NOON.replace(tzinfo=None)),
        lambda _: new_event("message", {}, NOON, rounds=1),  # type: ignore[call-arg] # which is what is refused
        lambda _: new_trace("debate", "task", [], NOON.replace(tzinfo=None)),
    ],
)
def test_bad_values_are_refused(store: ReplayStore, call: Callable[[ReplayStore], object]) -> None:
    """Each with a typed error, and nothing is changed."""
    recording(store, 3)
    with pytest.raises(InvalidValueError):
        call(store)

    summary = store.get_summary("live")
    assert summary is not None
    assert (summary.event_count, summary.is_recording) == (3, True)


def outcome(call: Callable[[], object]) -> object:
    """Return what a call gives, or the class of the error that it raises."""
    try:
        return call()
    except PersistError as error:
        return type(error)


class Model(RuleBasedStateMachine):
    """A plain dictionary of lists beside the store."""

    store: ClassVar[ReplayStore]

    def __init__(self) -> None:
        super().__init__()
        change(self.store, "DELETE FROM replays")
        self.events: dict[str, list[int]] = {}
        self.finished: set[str] = set()

    @rule(trace_id=st.sampled_from("ab"))
    def begin(self, trace_id: str) -> None:
        """Begin, or begin again."""
        is_new = self.store.begin(new_trace("debate", "task", [], NOON, trace_id=trace_id))
        assert is_new == (trace_id not in self.events)
        self.events.setdefault(trace_id, [])

    @rule(trace_id=st.sampled_from("ab"), numbers=st.lists(st.integers(0, 5), max_size=4, unique=True))
    def append(self, trace_id: str, numbers: list[int]) -> None:
        """Append events, some of which may be there."""
        batch = [event(number) for number in numbers]
        assert outcome(lambda: self.store.append_events(trace_id, batch)) == self.appended(trace_id, numbers)

    def appended(self, trace_id: str, numbers: list[int]) -> object:
        """Return what the store must say, and do the same to the model."""
        if (stored := self.events.get(trace_id)) is None:
            return NotFoundError
        places = [stored.index(number) if number in stored else 9 for number in numbers]
        new = [number for number in numbers if number not in stored]
        if places != sorted(places) or (new and trace_id in self.finished):
            return ConflictError
        stored += new
        return len(new)

    @rule(trace_id=st.sampled_from("ab"))
    def finish(self, trace_id: str) -> None:
        """Finish, or finish again."""
        expected = len(self.events[trace_id]) if trace_id in self.events else NotFoundError
        assert outcome(lambda: self.store.finish(trace_id, END, RESULT).event_count) == expected
        self.finished |= {trace_id} & self.events.keys()

    @rule(trace_id=st.sampled_from("ab"))
    def delete(self, trace_id: str) -> None:
        """Delete what may not be there."""
        expected = None if trace_id in self.events else NotFoundError
        assert outcome(lambda: self.store.delete(trace_id)) == expected
        self.events.pop(trace_id, None)
        self.finished.discard(trace_id)

    @invariant()
    def same(self) -> None:
        """Compare all that can be read."""
        summaries = self.store.list_replays().items
        assert {one.trace_id for one in summaries} == self.events.keys()
        assert {one.trace_id for one in summaries if not one.is_recording} == self.finished
        for trace_id, numbers in self.events.items():
            assert list(self.store.iter_events(trace_id)) == [event(number) for number in numbers]
            self.store.verify(trace_id)


def test_the_store_is_like_its_model(store: ReplayStore) -> None:
    """Any order of calls leaves what a plain dictionary of lists would hold."""
    machine = type("Machine", (Model,), {"store": store})
    run_state_machine_as_test(machine, settings=settings(max_examples=12, stateful_step_count=12))
    assert len(store.list_replays().items) <= 2
