"""`end_with_cli.sh`: what it starts ends when standard input does, with all that it has started itself."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from infra.toolchain.parts.pulumi import ENDING
from tests.waiting import PATIENCE_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# As a language host: a child below it, in its process group, and signals that it does not care about.
STUBBORN = "trap '' INT TERM HUP\nsleep 600 &\necho \"$1\"\nwait\n"


def installed(folder: Path, program: str) -> str:
    """Install the script over a program, as the bootstrap does."""
    for name, source in (("plugin", ENDING.read_text()), ("plugin.bin", f"#!/bin/sh\n{program}")):
        (folder / name).write_text(source)
        (folder / name).chmod(0o755)
    return str(folder / "plugin")


@contextmanager
def plugin(command: str, stdin: int) -> Iterator[subprocess.Popen[str]]:
    """Start a plugin as the CLI does: the leader of a process group of its own."""
    process = subprocess.Popen([command, "a  word"], stdin=stdin, stdout=subprocess.PIPE, text=True, process_group=0)
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "a  word\n"
            yield process
        finally:
            if group_lives(process.pid):
                os.killpg(process.pid, signal.SIGKILL)


def group_lives(group: int) -> bool:
    """Tell whether a process of this group is there, collected or not."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_end_of_standard_input_ends_the_whole_group(tmp_path: Path) -> None:
    """At once, and though a program below would ignore every other signal."""
    with plugin(installed(tmp_path, STUBBORN), subprocess.PIPE) as process:
        process.send_signal(signal.SIGINT)  # the CLI's own way to end a plugin may be under way
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(PATIENCE_S) == -signal.SIGKILL
        wait_until(lambda: not group_lives(process.pid), "the end of the group")


def test_a_parent_that_ended_before_the_start_is_noticed(tmp_path: Path) -> None:
    """There is no moment in which the end of the CLI goes unseen."""
    reading, writing = os.pipe()
    os.close(writing)
    process = subprocess.Popen([installed(tmp_path, "sleep 600")], stdin=reading, process_group=0)
    os.close(reading)
    assert process.wait(PATIENCE_S) == -signal.SIGKILL
    wait_until(lambda: not group_lives(process.pid), "the end of the group")


def test_a_plugin_that_ends_by_itself_keeps_its_exit_code_and_nothing_stays(tmp_path: Path) -> None:
    """Its output ends with it; what watches ends when the CLI has collected it and lets go of its standard input."""
    with plugin(installed(tmp_path, 'echo "$1"\nexit 7\n'), subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read() == ""
        assert process.wait(PATIENCE_S) == 7
        assert process.stdin is not None
        process.stdin.close()
        wait_until(lambda: not group_lives(process.pid), "the end of the group")


def test_bash_as_sh_does_it_too(tmp_path: Path) -> None:
    """It is the `sh` of many a distribution; Debian's is another."""
    command = installed(tmp_path, STUBBORN)
    (tmp_path / "sh").symlink_to(shutil.which("bash") or "")
    (tmp_path / "plugin").write_text(ENDING.read_text().replace("#!/bin/sh", f"#!{tmp_path}/sh", 1))
    with plugin(command, subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(PATIENCE_S) == -signal.SIGKILL


def test_without_a_pipe_nothing_is_watched(tmp_path: Path) -> None:
    """Started by hand, the program is simply what runs."""
    with plugin(installed(tmp_path, 'echo "$1"; exec sleep 600\n'), subprocess.DEVNULL) as process:
        assert process.poll() is None
        process.terminate()
        assert process.wait(PATIENCE_S) == -signal.SIGTERM
        assert not group_lives(process.pid)
