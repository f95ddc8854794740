"""Revisions of records that are saved directly, without the outbox that would number them."""

from __future__ import annotations

import threading
import time


class RevisionClock:
    """Numbers that only grow: microseconds since 1970, as the outbox has them, or one more than the last number."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def next(self) -> int:
        """Return a number above all before."""
        with self._lock:
            self._last = max(self._last + 1, time.time_ns() // 1000)
            return self._last


REVISIONS = RevisionClock()
"""The one of this process: two clients in it never number alike."""
