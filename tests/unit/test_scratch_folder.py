"""Scratch space goes with its block, and that of a killed process with the next one."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

from aragora_persist.backup.files import scratch_folder

if TYPE_CHECKING:
    from pathlib import Path

HOLDER = """
import sys, tempfile
from aragora_persist.backup.files import scratch_folder
tempfile.tempdir = sys.argv[1]
with scratch_folder("work-") as folder:
    (folder / "file").touch()
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that is scratch space in this test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_goes_with_its_block(space: Path) -> None:
    """Also when the block ends in an error, and with all that is in it."""
    with pytest.raises(ValueError, match="half"), scratch_folder("work-") as folder:
        (folder / "below").mkdir()
        assert folder.parent == space
        raise ValueError("half")
    assert list(space.iterdir()) == []


def test_what_a_killed_process_left_goes_with_the_next(space: Path) -> None:
    """The folder of a living one stays, as does whatever is called nearly like it."""
    others = {"work", "work-", "work-notes", "work-abcdefgh", "work-kept.scratch", "work-abcdefgh.scratch.old"}
    for name in others:
        (space / name).mkdir()
    (space / "work-abcdefgi.scratch").touch()
    others.add("work-abcdefgi.scratch")
    command = [sys.executable, "-c", HOLDER, str(space)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        theirs = space / holder.stdout.readline().strip()
        with scratch_folder("work-") as ours:
            assert {path.name for path in space.iterdir()} == {theirs.name, ours.name} | others
        holder.kill()
        holder.wait()
        assert theirs.exists()
        with scratch_folder("work-") as ours:
            assert {path.name for path in space.iterdir()} == {ours.name} | others
