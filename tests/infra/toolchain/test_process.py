"""Commands: their whole output is kept, a long one shows that it is alive, none outlives an interruption."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from infra.toolchain.environment import REPOSITORY
from infra.toolchain.process import CommandFailedError, Console, run
from tests.waiting import PATIENCE_S, is_running, wait_until

if TYPE_CHECKING:
    from pathlib import Path

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


def test_output_comes_back_with_both_streams() -> None:
    """What a command prints as an error belongs to its output."""
    output = run(
        ("sh", "-c", "echo out; echo err >&2"), console=Console(io.StringIO()), label="-", environment=ENVIRONMENT
    )
    assert output.splitlines() == ["out", "err"]


def test_a_missing_program_is_a_failure_like_any_other() -> None:
    """No exception of the operating system reaches a step."""
    with pytest.raises(CommandFailedError, match="could not be started: No such file"):
        run(("no-such-program",), console=Console(io.StringIO()), label="-", environment=ENVIRONMENT)


def test_a_command_that_takes_too_long_is_ended() -> None:
    """Its output until then is in the error."""
    console = Console(io.StringIO())
    console.interval_s = 0.05
    with pytest.raises(CommandFailedError, match="did not end within 2 s") as caught:
        run(
            ("sh", "-c", "echo begun; exec sleep 600"),
            console=console,
            label="-",
            environment=ENVIRONMENT,
            timeout_s=2,  # enough for the first word, on a busy machine too
        )
    assert caught.value.output == "begun\n"


def test_a_long_command_tells_in_a_pipe_that_it_is_alive(tmp_path: Path) -> None:
    """A line with the label for each interval; this command ends when two of them have been told."""
    log = tmp_path / "log"
    wait_for_two = f"until [ $(wc -l < {log}) -ge 2 ]; do sleep 0.01; done"
    with log.open("w") as stream:
        console = Console(stream)
        assert console.interval_s == 30
        console.interval_s = 0.1
        run(("sh", "-c", wait_for_two), console=console, label="building it", environment=ENVIRONMENT)
    lines = log.read_text().splitlines()
    assert len(lines) >= 2
    assert all(re.fullmatch(r"  … building it: \d+ s", line) for line in lines)


def test_on_a_terminal_one_line_counts_the_seconds_and_then_gives_way() -> None:
    """The progress is written over itself, and a finished line replaces it."""
    leader, follower = os.openpty()
    with os.fdopen(leader, "rb", buffering=0) as screen, os.fdopen(follower, "w") as terminal:
        console = Console(terminal)
        assert console.interval_s == 1
        console.progress("building it", 7.4)
        console.progress("building it", 8.4)
        console.line("built")
        shown = b""
        while not shown.endswith(b"\n"):  # a terminal hands over what was written piece by piece
            shown += screen.read(1000)
    erased = "\r\x1b[2K"
    assert shown.decode() == f"{erased}  … building it: 7 s{erased}  … building it: 8 s{erased}built\r\n"


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGKILL])
def test_an_ended_bootstrap_ends_its_command(tmp_path: Path, signal_number: signal.Signals) -> None:
    """However it is ended, what it was running does not go on; where it can, it tells how to go on."""
    program = (
        "import sys\n"
        "from infra.toolchain import bootstrap\n"
        "from infra.toolchain.step import Origin, Step\n"
        "def obtain(context):\n"
        f"    context.run('sh', '-c', 'echo $$ > {tmp_path}/pid; exec sleep 60')\n"
        "bootstrap.STEPS = (Step('part', lambda _: None, (Origin('slow', obtain),), '-'),)\n"
        "sys.exit(bootstrap.main([]))\n"
    )
    with subprocess.Popen(
        (sys.executable, "-c", program),
        cwd=REPOSITORY,
        env={**os.environ, "ARAGORA_TOOLCHAIN_DIR": str(tmp_path / "tools")},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        pid = tmp_path / "pid"
        wait_until(lambda: pid.exists() and pid.read_text().endswith("\n"), "the command")
        process.send_signal(signal_number)
        told = process.communicate(timeout=PATIENCE_S)[0]
    if signal_number == signal.SIGTERM:
        assert (process.returncode, told) == (1, "stopped; the next run goes on from here\n")
    wait_until(lambda: not is_running(int(pid.read_text())), "the command's end")
