"""How matches change ratings. Pure: no database, no clock.

The rule is Arpad Elo's (The Rating of Chessplayers, Past and Present, 1978): who meets an opponent is expected to score
``1 / (1 + 10 ** ((opponent - own) / 400))`` and gains K times what was scored beyond that. A match of N agents counts
as one meeting of every two of them, each with ``K / (N - 1)``, so that one match moves nobody by more than K. What one
gains in a meeting the other loses. Leaves out: keeping the ratings (``elo_store``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import TYPE_CHECKING

from aragora_persist.errors import InvalidValueError
from aragora_persist.storage import checks

if TYPE_CHECKING:
    from collections.abc import Sequence

K = 32.0
START = 1500.0
FEWEST_AGENTS = 2
MOST_AGENTS = 100

# Every gain is a multiple of this (a millionth of a point), so that sums of ratings are exact: their total never
# drifts, and the order in which gains are added up makes no difference.
_STEP = 2.0**-20


def expected_score(own: float, opponent: float) -> float:
    """Return what one is expected to score against this opponent, from 0 to 1."""
    return 1 / (1 + 10 ** ((opponent - own) / 400))


def gains(ratings: Mapping[str, float], scores: Mapping[str, float]) -> dict[str, float]:
    """Return what each agent of ``scores`` gains in a match; the sum is exactly zero, the order makes no difference."""
    gained = dict.fromkeys(scores, 0.0)
    share = K / (len(scores) - 1)
    for one, other in combinations(sorted(scores), 2):
        scored = (1 + (scores[one] > scores[other]) - (scores[one] < scores[other])) / 2
        gain = round(share * (scored - expected_score(ratings[one], ratings[other])) / _STEP) * _STEP
        gained[one] += gain
        gained[other] -= gain
    return gained


def meetings(scores: Mapping[str, float]) -> Iterator[tuple[str, str, int, int, int]]:
    """Yield every two agents of a match by name, with the first one's win, loss and draw, of which one is 1."""
    for one, other in combinations(sorted(scores), 2):
        won, lost = scores[one] > scores[other], scores[one] < scores[other]
        yield one, other, int(won), int(lost), int(not (won or lost))


def winner_of(scores: Mapping[str, float]) -> str | None:
    """Return who scored more than everybody else; None when several are at the top."""
    best = max(scores.values())
    at_the_top = [agent for agent, score in scores.items() if score == best]
    return at_the_top[0] if len(at_the_top) == 1 else None


def tally(agent: str, scores: Mapping[str, float]) -> tuple[int, int, int]:
    """Return how a match counts for one of its agents: wins, losses, draws.

    It counts once: won by who is alone at the top, drawn by those who share it, lost by all others.
    """
    if winner_of(scores) == agent:
        return 1, 0, 0
    return (0, 0, 1) if scores[agent] == max(scores.values()) else (0, 1, 0)


def scores_of(
    operation: str,
    scores: Mapping[str, float] | None,
    ranking: Sequence[str | Sequence[str]] | None,
    participants: Sequence[str] | None,
    winner: str | None,
) -> dict[str, float]:
    """Return the one form of a result, whichever way it was told, in the order of the agents' names.

    Raises:
        InvalidValueError: it was told in none or several of the ways, or a part of it breaks a rule.

    """
    if sum(way is not None for way in (scores, ranking, participants)) != 1:
        raise InvalidValueError(operation, "scores", "is not the only one of scores, ranking and participants")
    if winner is not None and participants is None:
        raise InvalidValueError(operation, "winner", "is given without participants")
    if scores is not None:
        pairs = _from_scores(operation, scores)
    elif ranking is not None:
        pairs = _from_ranking(operation, ranking)
    else:
        pairs = _from_winner(operation, participants, winner)
    return _checked(operation, pairs)


def _from_scores(operation: str, scores: object) -> list[tuple[object, float]]:
    if not isinstance(scores, Mapping):
        raise InvalidValueError(operation, "scores", f"is a {type(scores).__name__}, not a dict")
    # -0.0 and 0.0 are one score, and must be one text.
    return [(agent, checks.number(operation, "scores", score) + 0.0) for agent, score in scores.items()]


def _from_ranking(operation: str, ranking: object) -> list[tuple[object, float]]:
    places = _listed(operation, "ranking", ranking)
    tied = [place if isinstance(place, list | tuple) else [place] for place in places]
    return [(agent, float(len(tied) - 1 - place)) for place, agents in enumerate(tied) for agent in agents]


def _from_winner(operation: str, participants: object, winner: str | None) -> list[tuple[object, float]]:
    agents = _listed(operation, "participants", participants)
    if winner is not None and winner not in agents:
        raise InvalidValueError(operation, "winner", "is not one of the participants")
    return [(agent, float(agent == winner)) for agent in agents]


def _listed(operation: str, field: str, value: object) -> Sequence[object]:
    if not isinstance(value, list | tuple):
        raise InvalidValueError(operation, field, f"is a {type(value).__name__}, not a list")
    return value


def _checked(operation: str, pairs: list[tuple[object, float]]) -> dict[str, float]:
    if not FEWEST_AGENTS <= len(pairs) <= MOST_AGENTS:
        raise InvalidValueError(operation, "agents", f"are {len(pairs)}, not from {FEWEST_AGENTS} to {MOST_AGENTS}")
    result = dict(sorted((checks.ident(operation, "agent", agent), score) for agent, score in pairs))
    if len(result) < len(pairs):
        raise InvalidValueError(operation, "agents", "name one of them twice")
    return result
