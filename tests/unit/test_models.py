"""The models of the Supabase tables: documented shapes, keys that never change, rows as JSON."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from aragora_persist.cloud.models import (
    MODELS,
    AgentMetrics,
    CloudModel,
    CycleEvolution,
    CycleFileChange,
    DebateArtifact,
    NomicCycle,
    NomicRollback,
    StreamEvent,
)
from aragora_persist.errors import InvalidValueError

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
REQUIRED = dataclasses.MISSING

DOCUMENTED: dict[type[CloudModel], list[tuple[str, object]]] = {
    NomicCycle: [
        *[(name, REQUIRED) for name in ("loop_id", "cycle_number", "phase", "stage", "started_at")],
        *[(name, None) for name in ("completed_at", "success", "git_commit", "task_description")],
        ("total_tasks", 0),
        ("completed_tasks", 0),
        ("error_message", None),
    ],
    DebateArtifact: [
        *[(name, REQUIRED) for name in ("loop_id", "cycle_number", "phase", "task", "agents", "transcript")],
        *[(name, REQUIRED) for name in ("consensus_reached", "confidence")],
        ("winning_proposal", None),
        ("vote_tally", None),
    ],
    StreamEvent: [
        *[(name, REQUIRED) for name in ("loop_id", "cycle", "event_type", "event_data")],
        ("agent", None),
        ("timestamp", REQUIRED),  # a factory
    ],
}


def one_of_each() -> list[CloudModel]:
    """Return one record of every kind."""
    return [
        NomicCycle("loop", 1, "debate", "voting", NOON),
        DebateArtifact("loop", 1, "debate", "task", ["a"], [{"said": "é"}], consensus_reached=True, confidence=0.5),
        StreamEvent("loop", 1, "cycle_start", {"a": 1, "b": [2]}, "agent", NOON),
        AgentMetrics("loop", 1, "agent", "model", "debate", timestamp=NOON),
        NomicRollback(None, "loop", 1, "verify", "timeout", "low", created_at=NOON),
        CycleEvolution(None, "loop", 1, created_at=NOON),
        CycleFileChange("loop", 1, "a.py", "added", None, None),
    ]


@pytest.mark.parametrize("model", DOCUMENTED)
def test_fields_are_the_documented_ones(model: type[CloudModel]) -> None:
    """Names, order and defaults are those of the documentation."""
    assert [(item.name, item.default) for item in dataclasses.fields(model)] == DOCUMENTED[model]


def test_tables_are_the_documented_ones() -> None:
    """Each documented table has its model, and only mutable kinds carry revisions."""
    assert {model.TABLE: model.MUTABLE for model in MODELS} == {
        "nomic_cycles": True,
        "debate_artifacts": True,
        "stream_events": False,
        "agent_metrics": False,
        "nomic_rollbacks": False,
        "cycle_evolution": True,
        "cycle_file_changes": False,
    }
    assert {type(record) for record in one_of_each()} == set(MODELS)


def test_models_can_be_changed_after_they_were_made() -> None:
    """A cycle is updated in place as it goes on, and its key stays."""
    cycle = NomicCycle("loop", 1, "debate", "proposing", NOON)
    before = cycle.to_record()
    cycle.stage, cycle.success = "voting", True

    after = cycle.to_record()
    assert after.key == before.key
    assert (after.payload["stage"], after.payload["success"]) == ("voting", True)


def test_the_default_time_of_an_event_is_now_in_utc() -> None:
    """An event made without a time has the present, aware."""
    before = datetime.now(UTC)
    timestamp = StreamEvent("loop", 1, "error", {}).timestamp

    assert timestamp.tzinfo is UTC
    assert before <= timestamp <= datetime.now(UTC)


def test_a_naive_time_means_utc() -> None:
    """A naive time is taken as UTC, given or assigned later, and other zones are converted in the row."""
    event = StreamEvent("loop", 1, "error", {}, timestamp=datetime(2026, 1, 2, 12))  # noqa: DTZ001 - naive is the point
    assert event.timestamp == NOON

    for same in (datetime(2026, 1, 2, 12), NOON.astimezone(timezone(timedelta(hours=5)))):  # noqa: DTZ001 - as above
        event.timestamp = same
        assert event.to_record().payload["timestamp"] == "2026-01-02T12:00:00.000000Z"


def test_keys_never_change() -> None:
    """These keys name rows in every Supabase project there is; a change would double each of them."""
    assert {record.TABLE: record.key() for record in one_of_each()} == {
        "nomic_cycles": "301bab61-8fd2-5a95-8152-3719764a09f0",
        "debate_artifacts": "a2d2ebc9-0487-5b2b-b0c0-8d35cd9e55be",
        "stream_events": "c203cb3a-2cbc-5df6-b64a-7b63cc64c4bb",
        "agent_metrics": "d8fa8c35-4014-5d2e-b28a-c349987c3489",
        "nomic_rollbacks": "2930e1c2-4ec1-5cc3-ad78-4da29ee979a4",
        "cycle_evolution": "78312917-5755-5124-8e32-e40100280a05",
        "cycle_file_changes": "20f5be37-97a9-5113-9d70-987dd3c28689",
    }


def test_keys_are_the_same_in_another_process() -> None:
    """A key does not depend on hash seeds, nor on the order in which a dictionary was filled."""
    program = (
        "from aragora_persist.cloud.models import StreamEvent; from datetime import datetime;"
        "print(StreamEvent('loop', 1, 'cycle_start', {'b': [2], 'a': 1}, 'agent', datetime(2026, 1, 2, 12)).key())"
    )
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip()

    assert told == one_of_each()[2].key()


@pytest.mark.parametrize("record", one_of_each(), ids=lambda record: str(record.TABLE))
def test_the_key_is_made_of_the_natural_key_alone(record: CloudModel) -> None:
    """Another value in the natural key is another record; another value elsewhere is the same one."""
    changed: dict[str, Any] = {"started_at": NOON + timedelta(1), "timestamp": NOON + timedelta(1), "created_at": NOON}
    for item in dataclasses.fields(record):
        if item.name == "id":
            continue
        other = dataclasses.replace(record)
        value = getattr(record, item.name)
        setattr(other, item.name, changed.get(item.name, f"other {value}") if value != NOON else NOON + timedelta(1))
        same = other.key() == record.key()
        assert same is (item.name not in record.NATURAL_KEY), item.name


def test_an_id_that_was_given_is_the_key() -> None:
    """A rollback with an id of its own keeps it; without one, its id is the key of its row."""
    given = NomicRollback("9C151CF9-5259-4029-81DF-2972B37628A0", "loop", 1, "verify", "timeout", "low")
    made = NomicRollback(None, "loop", 1, "verify", "timeout", "low")

    assert given.to_record().key == "9c151cf9-5259-4029-81df-2972b37628a0"
    assert made.to_record().key == made.id
    assert "id" not in made.to_record().payload


def test_an_id_that_is_no_uuid_is_refused() -> None:
    """The column is a UUID; an error at once says so, with the way out."""
    with pytest.raises(InvalidValueError, match=r"nomic_rollbacks\.id: 'rb-1' is not a UUID") as caught:
        NomicRollback("rb-1", "loop", 1, "verify", "timeout", "low").to_record()
    assert caught.value.hint == "pass None to have it made"


def test_revisions_belong_to_mutable_kinds() -> None:
    """A mutable record may carry a revision from 1 on; an immutable one has the revision 0 and takes none."""
    cycle, _, event, *_ = one_of_each()

    assert (cycle.to_record().revision, cycle.to_record(7).revision, event.to_record().revision) == (None, 7, 0)
    for record, revision in ((cycle, 0), (event, 1)):
        with pytest.raises(InvalidValueError, match=record.TABLE):
            record.to_record(revision)


def test_a_natural_key_that_is_not_json_is_refused() -> None:
    """A value that JSON does not have cannot name a row."""
    for value in (float("nan"), object()):
        with pytest.raises(InvalidValueError, match="stream_events: the natural key is not JSON"):
            StreamEvent("loop", 1, "error", {"value": value}).to_record()


def test_importing_the_models_opens_nothing() -> None:
    """The module is pure: it loads neither the database driver nor anything of the network."""
    program = "import aragora_persist.cloud.models, sys; print({'sqlite3', 'socket', 'subprocess'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout

    assert told == "set()\n"
