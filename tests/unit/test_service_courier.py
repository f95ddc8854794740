"""The service on the way to Supabase: a process of its own, with a stub in the place of the project."""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aragora_persist.cloud.models import StreamEvent
from aragora_persist.cloud.outbox import Outbox
from tests.contract.rest_stub import UNREACHABLE, RestStub
from tests.unit.running_service import get, ready, serving, wait_ready
from tests.waiting import PATIENCE_S, wait_until

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def configured(stub: RestStub) -> dict[str, str]:
    """Return the environment that leads to a stub."""
    return {"SUPABASE_URL": stub.url, "SUPABASE_KEY": "sb_secret_of_a_test"}


def enqueue(home: Path, *numbers: int) -> None:
    """Let events wait, as a process beside the service does."""
    with Outbox(home / "aragora_outbox.db") as outbox:
        outbox.enqueue(StreamEvent("loop", number, "message", {}, timestamp=NOON).to_record() for number in numbers)


def taken(stub: RestStub) -> list[int]:
    """Return the numbers of the events that the stub took, in their order."""
    return [row["cycle"] for _, row in stub.rows]


def state(port: int) -> dict[str, Any]:
    """Return what the service says of its outbox."""
    outbox: dict[str, Any] = json.loads(get(port, "/status.json")[2])["outbox"]
    return outbox


def test_what_another_process_enqueues_is_delivered(tmp_path: Path) -> None:
    """What waited before the start, and what comes later; the status tells of both."""
    home = tmp_path / "data"
    enqueue(home, 1)
    with RestStub() as stub, serving(home, environment=configured(stub)) as (process, port):
        wait_until(lambda: taken(stub) == [1], "the first record")
        enqueue(home, 2, 3)
        wait_until(lambda: taken(stub) == [1, 2, 3], "the later records")
        wait_ready(port)
        wait_until(lambda: state(port)["pending"] == 0, "an empty outbox")
        delivered = state(port)
        page = get(port, "/")[2]
        process.terminate()
        _, log = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0

    assert "outbox is open and migrated" in log
    assert stub.url not in log, "requests are not logged one by one"
    assert (delivered["problem"], delivered["dead_letters"]) == (None, 0)
    assert delivered["last_success_at"].endswith("Z")
    assert "last delivery" in page


def test_an_outage_is_shown_and_passes(tmp_path: Path) -> None:
    """The service stays ready without Supabase, names what is wrong, loses nothing, and goes on by itself."""
    home = tmp_path / "data"
    enqueue(home, 1)
    with RestStub(lambda _table, _rows: UNREACHABLE) as stub, serving(home, environment=configured(stub)) as (_, port):
        wait_ready(port)
        wait_until(lambda: bool(state(port)["problem"]), "the problem to be shown")
        down, page, metrics = state(port), get(port, "/")[2], get(port, "/metrics")[2]
        assert ready(port)
        stub.answer = lambda _table, _rows: None
        wait_until(lambda: taken(stub) == [1], "the delivery after the outage")
        wait_until(lambda: state(port)["problem"] is None, "the problem's end to be shown")

    assert "503" in down["problem"]
    assert down["pending"] == 1
    assert down["oldest_age_s"] > 0
    assert "Problem" in page
    assert "503" in page
    assert "aragora_persist_outbox_problem 1\n" in metrics


def test_a_key_file_that_cannot_be_read_is_shown(tmp_path: Path) -> None:
    """The service is ready all the same, names the variable, and takes the key up when it is there."""
    home, key = tmp_path / "data", tmp_path / "key"
    enqueue(home, 1)
    with RestStub() as stub:
        environment = {"SUPABASE_URL": stub.url, "SUPABASE_KEY_FILE": str(key)}
        with serving(home, environment=environment) as (_, port):
            wait_ready(port)
            wait_until(lambda: bool(state(port)["problem"]), "the problem to be shown")
            problem = state(port)["problem"]
            key.write_text("sb_secret_of_a_test")
            wait_until(lambda: taken(stub) == [1], "the delivery with the key")

    assert "SUPABASE_KEY_FILE" in problem
    assert str(key) in problem


def test_without_supabase_records_wait(tmp_path: Path) -> None:
    """No thread sends, no lease is taken, and the status says that nothing is configured."""
    home = tmp_path / "data"
    enqueue(home, 1)
    with serving(home) as (_, port):
        wait_ready(port)
        record = json.loads(get(port, "/status.json")[2])
        files = os.listdir(home)  # noqa: PTH208 - names are what is compared

    assert record["supabase_configured"] is False
    assert (record["outbox"]["pending"], record["outbox"]["problem"]) == (1, None)
    assert "aragora_outbox.db.sync-lock" not in files


def test_a_service_without_the_outbox_sends_nothing(tmp_path: Path) -> None:
    """Another service holds it; this one leaves it alone."""
    home = tmp_path / "data"
    enqueue(home, 1)
    with RestStub() as stub, serving(home, "--db", "tokens", environment=configured(stub)) as (process, port):
        wait_ready(port)
        process.terminate()
        assert process.wait(PATIENCE_S) == 0

        assert stub.requests == []


def test_a_stop_does_not_wait_for_an_answer_that_never_comes(tmp_path: Path) -> None:
    """It ends in good order, in time, and what was under way still waits."""
    home = tmp_path / "data"
    enqueue(home, 1)
    answer = threading.Event()

    def hang(_table: str, _rows: object) -> None:
        answer.wait(PATIENCE_S)

    with RestStub(hang) as stub, serving(home, environment=configured(stub)) as (process, port):
        wait_until(lambda: bool(stub.requests), "the request")
        wait_ready(port)
        process.terminate()
        code = process.wait(PATIENCE_S)
        answer.set()
        assert process.stderr is not None
        log = process.stderr.read()

    assert code == 0
    assert "Traceback" not in log
    assert "sent again" in log
    assert not list(home.glob("*-wal"))
    with Outbox(home / "aragora_outbox.db") as outbox:
        assert outbox.count() == 1


def test_the_next_service_takes_over_when_the_first_is_killed(tmp_path: Path) -> None:
    """Two services on one outbox: one sends, each record once; after SIGKILL the other one goes on."""
    home = tmp_path / "data"
    enqueue(home, 1)
    with RestStub() as stub, serving(home, environment=configured(stub)) as (first, _):
        wait_until(lambda: taken(stub) == [1], "the first delivery")
        with serving(home, environment=configured(stub)) as (_, port):
            wait_ready(port)
            enqueue(home, *range(2, 50))
            wait_until(lambda: len(taken(stub)) >= 49, "the delivery while both run")
            assert taken(stub) == list(range(1, 50))
            first.kill()
            first.wait(PATIENCE_S)
            enqueue(home, 50)
            wait_until(lambda: taken(stub)[-1] == 50, "the delivery by the second service")
