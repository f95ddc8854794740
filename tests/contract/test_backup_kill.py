"""The kill rig, short: it finds nothing bad in ours, and it does find what is bad without the protection."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

RIG = Path(__file__).resolve().parents[2] / "scripts" / "chaos" / "backup_kill.py"


def run_rig(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the rig and return what it said."""
    return subprocess.run([sys.executable, RIG, *arguments], capture_output=True, text=True, check=False, timeout=120)


def test_no_kill_leaves_something_bad_on_offer() -> None:
    """After twenty kills in the middle of backups, the catalog and a restore offer whole ones only."""
    run = run_rig("--kills", "20")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "20 kills" in run.stdout
    assert "while copying or verifying" in run.stdout


def test_the_rig_finds_what_copying_in_place_leaves() -> None:
    """The same kills without temporary names, verification and catalog leave files that are no backups."""
    run = run_rig("--kills", "10", "--naive")
    assert run.returncode == 1, run.stdout + run.stderr
    assert "BAD: " in run.stdout
