"""The rules of the memory tiers: without any database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aragora_persist.storage.memory.tiers import (
    TIER_NAMES,
    TIERS,
    Tier,
    age_of_time,
    decayed,
    expires_before,
    faster,
    learned,
    next_tier,
    slower,
    strength,
    tier_named,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
TIER = st.sampled_from(TIERS)
HOURS = st.integers(0, 10_000)


def test_the_tiers_are_the_documented_ones() -> None:
    """Half-life in hours, learning rate, promotion above surprise, demotion above stability, cap."""
    assert (
        Tier("fast", 1, 0.3, None, 0.2, 1_000),
        Tier("medium", 24, 0.1, 0.7, 0.3, 5_000),
        Tier("slow", 168, 0.03, 0.6, 0.4, 10_000),
        Tier("glacial", 720, 0.01, 0.5, None, 50_000),
    ) == TIERS
    assert [tier_named(name) for name in TIER_NAMES] == list(TIERS)
    assert [slower(tier).name for tier in TIERS[:-1]] == ["medium", "slow", "glacial"]
    assert [faster(tier).name for tier in TIERS[1:]] == ["fast", "medium", "slow"]


@pytest.mark.parametrize("tier", TIERS, ids=TIER_NAMES)
def test_an_importance_halves_with_every_half_life(tier: Tier) -> None:
    """A half after one, a quarter after two; a clock that was set back strengthens nothing."""
    half_life = tier.half_life_hours * HOUR
    left = [decayed(tier, 0.8, NOW - number * half_life, NOW) for number in range(3)]

    assert left == [0.8, 0.4, 0.2]
    assert decayed(tier, 0.8, NOW + HOUR, NOW) == 0.8
    assert decayed(tier, 0.8, datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)) >= 0
    assert expires_before(tier, NOW) == NOW - 2 * half_life


@given(TIER, st.floats(0.001, 1), st.floats(0.001, 1), HOURS, HOURS)
def test_strength_is_the_order_of_what_is_left(tier: Tier, one: float, other: float, hours: int, later: int) -> None:
    """At any time, and over tiers once the age of time is taken off."""
    first, second = NOW, NOW + hours * HOUR
    now = second + later * HOUR
    level = strength(tier, one, first) - age_of_time(tier, now)
    left, other_left = decayed(tier, one, first, now), decayed(tier, other, second, now)

    if strength(tier, one, first) > strength(tier, other, second) + 1e-6:
        assert left > other_left or left == other_left == 0
    assert 2**level == pytest.approx(left, rel=1e-4)
    assert strength(tier, 0, first) < strength(tier, 5e-324, datetime(1, 1, 1, tzinfo=UTC))


@given(TIER, st.lists(st.booleans(), max_size=60))
def test_surprise_and_stability_stay_within_bounds(tier: Tier, outcomes: list[bool]) -> None:
    """Both from 0 to 1, and their sum too, so that nothing is due in both directions."""
    surprise, stability, counts = 0.0, 0.0, [0, 0]
    for success in outcomes:
        surprise, stability = learned(tier, surprise, stability, (counts[0], counts[1]), success=success)
        counts[not success] += 1
        assert min(surprise, stability) >= 0
        assert surprise + stability <= 1 + 1e-12


def test_what_is_expected_teaches_stability_and_what_is_not_surprise() -> None:
    """The first outcome is worth a half of each; the same again stabilizes, the contrary surprises."""
    fast = TIERS[0]
    assert learned(fast, 0, 0, (0, 0), success=True) == pytest.approx((0.15, 0.15))
    assert learned(fast, 0, 0, (8, 0), success=True) == pytest.approx((0.03, 0.27))
    assert learned(fast, 0, 0, (8, 0), success=False) == pytest.approx((0.27, 0.03))
    assert learned(TIERS[3], 0, 0, (8, 0), success=False) == pytest.approx((0.009, 0.001))


@pytest.mark.parametrize(
    ("tier", "surprise", "stability", "moves"),
    [
        ("fast", 1.0, 0.2, None),
        ("fast", 0.0, 0.21, ("medium", "demotion")),
        ("medium", 0.7, 0.3, None),
        ("medium", 0.71, 0.0, ("fast", "promotion")),
        ("medium", 0.0, 0.31, ("slow", "demotion")),
        ("slow", 0.61, 0.39, ("medium", "promotion")),
        ("slow", 0.6, 0.41, ("glacial", "demotion")),
        ("glacial", 0.51, 0.0, ("slow", "promotion")),
        ("glacial", 0.5, 1.0, None),
    ],
)
def test_moves_are_by_the_table(tier: str, surprise: float, stability: float, moves: tuple[str, str] | None) -> None:
    """Beyond a threshold, not at it, and only where there is another tier."""
    due = next_tier(tier_named(tier), surprise, stability, None, NOW)
    assert (due and (due[0].name, due[1])) == moves


def test_a_promotion_waits_a_day_after_the_last_move() -> None:
    """A demotion does not."""
    medium = TIERS[1]
    assert next_tier(medium, 0.8, 0, NOW - 24 * HOUR, NOW) == (TIERS[0], "promotion")
    assert next_tier(medium, 0.8, 0, NOW - 24 * HOUR + timedelta(microseconds=1), NOW) is None
    assert next_tier(medium, 0, 0.8, NOW, NOW) == (TIERS[2], "demotion")
