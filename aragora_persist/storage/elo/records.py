"""The records of ratings and matches, and what their rows hold. Pure: no database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from aragora_persist.storage.rows import stored_object, stored_time

if TYPE_CHECKING:
    from datetime import datetime

    from aragora_persist.storage.port import Row

RATING_COLUMNS = "agent_name, domain, rating, wins, losses, draws, updated_at"
MATCH_COLUMNS = "debate_id, domain, winner, scores, played_at"
CHANGE_COLUMNS = "debate_id, agent_name, domain, rating_before, rating_after, recorded_at"


@dataclass(frozen=True, slots=True)
class Rating:
    """Where an agent stands in a domain; the domain '' is over all domains."""

    agent_name: str
    domain: str
    rating: float
    wins: int
    losses: int
    draws: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Match:
    """One debate that counted; ``winner`` is None when several scored most."""

    debate_id: str
    domain: str
    winner: str | None
    scores: dict[str, float]
    played_at: datetime


@dataclass(frozen=True, slots=True)
class RatingChange:
    """What one match did to one rating."""

    debate_id: str
    agent_name: str
    domain: str
    rating_before: float
    rating_after: float
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class MatchResult:
    """A match, and all that it changed: over all domains first, then in its own, each by agent."""

    match: Match
    changes: tuple[RatingChange, ...]


@dataclass(frozen=True, slots=True)
class HeadToHead:
    """How one agent did in all matches with another one; ``last_played_at`` is None when there was none."""

    agent_name: str
    opponent: str
    domain: str
    wins: int
    losses: int
    draws: int
    last_played_at: datetime | None


@dataclass(frozen=True, slots=True)
class AgentStats:
    """All about one agent in short. What it has none of yet is None."""

    agent_name: str
    ratings: tuple[Rating, ...]
    """Over all domains first, then by domain."""
    highest: float | None
    lowest: float | None
    last_played_at: datetime | None
    predictions: int
    brier_score: float | None


def to_rating(row: Row) -> Rating:
    """Return the record of a row of ``RATING_COLUMNS``."""
    agent, domain, rating, wins, losses, draws, updated_at = cast("tuple[str, str, float, int, int, int, str]", row)
    return Rating(
        agent, domain, rating, wins, losses, draws, stored_time(updated_at, f"rating of {agent}", "updated_at")
    )


def to_match(row: Row) -> Match:
    """Return the record of a row of ``MATCH_COLUMNS``."""
    debate_id, domain, winner, scores, played_at = cast("tuple[str, str, str | None, str, str]", row)
    record = f"match {debate_id}"
    return Match(
        debate_id,
        domain,
        winner,
        stored_object(scores, record, "scores"),
        stored_time(played_at, record, "played_at"),
    )


def to_change(row: Row) -> RatingChange:
    """Return the record of a row of ``CHANGE_COLUMNS``."""
    debate_id, agent, domain, before, after, recorded_at = cast("tuple[str, str, str, float, float, str]", row)
    moment = stored_time(recorded_at, f"change of {agent} in match {debate_id}", "recorded_at")
    return RatingChange(debate_id, agent, domain, before, after, moment)


def to_head_to_head(row: Row | None, agent_name: str, opponent: str, domain: str) -> HeadToHead:
    """Return how an agent did against another one; a row is of the one whose name comes first."""
    if row is None:
        return HeadToHead(agent_name, opponent, domain, 0, 0, 0, None)
    wins, losses, draws = cast("tuple[int, int, int]", row[:3])
    if agent_name > opponent:
        wins, losses = losses, wins
    moment = stored_time(row[3], f"the meetings of {agent_name}", "last_played_at")
    return HeadToHead(agent_name, opponent, domain, wins, losses, draws, moment)
