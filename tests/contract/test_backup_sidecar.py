"""The sidecar on real databases, with its work in real processes; and the documented script."""

from __future__ import annotations

import logging
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aragora_persist import times
from aragora_persist.backup.catalog import Catalog
from aragora_persist.backup.drill import drill
from aragora_persist.backup.files import clean_partials, try_lock
from aragora_persist.backup.health import look_at_health
from aragora_persist.backup.inventory import take_inventory
from aragora_persist.backup.metrics import METRICS_FILE
from aragora_persist.backup.sidecar.alone import LOCK_FILE
from aragora_persist.backup.sidecar.jobs import Answer, Jobs
from aragora_persist.backup.sidecar.loop import Sidecar
from aragora_persist.backup.take import take_backup
from aragora_persist.settings import Settings
from aragora_persist.storage.sqlite.engine import open_engine
from tests.contract.backup_folders import flip
from tests.waiting import PATIENCE_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "backup_dbs.sh"
HOUR = 3600.0


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return settings for an empty folder, which the sidecar's processes read from the environment."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("NOMIC_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setenv("DB_TIMEOUT", str(PATIENCE_S))
    monkeypatch.setattr("aragora_persist.backup.sidecar.loop._LOOK_S", 0.05)
    settings = Settings.from_env()
    settings.nomic_dir.mkdir()
    return settings


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that is off-site for who reads the environment from now on."""
    (folder := tmp_path / "away").mkdir()
    monkeypatch.setenv("ARAGORA_OFFSITE_URL", folder.as_uri())
    return folder


def make_database(settings: Settings, name: str) -> Path:
    """Make a live database and return its path."""
    with closing(open_engine(None, name, settings=settings)):
        return settings.nomic_dir / f"aragora_{name}.db"


@contextmanager
def running(settings: Settings, every_s: float) -> Iterator[Sidecar]:
    """Run a sidecar in a thread; at the end it must stop by itself, and leave nothing half done."""
    sidecar = Sidecar(settings, every_s=every_s)
    thread = threading.Thread(target=sidecar.run)
    thread.start()
    try:
        yield sidecar
    finally:
        sidecar.stop()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert clean_partials(settings.backup_dir) == []
    assert list((settings.nomic_dir.parent / "scratch").iterdir()) == []


@contextmanager
def process(log: Path, every_s: float) -> Iterator[subprocess.Popen[bytes]]:
    """Run a sidecar as a process, whose log goes to a file."""
    command = [sys.executable, "-m", "aragora_persist", "backup", "--every", str(every_s)]
    with log.open("wb") as file:
        sidecar = subprocess.Popen(command, stderr=file, stdout=file)
    try:
        yield sidecar
    finally:
        sidecar.kill()
        sidecar.wait(PATIENCE_S)


def count(settings: Settings, name: str) -> int:
    """Return how many sound backups a database has."""
    return len(take_inventory(settings, check=True).intact(name))


def metrics(settings: Settings) -> dict[str, float]:
    """Return the samples of the sidecar's metrics file."""
    try:
        lines = (settings.backup_dir / METRICS_FILE).read_text().splitlines()
    except FileNotFoundError:
        return {}
    samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name.removeprefix("aragora_persist_"): float(value) for name, _, value in samples}


def healthy(settings: Settings) -> bool:
    """Say whether every present database has a young backup and a young proof of one."""
    now = times.utc_now()
    found = look_at_health(settings)
    problems = (*(p for h in found for p in (*h.backup_problems(HOUR, now), *h.drill_problems(HOUR, now))),)
    return bool(found) and not problems


def test_a_fresh_one_backs_up_drills_and_is_healthy(settings: Settings) -> None:
    """At once, and each round is a set; beside the live files there are only SQLite's own."""
    for name in ("tokens", "elo"):
        make_database(settings, name)
    with running(settings, every_s=1):
        wait_until(lambda: healthy(settings), "backups and drills")
        wait_until(lambda: count(settings, "elo") >= 2, "a second round")
    runs = [one.run for one in Catalog(settings.backup_dir).read().backups]
    assert len(runs) == 2 * len(set(runs))
    live = {path.name for path in settings.nomic_dir.iterdir()} - {"backups"}
    own = {f"aragora_{name}.db{ending}" for name in ("tokens", "elo") for ending in ("", "-wal", "-shm")}
    assert live <= own


def test_its_metrics_tell_of_backups_drills_and_the_check(settings: Settings) -> None:
    """Age, size and time of the newest backup, what the drill measured, failures, and whether all files are whole."""
    make_database(settings, "tokens")
    with running(settings, every_s=HOUR):
        wait_until(lambda: "backup_check_failed" in metrics(settings), "the check after the first drill")
    state = Catalog(settings.backup_dir).read()
    (backup,), (drill,) = state.backups, state.drills
    label = '{database="tokens"}'
    assert metrics(settings) == {
        f"backup_newest_timestamp_seconds{label}": backup.created_at.timestamp(),
        f"backup_newest_size_bytes{label}": backup.size_bytes,
        f"backup_newest_plain_size_bytes{label}": backup.plain_size_bytes,
        f"backup_newest_duration_seconds{label}": backup.duration_s,
        f"drill_last_ok{label}": 1,
        f"drill_last_timestamp_seconds{label}": drill.at.timestamp(),
        f"drill_good_timestamp_seconds{label}": drill.at.timestamp(),
        f"drill_good_seconds{label}": drill.seconds,
        f"backup_failures_total{label}": 0,
        f"drill_failures_total{label}": 0,
        "backup_offsite_failures_total": 0,
        "backup_check_failed": 0,
    }


def test_it_waits_for_databases_and_takes_late_ones_at_once(settings: Settings) -> None:
    """One that appears when the others wait for their next round does not wait for a round of its own."""
    with running(settings, every_s=HOUR):
        make_database(settings, "tokens")
        wait_until(lambda: count(settings, "tokens") == 1, "the first backup")
        make_database(settings, "elo")
        wait_until(lambda: count(settings, "elo") == 1, "the late one's backup")
        assert count(settings, "tokens") == 1


def test_a_failing_database_stops_neither_the_others_nor_the_loop(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """The damaged one is logged and counted, again and again; the other one is backed up meanwhile."""
    make_database(settings, "tokens")
    (settings.nomic_dir / "aragora_elo.db").write_bytes(b"no database" * 1000)
    with caplog.at_level(logging.INFO, logger="aragora_persist.backup"), running(settings, every_s=0.5):
        wait_until(
            lambda: count(settings, "tokens") >= 2 and metrics(settings)['backup_failures_total{database="elo"}'] >= 2,
            "two backups and two failures",
        )
    assert metrics(settings)['backup_failures_total{database="tokens"}'] == 0
    assert 'backup_newest_timestamp_seconds{database="elo"}' not in metrics(settings)
    assert any(record.levelname == "ERROR" and "aragora_elo.db" in record.message for record in caplog.records)


def test_a_flipped_bit_is_loud(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """The drill of the newest backup fails in health, metrics and log, with the way out."""
    make_database(settings, "tokens")
    entry = take_backup("tokens", settings)
    file = settings.backup_dir / entry.file
    flip(file)
    with caplog.at_level(logging.INFO, logger="aragora_persist.backup"), running(settings, every_s=HOUR):
        wait_until(lambda: metrics(settings).get("backup_check_failed") == 1, "the drill and the check")
    assert metrics(settings)['drill_last_ok{database="tokens"}'] == 0
    assert metrics(settings)['drill_failures_total{database="tokens"}'] == 1
    (health,) = look_at_health(settings)
    assert [*health.drill_problems(HOUR, times.utc_now())] != []
    told = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert any(f"drill: {entry.id} (local): {file}: is damaged" in message for message in told)


def test_a_restart_goes_on_where_the_catalog_says(settings: Settings, tmp_path: Path) -> None:
    """Stopped, at once when nothing runs, and started anew, it takes and drills nothing before its time."""
    make_database(settings, "tokens")
    with process(tmp_path / "log", HOUR) as first:
        wait_until(lambda: healthy(settings) and "backup_check_failed" in metrics(settings), "its first work")
        first.terminate()
        assert first.wait(PATIENCE_S) == 0
    assert (tmp_path / "log").read_text().endswith("stopped\n")
    (settings.backup_dir / METRICS_FILE).unlink()
    before = Catalog(settings.backup_dir).path.read_bytes()
    with running(settings, every_s=HOUR):
        wait_until(lambda: metrics(settings) != {}, "its first look")
    assert Catalog(settings.backup_dir).path.read_bytes() == before


@pytest.mark.parametrize(("said", "stays"), [(1, 1.0), (0, 0.0), (2, None)])
def test_a_restart_does_not_end_an_alarm(settings: Settings, said: int, stays: float | None) -> None:
    """What the sidecar before it found damaged is damaged until the next look, which comes with the next drills."""
    make_database(settings, "tokens")
    take_backup("tokens", settings)
    assert all(one.ok for one in drill(settings))
    (settings.backup_dir / METRICS_FILE).write_text(f"aragora_persist_backup_check_failed {said}\n")
    with running(settings, every_s=HOUR):
        wait_until(lambda: "backup_offsite_failures_total" in metrics(settings), "its first look")
        assert metrics(settings).get("backup_check_failed") == stays


def test_it_removes_what_is_old(settings: Settings) -> None:
    """The next round leaves the young ones."""
    make_database(settings, "tokens")
    young = take_backup("tokens", settings)
    old = replace(
        young,
        id="tokens_20200101_000000",
        file="tokens_20200101_000000.db",
        created_at=young.created_at - timedelta(days=8),
    )
    shutil.copy(settings.backup_dir / young.file, settings.backup_dir / old.file)
    with Catalog(settings.backup_dir).writing(timeout_s=PATIENCE_S) as writer:
        writer.add_backup(old)
    with running(settings, every_s=HOUR):
        wait_until(lambda: not (settings.backup_dir / old.file).exists(), "the old one's end")
    assert (young.id, 2) == (take_inventory(settings, check=True).intact()[0].id, count(settings, "tokens"))


def test_of_two_on_one_folder_one_works_and_the_other_takes_over(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The second one says who is there, and waits; when the first is killed, it goes on where that one stood."""
    make_database(settings, "tokens")
    with process(tmp_path / "log", HOUR) as first:
        wait_until(lambda: count(settings, "tokens") == 1 and healthy(settings), "the first one's work")
        with caplog.at_level(logging.INFO, logger="aragora_persist.backup"), running(settings, every_s=HOUR):
            wait_until(lambda: "another sidecar" in caplog.text, "the second one's word")
            assert f"(process {first.pid} on " in caplog.text
            make_database(settings, "elo")
            wait_until(lambda: count(settings, "elo") == 1, "the first one's next work")
            first.kill()
            first.wait(PATIENCE_S)
            make_database(settings, "positions")
            wait_until(lambda: count(settings, "positions") == 1, "the second one's work")
            assert f"process {os.getpid()} on " in (settings.backup_dir / LOCK_FILE).read_text()
    assert (count(settings, "tokens"), count(settings, "elo")) == (1, 1)


def test_one_that_is_stopped_while_it_waits_does_nothing(
    settings: Settings, away: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The other one works there: what is not off-site yet is shipped by that one alone."""
    make_database(settings, "tokens")
    take_backup("tokens", settings)
    with locked(settings.backup_dir / LOCK_FILE), caplog.at_level(logging.INFO, logger="aragora_persist.backup"):
        with running(Settings.from_env(), every_s=HOUR):
            wait_until(lambda: "another sidecar" in caplog.text, "the second one's word")
        assert list(away.iterdir()) == []


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a sidecar."""
    with path.open("wb") as file:
        assert try_lock(file.fileno())
        yield


@pytest.mark.usefixtures("away")
def test_shipping_goes_on_when_no_process_could_be_made(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a machine without memory or descriptors for a moment: that must not end it for ever."""
    make_database(settings, "tokens")
    take_backup("tokens", settings)
    monkeypatch.setattr("aragora_persist.backup.sidecar.shipper._SHORTEST_PAUSE_S", 0.1)
    (program := tmp_path / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    monkeypatch.setattr(sys, "executable", str(program))
    with running(Settings.from_env(), every_s=HOUR) as sidecar:
        wait_until(lambda: caplog.text.count("not everything is off-site") >= 2, "two attempts")
        program.chmod(0o700)
        wait_until(lambda: bool(Catalog(settings.backup_dir).read().shipments), "the shipment")
        sidecar.stop()
        sidecar.abandon()


def test_every_file_is_read_again_with_each_round_of_drills(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the look at them took longer than the drills: it is not left out every other time."""
    make_database(settings, "tokens")
    said: list[str] = []
    run = Jobs.run

    def slow(jobs: Jobs, *arguments: str) -> Answer | None:
        answer = run(jobs, *arguments)
        if arguments[0] == "backups":
            threading.Event().wait(0.2)
        said.append(arguments[0])
        return answer

    monkeypatch.setattr(Jobs, "run", slow)
    with running(replace(settings, drill_interval_s=0.5), every_s=HOUR):
        wait_until(lambda: said.count("drill") == 3, "three rounds of drills")
    assert said[:5] == ["backup", *("drill", "backups") * 2]


@pytest.mark.parametrize("unwind_s", [PATIENCE_S, 0.0])
def test_a_backup_that_takes_long_is_given_up_and_leaves_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, unwind_s: float
) -> None:
    """As a stop does when its time is over, also to what does not end by itself: the copy goes, no backup is listed."""
    monkeypatch.setattr("aragora_persist.backup.sidecar.jobs._UNWIND_S", unwind_s)
    path = settings.nomic_dir / "aragora_tokens.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("CREATE TABLE things (id INTEGER PRIMARY KEY)")
        writer.execute("BEGIN EXCLUSIVE")  # in rollback mode nobody can copy it meanwhile
        with running(settings, every_s=HOUR) as sidecar:
            wait_until(lambda: any(settings.backup_dir.glob(".tokens*")), "the beginning of a backup")
            sidecar.stop()
            sidecar.abandon()
        writer.execute("COMMIT")
    assert take_inventory(settings).backups == ()
    assert {path.name for path in settings.backup_dir.iterdir()} <= {LOCK_FILE, METRICS_FILE}


@pytest.mark.usefixtures("away")
def test_what_is_taken_goes_off_site(settings: Settings) -> None:
    """Each backup soon after it was taken; then nothing waits."""
    make_database(settings, "tokens")
    with running(Settings.from_env(), every_s=HOUR):
        wait_until(lambda: bool(Catalog(settings.backup_dir).read().shipments), "the shipment")
    state = Catalog(settings.backup_dir).read()
    assert state.shipments.keys() == {entry.id for entry in state.backups}


def test_a_dead_off_site_holds_up_nothing_and_is_told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes connections and never answers: backups and drills go on, and the lag shows."""
    # The request that waits for an answer ends with its process alone.
    monkeypatch.setattr("aragora_persist.backup.sidecar.jobs._UNWIND_S", 0.0)
    make_database(settings, "tokens")
    with socket.create_server(("127.0.0.1", 0)) as dead:
        monkeypatch.setenv("ARAGORA_OFFSITE_URL", "s3://bucket/prefix")
        monkeypatch.setenv("ARAGORA_OFFSITE_ENDPOINT", f"http://127.0.0.1:{dead.getsockname()[1]}")
        monkeypatch.setenv("ARAGORA_OFFSITE_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("ARAGORA_OFFSITE_SECRET_ACCESS_KEY", "secret")
        with running(Settings.from_env(), every_s=0.5) as sidecar:
            wait_until(lambda: count(settings, "tokens") >= 3 and healthy(settings), "backups and drills")
            assert 0 < metrics(settings)["backup_offsite_lag_seconds"] < HOUR
            sidecar.stop()
            sidecar.abandon()
    assert Catalog(settings.backup_dir).read().shipments == {}


def test_a_missing_off_site_is_told(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What keeps backups here is in the log with its way out, and counted."""
    monkeypatch.setenv("ARAGORA_OFFSITE_URL", (tmp_path / "not-mounted").as_uri())
    make_database(settings, "tokens")
    with caplog.at_level(logging.INFO, logger="aragora_persist.backup"), running(Settings.from_env(), every_s=0.5):
        wait_until(lambda: metrics(settings).get("backup_offsite_failures_total") == 1, "the failure")
        assert metrics(settings)["backup_offsite_lag_seconds"] > 0
    assert "not-mounted" in caplog.text
    assert "not everything is off-site; again in 30 s" in caplog.text


def run_script(settings: Settings) -> subprocess.CompletedProcess[str]:
    """Run the documented script."""
    environ = {**os.environ, "NOMIC_DIR": str(settings.nomic_dir)}
    return subprocess.run([SCRIPT], env=environ, capture_output=True, text=True, check=False, timeout=PATIENCE_S)


def test_the_documented_script_prints_the_documented_lines(settings: Settings) -> None:
    """One line for each present database, files of the documented form, exit 0."""
    for name in ("users", "elo"):
        make_database(settings, name)
    run = run_script(settings)
    assert run.returncode == 0, run.stderr
    assert sorted(run.stdout.splitlines()) == ["Backed up: elo", "Backed up: users"]
    names = sorted(path.name for path in settings.backup_dir.glob("*.db"))
    assert [re.sub(r"\d{8}_\d{6}", "<when>", name) for name in names] == ["elo_<when>.db", "users_<when>.db"]
    assert len(take_inventory(settings, check=True).intact()) == 2


def test_the_documented_script_fails_when_one_database_does(settings: Settings) -> None:
    """The sound one is backed up and named; the damaged one is on standard error; exit 1."""
    make_database(settings, "users")
    (settings.nomic_dir / "aragora_elo.db").write_bytes(b"no database" * 1000)
    run = run_script(settings)
    assert run.returncode == 1
    assert run.stdout == "Backed up: users\n"
    assert "aragora_elo.db" in run.stderr
    assert (count(settings, "users"), count(settings, "elo")) == (1, 0)
