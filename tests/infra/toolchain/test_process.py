"""Commands: their whole output is kept, a long one shows that it is alive, none outlives an interruption."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from infra.toolchain.environment import REPOSITORY
from infra.toolchain.process import CommandFailedError, Console, run

if TYPE_CHECKING:
    from collections.abc import Callable

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
    with pytest.raises(CommandFailedError, match=r"did not end within 0\.2 s") as caught:
        run(
            ("sh", "-c", "echo begun; exec sleep 60"),
            console=console,
            label="-",
            environment=ENVIRONMENT,
            timeout_s=0.2,
        )
    assert caught.value.output == "begun\n"


def test_a_long_command_tells_in_a_pipe_that_it_is_alive() -> None:
    """A line with the label for each interval, and none once it has ended."""
    stream = io.StringIO()
    console = Console(stream)
    assert console.interval_s == 30
    console.interval_s = 0.1
    run(("sleep", "0.35"), console=console, label="building it", environment=ENVIRONMENT)
    lines = stream.getvalue().splitlines()
    assert len(lines) in {2, 3}
    assert set(lines) == {"  … building it: 0 s"}


def test_on_a_terminal_one_line_counts_the_seconds_and_then_gives_way() -> None:
    """The progress is written over itself, and a finished line replaces it."""
    leader, follower = os.openpty()
    with os.fdopen(leader, "rb", buffering=0) as screen, os.fdopen(follower, "w") as terminal:
        console = Console(terminal)
        assert console.interval_s == 1
        console.progress("building it", 7.4)
        console.progress("building it", 8.4)
        console.line("built")
        shown = screen.read(1000).decode()
    erased = "\r\x1b[2K"
    assert shown == f"{erased}  … building it: 7 s{erased}  … building it: 8 s{erased}built\r\n"


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
        _until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith("\n"))
        process.send_signal(signal_number)
        told = process.communicate(timeout=20)[0]
    if signal_number == signal.SIGTERM:
        assert (process.returncode, told) == (1, "stopped; the next run goes on from here\n")
    command = Path("/proc") / (tmp_path / "pid").read_text().strip()
    _until(lambda: not command.exists())


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
