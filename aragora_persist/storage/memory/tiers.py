"""The four tiers of memory: how fast each forgets and learns, and when a memory moves between them. Pure.

A memory's importance halves with every half-life of its tier since it was last touched: made, accessed, used with an
outcome, moved or restored. Leaves out: keeping memories (``memory_store``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from math import log2
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

PROMOTION_COOLDOWN = timedelta(hours=24)
RETAINED_HALF_LIVES = 2
_SECONDS_AN_HOUR = 3600
_WEAKEST = -1e9  # below the logarithm of any importance above 0, at any time


@dataclass(frozen=True, slots=True)
class Tier:
    """One tier; ``promote_above`` and ``demote_above`` are None where there is no faster or slower one."""

    name: str
    half_life_hours: float
    learning_rate: float
    promote_above: float | None
    """The surprise beyond which a memory moves to the next faster tier."""
    demote_above: float | None
    """The stability beyond which a memory moves to the next slower tier."""
    cap: int
    """How many memories it holds; red lines stand outside of it."""


TIERS = (
    Tier("fast", 1, 0.3, None, 0.2, 1_000),
    Tier("medium", 24, 0.1, 0.7, 0.3, 5_000),
    Tier("slow", 168, 0.03, 0.6, 0.4, 10_000),
    Tier("glacial", 720, 0.01, 0.5, None, 50_000),
)
"""From the fastest to the slowest."""

TIER_NAMES = tuple(tier.name for tier in TIERS)
_PLACES = {name: place for place, name in enumerate(TIER_NAMES)}


def tier_named(name: str) -> Tier:
    """Return the tier of a name out of ``TIER_NAMES``."""
    return TIERS[_PLACES[name]]


def decayed(tier: Tier, importance: float, touched_at: datetime, now: datetime) -> float:
    """Return what is left of an importance: ``importance * 0.5 ** (hours / half-life)``."""
    hours = max(0.0, (now - touched_at).total_seconds()) / _SECONDS_AN_HOUR
    return float(importance * 0.5 ** (hours / tier.half_life_hours))


def strength(tier: Tier, importance: float, touched_at: datetime) -> float:
    """Return the number by which the memories of a tier are ordered as by decayed importance, at any time alike.

    It is the binary logarithm of the decayed importance plus ``age_of_time``: what decays by one half-life, all do.
    """
    return log2(importance) + age_of_time(tier, touched_at) if importance > 0 else _WEAKEST


def age_of_time(tier: Tier, moment: datetime) -> float:
    """Return how many half-lives of a tier have passed since the epoch; comparing tiers takes it off ``strength``."""
    return moment.timestamp() / _SECONDS_AN_HOUR / tier.half_life_hours


def expires_before(tier: Tier, now: datetime) -> datetime:
    """Return since when a memory must have been touched to stay in its tier."""
    return now - timedelta(hours=tier.half_life_hours * RETAINED_HALF_LIVES)


def learned(
    tier: Tier, surprise: float, stability: float, counts: tuple[int, int], *, success: bool
) -> tuple[float, float]:
    """Return surprise and stability after one more outcome; ``counts`` are the successes and failures before it.

    What is expected is Laplace's rule of succession, ``(successes + 1) / (all + 2)``. How far the outcome is from it is
    the error, from 0 to 1. Surprise moves towards the error by the learning rate, stability towards ``1 - error``; so
    both stay from 0 to 1, and their sum too.
    """
    successes, failures = counts
    expected = (successes + 1) / (successes + failures + 2)
    error = 1 - expected if success else expected
    rate = tier.learning_rate
    return surprise + rate * (error - surprise), stability + rate * (1 - error - stability)


def faster(tier: Tier) -> Tier:
    """Return the tier to which a memory is promoted from one with ``promote_above``."""
    return TIERS[_PLACES[tier.name] - 1]


def slower(tier: Tier) -> Tier:
    """Return the tier to which a memory is demoted from one with ``demote_above``."""
    return TIERS[_PLACES[tier.name] + 1]


def next_tier(
    tier: Tier, surprise: float, stability: float, changed_at: datetime | None, now: datetime
) -> tuple[Tier, str] | None:
    """Return the tier to which a memory moves now, and as what (``promotion``, ``demotion``), or None.

    A promotion waits until 24 hours after the last move, whichever way that went.
    """
    cool = changed_at is None or now - changed_at >= PROMOTION_COOLDOWN
    if tier.promote_above is not None and surprise > tier.promote_above and cool:
        return faster(tier), "promotion"
    if tier.demote_above is not None and stability > tier.demote_above:
        return slower(tier), "demotion"
    return None
