"""When a delivery that failed is tried again, and when no more. Pure, but for chance."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

DELAYS_S = (5, 30, 120, 600, 3_600, 4 * 3_600, 12 * 3_600, 24 * 3_600)
"""How long to wait after the first, second, … failed attempt, in seconds; up to a quarter is added by chance."""

MOST_ATTEMPTS = len(DELAYS_S) + 1
_LARGEST_ADDITION = 0.25

DEAD_IN_A_ROW = 10
"""So many deliveries of a webhook that all came to nothing, with no success between them, switch it off."""


def delay_after(attempts_left: int, chance: Callable[[], float] = random.random) -> timedelta:
    """Return how long to wait when so many attempts are left, at least one.

    By chance longer, so that deliveries that one outage has stopped do not all come back in the same moment.
    """
    seconds = DELAYS_S[len(DELAYS_S) - attempts_left]
    return timedelta(seconds=seconds * (1 + chance() * _LARGEST_ADDITION))
