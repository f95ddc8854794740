"""How matches change ratings, and how predictions become a calibration: without any database."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aragora_persist.errors import InvalidValueError
from aragora_persist.storage.elo import formula as elo
from aragora_persist.storage.elo.calibration import CalibrationBucket, calibrate

if TYPE_CHECKING:
    import random

NAMES = st.text("abcdefgh", min_size=1, max_size=3)
RESULTS = st.dictionaries(NAMES, st.integers(0, 3).map(float), min_size=2, max_size=8)


def test_the_formula_gives_the_textbooks_values() -> None:
    """Equals expect a half; 400 points are odds of ten to one; the two expectations make one."""
    assert elo.expected_score(1500, 1500) == 0.5
    assert elo.expected_score(1900, 1500) == pytest.approx(10 / 11)
    assert elo.expected_score(1613, 1477) + elo.expected_score(1477, 1613) == pytest.approx(1)


def test_two_of_a_kind() -> None:
    """Between equals the winner takes half of K; a draw moves nobody; the weaker one gains by a draw."""
    equals = {"a": 1500.0, "b": 1500.0}
    assert elo.gains(equals, {"a": 1.0, "b": 0.0}) == {"a": 16.0, "b": -16.0}
    assert elo.gains(equals, {"a": 3.0, "b": 3.0}) == {"a": 0.0, "b": 0.0}
    gained = elo.gains({"a": 1900.0, "b": 1500.0}, {"a": 1.0, "b": 1.0})
    assert gained["b"] == pytest.approx(32 * (10 / 11 - 0.5), abs=1e-6)


def test_k_is_shared_over_the_opponents() -> None:
    """The best of four equals gains as much as the better of two; the others gain or lose by their places."""
    gained = elo.gains(dict.fromkeys("abcd", 1500.0), {"a": 3.0, "b": 2.0, "c": 1.0, "d": 0.0})
    assert gained["a"] == pytest.approx(16, abs=1e-5)
    assert gained["d"] == -gained["a"]
    assert gained["b"] == -gained["c"] == pytest.approx(16 / 3, abs=1e-5)


@given(RESULTS, st.randoms(use_true_random=False))
def test_a_match_is_fair(scores: dict[str, float], shuffle: random.Random) -> None:
    """Whatever the ratings: the sum stays exactly, nobody moves by more than K, the order of the agents is nothing."""
    ratings = {agent: 1500 + shuffle.randrange(-(2**30), 2**30) / 2**20 for agent in scores}
    gained = elo.gains(ratings, scores)
    shuffled = list(scores.items())
    shuffle.shuffle(shuffled)

    assert sum(gained.values()) == 0
    assert sum(ratings[agent] + gained[agent] for agent in scores) == sum(ratings.values())
    assert all(abs(gain) <= elo.K for gain in gained.values())
    assert elo.gains(ratings, dict(shuffled)) == gained


@given(RESULTS)
def test_more_points_never_gain_less(scores: dict[str, float]) -> None:
    """Among equals who scored more gains more, and who scored the same gains the same."""
    gained = elo.gains(dict.fromkeys(scores, 1500.0), scores)
    for one, other in permutations(scores, 2):
        assert (scores[one] > scores[other]) == (gained[one] > gained[other])


@given(RESULTS)
def test_each_agent_has_won_lost_or_drawn(scores: dict[str, float]) -> None:
    """One of the three, once; there is a winner exactly when nobody drew."""
    tallies = {agent: elo.tally(agent, scores) for agent in scores}
    wins, losses, draws = (sum(tally[kind] for tally in tallies.values()) for kind in range(3))

    assert all(sum(tally) == 1 for tally in tallies.values())
    assert (wins, draws == 0) == ((1, True) if elo.winner_of(scores) else (0, False))
    assert wins + losses + draws == len(scores)


@pytest.mark.parametrize(
    ("told", "scores"),
    [
        ({"scores": {"b": 1, "a": 2.5}}, {"a": 2.5, "b": 1.0}),
        ({"scores": {"b": -0.0, "a": 0}}, {"a": 0.0, "b": 0.0}),
        ({"ranking": ["c", ["b", "a"], "d"]}, {"a": 1.0, "b": 1.0, "c": 2.0, "d": 0.0}),
        ({"participants": ("b", "a"), "winner": "b"}, {"a": 0.0, "b": 1.0}),
        ({"participants": ["b", "a"]}, {"a": 0.0, "b": 0.0}),
    ],
)
def test_a_result_is_told_in_three_ways(told: dict[str, Any], scores: dict[str, float]) -> None:
    """Each becomes scores, by name."""
    ways = {"scores": None, "ranking": None, "participants": None, "winner": None, **told}
    found = elo.scores_of("test", **ways)
    assert (repr(found), list(found)) == (repr(scores), sorted(scores))


@pytest.mark.parametrize(
    ("told", "field"),
    [
        ({}, "scores"),
        ({"scores": {"a": 1, "b": 2}, "ranking": ["a", "b"]}, "scores"),
        ({"scores": {"a": 1, "b": 2}, "winner": "a"}, "winner"),
        ({"participants": ["a", "b"], "winner": "c"}, "winner"),
        ({"scores": ["a", "b"]}, "scores"),
        ({"ranking": "ab"}, "ranking"),
        ({"participants": {"a", "b"}}, "participants"),
        ({"scores": {}}, "agents"),
        ({"scores": {"a": 1}}, "agents"),
        ({"ranking": [str(number) for number in range(101)]}, "agents"),
        ({"ranking": ["a", ["b", "a"]]}, "agents"),
        ({"ranking": ["a", ["b", ["c"]]]}, "agent"),
        ({"ranking": ["a", None]}, "agent"),
        ({"scores": {"a": float("nan"), "b": 1}}, "scores"),
        ({"scores": {"a": True, "b": 1}}, "scores"),
        ({"scores": {"a": 10**400, "b": 1}}, "scores"),
        ({"scores": {"": 1, "b": 1}}, "agent"),
        ({"scores": {"a\0": 1, "b": 1}}, "agent"),
        ({"scores": {7: 1, "b": 1}}, "agent"),
    ],
)
def test_what_is_no_result_is_refused(told: dict[str, Any], field: str) -> None:
    """The error names the field."""
    ways = {"scores": None, "ranking": None, "participants": None, "winner": None, **told}
    with pytest.raises(InvalidValueError) as refused:
        elo.scores_of("test", **ways)
    assert refused.value.target == field


def test_a_calibration_counts_in_tenths() -> None:
    """Who is sure to the full is in the last tenth; empty tenths are left out."""
    found = calibrate("a", "", [(0.0, 0, 2), (0.75, 1, 3), (0.75, 0, 1), (1.0, 1, 1)])

    assert (found.predictions, found.correct) == (7, 4)
    assert found.brier_score == pytest.approx((3 * 0.25**2 + 0.75**2) / 7)
    assert found.mean_confidence == pytest.approx(4 / 7)
    assert found.buckets == (
        CalibrationBucket(0.0, 0.1, 2, 0, 0.0),
        CalibrationBucket(0.7, 0.8, 4, 3, 0.75),
        CalibrationBucket(0.9, 1.0, 1, 1, 1.0),
    )


def test_without_predictions_there_are_no_means() -> None:
    """And no division by zero."""
    found = calibrate("a", "d", [])
    assert (found.predictions, found.brier_score, found.mean_confidence, found.buckets) == (0, None, None, ())


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1), st.integers(1, 5)), min_size=1, max_size=20))
def test_a_brier_score_is_between_right_and_wrong(counted: list[tuple[float, int, int]]) -> None:
    """From 0 to 1, and the tenths hold every prediction once."""
    found = calibrate("a", "", counted)

    assert found.brier_score is not None
    assert 0 <= found.brier_score <= 1
    assert sum(bucket.predictions for bucket in found.buckets) == found.predictions
    assert sum(bucket.correct for bucket in found.buckets) == found.correct
    assert all(bucket.low - 1e-9 <= bucket.mean_confidence <= bucket.high + 1e-9 for bucket in found.buckets)
