"""What a killed Pulumi leaves is cleared; what a living one holds is not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from aragora_persist.errors import BusyError
from infra.stack.files import StackFiles
from infra.stack.recovery import clear_dead_locks

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def files(tmp_path: Path) -> StackFiles:
    """Give the files of a stack of this test's own."""
    return StackFiles("dev", root=tmp_path, state=tmp_path / "state")


def _lock(files: StackFiles, pid: int, hostname: str) -> Path:
    folder = files.backend / ".pulumi" / "locks" / "organization" / "aragora-persist" / "dev"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "0123.json"
    path.write_text(json.dumps({"pid": pid, "username": "u", "hostname": hostname, "timestamp": "2026-01-01"}))
    return path


def _dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_stack_without_locks_has_nothing_to_clear(files: StackFiles) -> None:
    """A backend that was never used is no error."""
    assert clear_dead_locks(files) == 0


def test_the_lock_of_a_dead_process_is_cleared(files: StackFiles) -> None:
    """A lock whose process is gone goes too."""
    path = _lock(files, _dead_pid(), socket.gethostname())
    assert clear_dead_locks(files) == 1
    assert not path.exists()


def test_the_lock_of_a_zombie_is_cleared(files: StackFiles) -> None:
    """A killed Pulumi that nobody has buried yet holds nothing."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    try:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        path = _lock(files, process.pid, socket.gethostname())
        assert clear_dead_locks(files) == 1
        assert not path.exists()
    finally:
        process.wait()


def test_a_number_that_went_to_another_program_does_not_count(files: StackFiles) -> None:
    """This test's own process is alive, but no Pulumi."""
    path = _lock(files, os.getpid(), socket.gethostname())
    assert clear_dead_locks(files) == 1
    assert not path.exists()


def test_the_lock_of_a_living_pulumi_stays(files: StackFiles, tmp_path: Path) -> None:
    """A Pulumi at work is named, with what to do about it."""
    program = tmp_path / "pulumi"
    program.symlink_to("/bin/sleep")
    process = subprocess.Popen([str(program), "60"])
    try:
        path = _lock(files, process.pid, socket.gethostname())
        with pytest.raises(BusyError, match=f"process {process.pid}.*wait for it"):
            clear_dead_locks(files)
        assert path.exists()
    finally:
        process.kill()
        process.wait()


def test_the_lock_of_another_host_stays(files: StackFiles) -> None:
    """Nobody can see from here whether a process on another host lives."""
    path = _lock(files, _dead_pid(), "another-host")
    with pytest.raises(BusyError, match="another-host"):
        clear_dead_locks(files)
    assert path.exists()
