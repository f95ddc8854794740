"""When a backup or a drill is due. Pure: both clocks are handed in.

The wall clock goes on while a machine sleeps, but anyone may set it; the monotonic one is nobody's to set, and stands
still meanwhile. So work is due when either says that its interval is over, and is due once, however many intervals
were slept through. Leaves out: the work (``sidecar``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import datetime

    from aragora_persist.backup.records import Drill


@dataclass(frozen=True, slots=True)
class Clocks:
    """What both clocks say at one moment."""

    wall: datetime
    monotonic_s: float


class Timer:
    """Says when work that was last done at some moment is due again; a moment not seen before counts anew."""

    def __init__(self) -> None:
        self._done_at: datetime | None = None
        self._seen_at_s = 0.0

    def is_due(self, done_at: datetime | None, pause_s: float, now: Clocks) -> bool:
        """Say whether ``pause_s`` have passed since ``done_at``; None was never done, and is due.

        What is dated in the future has no known age: it is due when it is first seen, and when it is dated so far ahead
        that it cannot be a clock that was put right a little.
        """
        if done_at is None:
            return True
        age_s = (now.wall - done_at).total_seconds()
        if done_at != self._done_at:
            self._done_at = done_at
            self._seen_at_s = now.monotonic_s - (age_s if age_s >= 0 else pause_s)
        return abs(age_s) >= pause_s or now.monotonic_s - self._seen_at_s >= pause_s


class Rounds:
    """Which databases to back up now.

    All of them together when the interval of one is over, so that the backups of one round are a set. One that has no
    backup yet, or whose last attempt failed, is not made to wait for the others, nor they for it.
    """

    def __init__(self, interval_s: float, *, retry_s: float, spread: Callable[[], float]) -> None:
        self._interval_s = interval_s
        self._retry_s = min(retry_s, interval_s)
        self._spread = spread
        self._pause_s = interval_s * spread()
        self._timers: dict[str, Timer] = {}
        self._retry_at_s: dict[str, float] = {}

    def due(self, newest: Mapping[str, datetime | None], now: Clocks) -> tuple[str, ...]:
        """Return what to back up, given when each database's newest backup was made (None: there is none)."""
        ready = [name for name in newest if self._retry_at_s.get(name, now.monotonic_s) <= now.monotonic_s]
        alone = [name for name in ready if newest[name] is None or name in self._retry_at_s]
        over = [
            self._timers.setdefault(name, Timer()).is_due(newest[name], self._pause_s, now)
            for name in ready
            if name not in alone
        ]
        return tuple(ready if any(over) else alone)

    def note(self, tried: Collection[str], failed: Collection[str], monotonic_s: float) -> None:
        """Take note of a round: what was tried, and what of it failed and is to be tried again soon."""
        self._pause_s = self._interval_s * self._spread()
        for name in tried:
            self._retry_at_s.pop(name, None)
        self._retry_at_s |= dict.fromkeys(failed, monotonic_s + self._retry_s)


class Drills:
    """Which databases' backups to drill now: each at its own interval, and soon again when a drill failed."""

    def __init__(self, interval_s: float, *, retry_s: float) -> None:
        self._interval_s = interval_s
        self._retry_s = min(retry_s, interval_s)
        self._timers: dict[str, Timer] = {}
        self._not_before_s: dict[str, float] = {}

    def due(self, last: Mapping[str, Drill | None], now: Clocks) -> tuple[str, ...]:
        """Return what to drill, given the last drill of each database that has a backup (None: there was none)."""
        return tuple(name for name, drill in last.items() if self._is_due(name, drill, now))

    def note(self, tried: Collection[str], monotonic_s: float) -> None:
        """Take note of an attempt: one that came to no record, good or bad, is not repeated at once."""
        self._not_before_s |= dict.fromkeys(tried, monotonic_s + self._retry_s)

    def _is_due(self, name: str, drill: Drill | None, now: Clocks) -> bool:
        if now.monotonic_s < self._not_before_s.get(name, now.monotonic_s):
            return False
        pause_s = self._interval_s if drill is None or drill.ok else self._retry_s
        return self._timers.setdefault(name, Timer()).is_due(drill.at if drill else None, pause_s, now)
