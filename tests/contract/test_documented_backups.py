"""Every command on the page of backups is run and answers what stands there; its tables are computed."""

from __future__ import annotations

import re
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from aragora_persist.backup.metrics import backup_families, work_families
from aragora_persist.backup.report import BackupReport
from aragora_persist.backup.retention import Policy, decide
from aragora_persist.settings import VARIABLES, Settings
from aragora_persist.storage.sqlite.engine import open_engine
from tests.backup_entries import entry_of
from tests.documented import ROOT, Page, Reader
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

    from aragora_persist.backup.records import BackupEntry

PAGE = Page("backups.md")
KEPT = re.findall(
    r"^\| ((?:\(none\)|[` A-Z_=0-9]+)) \| (\d+) \| (\d{4}-\d\d-\d\d \d\d:\d\d) \|$", PAGE.text, re.MULTILINE
)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_commands_answer_what_the_page_says(tmp_path: Path) -> None:
    """One after the other in one home, as a reader would give them."""
    reader = Reader(tmp_path)
    for command, wanted in PAGE.commands:
        reader.gets(command, wanted)
    assert len(PAGE.commands) >= 12


def two_years() -> list[BackupEntry]:
    """Return a backup every six hours for two years, the last one at noon."""
    return [entry_of(f"users_{hours}", NOON - timedelta(hours=hours)) for hours in reversed(range(0, 2 * 365 * 24, 6))]


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
    assert [one.name for one in rules if f"| `{one.name}={one.default}` |" not in PAGE.text] == []


def test_every_metric_is_on_the_page() -> None:
    """Neither one that is not told, nor one that is not there."""
    families = (*backup_families(BackupReport(offsite_lag_s=0)), *work_families({}, {}, 0, damaged=False))
    listed = re.findall(r"^\| `((?:backup|drill)_\w+)` \|", PAGE.text, re.MULTILINE)
    assert sorted(listed) == sorted(family.name for family in families)
    assert {name for name in re.findall(r"aragora_persist_(\w+)", PAGE.text) if name} <= set(listed)


def test_the_script_finds_its_checkout_through_a_link(tmp_path: Path) -> None:
    """As from a folder of cron's, which knows of no command of ours."""
    (tmp_path / ".aragora").mkdir()
    open_engine(tmp_path / ".aragora" / "aragora_tokens.db", "tokens").close()
    (link := tmp_path / "hourly").symlink_to(ROOT / "scripts" / "backup_dbs.sh")
    environ = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([link], env=environ, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Backed up: tokens\n", "")
