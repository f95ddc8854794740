"""Importing trace files: what is read, what follows from it, what is refused, what a crash leaves."""

from __future__ import annotations

import hashlib
import json
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from aragora_persist import json_text
from aragora_persist.cloud.outbox import Outbox
from aragora_persist.errors import ConflictError, DamagedError, InvalidValueError, NotFoundError, PersistError
from aragora_persist.importers.replay import import_replay
from aragora_persist.storage.replay_store import ReplayStore
from aragora_persist.storage.replays.trace import EVENT_TYPES, Trace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import FrameType

    from aragora_persist.cloud.outbox import OutboxEntry

# Dies by SIGKILL when the replay is saved and nothing is enqueued yet.
DYING_IMPORT = """
import os, signal, sys
from aragora_persist.cloud.outbox import Outbox
from aragora_persist.importers.replay import import_replay
from aragora_persist.storage.replay_store import ReplayStore

class DyingStore(ReplayStore):
    def save(self, trace, *, tx=None):
        super().save(trace, tx=tx)
        os.kill(os.getpid(), signal.SIGKILL)

import_replay(sys.argv[1], DyingStore(sys.argv[2] + "/replay.db"), Outbox(sys.argv[2] + "/outbox.db"))
"""


class Databases:
    """The two files that an import writes."""

    def __init__(self, folder: Path) -> None:
        self.store = ReplayStore(folder / "replay.db")
        self.outbox = Outbox(folder / "outbox.db")

    def rows(self, table: str) -> list[OutboxEntry]:
        """Return what waits for this table."""
        return [entry for entry in self.outbox.pending() if entry.table == table]


@pytest.fixture
def databases(tmp_path: Path) -> Iterator[Databases]:
    """Open both files."""
    opened = Databases(tmp_path)
    yield opened
    opened.store.close()
    opened.outbox.close()


def event(event_type: str, agent: str | None = None, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return an event of a trace."""
    return {
        "event_id": f"{event_type}-{agent}",
        "event_type": event_type,
        "timestamp": "2026-01-02T03:04:06.5",
        "round_num": 1,
        "agent": agent,
        "content": {"content": f"{agent} é"},
        "parent_event_id": None,
        "duration_ms": None,
        "metadata": {},
        **fields,
    }


def document(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return a trace with its right checksum, computed as the format's description says."""
    whole = {
        "trace_id": "trace-1",
        "debate_id": "debate-1",
        "task": "Pick a cache",
        "agents": ["claude", "gpt"],
        "random_seed": 42,
        "started_at": "2026-01-02T03:04:05",
        "completed_at": "2026-01-02T03:05:05+01:00",
        "final_result": {"consensus_reached": True, "confidence": 0.75, "final_answer": "LRU", "rounds_used": 2},
        "metadata": {"by": "test"},
        "events": [
            event("debate_start"),
            event("agent_proposal", "claude", duration_ms=100),
            event("agent_critique", "gpt", duration_ms=50.5),
            event("message", "claude", duration_ms=200, metadata={"é": 1.0}),
            event("consensus_check", content={"votes": {"claude": True, "gpt": False}}),
            event("of_tomorrow", "gpt", own_field=[1]),
            event("agent_synthesis", "newcomer"),
            event("consensus_check", content={"votes": "none"}),
        ],
        **fields,
    }
    text = json.dumps(whole["events"], sort_keys=True, separators=(", ", ": "), ensure_ascii=True)
    return {**whole, "checksum": hashlib.sha256(text.encode()).hexdigest()[:16], **fields}


def written(folder: Path, trace: object) -> Path:
    """Write a trace file and return its path."""
    path = folder / "trace.json"
    path.write_text(trace if isinstance(trace, str) else json.dumps(trace))
    return path


def test_a_trace_is_saved_and_its_records_wait(tmp_path: Path, databases: Databases) -> None:
    """The replay is in its store, and the counts are those of the rows in the outbox."""
    done = import_replay(written(tmp_path, document()), databases.store, databases.outbox)

    assert (done.trace_id, done.loop_id, done.events, done.is_new) == ("trace-1", "replay:trace-1", 8, True)
    assert (done.debates, done.stream_events, done.agent_metrics) == (1, 8, 3)
    assert databases.outbox.count() == 12
    trace = databases.store.get("trace-1")
    assert trace is not None
    assert [item.document for item in trace.events] == document()["events"]
    assert json.loads(databases.store.export("trace-1")) == document()


def test_others_can_write_while_a_trace_is_turned_into_text(tmp_path: Path, databases: Databases) -> None:
    """Encoding and hashing a large trace takes seconds: no lock is held meanwhile, on neither file."""
    held: list[str] = []
    working = {json_text.encode.__code__, Trace.digest.__code__}

    def look(frame: FrameType, what: str, _argument: object) -> None:
        if what != "call" or frame.f_code not in working:
            return
        for name in ("replay.db", "outbox.db"):
            with closing(sqlite3.connect(tmp_path / name, timeout=0, isolation_level=None)) as other:
                try:
                    other.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError:
                    held.append(f"{name} in {frame.f_code.co_name}")

    path = written(tmp_path, document())
    sys.setprofile(look)
    try:
        done = import_replay(path, databases.store, databases.outbox)
    finally:
        sys.setprofile(None)
    assert held == []
    assert (done.stream_events, databases.outbox.count()) == (8, 12)


def test_times_without_a_zone_are_utc(tmp_path: Path, databases: Databases) -> None:
    """Naive times of the file are UTC, others are converted, in the store and in the records."""
    import_replay(written(tmp_path, document()), databases.store, databases.outbox)
    (summary,) = databases.store.list_replays().items

    assert summary.started_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert summary.completed_at == datetime(2026, 1, 2, 2, 5, 5, tzinfo=UTC)
    assert {row.payload["timestamp"] for row in databases.rows("stream_events")} == {"2026-01-02T03:04:06.500000Z"}
    assert {row.payload["timestamp"] for row in databases.rows("agent_metrics")} == {"2026-01-02T02:05:05.000000Z"}


def test_what_was_said_becomes_the_transcript(tmp_path: Path, databases: Databases) -> None:
    """The artifact holds messages, proposals, critiques and syntheses in their order, and the debate's result."""
    import_replay(written(tmp_path, document()), databases.store, databases.outbox)
    (row,) = databases.rows("debate_artifacts")
    transcript = row.payload.pop("transcript")

    assert isinstance(transcript, list)
    assert [(said["type"], said["agent"], said["round"], said["content"]) for said in transcript] == [
        ("agent_proposal", "claude", 1, {"content": "claude é"}),
        ("agent_critique", "gpt", 1, {"content": "gpt é"}),
        ("message", "claude", 1, {"content": "claude é"}),
        ("agent_synthesis", "newcomer", 1, {"content": "newcomer é"}),
    ]
    assert row.payload == {
        "loop_id": "replay:trace-1",
        "cycle_number": 1,
        "phase": "debate",
        "task": "Pick a cache",
        "agents": ["claude", "gpt"],
        "consensus_reached": True,
        "confidence": 0.75,
        "winning_proposal": "LRU",
        "vote_tally": {"claude": True, "gpt": False},
    }


def test_every_event_becomes_a_stream_event(tmp_path: Path, databases: Databases) -> None:
    """Each event is there whole, in order, whatever its type; equal ones stay apart."""
    twins = [event("message", "gpt"), event("message", "gpt"), event("of_tomorrow", own_field="kept")]
    done = import_replay(
        written(tmp_path, document(events=twins, checksum="")), *pair(databases), accept_bad_checksum=True
    )

    assert done.stream_events == 3
    assert [row.payload["event_data"] for row in databases.rows("stream_events")] == [
        {**twin, "trace_position": position} for position, twin in enumerate(twins)
    ]


def pair(databases: Databases) -> tuple[ReplayStore, Outbox]:
    """Return both stores as an import takes them."""
    return databases.store, databases.outbox


def test_agents_are_counted(tmp_path: Path, databases: Databases) -> None:
    """Each agent that is listed or spoke has its counts and its mean response time."""
    import_replay(written(tmp_path, document()), *pair(databases))
    counted = ("messages_sent", "proposals_made", "critiques_given", "consensus_contributions", "avg_response_time_ms")

    assert {
        str(row.payload["agent_name"]): tuple(row.payload[name] for name in counted)
        for row in databases.rows("agent_metrics")
    } == {"claude": (2, 1, 0, 0, 150.0), "gpt": (1, 0, 1, 0, 50.5), "newcomer": (1, 0, 0, 1, None)}


def test_every_documented_type_is_taken(tmp_path: Path, databases: Databases) -> None:
    """All documented event types pass."""
    events = [event(event_type) for event_type in EVENT_TYPES]
    done = import_replay(
        written(tmp_path, document(events=events, checksum="")), *pair(databases), accept_bad_checksum=True
    )

    assert done.stream_events == len(EVENT_TYPES) == 18


@pytest.mark.parametrize("result", [{}, None, {"confidence": 1}], ids=["empty", "null", "part"])
def test_a_final_result_may_lack_anything(tmp_path: Path, databases: Databases, result: object) -> None:
    """What the result does not say is no consensus, no confidence and no answer."""
    import_replay(written(tmp_path, document(final_result=result, completed_at=None)), *pair(databases))
    (row,) = databases.rows("debate_artifacts")

    confidence = 1.0 if result == {"confidence": 1} else 0.0
    assert (row.payload["consensus_reached"], row.payload["confidence"]) == (False, confidence)
    assert row.payload["winning_proposal"] is None


def test_importing_again_changes_nothing(tmp_path: Path, databases: Databases) -> None:
    """The same trace, spaced and ordered differently, is known: nothing is written, even after the records left."""
    import_replay(written(tmp_path, document()), *pair(databases))
    before = databases.outbox.pending()
    again = import_replay(written(tmp_path, json.dumps(document(), indent=3, sort_keys=True)), *pair(databases))

    assert (again.is_new, again.debates, again.stream_events, again.agent_metrics) == (False, 0, 0, 0)
    assert databases.outbox.pending() == before
    with databases.outbox.transaction("send") as tx:
        tx.execute("DELETE FROM outbox")
    import_replay(written(tmp_path, document()), *pair(databases))
    assert databases.outbox.count() == 0


def test_another_content_under_the_same_id_is_refused(tmp_path: Path, databases: Databases) -> None:
    """The first content stays, in the store and in the outbox."""
    import_replay(written(tmp_path, document()), *pair(databases))
    before = databases.outbox.pending()
    with pytest.raises(ConflictError, match="trace-1"):
        import_replay(written(tmp_path, document(task="Another")), *pair(databases))

    assert databases.outbox.pending() == before
    assert json.loads(databases.store.export("trace-1")) == document()


def test_a_lost_replay_store_does_not_enqueue_another_content(tmp_path: Path, databases: Databases) -> None:
    """The outbox remembers what it took, even where the replay itself is gone."""
    import_replay(written(tmp_path, document()), *pair(databases))
    before = databases.outbox.pending()
    with ReplayStore(":memory:") as fresh, pytest.raises(ConflictError, match="was imported with another content"):
        import_replay(written(tmp_path, document(task="Another")), fresh, databases.outbox)

    assert databases.outbox.pending() == before


def test_a_kill_between_the_two_files_is_completed_by_the_next_import(tmp_path: Path) -> None:
    """Killed after the replay was saved: the next import enqueues what is missing, once."""
    path = written(tmp_path, document())
    killed = subprocess.run(
        [sys.executable, "-c", DYING_IMPORT, str(path), str(tmp_path)], check=False, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL
    databases = Databases(tmp_path)
    with databases.store, databases.outbox:
        assert databases.store.get("trace-1") is not None
        assert databases.outbox.count() == 0
        done = import_replay(path, *pair(databases))
        assert (done.is_new, done.stream_events, databases.outbox.count()) == (False, 8, 12)


@pytest.mark.parametrize("checksum", ["0123456789abcdef", None], ids=["wrong", "missing"])
def test_a_bad_checksum_is_refused_unless_told_otherwise(
    tmp_path: Path, databases: Databases, checksum: str | None
) -> None:
    """Refused with the way out; taken on request, and exported with the right one."""
    trace = document()
    right = trace.pop("checksum")
    path = written(tmp_path, trace if checksum is None else {**trace, "checksum": checksum})
    with pytest.raises(DamagedError, match="checksum") as caught:
        import_replay(path, *pair(databases))
    assert "--accept-bad-checksum" in caught.value.hint
    assert (databases.store.list_replays().items, databases.outbox.count()) == ([], 0)

    import_replay(path, *pair(databases), accept_bad_checksum=True)
    assert json.loads(databases.store.export("trace-1"))["checksum"] == right


def without(name: str) -> dict[str, Any]:
    """Return a trace that lacks a field."""
    return {key: value for key, value in document().items() if key != name}


def with_event(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return a trace whose second event has these fields."""
    return document(events=[event("message"), {**event("message"), **fields}])


@pytest.mark.parametrize(
    ("trace", "target", "problem"),
    [
        ("not json", "the file", "is not JSON: Expecting value"),
        ("", "the file", "is not JSON"),
        ("[" * 100_000, "the file", "is nested too deeply"),
        ("[]", "the file", "is a list, not an object"),
        ("7" * 5000, "the file", "is not JSON"),
        *[(without(name), name, "is missing") for name in ("trace_id", "debate_id", "task", "agents", "events")],
        (without("started_at"), "started_at", "is missing"),
        (document(trace_id=""), "trace_id", "is empty"),
        (document(trace_id=7), "trace_id", "is a whole number, not a text"),
        (document(agents="claude"), "agents", "is a text, not a list"),
        (document(agents=["claude", None]), "agents[1]", "is null, not a text"),
        (document(started_at="yesterday"), "started_at", "'yesterday' is not an ISO 8601 time"),
        (document(started_at="0001-01-01T00:00:00+05:00"), "started_at", "is not an ISO 8601 time"),
        (document(random_seed=True), "random_seed", "is true or false, not a whole number or null"),
        (document(final_result=[]), "final_result", "is a list, not an object or null"),
        (document(final_result={"confidence": "high"}), "final_result.confidence", "is a text, not a whole number"),
        (document(final_result={"confidence": 10**400}), "final_result.confidence", "is not a number of at most"),
        (document(final_result={"consensus_reached": 1}), "final_result.consensus_reached", "is a whole number"),
        (document(metadata={"a": [float("nan")]}), "metadata.a[0]", "is nan, which JSON does not have"),
        (
            json.dumps(document()).replace("0.75", "1e999"),
            "final_result.confidence",
            "is inf, which JSON does not have",
        ),
        (document(task="a\0b"), "task", "holds a NUL character"),
        (document(task="\ud800"), "task", "holds a lone surrogate"),
        ({**document(), "\0": 1}, "a field's name", "holds a NUL character"),
        (document(events=[7]), "events[0]", "is a whole number, not an object"),
        (with_event(event_id=None), "events[1].event_id", "is null, not a text"),
        (with_event(event_type=""), "events[1].event_type", "is empty"),
        (with_event(timestamp="2026-13-01"), "events[1].timestamp", "'2026-13-01' is not an ISO 8601 time"),
        (with_event(timestamp=1), "events[1].timestamp", "is a whole number, not a text"),
        (with_event(round_num=1.5), "events[1].round_num", "is a number, not a whole number"),
        (with_event(round_num=2**64), "events[1].round_num", "is not a number of at most"),
        (with_event(agent=7), "events[1].agent", "is a whole number, not a text or null"),
        (with_event(content="text"), "events[1].content", "is a text, not an object"),
        (with_event(content={"a": float("inf")}), "events[1].content.a", "is inf, which JSON does not have"),
        (with_event(content={"a": "\0"}), "events[1].content.a", "holds a NUL character"),
        (with_event(metadata={"\udfff": 1}), "events[1].metadata (a key)", "holds a lone surrogate"),
        (with_event(duration_ms="fast"), "events[1].duration_ms", "is a text, not a whole number or a number or null"),
    ],
)
def test_bad_input_is_refused_with_its_place(
    tmp_path: Path, databases: Databases, trace: object, target: str, problem: str
) -> None:
    """The error names the file and what is wrong in it, and nothing is written."""
    path = written(tmp_path, trace)
    with pytest.raises(InvalidValueError) as caught:
        import_replay(path, *pair(databases), accept_bad_checksum=True)

    assert caught.value.target == f"{path}: {target}"
    assert problem in caught.value.problem
    assert (databases.store.list_replays().items, databases.outbox.count()) == ([], 0)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, databases: Databases) -> None:
    """A missing file, a folder, bytes that are no text and a file over the limit are told apart."""
    latin, large = tmp_path / "latin.json", tmp_path / "large.json"
    latin.write_bytes(b'{"task": "caf\xe9"}')
    large.write_bytes(b" " * 101)
    wrong: list[tuple[Path, type[PersistError], str]] = [
        (tmp_path / "none.json", NotFoundError, "there is no such file"),
        (tmp_path, InvalidValueError, "cannot be read: Is a directory"),
        (latin, InvalidValueError, "is not UTF-8 at byte 13"),
        (large, InvalidValueError, "is larger than 100 bytes"),
    ]
    for path, kind, problem in wrong:
        with pytest.raises(kind) as caught:
            import_replay(path, *pair(databases), max_bytes=100)
        assert (caught.value.target, caught.value.problem) == (str(path), problem)
    assert (databases.store.list_replays().items, databases.outbox.count()) == ([], 0)


def test_a_byte_order_mark_is_no_obstacle(tmp_path: Path, databases: Databases) -> None:
    """A file that an editor has saved with a mark reads as the same trace."""
    path = tmp_path / "marked.json"
    path.write_text(json.dumps(document()), encoding="utf-8-sig")

    assert import_replay(path, *pair(databases)).is_new is True
