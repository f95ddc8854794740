"""What the replay store promises, in a file and in memory."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from aragora_persist.errors import ConflictError, DamagedError, NotFoundError
from aragora_persist.storage import trace as traces
from aragora_persist.storage.replay_store import ReplayStore
from aragora_persist.storage.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ReplayStore]:
    """Open an empty store."""
    with ReplayStore(":memory:" if request.param == "memory" else tmp_path / "aragora_replay.db") as opened:
        yield opened


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
                "timestamp": f"2026-01-02T03:04:{number:02d}",
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


def test_a_replay_comes_back_as_it_was_saved(store: ReplayStore) -> None:
    """Header, events, their order and what this release does not know are all there."""
    saved = trace()

    assert store.save(saved) is True
    assert store.get("trace-1") == saved
    assert store.get("trace-2") is None


def test_events_are_streamed_in_their_order(store: ReplayStore) -> None:
    """Events come one by one, in the order of the trace, equal to those that were saved."""
    saved = trace(events=50)
    store.save(saved)
    events = store.iter_events("trace-1")

    assert next(events).event_id == "e0"
    assert tuple(events) == saved.events[1:]


def test_streaming_an_unknown_replay_is_an_error(store: ReplayStore) -> None:
    """No events and no replay are told apart."""
    store.save(trace("empty", events=0))

    assert list(store.iter_events("empty")) == []
    with pytest.raises(NotFoundError, match="there is no replay with this trace id"):
        next(store.iter_events("trace-1"))


def test_an_export_is_a_trace_file_with_its_checksum(store: ReplayStore) -> None:
    """The exported text reads as the same trace, verified, and holds each event on a line of its own."""
    saved = trace()
    store.save(saved)
    text = store.export("trace-1")

    assert traces.parse(text) == saved
    assert json.loads(text)["checksum"] == saved.checksum
    assert next(line for line in text.splitlines() if '"event_id"' in line).startswith('{"event_id": "e0"')
    with pytest.raises(NotFoundError):
        store.export("trace-2")


def test_saving_the_same_replay_again_changes_nothing(store: ReplayStore) -> None:
    """A repeated save is told from the first one, and leaves the row as it was."""
    store.save(trace())
    before = store.list()

    assert store.save(trace()) is False
    assert store.list() == before


@pytest.mark.parametrize("change", [{"task": "Another task"}, {"events": 2}], ids=["header", "events"])
def test_another_content_under_the_same_id_is_refused(store: ReplayStore, change: dict[str, Any]) -> None:
    """The replay that is there stays, whole."""
    saved = trace()
    store.save(saved)
    with pytest.raises(ConflictError, match="trace-1: is stored with another content"):
        store.save(trace(**change))

    assert store.get("trace-1") == saved


def test_a_list_is_read_by_key(store: ReplayStore) -> None:
    """Summaries come in pages, in the order of the trace ids, with aware times."""
    for number in range(5):
        store.save(trace(f"trace-{number}", completed_at="2026-01-02T05:04:05+01:00"))
    first = store.list(limit=3)

    assert [summary.trace_id for summary in first] == ["trace-0", "trace-1", "trace-2"]
    assert [summary.trace_id for summary in store.list(limit=3, after="trace-2")] == ["trace-3", "trace-4"]
    assert first[0].started_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert first[0].completed_at == datetime(2026, 1, 2, 4, 4, 5, tzinfo=UTC)
    assert (first[0].debate_id, first[0].task, first[0].event_count) == ("debate-1", "Pick a cache", 3)
    assert first[0].checksum == trace().checksum


@pytest.mark.parametrize("trace_id", ["../../etc/passwd", "/tmp/x", "a' OR '1'='1", "é\n", "."])  # noqa: S108 - a name, never opened
def test_an_id_is_never_a_path(tmp_path: Path, trace_id: str) -> None:
    """Whatever an id looks like, it is a key: it comes back, and no file is made for it."""
    with ReplayStore(tmp_path / "data" / "aragora_replay.db") as store:
        store.save(trace(trace_id))
        found = store.get(trace_id)
        assert found is not None
        assert found.trace_id == trace_id
        assert store.get("a") is None

    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert {path.name.split(".db")[0] for path in (tmp_path / "data").iterdir()} == {"aragora_replay"}


@pytest.mark.parametrize(
    "damage",
    [
        """UPDATE replay_events SET body = replace(body, 'é 1', 'é 9')""",
        """UPDATE replay_events SET body = substr(body, 1, 20)""",
        """DELETE FROM replay_events WHERE position = 2""",
        """UPDATE replays SET header = '[]'""",
        """UPDATE replays SET header = replace(header, 'cache', 'queue')""",
    ],
)
def test_a_damaged_replay_is_never_taken_for_whole(tmp_path: Path, damage: str) -> None:
    """What was changed behind the store's back is refused, on reading and on export."""
    path = tmp_path / "aragora_replay.db"
    with ReplayStore(path) as store:
        store.save(trace())
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(damage)
    with ReplayStore(path) as store:
        with pytest.raises(DamagedError, match="trace-1: is not what was saved") as caught:
            store.get("trace-1")
        with pytest.raises(DamagedError):
            store.export("trace-1")
    assert "--accept-bad-checksum" not in caught.value.hint


def test_an_unreadable_event_ends_the_stream_with_an_error(tmp_path: Path) -> None:
    """The events before it are given, then the damage is named."""
    path = tmp_path / "aragora_replay.db"
    with ReplayStore(path) as store:
        store.save(trace())
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE replay_events SET body = '{}' WHERE position = 1")
    with ReplayStore(path) as store:
        events = store.iter_events("trace-1")
        assert next(events).event_id == "e0"
        with pytest.raises(DamagedError, match="trace-1: is not what was saved"):
            next(events)


def test_deleting_a_replay_deletes_its_events(tmp_path: Path) -> None:
    """Events never outlive their replay."""
    path = tmp_path / "aragora_replay.db"
    with ReplayStore(path) as store:
        store.save(trace())
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("DELETE FROM replays")
        assert connection.execute("SELECT COUNT(*) FROM replay_events").fetchone() == (0,)
