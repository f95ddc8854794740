"""The client against a real Supabase and the one in memory: what was saved is read back, listed and counted."""

from __future__ import annotations

import itertools
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aragora_persist.cloud.models import (
    AgentMetrics,
    CycleEvolution,
    CycleFileChange,
    DebateArtifact,
    NomicCycle,
    NomicRollback,
    StreamEvent,
)
from aragora_persist.cloud.rows import columns_of, from_row
from aragora_persist.errors import ConflictError, RejectedError
from aragora_persist.supabase_client import AgentStats, LoopSummary, SupabaseClient

if TYPE_CHECKING:
    from tests.contract.cloud_fixtures import MakeClient
    from tests.supabase_stack import LocalSupabase

# Where a test is held over the real one, this adds pytest.mark.engine to it.
pytest_plugins = ("tests.contract.cloud_fixtures",)

NOON = datetime(2026, 1, 2, 12, 0, 0, 123456, tzinfo=UTC)
NOTHING = LoopSummary(
    cycles=0,
    debates=0,
    events=0,
    rollbacks=0,
    evolutions=0,
    file_changes=0,
    first_at=None,
    last_at=None,
    consensus_rate=None,
    last_success=None,
)


def stored(supabase: LocalSupabase, sql: str) -> list[tuple[Any, ...]]:
    """Return what the database itself says."""
    with psycopg.connect(supabase.admin_db_url) as database:
        return database.execute(sql.encode()).fetchall()


def cycle(number: int = 1, **changes: Any) -> NomicCycle:  # noqa: ANN401 - any field of a cycle
    """Return a cycle that began as many minutes after noon."""
    return replace(NomicCycle("loop", number, "debate", "voting", NOON + timedelta(minutes=number)), **changes)


def debate(task: str = "task", **changes: Any) -> DebateArtifact:  # noqa: ANN401 - any field of a debate
    """Return a debate about this task."""
    plain = DebateArtifact(
        "loop", 1, "debate", task, ["a", "b"], [{"by": "a", "said": "é"}], consensus_reached=True, confidence=0.5
    )
    return replace(plain, **changes)


def test_a_cycle_is_saved_read_and_changed(client: SupabaseClient) -> None:
    """Each save takes the place of the one before, under the same key."""
    assert client.get_cycle("loop", 1, "debate") is None
    key = client.save_cycle(cycle())
    assert client.get_cycle("loop", 1, "debate") == cycle()

    done = cycle(stage="executing", completed_at=NOON, success=False, error_message="é\n'\"\\", total_tasks=3)
    assert client.save_cycle(done) == key == done.key()
    assert client.get_cycle("loop", 1, "debate") == done
    assert client.get_cycle("loop", 1, "design") is None


def test_an_older_state_never_replaces_a_newer_one(client: SupabaseClient, supabase: LocalSupabase) -> None:
    """Whoever tries, on a machine whose clock is behind, learns it; what is stored stays."""
    client.save_cycle(cycle())
    with psycopg.connect(supabase.admin_db_url) as database:
        database.execute("update nomic_cycles set revision = revision + 3600000000")
    with pytest.raises(ConflictError, match="newer version") as stale:
        client.save_cycle(cycle(stage="late"))

    assert stale.value.target == f"nomic_cycles {cycle().key()}"
    assert client.get_cycle("loop", 1, "debate") == cycle()


def test_saves_in_a_row_are_never_stale(client: SupabaseClient, make_client: MakeClient) -> None:
    """However fast they come, from however many clients in one process."""
    with make_client() as other:
        for number in range(30):
            (client if number % 2 else other).save_cycle(cycle(stage=str(number)))

    found = client.get_cycle("loop", 1, "debate")
    assert found is not None
    assert found.stage == "29"


def test_a_debate_is_saved_and_read(client: SupabaseClient) -> None:
    """By what names it: a phase may debate several tasks."""
    long = debate("x" * 10_000, transcript=[{"by": "a", "said": "word " * 100_000}])
    keys = [client.save_debate(debate()), client.save_debate(long)]

    assert keys == [debate().key(), long.key()]
    assert client.get_debate("loop", 1, "debate", "task") == debate()
    assert client.get_debate("loop", 1, "debate", long.task) == long
    assert client.get_debate("loop", 1, "debate", "other") is None


def test_cycles_are_listed_newest_first(client: SupabaseClient) -> None:
    """In pages that neither skip nor repeat any, although some began at the same moment."""
    for number in range(7):
        client.save_cycle(cycle(number, started_at=NOON + timedelta(minutes=number // 3)))
    client.save_cycle(cycle(99, loop_id="other"))

    page = client.list_cycles("loop", limit=3)
    found: list[NomicCycle] = []
    sizes = [len(page.records)]
    while page.older:
        found += page.records
        page = client.list_cycles("loop", limit=3, before=page.older)
        sizes.append(len(page.records))
    found += page.records

    assert sizes == [3, 3, 1]
    assert sorted(one.cycle_number for one in found) == list(range(7))
    assert [one.started_at for one in found] == sorted((one.started_at for one in found), reverse=True)
    assert client.list_cycles("loop", limit=7).older is None
    assert client.list_cycles("nobody").records == ()


def test_debates_are_listed_newest_first(client: SupabaseClient) -> None:
    """By when they were first saved; a later change moves none of them."""
    for number in range(5):
        client.save_debate(debate(str(number)))
    client.save_debate(debate("0", confidence=0.9))
    first = client.list_debates("loop", limit=2)
    rest = client.list_debates("loop", before=first.older)

    assert [one.task for one in (*first.records, *rest.records)] == ["4", "3", "2", "1", "0"]
    assert rest.records[-1].confidence == 0.9
    assert rest.older is None


def test_a_list_is_as_long_as_asked_for(client: SupabaseClient) -> None:
    """Beyond what the server gives at once."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: client.save_cycle(cycle(number)), range(230)))
    page = client.list_cycles("loop", limit=220)

    assert [one.cycle_number for one in page.records] == list(range(229, 9, -1))
    assert page.older


def test_facts_stay_as_they_were_first_saved(client: SupabaseClient, supabase: LocalSupabase) -> None:
    """Saving one again, or another one under its key, changes nothing and is no error."""
    metrics = AgentMetrics("loop", 1, "a", messages_sent=1, timestamp=NOON)
    keys = {client.save_metrics(metrics), client.save_metrics(replace(metrics, messages_sent=2))}
    rollback = NomicRollback(None, "loop", 1, "verify", "reason", "low", created_at=NOON)
    assert client.save_rollback(rollback) == client.save_rollback(rollback) == rollback.id

    assert len(keys) == 1
    assert [one.messages_sent for one in client.agent_stats()] == [1]
    assert stored(supabase, "select id::text, reason from nomic_rollbacks") == [(rollback.id, "reason")]


def test_a_natural_key_has_one_id(client: SupabaseClient) -> None:
    """A second row under it is refused, whether its kind is immutable or not; the first one stays."""
    rollback = NomicRollback(None, "loop", 1, "verify", "reason", "low", created_at=NOON)
    evolution = CycleEvolution(None, "loop", 1, created_at=NOON)
    client.save_rollback(rollback)
    client.save_evolution(evolution)
    with pytest.raises(RejectedError):
        client.save_rollback(replace(rollback, id=str(uuid.UUID(int=1))))
    with pytest.raises(RejectedError):
        client.save_evolution(replace(evolution, id=str(uuid.UUID(int=1))))

    summary = client.loop_summary("loop")
    assert (summary.rollbacks, summary.evolutions) == (1, 1)


def test_an_evolution_is_changed_and_names_its_debate(client: SupabaseClient, supabase: LocalSupabase) -> None:
    """The key that a save returned is what it names."""
    key = client.save_debate(debate())
    evolution = CycleEvolution(None, "loop", 1, debate_artifact_id=key, files_changed=["a,b", "c d"], created_at=NOON)
    client.save_evolution(evolution)
    client.save_evolution(replace(evolution, git_commit="abc"))

    found = "select debate_artifact_id::text, files_changed, git_commit from cycle_evolution"
    assert stored(supabase, found) == [(key, ["a,b", "c d"], "abc")]


def test_file_changes_are_saved_in_any_number(client: SupabaseClient, supabase: LocalSupabase) -> None:
    """Beyond one request, twice, and from a generator; binary files have no counts."""
    changes = [CycleFileChange("loop", 1, f"é/{number}", "added", None, number) for number in range(2500)]
    keys = client.save_file_changes(iter(changes))

    assert keys == [change.key() for change in changes]
    assert client.save_file_changes(changes[::-1]) == keys[::-1]
    assert client.save_file_changes([]) == []
    found = "select count(*), count(distinct id), sum(deletions), count(insertions) from cycle_file_changes"
    assert stored(supabase, found) == [(2500, 2500, 2500 * 2499 // 2, 0)]


def test_a_loop_at_a_glance(client: SupabaseClient) -> None:
    """One without records has zeros."""
    assert client.loop_summary("loop") == NOTHING
    client.save_cycle(cycle(success=True))
    client.save_cycle(cycle(phase="design"))
    client.save_debate(debate())
    client.save_debate(debate("other", consensus_reached=False))
    client.save_events(StreamEvent("loop", 1, "error", {}, timestamp=NOON + timedelta(days=n)) for n in range(3))

    assert client.loop_summary("loop") == replace(
        NOTHING,
        cycles=1,
        debates=2,
        events=3,
        first_at=NOON,
        last_at=NOON + timedelta(days=2),
        consensus_rate=0.5,
        last_success=True,
    )
    assert client.loop_summary("other") == NOTHING


def test_agents_are_summed_up(client: SupabaseClient) -> None:
    """In one loop or in all, each with each of its models, beyond what the server gives at once."""
    for number in range(2):
        client.save_metrics(
            AgentMetrics(
                "loop",
                number,
                "a",
                "m",
                messages_sent=1 + 2 * number,
                avg_response_time_ms=8.0 * number,
                timestamp=NOON,
            )
        )
    client.save_metrics(AgentMetrics("other", 1, "b", timestamp=NOON))
    one = AgentStats(
        agent_name="a",
        model="m",
        cycles=2,
        messages_sent=4,
        proposals_made=0,
        critiques_given=0,
        votes_won=0,
        votes_received=0,
        consensus_contributions=0,
        avg_response_time_ms=6.0,
    )

    assert client.agent_stats("loop") == [one]
    assert [(found.agent_name, found.model) for found in client.agent_stats()] == [("a", "m"), ("b", None)]
    assert client.agent_stats("nobody") == []


def test_more_agents_than_the_server_gives_at_once(client: SupabaseClient, supabase: LocalSupabase) -> None:
    """A page that was cut off is no whole answer."""
    with psycopg.connect(supabase.admin_db_url) as database:
        database.execute(
            "insert into agent_metrics (id, loop_id, cycle, agent_name, timestamp)"
            " select gen_random_uuid(), 'loop', 1, lpad(n::text, 5, '0'), now() from generate_series(1, 2300) n"
        )

    assert [int(one.agent_name) for one in client.agent_stats("loop")] == list(range(1, 2301))


def test_eight_threads_save_through_one_client(client: SupabaseClient, supabase: LocalSupabase) -> None:
    """Facts and states at once, none of them lost or mixed up."""

    def save(thread: int) -> None:
        for number in range(20):
            client.save_event(StreamEvent("loop", thread, "error", {"n": number}, timestamp=NOON))
            client.save_cycle(cycle(thread, stage=str(number)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(save, range(8)))

    assert stored(supabase, "select count(*), count(distinct (cycle, event_data)) from stream_events") == [(160, 160)]
    assert stored(supabase, "select cycle_number, stage from nomic_cycles order by 1") == [(n, "19") for n in range(8)]


@pytest.mark.parametrize(
    "poison",
    [
        cycle(2**31),
        cycle(total_tasks=-1),
        debate(confidence="secret words"),
        debate(agents="secret words"),
        debate(winning_proposal="a\0b"),
        debate(confidence=float("nan")),
    ],
)
def test_a_record_that_cannot_be_stored_is_refused(poison: NomicCycle | DebateArtifact, client: SupabaseClient) -> None:
    """As refused for good, without its content; the one before it stays."""
    client.save_cycle(cycle())
    with pytest.raises(RejectedError) as refused:
        client._save_state("test", poison)

    assert poison.TABLE in refused.value.target
    assert "secret" not in str(refused.value)
    assert client.list_cycles("loop").records == (cycle(),)
    assert client.list_debates("loop").records == ()


text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
moment = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - bounds
count = st.integers(0, 2**31 - 1)
whole = st.integers(-(2**31), 2**31 - 1)
number = st.one_of(st.integers(-(10**30), 10**30), st.floats(-1e15, 1e15).filter(lambda value: value != 0))
json_value = st.recursive(
    st.one_of(st.none(), st.booleans(), text, number),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(text, inner, max_size=4)),
    max_leaves=12,
)
json_object = st.dictionaries(text, json_value, max_size=4)
real = st.floats(allow_nan=False, allow_infinity=False)
optional_text = st.one_of(st.none(), text)
RECORDS = st.one_of(
    st.builds(
        NomicCycle,
        text,
        whole,
        text,
        text,
        moment,
        st.one_of(st.none(), moment),
        st.one_of(st.none(), st.booleans()),
        optional_text,
        optional_text,
        count,
        count,
        optional_text,
    ),
    st.builds(
        DebateArtifact,
        text,
        whole,
        text,
        text,
        st.lists(text, max_size=4),
        st.lists(json_object, max_size=3),
        st.booleans(),
        real,
        optional_text,
        st.one_of(st.none(), json_object),
    ),
    st.builds(StreamEvent, text, whole, text, json_object, optional_text, moment),
    st.builds(
        AgentMetrics,
        text,
        whole,
        text,
        optional_text,
        optional_text,
        *[count] * 6,
        st.one_of(st.none(), real.map(abs)),
        moment,
    ),
    st.builds(
        NomicRollback,
        st.none(),
        text,
        whole,
        *[text] * 3,
        optional_text,
        optional_text,
        st.lists(text, max_size=4),
        text,
        optional_text,
        moment,
    ),
    st.builds(CycleEvolution, st.none(), text, whole, st.one_of(st.none(), st.uuids().map(str)), created_at=moment),
    st.builds(CycleFileChange, text, whole, text, text, st.one_of(st.none(), count), st.one_of(st.none(), count)),
)


serial = itertools.count()


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(record=RECORDS)
def test_what_was_saved_is_read_back_equal(
    record: Any,  # noqa: ANN401 - any of the models
    client: SupabaseClient,
) -> None:
    """Every kind, with times to the microsecond, floats, None, any text and nested JSON."""
    own: dict[str, Any] = {"loop_id": f"{next(serial)} {record.loop_id}"}  # what was saved before stays: no two are one
    if isinstance(record, NomicRollback | CycleEvolution):
        own["id"] = None
    record = replace(record, **own)
    if record.MUTABLE:
        key = client._save_state("test", record)
    else:
        [key] = client._save_facts("test", [record])
    row = client._connected("test").find(record.TABLE, key, columns_of(type(record)), operation="test")

    assert row is not None
    found = from_row(type(record), row, "test")
    assert found == record
    assert found.key() == record.key()
