"""Every command on the page of backups is run and answers what stands there; its tables are computed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aragora_persist.backup.metrics import backup_families, work_families
from aragora_persist.backup.records import BackupEntry
from aragora_persist.backup.report import BackupReport
from aragora_persist.backup.retention import Policy, decide
from aragora_persist.backup.verify import Content
from aragora_persist.settings import VARIABLES, Settings
from tests.unit.test_documented_migrations import pattern, plain
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "backups.md").read_text()
CONSOLE = "\n".join(re.findall(r"^```console\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
COMMANDS = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", CONSOLE, re.MULTILINE)
KEPT = re.findall(r"^\| ((?:\(none\)|[` A-Z_=0-9]+)) \| (\d+) \| (\d{4}-\d\d-\d\d \d\d:\d\d) \|$", PAGE, re.MULTILINE)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_commands_answer_what_the_page_says(tmp_path: Path) -> None:
    """One after the other in one home, as a reader would give them."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {"HOME": str(tmp_path), "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    for command, wanted in COMMANDS:
        done = subprocess.run(
            ["bash", "-c", command],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        assert re.fullmatch(pattern(wanted), f"{plain(done.stdout)}\n"), f"{command}\n{done.stdout}"
    assert len(COMMANDS) >= 12


def two_years() -> list[BackupEntry]:
    """Return a backup every six hours for two years, the last one at noon."""
    content = Content(schema_version=1, foreign_key_violations=0, tables={})
    return [
        BackupEntry(
            id=f"users_{hours}",
            database="users",
            file=f"users_{hours}.db",
            created_at=NOON - timedelta(hours=hours),
            duration_s=1,
            size_bytes=1,
            sha256="",
            plain_size_bytes=1,
            plain_sha256="",
            content=content,
            method="",
            package_version="",
        )
        for hours in reversed(range(0, 2 * 365 * 24, 6))
    ]


def test_what_is_kept_is_what_the_page_says() -> None:
    """Each row of the table of examples: how many stay, and the oldest of them."""
    backups = two_years()
    intact = {entry.id for entry in backups}
    found = []
    for settings, _, _ in KEPT:
        environ = {f"ARAGORA_BACKUP_{name}": value for name, value in re.findall(r"`([A-Z_]+)=(\d+)`", settings)}
        decisions = decide(backups, intact=intact, now=NOON, policy=Policy.of(Settings.from_env(environ)))
        kept = [decision.entry.created_at for decision in decisions if decision.keep]
        found.append((settings, str(len(kept)), f"{min(kept):%Y-%m-%d %H:%M}"))
    assert found == KEPT
    assert len(KEPT) >= 5


def test_every_rule_and_its_default_is_on_the_page() -> None:
    """Each setting of retention, with the number that it has when it is not set."""
    rules = [one for one in VARIABLES if re.fullmatch(r"ARAGORA_BACKUP_(RETENTION|KEEP)_\w+", one.name)]
    assert len(rules) == len(asdict(Policy(days=1)))
    assert [one.name for one in rules if f"| `{one.name}={one.default}` |" not in PAGE] == []


def test_every_metric_is_on_the_page() -> None:
    """Neither one that is not told, nor one that is not there."""
    families = (*backup_families(BackupReport(offsite_lag_s=0)), *work_families({}, {}, 0, damaged=False))
    listed = re.findall(r"^\| `((?:backup|drill)_\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(listed) == sorted(family.name for family in families)
    assert {name for name in re.findall(r"aragora_persist_(\w+)", PAGE) if name} <= set(listed)
