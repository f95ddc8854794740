"""The verb `sync`: sending by hand, the status, dead letters; what it says and its exit codes."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from aragora_persist.cli import main
from aragora_persist.cloud import drain
from aragora_persist.cloud.lease import Lease
from aragora_persist.cloud.models import StreamEvent
from aragora_persist.cloud.outbox import Outbox
from aragora_persist.cloud.sync import Sender, connect
from aragora_persist.migrations import runner
from aragora_persist.settings import Settings
from tests.contract.rest_stub import BAD_ROW, UNREACHABLE, RestStub
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


class Shell:
    """Runs the verb on one machine with a configured Supabase."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self.database = home / "aragora_outbox.db"
        self.code = -1
        self.err = ""
        self._capsys = capsys

    def __call__(self, *arguments: str) -> str:
        """Run it and return what it printed."""
        self.code = main(["--nomic-dir", str(self.home), "sync", *arguments])
        captured = self._capsys.readouterr()
        self.err = captured.err
        return captured.out

    def json(self, *arguments: str) -> dict[str, Any]:
        """Run it with ``--json`` and return its answer."""
        answer: dict[str, Any] = json.loads(self(*arguments, "--json"))
        return answer

    def status(self) -> str:
        """Return what the verb `status` prints."""
        main(["--nomic-dir", str(self.home), "status"])
        return self._capsys.readouterr().out

    def enqueue(self, *numbers: int) -> None:
        """Let events wait."""
        with Outbox(self.database) as outbox:
            outbox.enqueue(StreamEvent("loop", number, "message", {}, timestamp=NOON).to_record() for number in numbers)


@pytest.fixture
def stub() -> Iterator[RestStub]:
    """Run a stub that takes everything."""
    with RestStub() as running:
        yield running


@pytest.fixture
def shell(tmp_path: Path, stub: RestStub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Give a machine that knows the stub."""
    monkeypatch.setenv("SUPABASE_URL", stub.url)
    monkeypatch.setenv("SUPABASE_KEY", "sb_secret_of_a_test")
    return Shell(tmp_path / "data", capsys)


@contextmanager
def other_sender(shell: Shell, *, sends: threading.Event) -> Iterator[None]:
    """Hold the lease in another thread, as a service does, and send once ``sends`` is set."""
    settings = Settings.from_env(nomic_dir=shell.home)
    held, ends = threading.Event(), threading.Event()

    def run() -> None:
        with (
            Lease(shell.database) as lease,
            Outbox(shell.database) as outbox,
            Sender(outbox, lambda: connect(settings)) as sender,
        ):
            assert lease.take()
            held.set()
            sends.wait()
            while not ends.wait(0.01):
                sender.round()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        wait_until(held.is_set, "the other sender")
        yield
    finally:
        sends.set()
        ends.set()
        thread.join()


def test_once_sends_everything(shell: Shell, stub: RestStub) -> None:
    """It ends with 0 when nothing waits any more, and again when there was nothing to do."""
    shell.enqueue(*range(5))
    first = (shell("--once"), shell.code)
    second = (shell.json("--once"), shell.code)

    assert first == ("5 records sent, 0 new dead letters, 0 waiting\n", 0)
    assert second == ({"sent": 0, "refused": 0, "pending": 0, "problem": None}, 0)
    assert [row["cycle"] for _, row in stub.rows] == [0, 1, 2, 3, 4]


def test_once_fails_while_supabase_does_not_answer(shell: Shell, stub: RestStub) -> None:
    """The records wait, the problem is named, and the status tells it later too."""
    stub.answer = lambda _table, _rows: UNREACHABLE
    shell.enqueue(1)
    answer = shell.json("--once")
    code = shell.code
    status = shell("--status")

    assert code == 1
    assert (answer["sent"], answer["refused"], answer["pending"]) == (0, 0, 1)
    assert "503" in answer["problem"]
    assert status.splitlines()[0].startswith("1 record waiting for Supabase, the oldest for ")
    assert status.splitlines()[-1] == f"Problem: {answer['problem']}"
    assert shell.code == 0


def test_the_status_of_all_databases_tells_it_too(
    shell: Shell, stub: RestStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line says what waits, the next one how it gets to Supabase."""

    def lines() -> list[str]:
        return [line for line in shell.status().splitlines() if line.startswith(("Outbox:", "Supabase:"))]

    shell.enqueue(1)
    fresh = lines()
    stub.answer = lambda _table, _rows: UNREACHABLE
    shell("--once")
    down = lines()
    stub.answer = lambda _table, _rows: None
    shell("--once")
    up = lines()
    monkeypatch.delenv("SUPABASE_URL")

    assert fresh[0].startswith("Outbox:    1 record waiting for up to ")
    assert fresh[1] == "Supabase:  nothing delivered yet"
    assert "503" in down[1]
    assert up[0] == "Outbox:    0 records waiting, 0 dead letters"
    assert up[1].startswith("Supabase:  last delivery ")
    assert lines()[1] == "Supabase:  not configured"


def test_refused_records_make_once_fail_and_can_be_redriven(shell: Shell, stub: RestStub) -> None:
    """The status says why, a redrive puts them back, and when the cause is gone they arrive."""
    stub.answer = lambda _table, rows: BAD_ROW if any(row["cycle"] == 2 for row in rows) else None
    shell.enqueue(1, 2, 3)
    text = shell("--once")
    code = shell.code
    status = (shell("--status"), shell.json("--status")["refusals"])
    nothing_new = (shell.json("--once")["refused"], shell.code)
    stub.answer = lambda _table, _rows: None
    redriven = (shell("--redrive"), shell.json("--redrive"), shell.code)
    last = (shell.json("--once"), shell.code)

    assert code == 1
    assert text.startswith("2 records sent, 1 new dead letter, 0 waiting\n")
    assert "--redrive" in text
    assert "1 dead letter\n  1 of stream_events: is refused: 400 22P02 invalid input syntax\n" in status[0]
    assert status[1] == [{"table": "stream_events", "reason": "is refused: 400 22P02 invalid input syntax", "count": 1}]
    assert nothing_new == (0, 0)
    assert redriven == ("1 dead letter put back on the way to Supabase\n", {"redriven": 0}, 0)
    assert last == ({"sent": 1, "refused": 0, "pending": 0, "problem": None}, 0)


def test_once_waits_for_another_sender_that_gets_on(shell: Shell, stub: RestStub) -> None:
    """What a running service delivers meanwhile is as good as sent by hand."""
    shell.enqueue(*range(5))
    sends = threading.Event()
    sends.set()
    with other_sender(shell, sends=sends):
        answer = shell.json("--once")

    assert (answer["sent"], answer["pending"], shell.code) == (0, 0, 0)
    assert len(stub.rows) == 5


def test_once_does_not_wait_for_ever_for_another_sender(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another process has the sending to itself and gets nothing done, it says so and fails."""
    monkeypatch.setattr(drain, "PATIENCE_S", 0.3)
    shell.enqueue(1)
    with other_sender(shell, sends=threading.Event()):
        shell("--once")
        code, err = shell.code, shell.err

    assert code == 1
    assert "another process sends from it, with 1 record waiting all the same" in err
    assert "way out: aragora-persist sync --status" in err


@pytest.mark.parametrize("missing", ["SUPABASE_URL", "SUPABASE_KEY"])
def test_once_needs_a_configured_supabase(shell: Shell, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """The error names what to set, and the records wait."""
    monkeypatch.delenv(missing)
    shell.enqueue(1)
    shell("--once")
    failed = (shell.code, shell.err)
    status = shell("--status")

    assert failed[0] == 1
    assert f"sync: {missing}: is not set" in failed[1]
    assert status.splitlines()[-1] == "Supabase is not configured: set SUPABASE_URL and SUPABASE_KEY"


@pytest.mark.parametrize("way", ["--once", "--status", "--redrive"])
def test_there_must_be_an_outbox(shell: Shell, way: str) -> None:
    """Without one, or with one of an older schema, each way fails with the way out and makes nothing."""
    shell(way)
    absent = (shell.code, shell.err, shell.home.exists())
    runner.migrate(shell.database, "outbox")
    runner.rollback(shell.database, "outbox", to=1, backup=False)
    shell(way)

    assert absent[0] == shell.code == 1
    assert "there is no outbox yet" in absent[1]
    assert absent[2] is False
    assert "its schema is older" in shell.err
    assert "way out: aragora-persist migrate" in shell.err
