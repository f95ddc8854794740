"""The other databases of the public code, adopted: ratings, memories, positions, traces and revoked tokens."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from aragora_persist.cloud.outbox import Outbox
from aragora_persist.databases import DATABASES, find_database
from aragora_persist.migrations.adoption import NotAdoptableError, adopt
from aragora_persist.migrations.runner import migrate, rollback, status
from aragora_persist.settings import Settings
from aragora_persist.storage.elo_store import EloStore
from aragora_persist.storage.memory_store import MemoryStore
from aragora_persist.storage.position_store import PositionStore
from aragora_persist.storage.replay_store import ReplayStore
from aragora_persist.storage.replays.trace import Trace, new_event, new_trace, parse
from aragora_persist.storage.token_blacklist import TokenBlacklist
from tests.unit.foreign_databases import (
    LEDGER,
    PUBLIC_ELO,
    PUBLIC_MEMORY,
    PUBLIC_POSITIONS,
    PUBLIC_TOKENS,
    PUBLIC_TRACES,
    execute,
    make,
    make_public_traces,
    rows_of,
)

if TYPE_CHECKING:
    from pathlib import Path

    from aragora_persist.migrations.adoption import Report


def take(path: Path, database: str) -> Report:
    """Adopt a file into the registry's place."""
    settings = Settings.from_env({"NOMIC_DIR": str(path.parent / "data"), "DB_TIMEOUT": "5"})
    return adopt(path, find_database(database).path(settings.nomic_dir), database, settings=settings)


def test_ratings_and_matches(tmp_path: Path) -> None:
    """Ratings in all domains and in each, the matches of debates, and their changes; the rest is kept beside."""
    report = take(make(tmp_path / "agent_elo.db", LEDGER, PUBLIC_ELO), "elo")

    assert report.origin == "made by the public code"
    with EloStore(report.path) as elo:
        board = [(one.agent_name, one.rating, one.wins) for one in elo.leaderboard().items]
        assert board == [("claude", 1532.5, 2), ("gpt", 1467.5, 0)]
        assert [one.rating for one in elo.leaderboard("law").items] == [1550.0]
        changes = elo.list_history("claude").items
        assert [(one.debate_id, one.rating_before, one.rating_after) for one in changes] == [("d1", 1500.0, 1516.0)]
        assert elo.head_to_head("claude", "gpt").wins == 1
        result = elo.record_match("d2", scores={"claude": 1.0, "gpt": 0.0})
        assert {one.agent_name: one.rating_before for one in result.changes if not one.domain} == {
            "claude": 1532.5,
            "gpt": 1467.5,
        }
    assert {note.subject: note.rows for note in report.notes} == {"matches": 1, "elo_history": 1}
    assert rows_of(report.path, "SELECT critiques_total FROM adopted_ratings ORDER BY agent_name") == [(4,), (0,)]
    assert rows_of(report.path, "SELECT count(*) FROM adopted_matches") == [(2,)]
    assert rows_of(report.path, "SELECT * FROM agent_relationships") == [("claude", "gpt", 1)]


@pytest.mark.parametrize("text", ["[1, 2]", "{bad", "7"])
def test_ratings_of_no_domain(tmp_path: Path, text: str) -> None:
    """What is no object of domains stays beside, and is no rating."""
    make(tmp_path / "agent_elo.db", LEDGER, PUBLIC_ELO, f"UPDATE ratings SET domain_elos = '{text}'")

    report = take(tmp_path / "agent_elo.db", "elo")

    assert rows_of(report.path, "SELECT DISTINCT domain FROM ratings") == [("",)]
    assert rows_of(report.path, "SELECT DISTINCT domain_elos FROM adopted_ratings") == [(text,)]


def test_an_adopted_database_can_be_rolled_back(tmp_path: Path) -> None:
    """Tables that no migration made are as they were, and in nobody's way."""
    path = take(make(tmp_path / "agent_elo.db", LEDGER, PUBLIC_ELO), "elo").path

    rollback(path, "elo", backup=False)
    assert status(path, "elo").state == "outdated"
    migrate(path, "elo", backup=False)

    assert status(path, "elo").state == "current"
    assert rows_of(path, "SELECT count(*) FROM adopted_matches") == [(2,)]


def test_memories(tmp_path: Path) -> None:
    """In the order of their decayed importance, counted, with the archive, their moves and their red lines."""
    report = take(make(tmp_path / "continuum.db", LEDGER, PUBLIC_MEMORY), "memory")

    with MemoryStore(report.path) as memories:
        found = memories.list_memories("slow").items
        assert [memory.id for memory in found] == ["m1", "m3", "m2"]
        assert (found[0].access_count, found[1].metadata) == (3, {"red_line_reason": "safety"})
        assert [event.reason for event in memories.list_red_line_events("m3").items] == ["safety"]
        assert [move.to_tier for move in memories.list_transitions("m1").items] == ["slow"]
        archived = memories.get_archived("m0")
        assert archived is not None
        assert archived.content == "old"
    assert rows_of(report.path, "SELECT memories FROM tier_counts WHERE tier = 'slow'") == [(2,)]
    assert rows_of(report.path, "SELECT * FROM adopted_continuum_memory") == [
        ("m1", b"\x00\xff"),
        ("m2", None),
        ("m3", None),
    ]
    assert rows_of(report.path, "SELECT agent_name FROM adopted_memories") == [("claude",)]


def test_positions_and_flips(tmp_path: Path) -> None:
    """Flips between positions that are there; all of them are kept beside."""
    report = take(make(tmp_path / "grounded_positions.db", LEDGER, PUBLIC_POSITIONS), "positions")

    with PositionStore(report.path) as positions:
        first = positions.get("p1")
        assert first is not None
        assert (first.claim, first.domain) == ("yes", "")
        assert first.created_at == datetime(2026, 1, 1, 10, tzinfo=UTC)
        (flip,) = positions.list_flips("claude").items
        assert (flip.from_position_id, flip.to_position_id, flip.similarity) == ("p1", "p2", 0.9)
    assert rows_of(report.path, "SELECT count(*) FROM adopted_detected_flips") == [(2,)]


def test_revoked_tokens(tmp_path: Path) -> None:
    """Their times are numbers."""
    report = take(make(tmp_path / "token_blacklist.db", PUBLIC_TOKENS), "tokens")

    with TokenBlacklist(report.path) as tokens:
        token = tokens.get("t1")
        assert token is not None
        assert token.expires_at == datetime(2100, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC)
        assert token.revoked_at == datetime(2026, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)


def test_traces(tmp_path: Path) -> None:
    """Each is a replay with its checksum, and is exported as it came."""
    source = make_public_traces(tmp_path / "aragora_traces.db")
    ((text,),) = rows_of(source, "SELECT trace_json FROM traces")

    report = take(source, "replay")

    with ReplayStore(report.path) as replays:
        trace = replays.get("trace-d1")
        assert trace is not None
        assert json.loads(trace.to_text()) == json.loads(str(text))
        assert [event.event_id for event in trace.events] == ["d1-e0001"]


def test_a_long_trace_is_as_if_it_had_been_saved(tmp_path: Path) -> None:
    """Every table holds what the store itself writes of it; only the time of saving is that of its end."""
    began = datetime(2026, 1, 1, tzinfo=UTC)
    events = [new_event("message", {"n": n}, began + timedelta(seconds=n), round_num=n // 9) for n in range(1_100)]
    header = new_trace("d1", "decide", ["claude"], began, trace_id="t1")
    text = Trace.from_document(
        {**header.header, "events": [event.document for event in events]}, accept_bad_checksum=True
    ).to_text()
    source = make(tmp_path / "aragora_traces.db", PUBLIC_TRACES)
    execute(source, "INSERT INTO traces (trace_id, trace_json) VALUES ('t1', ?)", (text,))
    with ReplayStore(tmp_path / "saved.db") as replays:
        assert replays.save(parse(text))

    report = take(source, "replay")

    tables = [
        str(name)
        for (name,) in rows_of(report.path, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        if name not in ("schema_version", "replays")
    ]
    assert "replay_events" in tables
    header_sql = "SELECT trace_id, debate_id, task, started_at, event_count, checksum, digest, header FROM replays"
    for sql in (header_sql, *(f"SELECT * FROM {table} ORDER BY 1, 2" for table in tables)):
        assert rows_of(report.path, sql) == rows_of(tmp_path / "saved.db", sql)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("UPDATE traces SET trace_json = '{'", "is not JSON"),
        ("UPDATE traces SET trace_json = replace(trace_json, 'yes', 'no')", "checksum says"),
        ("UPDATE traces SET trace_id = 'another'", "is another one in the text"),
        ("UPDATE trace_events SET trace_id = 'another'", "is of no trace"),
    ],
)
def test_a_trace_that_cannot_be_read_is_a_difference(tmp_path: Path, change: str, problem: str) -> None:
    """Named by its id, and what its table of events alone has is one too."""
    source = make_public_traces(tmp_path / "aragora_traces.db")
    execute(source, change)

    with pytest.raises(NotAdoptableError, match=problem):
        take(source, "replay")
    assert list((tmp_path / "data").iterdir()) == []


def test_an_event_that_its_trace_has_not_is_a_difference(tmp_path: Path) -> None:
    """It would be lost."""
    with pytest.raises(NotAdoptableError, match="d1-e0002") as caught:
        take(make_public_traces(tmp_path / "aragora_traces.db", more=True), "replay")
    assert caught.value.count == 1


@pytest.mark.parametrize("database", [database.name for database in DATABASES])
def test_every_database_without_its_ledger_is_an_own_one(tmp_path: Path, database: str) -> None:
    """Whatever its migrations begin it with comes over as it is."""
    source = tmp_path / "lost.db"
    migrate(source, database)
    execute(source, "DROP TABLE schema_version")

    report = take(source, database)

    assert report.origin == "a database of this package that has lost its ledger"
    assert status(report.path, database).state == "current"


def test_the_outbox_keeps_its_clock(tmp_path: Path) -> None:
    """A row that a migration begins with, and that has moved on since."""
    source = tmp_path / "lost.db"
    with Outbox(source):
        execute(source, "UPDATE revision_clock SET last_revision = 77")
    execute(source, "DROP TABLE schema_version")

    report = take(source, "outbox")

    assert rows_of(report.path, "SELECT last_revision FROM revision_clock") == [(77,)]
