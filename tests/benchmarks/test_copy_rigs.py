"""The short form of the rig of copies for rehearsals: it holds, and it fails where the protection is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

RIG = Path(__file__).parents[2] / "scripts" / "chaos" / "scratch_copy.py"


@pytest.mark.parametrize("unprotected", [False, True])
def test_a_copy_is_whole_whoever_writes_meanwhile(*, unprotected: bool) -> None:
    """Each is sound and of one moment; a plain copy of file and log is not."""
    command = [sys.executable, str(RIG), "--copies", "15", *(["--unprotected"] if unprotected else [])]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    assert (done.returncode, report["copies"], report["wrong"] > 0) == (int(unprotected), 15, unprotected)
    assert report["transactions"] > 0
