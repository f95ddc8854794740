"""The service as a process: started as in its container, asked over HTTP, stopped by signals."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from aragora_persist.backup.metrics import METRICS_FILE, backup_families, work_families
from aragora_persist.backup.report import BackupReport
from aragora_persist.backup.take import take_backup
from aragora_persist.cli import main
from aragora_persist.databases import DATABASES
from aragora_persist.errors import PersistError
from aragora_persist.exposition import exposition
from aragora_persist.migrations import runner
from aragora_persist.service.probe import probe
from aragora_persist.settings import Settings
from tests.unit.running_service import COMMAND, get, ready, serving, wait_ready
from tests.waiting import PATIENCE_S, wait_until

if TYPE_CHECKING:
    from pathlib import Path


def test_service_migrates_and_shows_every_database(tmp_path: Path) -> None:
    """From an empty folder: ready with all databases at their newest schema, on page, JSON and metrics alike."""
    with serving(tmp_path / "data") as (_, port):
        wait_ready(port)
        page_status, page_headers, page = get(port, "/")
        _, json_headers, document = get(port, "/status.json")
        _, metrics_headers, metrics = get(port, "/metrics")
        missing = get(port, "/nothing")[0]
        alive = get(port, "/healthz")

    record = json.loads(document)
    assert record["ready"] is True
    assert [one["name"] for one in record["databases"]] == [database.name for database in DATABASES]
    assert all(one["present"] and one["schema_pending"] == 0 and one["schema_version"] for one in record["databases"])
    assert (page_status, page_headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert all(f">{database.name}<" in page for database in DATABASES)
    assert "style-src 'sha256-" in page_headers["Content-Security-Policy"]
    assert json_headers["Content-Type"] == "application/json"
    assert metrics_headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "aragora_persist_ready 1\n" in metrics
    assert missing == 404
    assert (alive[0], alive[2]) == (200, "alive\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_is_clean(tmp_path: Path, number: signal.Signals) -> None:
    """A stop ends the process with 0, and leaves no write-ahead log and no traceback."""
    home = tmp_path / "data"
    with serving(home) as (process, port):
        wait_ready(port)
        before = {path.name for path in home.iterdir()}
        process.send_signal(number)
        code = process.wait(PATIENCE_S)
        assert process.stderr is not None
        log = process.stderr.read()

    assert code == 0
    assert "aragora_users.db-wal" in before
    assert [path.name for path in home.iterdir() if path.name.endswith(("-wal", "-shm"))] == []
    assert "Traceback" not in log


def test_stop_while_it_starts_is_clean(tmp_path: Path) -> None:
    """A stop that comes in the middle of the migrations leaves databases that the next start completes."""
    home = tmp_path / "data"
    with serving(home) as (process, _):
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    with serving(home) as (_, port):
        wait_ready(port)


def test_many_at_once_on_one_folder_are_all_ready(tmp_path: Path) -> None:
    """Several processes that start on the same empty folder migrate it together, without an error."""
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(serving(tmp_path / "data"))[1] for _ in range(4)]

        for port in ports:
            wait_ready(port)


def test_service_holds_the_chosen_databases_only(tmp_path: Path) -> None:
    """With `--db`, other files are neither made nor shown."""
    home = tmp_path / "data"
    with serving(home, "--db", "users", "--db", "tokens", "--db", "users") as (_, port):
        wait_ready(port)
        names = [one["name"] for one in json.loads(get(port, "/status.json")[2])["databases"]]
        made = sorted(path.name for path in home.glob("*.db"))

    assert names == ["users", "tokens"]
    assert made == ["aragora_tokens.db", "aragora_users.db"]


def test_damaged_database_keeps_it_alive_but_not_ready(tmp_path: Path) -> None:
    """One database that cannot be opened is named with its way out; the process lives and shows the others."""
    home = tmp_path / "data"
    home.mkdir()
    (home / "aragora_users.db").write_bytes(b"this is no database" * 300)
    with serving(home) as (process, port):
        wait_until(lambda: "being opened" not in get(port, "/readyz")[2], "the attempt to open it")
        status, _, reasons = get(port, "/readyz")
        page = get(port, "/")[2]
        code = main(["serve", "--probe", "--port", str(port)])
        assert get(port, "/healthz")[0] == 200
        process.terminate()
        assert process.wait(PATIENCE_S) == 0

    assert status == 503
    assert re.fullmatch(r"users: .*not a database \(.*restore.*\)\n", reasons)
    assert "Not ready" in page
    assert ">elo<" in page
    assert code == 1
    assert (home / "aragora_users.db").read_bytes() == b"this is no database" * 300


def test_database_that_vanishes_makes_it_not_ready(tmp_path: Path) -> None:
    """Readiness looks at the files as they are, not at what was true at the start."""
    home = tmp_path / "data"
    with serving(home, "--db", "tokens") as (_, port):
        wait_ready(port)
        (home / "aragora_tokens.db").unlink()

        wait_until(lambda: not ready(port), "the loss to be seen")
        assert get(port, "/readyz")[2] == "tokens: its file is gone\n"


def test_lock_of_another_process_passes(tmp_path: Path) -> None:
    """A database that is locked at the start is opened when the lock has gone, without a restart."""
    home = tmp_path / "data"
    home.mkdir()
    with closing(sqlite3.connect(home / "aragora_tokens.db", isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=WAL")
        other.execute("BEGIN IMMEDIATE")
        with serving(home, "--db", "tokens") as (_, port):
            assert "tokens: is being opened" in get(port, "/readyz")[2]
            other.execute("ROLLBACK")

            wait_ready(port)


def test_backups_of_a_sidecar_are_shown(tmp_path: Path) -> None:
    """The age of backups in a folder that the service itself never writes to, and what the sidecar counted there."""
    home, backups = tmp_path / "data", tmp_path / "backups"
    environment = {"NOMIC_DIR": str(home), "ARAGORA_BACKUP_DIR": str(backups)}
    runner.migrate(home / "aragora_tokens.db", "tokens", settings=Settings.from_env(environment))
    entry = take_backup("tokens", Settings.from_env(environment))
    of_sidecar = exposition(
        (*backup_families(BackupReport(newest={"tokens": entry})), *work_families({}, {}, 7, damaged=True))
    )
    (backups / METRICS_FILE).write_text(of_sidecar)
    before = sorted(backups.iterdir())
    with serving(home, "--db", "tokens", "--backups", str(backups)) as (_, port):
        wait_ready(port)
        page = get(port, "/")[2]
        [database] = json.loads(get(port, "/status.json")[2])["databases"]
        metrics = get(port, "/metrics")[2]

    assert database["newest_backup"]["id"] == entry.id
    assert metrics.count("# TYPE aragora_persist_backup_newest_timestamp_seconds ") == 1
    assert "\naragora_persist_backup_offsite_failures_total 7\n" in metrics
    assert metrics.endswith("\naragora_persist_backup_check_failed 1\n")
    assert re.search(r"\d+ seconds? ago<small>" + entry.id, page)
    assert sorted(backups.iterdir()) == before


def test_port_in_use_fails_and_names_the_option(tmp_path: Path) -> None:
    """The error says which port and what to change, and no database was touched."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = subprocess.run(
            [COMMAND, "--nomic-dir", tmp_path / "data", "serve", "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    assert result.returncode == 1
    assert f"port {port} is in use" in result.stderr
    assert "--port" in result.stderr
    assert not (tmp_path / "data").exists()


def test_probe_answers_by_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0 and one word for a ready service; 1 and the way out where nothing listens."""
    with serving(tmp_path / "data", "--db", "tokens") as (_, port):
        wait_ready(port)
        # Again and again: on a busy machine an answer may come after the probe's two seconds.
        ask = ["serve", "--probe", "--host", "0.0.0.0", "--port", str(port)]  # noqa: S104 - asks, binds nothing
        wait_until(lambda: main(ask) == 0, "a probe that says ready")
    code_gone = main(["serve", "--probe", "--port", str(port)])
    captured = capsys.readouterr()

    assert captured.out == "ready\n"
    assert code_gone == 1
    assert "does not answer" in captured.err
    assert "way out: is `aragora-persist serve` running there?" in captured.err


def test_probe_of_what_is_no_host_is_refused() -> None:
    """A name that cannot even be asked for answers like one that nobody has."""
    with pytest.raises(PersistError, match="does not answer"):
        probe("no-label-is-so-long-" * 4, 1)


def test_probe_does_not_wait_for_ever() -> None:
    """A port that takes connections and says nothing is an error; without the timeout this test would not end."""
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(PersistError, match="does not answer: timed out"),
    ):
        probe("127.0.0.1", silent.getsockname()[1], timeout_s=0.2)


def test_page_answers_under_load_while_records_are_written(tmp_path: Path) -> None:
    """Many readers of the page and a writer from outside do not disturb each other."""
    home = tmp_path / "data"
    with serving(home, "--db", "tokens") as (process, port):
        wait_ready(port)
        answers: list[int] = []
        # Far fewer than the places for connections: one whose end the service has not seen yet still takes a place.
        readers = [
            threading.Thread(target=lambda: answers.extend(get(port, "/")[0] for _ in range(30))) for _ in range(4)
        ]
        for reader in readers:
            reader.start()
        with closing(
            sqlite3.connect(home / "aragora_tokens.db", timeout=PATIENCE_S, isolation_level=None)
        ) as connection:
            for number in range(50):
                connection.execute(
                    "INSERT INTO token_blacklist (jti, expires_at, revoked_at) VALUES (?, '2999', '2026')",
                    (f"token {number}",),
                )
        for reader in readers:
            reader.join()
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    with closing(sqlite3.connect(home / "aragora_tokens.db")) as connection:
        written = connection.execute("SELECT count(*) FROM token_blacklist").fetchone()

    assert answers == [200] * 120
    assert written == (50,)
    assert os.listdir(home) == ["aragora_tokens.db"]  # noqa: PTH208 - names are what is compared
