"""Who may send from an outbox: one at a time, whatever happens to the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from aragora_persist.cloud.lease import Lease, is_taken
from aragora_persist.errors import StorageError
from tests.waiting import PATIENCE_S, is_running, wait_until

if TYPE_CHECKING:
    from pathlib import Path

HOLDER = """
import os, pathlib, subprocess, sys, time
from aragora_persist.cloud.lease import Lease
lease = Lease(pathlib.Path(sys.argv[1]))
assert lease.take()
if sys.argv[2] == "program":
    child = subprocess.Popen(["sleep", "60"], close_fds=False).pid
else:
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
print(child, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Return where an outbox would be."""
    return tmp_path / "aragora_outbox.db"


def test_one_has_it_and_the_next_when_it_was_given_back(database: Path) -> None:
    """A second taker is told at once; taking it twice is nothing; its end frees it."""
    with Lease(database) as second:
        with Lease(database) as first:
            assert [first.take(), first.take(), second.take()] == [True, True, False]
        assert second.take()


def test_looking_takes_nothing(database: Path) -> None:
    """It is taken while somebody has it, by whatever path, and a look leaves no file."""
    never = is_taken(database)
    files = list(database.parent.iterdir())
    with Lease(database) as first:
        first.take()
        during = is_taken(database)

    assert (never, files, during, is_taken(database)) == (False, [], True, False)


def test_two_spellings_of_a_path_are_one_outbox(database: Path) -> None:
    """A link to the folder leads to the same lease."""
    link = database.parent / "link"
    link.symlink_to(database.parent)
    with Lease(database) as first, Lease(link / database.name) as second:
        assert first.take()
        assert not second.take()


@pytest.mark.parametrize("child", ["program", "fork"])
def test_it_dies_with_its_holder_though_a_child_lives_on(database: Path, child: str) -> None:
    """After SIGKILL the next one has it; neither a program that the holder had started nor a fork of it keeps it."""
    command = [sys.executable, "-c", HOLDER, str(database), child]
    with (
        Lease(database) as lease,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder,
    ):
        assert holder.stdout is not None
        left_behind = int(holder.stdout.readline())
        try:
            assert not lease.take()
            holder.kill()
            holder.wait(PATIENCE_S)
            wait_until(lease.take, "the lease of a process that has gone")
            assert is_running(left_behind)
        finally:
            os.kill(left_behind, signal.SIGKILL)


def test_a_removed_lock_file_is_made_again(database: Path) -> None:
    """Whoever removes the file makes nobody send twice for long: the holder notices and takes the new one."""
    lock = database.with_name(f"{database.name}.sync-lock")
    with Lease(database) as first, Lease(database) as second:
        assert first.take()
        lock.unlink()

        assert first.take()
        assert lock.exists()
        assert not second.take()


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    """The error names the file."""
    (tmp_path / "file").write_text("")
    with Lease(tmp_path / "file" / "aragora_outbox.db") as lease, pytest.raises(StorageError) as caught:
        lease.take()

    assert caught.value.target.endswith("aragora_outbox.db.sync-lock")
