"""Ratings of agents, over all domains and in each: matches change them, everything else reads them.

A match counts once, however often it is told. Leaves out: the rule by which ratings change (``elo.formula``).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from aragora_persist.errors import InvalidValueError
from aragora_persist.storage import checks
from aragora_persist.storage.elo import formula as elo
from aragora_persist.storage.elo.matches import NewMatch, find_match, record
from aragora_persist.storage.elo.predictions import calibration_of, predict
from aragora_persist.storage.elo.records import (
    CHANGE_COLUMNS,
    MATCH_COLUMNS,
    RATING_COLUMNS,
    AgentStats,
    HeadToHead,
    Match,
    MatchResult,
    Rating,
    RatingChange,
    to_change,
    to_head_to_head,
    to_match,
    to_rating,
)
from aragora_persist.storage.pages import LARGEST_PAGE, Page, from_cursor, page_limit, to_page, walk
from aragora_persist.storage.rows import stored_time_or_none
from aragora_persist.storage.store import Store
from aragora_persist.times import to_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from aragora_persist.storage.elo.calibration import Calibration, Prediction
    from aragora_persist.storage.port import Transaction

_RATING = f"SELECT {RATING_COLUMNS} FROM ratings WHERE agent_name = ? AND domain = ?"  # noqa: S608 - constants of this package
_RATINGS = f"SELECT {RATING_COLUMNS} FROM ratings WHERE agent_name = ? ORDER BY domain"  # noqa: S608 - as above
_MATCHES = f"""
    SELECT {MATCH_COLUMNS} FROM matches WHERE (played_at, debate_id) < (?, ?)
    ORDER BY played_at DESC, debate_id DESC LIMIT ?
"""  # noqa: S608 - as above
_HISTORY = f"""
    SELECT id, {CHANGE_COLUMNS} FROM elo_history WHERE agent_name = ? AND domain = ? AND id < ?
    ORDER BY id DESC LIMIT ?
"""  # noqa: S608 - as above
_BOARD = f"""
    SELECT {RATING_COLUMNS} FROM ratings
    WHERE domain = ? AND wins + losses + draws >= ? AND rating <= ? AND (rating < ? OR agent_name > ?)
    ORDER BY rating DESC, agent_name LIMIT ?
"""  # noqa: S608 - as above
_MET = """
    SELECT wins, losses, draws, last_played_at FROM meetings WHERE agent_name = ? AND opponent = ? AND domain = ?
"""
_SPAN = """
    SELECT MAX(rating_after), MIN(rating_after), MAX(matches.played_at) FROM elo_history
    JOIN matches ON matches.debate_id = elo_history.debate_id
    WHERE elo_history.agent_name = ? AND elo_history.domain = ''
"""
_BEYOND_ALL = 2**63 - 1
_AFTER_ALL_TIMES = "Z"
_HIGHER_THAN_ALL = 1e308


class EloStore(Store):
    """The ratings of one database. ``db_path`` None is ``aragora_elo.db`` under ``NOMIC_DIR``.

    A domain is a text; '' as a question is "over all domains". Methods that write take a transaction of the same
    database as ``tx``; without one, each is its own.
    """

    database_name = "elo"

    def record_match(
        self,
        debate_id: str,
        *,
        scores: Mapping[str, float] | None = None,
        ranking: Sequence[str | Sequence[str]] | None = None,
        participants: Sequence[str] | None = None,
        winner: str | None = None,
        domain: str = "",
        played_at: datetime | None = None,
        tx: Transaction | None = None,
    ) -> MatchResult:
        """Count a debate for its agents, over all domains and in its own, and return what it changed.

        The result is told in one of three ways: ``scores`` (who scored more, beats), ``ranking`` (best first; a list
        within it is a tie), or ``participants`` with their ``winner`` (who beats all others, which drew among
        themselves; None: all drew). Telling a match again changes nothing and returns the same.

        Raises:
            ConflictError: this debate was recorded with other scores, another domain or another time.
            InvalidValueError: a value breaks a rule.

        """
        operation = "elo.record_match"
        now = self._now()
        new = NewMatch(
            checks.ident(operation, "debate_id", debate_id),
            checks.text(operation, "domain", domain, longest=checks.LONGEST_ID),
            elo.scores_of(operation, scores, ranking, participants, winner),
            None if played_at is None else checks.moment(operation, "played_at", played_at),
            now,
        )
        return self._write(operation, partial(record, new), tx)

    def get_match(self, debate_id: str) -> MatchResult | None:
        """Return a match and what it changed, or None."""
        checks.ident("elo.get_match", "debate_id", debate_id)
        with self._database.read("elo.get_match", {"debate_id": debate_id}) as view:
            return find_match(view, debate_id)

    def list_matches(self, *, limit: int = 100, after: str | None = None) -> Page[Match]:
        """Return matches, the last played first."""
        page_limit("elo.list_matches", limit)
        start = (_AFTER_ALL_TIMES, "") if after is None else from_cursor("elo.list_matches", after, str, str)
        with self._database.read("elo.list_matches") as view:
            matches = [to_match(row) for row in view.all(_MATCHES, (*start, limit + 1))]
        return to_page(matches, limit, lambda match: (to_text(match.played_at), match.debate_id))

    def iter_matches(self) -> Iterator[Match]:
        """Yield what ``list_matches`` lists, in bounded memory."""
        return walk(lambda after: self.list_matches(limit=LARGEST_PAGE, after=after))

    def get_rating(self, agent_name: str, domain: str = "") -> Rating | None:
        """Return where an agent stands, or None when it has played no match there (it would begin with 1500)."""
        _check_agent("elo.get_rating", agent_name, domain)
        row = self._database.read_one("elo.get_rating", _RATING, (agent_name, domain), {"domain": domain})
        return None if row is None else to_rating(row)

    def list_history(
        self, agent_name: str, domain: str = "", *, limit: int = 100, after: str | None = None
    ) -> Page[RatingChange]:
        """Return how a rating changed, match by match, the last change first."""
        operation = "elo.list_history"
        _check_agent(operation, agent_name, domain)
        page_limit(operation, limit)
        (start,) = (_BEYOND_ALL,) if after is None else from_cursor(operation, after, int)
        with self._database.read(operation, {"domain": domain}) as view:
            rows = view.all(_HISTORY, (agent_name, domain, start, limit + 1))
        page = to_page(rows, limit, lambda row: (cast("int", row[0]),))
        return Page([to_change(row[1:]) for row in page.items], page.next)

    def iter_history(self, agent_name: str, domain: str = "") -> Iterator[RatingChange]:
        """Yield what ``list_history`` lists, in bounded memory."""
        return walk(lambda after: self.list_history(agent_name, domain, limit=LARGEST_PAGE, after=after))

    def leaderboard(
        self, domain: str = "", *, minimum_matches: int = 0, limit: int = 100, after: str | None = None
    ) -> Page[Rating]:
        """Return the ratings of a domain, best first and equal ones by name, of agents with so many matches there."""
        operation = "elo.leaderboard"
        checks.text(operation, "domain", domain, longest=checks.LONGEST_ID)
        checks.whole(operation, "minimum_matches", minimum_matches, least=0)
        page_limit(operation, limit)
        rating, name = (_HIGHER_THAN_ALL, "") if after is None else from_cursor(operation, after, float, str)
        with self._database.read(operation, {"domain": domain}) as view:
            rows = view.all(_BOARD, (domain, minimum_matches, rating, rating, name, limit + 1))
        return to_page([to_rating(row) for row in rows], limit, lambda one: (float(one.rating), one.agent_name))

    def iter_leaderboard(self, domain: str = "", *, minimum_matches: int = 0) -> Iterator[Rating]:
        """Yield what ``leaderboard`` lists, in bounded memory."""
        return walk(
            lambda after: self.leaderboard(domain, minimum_matches=minimum_matches, limit=LARGEST_PAGE, after=after)
        )

    def head_to_head(self, agent_name: str, opponent: str, domain: str = "") -> HeadToHead:
        """Return how an agent did in its matches with another one: in each, who of the two scored more."""
        operation = "elo.head_to_head"
        _check_agent(operation, agent_name, domain)
        checks.ident(operation, "opponent", opponent)
        if agent_name == opponent:
            raise InvalidValueError(operation, "opponent", "is the agent itself")
        row = self._database.read_one(operation, _MET, (*sorted((agent_name, opponent)), domain), {"domain": domain})
        return to_head_to_head(row, agent_name, opponent, domain)

    def record_calibration(
        self,
        debate_id: str,
        agent_name: str,
        confidence: float,
        *,
        correct: bool,
        domain: str = "",
        tx: Transaction | None = None,
    ) -> Prediction:
        """Note how sure an agent was in a debate, from 0 to 1, and whether it was right; again, it changes nothing.

        Raises:
            ConflictError: something else was noted for this agent in this debate.
            InvalidValueError: a value breaks a rule.

        """
        operation = "elo.record_calibration"
        _check_agent(operation, agent_name, domain)
        new = (
            checks.ident(operation, "debate_id", debate_id),
            agent_name,
            domain,
            checks.number(operation, "confidence", confidence, least=0, most=1) + 0.0,
            checks.flag(operation, "correct", correct),
            self._now(),
        )
        return self._write(operation, partial(predict, new), tx)

    def calibration(self, agent_name: str, domain: str = "") -> Calibration:
        """Return how well an agent's confidence matched how often it was right."""
        _check_agent("elo.calibration", agent_name, domain)
        with self._database.read("elo.calibration", {"domain": domain}) as view:
            return calibration_of(view, agent_name, domain)

    def stats(self, agent_name: str) -> AgentStats | None:
        """Return all about an agent in short, or None when there is no match and no prediction of it."""
        checks.ident("elo.stats", "agent_name", agent_name)
        with self._database.read("elo.stats") as view:
            ratings = tuple(to_rating(row) for row in view.all(_RATINGS, (agent_name,)))
            highest, lowest, last = view.one(_SPAN, (agent_name,)) or (None, None, None)
            calibration = calibration_of(view, agent_name, "")
        if not ratings and not calibration.predictions:
            return None
        return AgentStats(
            agent_name,
            ratings,
            cast("float | None", highest),
            cast("float | None", lowest),
            stored_time_or_none(last, f"the last match of {agent_name}", "played_at"),
            calibration.predictions,
            calibration.brier_score,
        )


def _check_agent(operation: str, agent_name: str, domain: str) -> None:
    checks.ident(operation, "agent_name", agent_name)
    checks.text(operation, "domain", domain, longest=checks.LONGEST_ID)
