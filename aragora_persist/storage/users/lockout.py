"""How long failed logins lock an account: progressive, and pure.

Every failure from the fifth on locks, so that a guesser gets one attempt a lock and not five.
"""

from __future__ import annotations

from datetime import timedelta

LOCKS: tuple[tuple[int, timedelta], ...] = (
    (20, timedelta(hours=24)),
    (10, timedelta(hours=1)),
    (5, timedelta(minutes=15)),
)
"""From so many failures in a row on, each further one locks for so long; the most failures first."""


def lock_after(failures: int) -> timedelta | None:
    """Return for how long this many failures in a row lock; None: not at all."""
    return next((duration for least, duration in LOCKS if failures >= least), None)
