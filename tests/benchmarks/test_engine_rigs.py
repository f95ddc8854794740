"""The short forms of the rigs of the SQLite engine: they hold, and they fail where the protection is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHAOS = Path(__file__).parents[2] / "scripts" / "chaos"


def run(script: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run a rig, and return its exit code and what it says."""
    command = [sys.executable, str(CHAOS / script), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stdout, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, report


@pytest.mark.parametrize(("unprotected", "found"), [(None, ()), ("level", ("durable_lost",)), ("sync", ("corrupt",))])
def test_a_loss_of_power_takes_nothing_durable(unprotected: str | None, found: tuple[str, ...]) -> None:
    """No image is corrupt or lacks an acknowledged durable row; with weaker writes, or a disk that lies, some do."""
    options = [] if unprotected is None else ["--unprotected", unprotected]
    code, report = run("power_loss.py", "--images", "150", "--rounds", "1", *options)

    assert report["images"] == 150
    assert report["acknowledged"] > 0
    assert code == (0 if unprotected is None else 1)
    wrong = {name for name in ("corrupt", "durable_lost") if report[name]}
    assert wrong == set() if unprotected is None else wrong >= set(found)
