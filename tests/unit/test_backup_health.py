"""Health of backups: the newest verified one and the last good drill, against their objectives."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from aragora_persist.backup.catalog import Catalog
from aragora_persist.backup.health import look_at_health
from aragora_persist.backup.records import BackupEntry, Drill
from aragora_persist.backup.report import BackupReport, Reports
from aragora_persist.backup.take import take_backup
from aragora_persist.cli import main
from aragora_persist.settings import Settings
from aragora_persist.storage.sqlite.engine import open_engine
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

HOUR = 3600.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings with one database."""
    settings = Settings.from_env({"NOMIC_DIR": str(tmp_path)})
    make(settings, "tokens")
    return settings


def make(settings: Settings, name: str) -> None:
    """Make a database."""
    with closing(open_engine(None, name, settings=settings)):
        pass


def drilled(settings: Settings, entry: BackupEntry, at: datetime, problem: str = "") -> None:
    """Record a drill."""
    drill = Drill(
        backup=entry.id,
        database=entry.database,
        at=at,
        ok=not problem,
        seconds=0.1,
        source="local",
        problem=problem,
    )
    with Catalog(settings.backup_dir).writing(timeout_s=PATIENCE_S) as writer:
        writer.add_drill(drill)


def problems(settings: Settings, now: datetime) -> list[str]:
    """Return what is wrong, with an hour as objective of both."""
    return [
        problem
        for health in look_at_health(settings)
        for problem in (*health.backup_problems(HOUR, now), *health.drill_problems(HOUR, now))
    ]


def test_a_backup_and_a_drill_are_each_asked_for(settings: Settings) -> None:
    """Nothing yet; a backup; a drill: each takes one problem away."""
    now = datetime.now(UTC)
    no_drill = "tokens: no drill has restored a backup of it yet"
    assert problems(settings, now) == ["tokens: there is no verified backup", no_drill]
    entry = take_backup("tokens", settings)
    assert problems(settings, now) == [no_drill]
    drilled(settings, entry, now)
    assert problems(settings, now) == []


def test_each_has_an_age_of_its_own(settings: Settings) -> None:
    """Either of them being too old is told; so is one from the future, whose age nobody knows."""
    entry = take_backup("tokens", settings)
    drilled(settings, entry, entry.created_at + timedelta(hours=2))
    at = [entry.created_at + timedelta(hours=hours) for hours in (1, 1.5, 3, 3.5, -2)]
    assert [problems(settings, now) for now in at] == [
        [],
        ["tokens: the newest verified backup is 1 hour old"],
        ["tokens: the newest verified backup is 3 hours old"],
        ["tokens: the newest verified backup is 3 hours old", "tokens: the last good drill is 1 hour old"],
        [
            "tokens: the newest verified backup is from the future; look at this machine's clock",
            "tokens: the last good drill is from the future; look at this machine's clock",
        ],
    ]


def test_a_failed_drill_is_told_at_once_and_until_a_good_one(settings: Settings) -> None:
    """Though the last good one is young."""
    entry = take_backup("tokens", settings)
    drilled(settings, entry, entry.created_at)
    drilled(settings, entry, entry.created_at, "is damaged")
    assert problems(settings, entry.created_at) == [f"tokens: the last drill failed: {entry.id}: is damaged"]
    drilled(settings, replace(entry, id=""), entry.created_at, problem="there is no backup of it")
    assert problems(settings, entry.created_at) == ["tokens: the last drill failed: there is no backup of it"]
    drilled(settings, entry, entry.created_at)
    assert problems(settings, entry.created_at) == []


def test_only_a_backup_that_could_be_restored_counts(settings: Settings) -> None:
    """Neither a deleted one nor one whose file is gone does."""
    oldest, deleted, gone = (take_backup("tokens", settings) for _ in range(3))
    (settings.backup_dir / gone.file).unlink()
    with Catalog(settings.backup_dir).writing(timeout_s=PATIENCE_S) as writer:
        writer.add_deletion(deleted, at=datetime.now(UTC), reason="test")
    (health,) = look_at_health(settings)
    assert health.backup == oldest


def test_each_present_database_counts_for_itself(settings: Settings) -> None:
    """One that appears makes it sick until it has both; who asks for some by name is told of these alone."""
    entry = take_backup("tokens", settings)
    drilled(settings, entry, entry.created_at)
    make(settings, "elo")
    assert {problem.partition(":")[0] for problem in problems(settings, entry.created_at)} == {"elo"}
    assert [one.database for one in look_at_health(settings, ["tokens", "users"])] == ["tokens"]


def test_the_cloud_half_counts_for_who_asks_for_it(settings: Settings) -> None:
    """It has no file here by which it would show."""
    (health,) = look_at_health(settings, ["supabase"])
    assert (health.database, health.backup) == ("supabase", None)
    assert "supabase" not in {one.database for one in look_at_health(settings)}


def test_a_report_follows_the_catalog_and_the_files(settings: Settings) -> None:
    """Whoever takes one after the other sees each change: a backup, a drill, a file that is gone, a damaged line."""
    reports, now = Reports(settings), datetime.now(UTC)
    assert reports.take(now) == BackupReport()
    first = take_backup("tokens", settings)
    assert reports.take(now).newest == {"tokens": first}
    second = take_backup("tokens", settings)
    drilled(settings, second, now, "is damaged")
    seen = reports.take(now)
    assert (seen.newest, seen.drills["tokens"].ok, seen.good_drills) == ({"tokens": second}, False, {})
    (settings.backup_dir / second.file).unlink()
    assert reports.take(now).newest == {"tokens": first}
    with Catalog(settings.backup_dir).path.open("ab") as catalog:
        catalog.write(b"damage\n")
    assert reports.take(now).problem == "the catalog has 1 damaged line"


def test_the_command_asks_both_and_the_short_one_the_age_alone(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--health` takes its objectives from the settings; `--max-age` is told one, and asks for no drill."""
    entry = take_backup("tokens", settings)
    command = ["--nomic-dir", str(settings.nomic_dir), "backups"]
    assert (main([*command, "--max-age", "3600"]), main([*command, "--health"])) == (0, 1)
    assert capsys.readouterr().err == "aragora-persist: tokens: no drill has restored a backup of it yet\n"
    drilled(settings, entry, datetime.now(UTC))
    assert main([*command, "--health"]) == 0
    monkeypatch.setenv("ARAGORA_BACKUP_OBJECTIVE_SECONDS", "0.000001")
    monkeypatch.setenv("ARAGORA_DRILL_OBJECTIVE_SECONDS", "0.000001")
    assert main([*command, "--health", "--db", "tokens"]) == 1
    assert capsys.readouterr().err.count("tokens: the ") == 2
