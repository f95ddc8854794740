"""How a match is recorded: once, with all the changes of ratings that it makes, inside the caller's transaction.

Leaves out: the rule by which ratings change (``formula``), and what is asked of ratings (``elo_store``).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple, cast

from aragora_persist.errors import ConflictError
from aragora_persist.storage.elo import formula as elo
from aragora_persist.storage.elo.records import (
    CHANGE_COLUMNS,
    MATCH_COLUMNS,
    RATING_COLUMNS,
    MatchResult,
    to_change,
    to_match,
)
from aragora_persist.times import to_text

if TYPE_CHECKING:
    from aragora_persist.storage.port import Reader, Transaction

_MATCH = f"SELECT {MATCH_COLUMNS} FROM matches WHERE debate_id = ?"  # noqa: S608 - constants of this package
_CHANGES = f"""
    SELECT {CHANGE_COLUMNS} FROM elo_history WHERE debate_id = ? ORDER BY domain, agent_name
"""  # noqa: S608 - as above
_RATED = "SELECT rating FROM ratings WHERE agent_name = ? AND domain = ?"
_RATE = f"""
    INSERT INTO ratings ({RATING_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (agent_name, domain) DO UPDATE SET
        rating = excluded.rating, wins = ratings.wins + excluded.wins, losses = ratings.losses + excluded.losses,
        draws = ratings.draws + excluded.draws, updated_at = excluded.updated_at
"""  # noqa: S608 - as above
_ADD_MATCH = f"INSERT INTO matches ({MATCH_COLUMNS}) VALUES (?, ?, ?, ?, ?)"  # noqa: S608 - as above
_ADD_CHANGE = f"INSERT INTO elo_history ({CHANGE_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608 - as above
_MEET = """
    INSERT INTO meetings (agent_name, opponent, domain, wins, losses, draws, last_played_at)
    VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (agent_name, opponent, domain) DO UPDATE SET
        wins = meetings.wins + excluded.wins, losses = meetings.losses + excluded.losses,
        draws = meetings.draws + excluded.draws, last_played_at = CASE
            WHEN excluded.last_played_at > meetings.last_played_at THEN excluded.last_played_at
            ELSE meetings.last_played_at END
"""


class NewMatch(NamedTuple):
    """A match as it was told; ``played_at`` None is now."""

    debate_id: str
    domain: str
    scores: dict[str, float]
    played_at: str | None
    now: str


def record(new: NewMatch, tx: Transaction) -> MatchResult:
    """Record a match and return what it changed; one that stands there as it is told again changes nothing.

    Raises:
        ConflictError: this debate was recorded with another result.

    """
    stored = find_match(tx, new.debate_id)
    if stored is not None:
        return _same(stored, new)
    scores = json.dumps(new.scores, ensure_ascii=False)
    played_at = new.played_at or new.now
    tx.execute(_ADD_MATCH, (new.debate_id, new.domain, elo.winner_of(new.scores), scores, played_at))
    for domain in dict.fromkeys(("", new.domain)):
        _rate(tx, new, domain)
        met = elo.meetings(new.scores)
        tx.execute_many(_MEET, [(one, other, domain, *counts, played_at) for one, other, *counts in met])
    recorded = find_match(tx, new.debate_id)
    assert recorded is not None  # noqa: S101 - it was written two statements ago
    return recorded


def _same(stored: MatchResult, new: NewMatch) -> MatchResult:
    match = stored.match
    same = (match.scores, match.domain) == (new.scores, new.domain)
    if same and new.played_at in (None, to_text(match.played_at)):
        return stored
    raise ConflictError(
        "elo.record_match", new.debate_id, "was recorded with another result", hint="a debate counts once"
    )


def _rate(tx: Transaction, new: NewMatch, domain: str) -> None:
    """Change the ratings of one domain."""
    before = dict.fromkeys(new.scores, elo.START)
    for agent in new.scores:
        row = tx.one(_RATED, (agent, domain))
        if row is not None:
            before[agent] = cast("float", row[0])
    after = {agent: before[agent] + gain for agent, gain in elo.gains(before, new.scores).items()}
    tx.execute_many(
        _RATE, [(agent, domain, after[agent], *elo.tally(agent, new.scores), new.now) for agent in new.scores]
    )
    tx.execute_many(
        _ADD_CHANGE,
        [(new.debate_id, agent, domain, before[agent], after[agent], new.now) for agent in new.scores],
    )


def find_match(view: Reader, debate_id: str) -> MatchResult | None:
    """Return a match and what it changed, or None."""
    row = view.one(_MATCH, (debate_id,))
    if row is None:
        return None
    return MatchResult(to_match(row), tuple(to_change(change) for change in view.all(_CHANGES, (debate_id,))))
