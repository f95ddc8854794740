"""Sending to a real Supabase: what becomes of every kind of record, and what its refusals do."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pytest

from aragora_persist.cloud.connection import CloudConnection
from aragora_persist.cloud.delivery import next_batch, redrive
from aragora_persist.cloud.models import MODELS
from aragora_persist.cloud.outbox import Outbox
from aragora_persist.cloud.rows import to_row
from aragora_persist.cloud.sync import Sender
from aragora_persist.doctor import Finding, Level, examine
from aragora_persist.settings import Secret
from tests.supabase_rows import compare, expected, models, stored
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aragora_persist.cloud.models import Record
    from tests.supabase_stack import LocalSupabase

pytest_plugins = ("tests.image_fixtures", "tests.supabase_fixtures")
pytestmark = pytest.mark.engine


@pytest.fixture
def outbox(tmp_path: Path, supabase: LocalSupabase) -> Iterator[Outbox]:
    """Open an empty outbox, with nothing in Supabase."""
    supabase.empty()
    with Outbox(tmp_path / "aragora_outbox.db") as opened:
        yield opened


@pytest.fixture
def sender(outbox: Outbox, supabase: LocalSupabase) -> Iterator[Sender]:
    """Give a sender."""
    with Sender(outbox, lambda: connected(supabase)) as opened:
        yield opened


def connected(supabase: LocalSupabase) -> CloudConnection:
    """Return a connection with the service key."""
    return CloudConnection(supabase.url, Secret(supabase.service_key))


def records(*numbers: int, state: int = 0, revision: int = 1) -> list[Record]:
    """Return the records of all kinds of these numbers."""
    made = [model for number in numbers for model in models(number, state=state)]
    return [model.to_record(revision if model.MUTABLE else None) for model in made]


def drain(sender: Sender, outbox: Outbox) -> None:
    """Send until nothing waits."""

    def empty() -> bool:
        sender.round()
        return outbox.count() == 0

    wait_until(empty, "the outbox to be empty", every_s=0.02)


@contextmanager
def changed(supabase: LocalSupabase, change: str, undo: str) -> Iterator[None]:
    """Change the schema for a while."""
    with psycopg.connect(supabase.db_url, autocommit=True) as connection:
        connection.execute(change.encode())
        try:
            yield
        finally:
            connection.execute(undo.encode())


def test_every_kind_arrives_as_it_was_enqueued(outbox: Outbox, sender: Sender, supabase: LocalSupabase) -> None:
    """Seven kinds, with every type of value they have: nothing is lost, doubled or changed."""
    want = records(*range(1, 31), state=3)
    outbox.enqueue(want)
    drain(sender, outbox)

    assert compare(expected(want), stored(supabase.db_url)) == {"rows": 210, "lost": 0, "doubled": 0, "stale": 0}
    assert (sender.sent, sender.refused) == (210, 0)


def test_sending_again_changes_nothing(outbox: Outbox, sender: Sender, supabase: LocalSupabase) -> None:
    """As after a crash between the server's answer and the removal: the same rows, once."""
    want = records(1, 2, 3)
    for _ in range(2):
        outbox.enqueue(want)
        drain(sender, outbox)

    assert compare(expected(want), stored(supabase.db_url)) == {"rows": 21, "lost": 0, "doubled": 0, "stale": 0}
    assert sender.sent == 42


def test_a_late_state_never_replaces_a_newer_one(outbox: Outbox, sender: Sender, supabase: LocalSupabase) -> None:
    """What a sender had read before it fell asleep, and sends when it wakes up, is dropped by the server."""
    outbox.enqueue(records(1, state=1, revision=5))
    late = {table: next_batch(outbox, table).entries for table in ("nomic_cycles", "cycle_evolution")}
    want = records(1, state=2, revision=6)
    outbox.enqueue(want)
    drain(sender, outbox)
    with connected(supabase) as connection:
        for table, entries in late.items():
            connection.write(table, [to_row(entry) for entry in entries])

    assert compare(expected(want), stored(supabase.db_url)) == {"rows": 7, "lost": 0, "doubled": 0, "stale": 0}


def test_poison_of_a_real_database_becomes_a_dead_letter(
    outbox: Outbox, sender: Sender, supabase: LocalSupabase
) -> None:
    """A value that PostgreSQL refuses takes its record out alone; corrected there, a redrive delivers it."""
    want = records(*range(1, 21))
    bad = {place for place, record in enumerate(want) if record.payload.get("cycle_number") == 7}
    outbox.enqueue(
        replace(record, payload={**record.payload, "cycle_number": 2**40}) if place in bad else record
        for place, record in enumerate(want)
    )
    drain(sender, outbox)
    with outbox.read("test") as view:
        letters = view.all("SELECT table_name, reason FROM dead_letters ORDER BY table_name")
    good = [record for place, record in enumerate(want) if place not in bad]

    assert compare(expected(good), stored(supabase.db_url)) == {"rows": 135, "lost": 0, "doubled": 0, "stale": 0}
    assert [table for table, _ in letters] == [
        *("cycle_evolution", "cycle_file_changes", "debate_artifacts", "nomic_cycles", "nomic_rollbacks")
    ]
    assert all("22003" in str(reason) for _, reason in letters)
    with outbox.transaction("correct") as tx:
        tx.execute("UPDATE dead_letters SET payload = replace(payload, '1099511627776', '7')")
    assert redrive(outbox) == 5
    drain(sender, outbox)
    assert compare(expected(want), stored(supabase.db_url)) == {"rows": 140, "lost": 0, "doubled": 0, "stale": 0}


@pytest.mark.parametrize(
    "breakdown",
    [
        "raise exception 'broken' using errcode = 'XX000'",
        "perform pg_terminate_backend(pg_backend_pid())",
        "raise exception 'too slow' using errcode = '57014'",
    ],
    ids=["internal error", "end of its process", "time-out"],
)
def test_a_record_that_the_database_breaks_down_over_holds_nothing_up(
    outbox: Outbox, sender: Sender, supabase: LocalSupabase, breakdown: str
) -> None:
    """What it answers is that of an outage; all other records arrive, and those of other tables."""
    want = records(*range(1, 31))
    bad = next(record for record in want if record.table == "stream_events" and record.payload["cycle"] == 9)
    outbox.enqueue(want)
    with changed(
        supabase,
        "CREATE FUNCTION break_down() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF new.cycle = 9 THEN {breakdown}; END IF; RETURN new; END $$;"
        " CREATE TRIGGER break_down BEFORE INSERT ON stream_events FOR EACH ROW EXECUTE FUNCTION break_down()",
        "DROP FUNCTION break_down CASCADE",
    ):
        while sender.round():
            pass
        waiting = [entry.key for entry in outbox.pending()]
    good = [record for record in want if record is not bad]

    assert waiting == [bad.key]
    assert compare(expected(good), stored(supabase.db_url)) == {"rows": 209, "lost": 0, "doubled": 0, "stale": 0}
    drain(sender, outbox)
    assert compare(expected(want), stored(supabase.db_url)) == {"rows": 210, "lost": 0, "doubled": 0, "stale": 0}
    assert sender.refused == 0


def test_a_missing_grant_holds_up_one_table(outbox: Outbox, sender: Sender, supabase: LocalSupabase) -> None:
    """Its records wait under the statement that helps; when that was run, they arrive."""
    want = records(1, 2)
    outbox.enqueue(want)
    with changed(
        supabase,
        "REVOKE INSERT ON stream_events FROM service_role",
        "GRANT INSERT ON stream_events TO service_role",
    ):
        sender.round()
        waiting = {entry.table for entry in outbox.pending()}
        problem = sender.problem
    drain(sender, outbox)

    assert waiting == {"stream_events"}
    assert problem.startswith("stream_events: ")
    assert "GRANT" in problem
    assert compare(expected(want), stored(supabase.db_url)) == {"rows": 14, "lost": 0, "doubled": 0, "stale": 0}
    assert sender.refused == 0


def test_a_missing_table_holds_up_no_other(outbox: Outbox, sender: Sender, supabase: LocalSupabase) -> None:
    """A table that is not there yet, and one that never will be: their records wait, the others arrive."""
    want = records(1)
    unknown = replace(want[2], table="no_such_table")
    outbox.enqueue([*want, unknown])
    reload = "NOTIFY pgrst, 'reload schema'"
    with changed(
        supabase,
        f"ALTER TABLE agent_metrics RENAME TO elsewhere; {reload}",
        f"ALTER TABLE elsewhere RENAME TO agent_metrics; {reload}",
    ):
        sender.round()
        waiting = {entry.table for entry in outbox.pending()}
        problem = sender.problem

    def delivered() -> bool:
        sender.round()
        return outbox.count() == 1

    wait_until(delivered, "the table to be seen again")
    assert waiting == {"agent_metrics", "no_such_table"}
    assert "aragora-persist supabase apply" in problem
    assert compare(expected(want), stored(supabase.db_url)) == {"rows": 7, "lost": 0, "doubled": 0, "stale": 0}
    assert sender.refused == 0


def test_a_trigger_that_does_not_fit_the_schema_makes_no_dead_letters(
    outbox: Outbox, sender: Sender, supabase: LocalSupabase
) -> None:
    """Somebody's mistake in the database is no record's: all of the table wait until it is mended."""
    want = records(1, 2, 3)
    outbox.enqueue(want)
    with changed(
        supabase,
        "CREATE FUNCTION mistaken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " UPDATE agent_metrics SET cycle = 'one'::text; RETURN new; END $$;"
        " CREATE TRIGGER mistaken BEFORE INSERT ON stream_events FOR EACH ROW EXECUTE FUNCTION mistaken()",
        "DROP FUNCTION mistaken CASCADE",
    ):
        sender.round()
        waiting = [entry.table for entry in outbox.pending()]
        problem = sender.problem
    drain(sender, outbox)

    assert waiting == ["stream_events"] * 3
    assert "42804" in problem
    assert compare(expected(want), stored(supabase.db_url)) == {"rows": 21, "lost": 0, "doubled": 0, "stale": 0}
    assert sender.refused == 0


def test_a_wrong_key_loses_nothing(outbox: Outbox, supabase: LocalSupabase) -> None:
    """Neither an unknown key nor the publishable one writes anything, and the problem says which key it is."""
    outbox.enqueue(records(1))
    told = []
    for key in ("sb_secret_of_nobody", supabase.publishable_key):
        with Sender(outbox, lambda key=key: CloudConnection(supabase.url, Secret(key))) as sender:  # type: ignore[misc]  # a default of a lambda has no type
            assert not sender.round()
            told.append(sender.problem)

    assert stored(supabase.db_url) == {}
    assert outbox.count() == 7
    assert "not a service key" in told[0]
    assert "publishable key" in told[1]


def test_an_outage_of_postgrest_passes(outbox: Outbox, sender: Sender, supabase: LocalSupabase) -> None:
    """While it is stopped everything waits; when it is back, everything arrives."""
    want = records(1, 2)
    outbox.enqueue(want[:7])
    supabase.stop_rest()
    try:
        sender.round()
        outbox.enqueue(want[7:])
        waiting, problem = outbox.count(), sender.problem
    finally:
        supabase.start_rest()
    drain(sender, outbox)

    assert waiting == 14
    assert "127.0.0.1" in problem
    assert compare(expected(want), stored(supabase.db_url)) == {"rows": 14, "lost": 0, "doubled": 0, "stale": 0}


def test_the_doctor_asks_supabase(supabase: LocalSupabase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Good, with a wrong key, with the publishable key, and with a table missing: one finding with the way out each."""

    def ask(key: str) -> Finding:
        monkeypatch.setenv("SUPABASE_KEY", key)
        [found] = [one for one in examine(str(tmp_path / "data")) if one.subject == "supabase"]
        return found

    monkeypatch.setenv("SUPABASE_URL", supabase.url)
    good, wrong, public = ask(supabase.service_key), ask("sb_secret_of_nobody"), ask(supabase.publishable_key)
    with changed(
        supabase, "ALTER TABLE agent_metrics RENAME TO elsewhere", "ALTER TABLE elsewhere RENAME TO agent_metrics"
    ):
        missing = ask(supabase.service_key)

    assert [one.level for one in (good, wrong, public, missing)] == [Level.OK, *[Level.PROBLEM] * 3]
    assert "refuses the key" in wrong.detail
    assert public.way_out.startswith("SUPABASE_KEY is the publishable key")
    assert all(kind.TABLE in public.detail for kind in MODELS)
    assert missing.detail.startswith("agent_metrics: ")
    assert "aragora-persist supabase apply" in missing.way_out
