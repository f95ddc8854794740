"""How long to wait before what has failed is tried again. Pure, but for chance."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Backoff:
    """Twice as long after each failure, within bounds in seconds; up to half of it is taken off by chance.

    By chance, so that many senders that one outage has stopped do not all come back in the same moment.
    """

    def __init__(self, least_s: float, longest_s: float, chance: Callable[[], float] = random.random) -> None:
        self._whole_s = least_s
        self._longest_s = longest_s
        self._chance = chance

    def next_s(self) -> float:
        """Return how long to wait after one more failure, in seconds."""
        wait_s = self._whole_s * (1 - self._chance() / 2)
        self._whole_s = min(self._longest_s, 2 * self._whole_s)
        return wait_s
