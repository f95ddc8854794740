"""What process 1 owes the others, shown with a process tree of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from tests.waiting import PATIENCE_S, wait_until

# Makes a process the parent of the orphans below it, as process 1 of a container is (PR_SET_CHILD_SUBREAPER).
ADOPT_ORPHANS = """
import ctypes
assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
"""


def start(service: str, *, prelude: str = "") -> subprocess.Popen[str]:
    """Run ``service`` (the body of a function) below an init, in a process of its own."""
    program = prelude + textwrap.dedent(
        """
        import os, signal, subprocess, sys, time
        from aragora_persist.service.init import run_under_init, unblock_signals
        def service():
        {body}
        sys.exit(run_under_init(service, needed=True))
        """
    ).format(body=textwrap.indent(textwrap.dedent(service), "    "))
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)


def test_exit_code_of_the_service_is_passed_on() -> None:
    """The container ends as its service does."""
    with start("return 7") as process:
        assert process.wait(PATIENCE_S) == 7


def test_service_ended_by_a_signal_counts_as_failed() -> None:
    """A killed service ends the container, with the code a shell would give."""
    with start("os.kill(os.getpid(), signal.SIGKILL)") as process:
        assert process.wait(PATIENCE_S) == 137


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_signals_reach_the_service(number: signal.Signals) -> None:
    """A stop is the service's to answer, and its answer is the exit code."""
    service = f"""
        signal.signal({int(number)}, lambda *_: sys.exit(5))
        unblock_signals()
        print("up", flush=True)
        while True:
            time.sleep(0.05)
    """
    with start(service) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(number)

        assert process.wait(PATIENCE_S) == 5


def test_stop_before_the_service_has_its_handlers_is_kept() -> None:
    """A stop that comes too early waits until the service can answer it."""
    service = """
        os.kill(os.getpid(), signal.SIGTERM)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
        unblock_signals()
        time.sleep(5)
    """
    with start(service) as process:
        assert process.wait(PATIENCE_S) == 5


def test_orphans_leave_no_zombie_and_children_keep_their_codes() -> None:
    """Orphans are collected, and a child of the service still tells the service how it ended."""
    service = """
        orphan = subprocess.run(["sh", "-c", "sleep 0.1 & echo $!"], stdout=subprocess.PIPE, text=True).stdout.strip()
        codes = [subprocess.run(["sh", "-c", f"sleep 0.02; exit {n}"]).returncode for n in range(20)]
        print(orphan, codes == list(range(20)), flush=True)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        unblock_signals()
        while True:
            time.sleep(0.05)
    """
    with start(service, prelude=ADOPT_ORPHANS) as process:
        assert process.stdout is not None
        orphan, codes_kept = process.stdout.readline().split()
        wait_until(lambda: not os.path.exists(f"/proc/{orphan}"), "the orphan's end")  # noqa: PTH110 - not a file
        process.terminate()

        assert process.wait(PATIENCE_S) == 0
    assert codes_kept == "True"
