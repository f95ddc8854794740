"""Waiting in tests: for a condition, never for a length of time. A busy machine makes a test slow, not red."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_S = 60.0
"""When a test gives up: far beyond what anything takes that works, even where other work has all the cores."""


def wait_until(
    condition: Callable[[], bool], what: str, *, within_s: float = PATIENCE_S, every_s: float = 0.05
) -> None:
    """Return as soon as the condition holds; fail with what was waited for when it does not come about in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {within_s:g} s in vain for {what}"
        time.sleep(every_s)


def is_running(pid: int) -> bool:
    """Tell whether a process runs; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False
