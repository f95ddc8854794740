"""The sidecar's loop and the documented script, on real databases."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import subprocess
import threading
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aragora_persist.backup import sidecar
from aragora_persist.backup.inventory import backup_health, take_inventory
from aragora_persist.backup.take import take_backup
from aragora_persist.settings import Settings
from tests.waiting import PATIENCE_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "backup_dbs.sh"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings for an empty folder."""
    settings = Settings.from_env({"NOMIC_DIR": str(tmp_path / "data"), "DB_TIMEOUT": str(PATIENCE_S)})
    settings.nomic_dir.mkdir()
    return settings


def make_database(settings: Settings, name: str) -> Path:
    """Make a live database and return its path."""
    path = settings.nomic_dir / f"aragora_{name}.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE things (id INTEGER PRIMARY KEY)")
    return path


@contextmanager
def running(settings: Settings, every_s: float) -> Iterator[threading.Event]:
    """Run the sidecar in a thread; at the end it must stop by itself."""
    stop = threading.Event()
    thread = threading.Thread(target=sidecar.run, args=(settings, stop), kwargs={"every_s": every_s})
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()


def count(settings: Settings, name: str) -> int:
    """Return how many sound backups a database has."""
    return len(take_inventory(settings, check=True).intact(name))


def metric(settings: Settings, name: str, database: str) -> float | None:
    """Return the value of one sample in the sidecar's metrics file, or None where it is not there."""
    try:
        text = (settings.backup_dir / sidecar.METRICS_FILE).read_text()
    except FileNotFoundError:
        return None
    found = re.search(rf'^aragora_persist_backup_{name}{{database="{database}"}} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else None


def test_it_starts_at_once_and_goes_on(settings: Settings) -> None:
    """The first backup comes at the start, more follow at the interval, and health sees the newest."""
    make_database(settings, "users")
    with running(settings, every_s=0.2):
        wait_until(lambda: count(settings, "users") >= 3, "three backups")
        (health,) = backup_health(settings, now=datetime.now(UTC))
        assert health.within(2 * PATIENCE_S)


def test_it_waits_for_databases_and_takes_late_ones_at_once(settings: Settings) -> None:
    """One that appears when the others wait for their next round does not wait for a round of its own."""
    with running(settings, every_s=3600):
        make_database(settings, "users")
        wait_until(lambda: count(settings, "users") == 1, "the first backup")
        make_database(settings, "elo")
        wait_until(lambda: count(settings, "elo") == 1, "the late one's backup")
        assert count(settings, "users") == 1


def test_a_failing_database_stops_neither_the_others_nor_the_loop(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """The damaged one is logged and counted, again and again; the other one is backed up meanwhile."""
    make_database(settings, "users")
    (settings.nomic_dir / "aragora_elo.db").write_bytes(b"no database" * 1000)
    with caplog.at_level(logging.INFO, logger="aragora_persist.backup"), running(settings, every_s=0.2):
        wait_until(
            lambda: count(settings, "users") >= 2 and (metric(settings, "failures_total", "elo") or 0) >= 2,
            "two backups and two failures",
        )
    assert metric(settings, "failures_total", "users") == 0
    assert metric(settings, "newest_timestamp_seconds", "elo") is None
    newest = take_inventory(settings).newest("users")
    assert newest is not None
    assert metric(settings, "newest_timestamp_seconds", "users") == newest.created_at.timestamp()
    assert metric(settings, "newest_size_bytes", "users") == newest.size_bytes
    assert metric(settings, "newest_duration_seconds", "users") == newest.duration_s
    assert any(record.levelname == "ERROR" and "aragora_elo.db" in record.message for record in caplog.records)


def test_it_removes_what_is_old(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a clock that says eight days later, the next round leaves only what it took itself."""
    make_database(settings, "users")
    old = take_backup("users", settings)
    moment = datetime.now(UTC) + timedelta(days=8)
    monkeypatch.setattr("aragora_persist.times.utc_now", lambda: moment)
    with running(settings, every_s=3600):
        wait_until(lambda: not (settings.backup_dir / old.file).exists(), "the old one's end")
    assert [entry.created_at for entry in take_inventory(settings, check=True).intact()] == [moment]


def test_two_sidecars_on_one_folder_are_safe(settings: Settings) -> None:
    """Both work, nothing collides, and every backup in the catalog is sound."""
    make_database(settings, "users")
    with running(settings, every_s=0.1), running(settings, every_s=0.1):
        wait_until(lambda: count(settings, "users") >= 10, "ten backups")
    inventory = take_inventory(settings, check=True)
    assert len(inventory.intact()) == len(inventory.backups)
    assert (inventory.uncatalogued, inventory.damaged_lines, inventory.torn) == ((), (), False)


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
