"""How well an agent's confidence matches how often it is right. Pure: no database.

The Brier score (Glenn W. Brier, 1950) is the mean of ``(confidence - outcome) ** 2`` with 1 for right and 0 for wrong:
0 is perfect, 0.25 is what always saying "half" gets. Leaves out: keeping the predictions (``elo_store``).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

BUCKETS = 10


@dataclass(frozen=True, slots=True)
class Prediction:
    """How sure an agent was in a debate, and whether it was right."""

    debate_id: str
    agent_name: str
    domain: str
    confidence: float
    correct: bool
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class CalibrationBucket:
    """The predictions whose confidence is at least ``low`` and below ``high`` (at most, in the last one)."""

    low: float
    high: float
    predictions: int
    correct: int
    mean_confidence: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """All predictions of an agent in a domain ('' is all domains); the means are None while there is none."""

    agent_name: str
    domain: str
    predictions: int
    correct: int
    brier_score: float | None
    mean_confidence: float | None
    buckets: tuple[CalibrationBucket, ...]
    """Those that hold a prediction, from the least sure on."""


Counted = tuple[float, int, int]
"""A confidence, whether it was right (0 or 1), and how often."""


def calibrate(agent_name: str, domain: str, counted: Sequence[Counted]) -> Calibration:
    """Return the calibration of these predictions."""
    total, correct = _count(counted)
    return Calibration(
        agent_name,
        domain,
        total,
        correct,
        fsum(times * (sure - right) ** 2 for sure, right, times in counted) / total if total else None,
        _mean_confidence(counted, total) if total else None,
        tuple(
            _bucket(number, inside)
            for number in range(BUCKETS)
            if (inside := [one for one in counted if min(int(one[0] * BUCKETS), BUCKETS - 1) == number])
        ),
    )


def _bucket(number: int, inside: Sequence[Counted]) -> CalibrationBucket:
    total, correct = _count(inside)
    mean = _mean_confidence(inside, total)
    return CalibrationBucket(number / BUCKETS, (number + 1) / BUCKETS, total, correct, mean)


def _count(counted: Sequence[Counted]) -> tuple[int, int]:
    return sum(times for _, _, times in counted), sum(right * times for _, right, times in counted)


def _mean_confidence(counted: Sequence[Counted], total: int) -> float:
    return fsum(sure * times for sure, _, times in counted) / total
