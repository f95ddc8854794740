"""How long to wait before what has failed is tried again. Pure, but for chance."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LEAST_S = 1.0
MOST_S = 60.0


class Backoff:
    """Twice as long after each failure, within bounds; up to half of it is taken off by chance.

    By chance, so that many senders that one outage has stopped do not all come back in the same moment.
    """

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance
        self._whole_s = LEAST_S

    def next_s(self) -> float:
        """Return how long to wait after one more failure, in seconds."""
        wait_s = self._whole_s * (1 - self._chance() / 2)
        self._whole_s = min(MOST_S, 2 * self._whole_s)
        return wait_s
