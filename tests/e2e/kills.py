"""Kills what carries records to Supabase, again and again, while more of them come."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import psycopg

from tests.e2e.arrivals import wait_delivered
from tests.e2e.running_stack import wait_for

if TYPE_CHECKING:
    from docker.models.containers import Container

    from tests.e2e.running_stack import RunningStack

KILLS = 10
_EVENTS, _CYCLES, _MOST_ROUNDS = 100, 20, 2000
_STOP = "/tmp/stop"  # noqa: S108 - the container's own

# In each round new events, and the same cycles with new content: what is last must be what stays.
_PRODUCE = f"""
import pathlib, time
from datetime import UTC, datetime
from aragora_persist.cloud.models import NomicCycle, StreamEvent
from aragora_persist.cloud.outbox import Outbox
start, stop, rounds = datetime(2026, 1, 2, tzinfo=UTC), pathlib.Path({_STOP!r}), 0
with Outbox() as outbox:
    while not stop.exists() and rounds < {_MOST_ROUNDS}:
        models = [StreamEvent("load", rounds, "load", {{"n": n}}, timestamp=start) for n in range({_EVENTS})]
        models += [NomicCycle("load", n, "load", "executing", start, total_tasks=rounds) for n in range({_CYCLES})]
        outbox.enqueue(model.to_record() for model in models)
        rounds += 1
        time.sleep(0.05)
print(rounds)
"""


def kill_the_sender(stack: RunningStack, image: str) -> None:
    """Kill -9 the service while it sends, and stop PostgREST once in between; nothing is lost, nothing is doubled."""
    # It sees the host's processes, because the test's user need not be root.
    killer: Container = stack.client.containers.run(
        image,
        ["sleep", "600"],
        pid_mode="host",
        user="0",
        network_mode="none",
        init=True,
        detach=True,
        auto_remove=True,
    )
    try:
        with (
            closing(psycopg.connect(stack.supabase_env()["SUPABASE_DB_URL"], autocommit=True)) as database,
            ThreadPoolExecutor(max_workers=1) as other,
        ):
            # From the sidecar, which lives on and shares the outbox.
            produced = other.submit(stack.run, "sqlite/backup", "python3", "-c", _PRODUCE)
            try:
                for kill in range(KILLS):
                    _wait_for_more(database)
                    assert not produced.done()
                    _kill(stack, killer)
                    if kill == KILLS // 2:
                        _stop_and_start_rest(stack)
            finally:
                stack.run("sqlite/backup", "touch", _STOP)
            rounds = int(produced.result(timeout=60))
            stack.wait_healthy("sqlite")
            wait_delivered(stack)
            _check(database, rounds)
    finally:
        killer.kill()


def _wait_for_more(database: psycopg.Connection[Any]) -> None:
    before = _arrived(database)
    wait_for(lambda: _arrived(database) > before, "more records to arrive")


def _arrived(database: psycopg.Connection[Any]) -> int:
    row = database.execute("SELECT count(*) FROM stream_events WHERE loop_id = 'load'").fetchone()
    return int(row[0]) if row else 0


def _kill(stack: RunningStack, killer: Container) -> None:
    service = stack.container("sqlite")
    pid = service.attrs["State"]["Pid"]
    code, said = killer.exec_run(["python3", "-c", f"import os; os.kill({pid}, 9)"])
    assert code == 0, said
    # By itself the engine starts it again as well, but waits twice as long after each kill.
    service.restart(timeout=0)


def _stop_and_start_rest(stack: RunningStack) -> None:
    rest = stack.container("supabase", "rest")
    rest.stop(timeout=5)
    wait_for(lambda: bool(stack.ask("sqlite", "sync", "--status")["problem"]), "the outage to be told")
    rest.start()
    stack.wait_healthy("supabase", "rest")


def _check(database: psycopg.Connection[Any], rounds: int) -> None:
    """Compare every record with what was enqueued, and take them out again."""
    events = database.execute(
        "SELECT cycle, (event_data->>'n')::int FROM stream_events WHERE loop_id = 'load' ORDER BY 1, 2"
    ).fetchall()
    assert events == [(cycle, n) for cycle in range(rounds) for n in range(_EVENTS)]
    cycles = database.execute(
        "SELECT cycle_number, total_tasks FROM nomic_cycles WHERE loop_id = 'load' ORDER BY 1"
    ).fetchall()
    assert cycles == [(n, rounds - 1) for n in range(_CYCLES)]
    for table in ("stream_events", "nomic_cycles"):
        database.execute(f"DELETE FROM {table} WHERE loop_id = 'load'".encode())
