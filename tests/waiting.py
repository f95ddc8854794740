"""Waiting in tests: for a condition, never for a length of time, so that a busy machine makes a test slow, not red."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_S = 60.0
"""When a test gives up: far beyond what anything takes that works, even where other work has all the cores."""


def wait_until(condition: Callable[[], bool], what: str, *, within_s: float = PATIENCE_S) -> None:
    """Return as soon as the condition holds; fail with what was waited for when it does not come about in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {within_s:g} s in vain for {what}"
        time.sleep(0.05)
