"""The records of positions and flips, and what their rows hold. Pure: no database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from aragora_persist.storage.rows import stored_time, stored_time_or_none

if TYPE_CHECKING:
    from datetime import datetime

    from aragora_persist.storage.port import Row

OUTCOMES = ("pending", "correct", "incorrect", "unresolved")
FLIP_KINDS = ("contradiction", "retraction", "qualification", "refinement")

POSITION_COLUMNS = (
    "id, agent_name, claim, confidence, debate_id, round_num, domain, outcome, reversed, reversal_debate_id, "
    "created_at, resolved_at"
)
FLIP_COLUMNS = "id, agent_name, from_position_id, to_position_id, kind, similarity, detected_at"


@dataclass(frozen=True, slots=True)
class Position:
    """What an agent claimed in a debate, how sure it was, and what came of it. Times are aware UTC."""

    id: str
    agent_name: str
    claim: str
    confidence: float
    debate_id: str
    round_num: int
    domain: str
    outcome: str
    """One of ``OUTCOMES``."""
    reversed: bool
    reversal_debate_id: str | None
    """The debate in which the agent took the opposite position."""
    created_at: datetime
    resolved_at: datetime | None


@dataclass(frozen=True, slots=True)
class Flip:
    """One change of mind: the position that an agent gave up, and the one that it took instead."""

    id: str
    agent_name: str
    from_position_id: str
    to_position_id: str
    kind: str
    """One of ``FLIP_KINDS``."""
    similarity: float
    """How much the two claims speak of the same thing, from 0 to 1, as whoever found the flip judged."""
    detected_at: datetime


@dataclass(frozen=True, slots=True)
class PositionStats:
    """All positions of an agent in a domain ('' is all domains), counted. A mean of nothing is None."""

    agent_name: str
    domain: str
    positions: int
    pending: int
    correct: int
    incorrect: int
    unresolved: int
    reversed: int
    mean_confidence: float | None

    def accuracy(self) -> float | None:
        """Return which share of the decided positions was correct."""
        decided = self.correct + self.incorrect
        return self.correct / decided if decided else None

    def reversal_rate(self) -> float | None:
        """Return which share of all positions was given up."""
        return self.reversed / self.positions if self.positions else None


def to_position(row: Row) -> Position:
    """Return the record of a row of ``POSITION_COLUMNS``."""
    ident, agent, claim, sure, debate, number, domain, outcome, flipped, reversal, created, resolved = cast(
        "tuple[str, str, str, float, str, int, str, str, int, str | None, str, str | None]", row
    )
    record = f"position {ident}"
    return Position(
        ident,
        agent,
        claim,
        sure,
        debate,
        number,
        domain,
        outcome,
        bool(flipped),
        reversal,
        stored_time(created, record, "created_at"),
        stored_time_or_none(resolved, record, "resolved_at"),
    )


def to_flip(row: Row) -> Flip:
    """Return the record of a row of ``FLIP_COLUMNS``."""
    ident, agent, old, new, kind, similarity, detected = cast("tuple[str, str, str, str, str, float, str]", row)
    return Flip(ident, agent, old, new, kind, similarity, stored_time(detected, f"flip {ident}", "detected_at"))
