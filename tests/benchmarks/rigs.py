"""Runs the scripts of rigs and benchmarks in their short form, for the tests beside it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_SCRIPTS = Path(__file__).parents[2] / "scripts"
_MOST = 300


def run(script: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run a rig, named from ``scripts`` on, and return its exit code and what it says."""
    command = [sys.executable, str(_SCRIPTS / script), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stdout, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, report


def rounds(option: str, count: int, *, unprotected: bool) -> tuple[str, ...]:
    """Return the arguments for so many rounds; without protection, for as many as it takes to find something wrong.

    How many those are is a matter of chance and of the machine. A rig that needs more than our bound sees nothing.
    """
    return (option, str(_MOST), "--unprotected", "--until-wrong") if unprotected else (option, str(count))


def figures(script: str, folder: Path, *arguments: str) -> dict[str, Any]:
    """Run a benchmark, which fails where what it made is not right, and return every figure."""
    path = folder / "figures.json"
    command = [sys.executable, str(_SCRIPTS / script), *arguments, "--json", str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(path.read_text())
    return found
