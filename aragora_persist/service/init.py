"""What the first process of a container owes the others: pass signals on, and collect the dead.

As process 1 the service would inherit every orphan of the container (what a ``docker exec`` leaves behind) and, if it
collected them itself, would steal the exit codes of its own children. So process 1 does this and nothing else, and the
service is its child. Anywhere else the service runs as the process that it is.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run_under_init(service: Callable[[], int], *, needed: bool | None = None) -> int:
    """Run ``service`` and return its exit code; below an init of our own where this is process 1 (or ``needed``).

    To be called before any thread is started. ``service`` may start with the stop signals blocked and unblocks them
    (``unblock_signals``) when it has its handlers, so that a stop in between is not lost. A service that a signal ended
    counts as 128 plus its number.
    """
    if not (os.getpid() == 1 if needed is None else needed):
        return service()
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    child = os.fork()
    if child == 0:
        return service()

    def forward(number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    for number in STOP_SIGNALS:
        signal.signal(number, forward)
    unblock_signals()
    return _collect_until(child)


def unblock_signals() -> None:
    """Let the stop signals reach their handlers."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def _collect_until(child: int) -> int:
    """Collect ended processes until ``child`` is among them, and return its exit code."""
    while True:
        ended, status = os.wait()
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            return 128 - code if code < 0 else code
