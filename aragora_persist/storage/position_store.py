"""Positions that agents take in debates: what came of them, and when an agent changed its mind.

Leaves out: finding out that two claims contradict each other, which whoever records a flip has done.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from aragora_persist.errors import ConflictError, InvalidValueError, NotFoundError
from aragora_persist.storage import checks
from aragora_persist.storage.pages import LARGEST_PAGE, Page, from_cursor, page_limit, to_page, walk
from aragora_persist.storage.positions import (
    FLIP_COLUMNS,
    FLIP_KINDS,
    OUTCOMES,
    POSITION_COLUMNS,
    Flip,
    Position,
    PositionStats,
    to_flip,
    to_position,
)
from aragora_persist.storage.store import Store
from aragora_persist.times import to_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aragora_persist.storage.port import Reader, Row, Transaction

_ONE = f"SELECT {POSITION_COLUMNS} FROM positions WHERE id = ?"  # noqa: S608 - constants of this package
_ADD = f"INSERT INTO positions ({POSITION_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - as above
_BY_AGENT = f"""
    SELECT {POSITION_COLUMNS} FROM positions
    WHERE agent_name = ? AND (created_at, id) < (?, ?) AND (outcome = ? OR ? = '')
    ORDER BY created_at DESC, id DESC LIMIT ?
"""  # noqa: S608 - as above
_BY_DEBATE = f"""
    SELECT {POSITION_COLUMNS} FROM positions WHERE debate_id = ? AND (round_num, created_at, id) > (?, ?, ?)
    ORDER BY round_num, created_at, id LIMIT ?
"""  # noqa: S608 - as above
_FLIP_FROM = f"SELECT {FLIP_COLUMNS} FROM flips WHERE from_position_id = ?"  # noqa: S608 - as above
_ADD_FLIP = f"INSERT INTO flips ({FLIP_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - as above
_FLIPS = f"""
    SELECT {FLIP_COLUMNS} FROM flips WHERE agent_name = ? AND (detected_at, id) < (?, ?)
    ORDER BY detected_at DESC, id DESC LIMIT ?
"""  # noqa: S608 - as above
_COUNTS = """
    SELECT outcome, COUNT(*), SUM(reversed), SUM(confidence) FROM positions
    WHERE agent_name = ? AND (domain = ? OR ? = '') GROUP BY outcome
"""
_AFTER_ALL_TIMES = "Z"
_RESOLUTIONS = OUTCOMES[1:]
_DECIDED = frozenset(("correct", "incorrect"))


class PositionStore(Store):
    """The positions of one database. ``db_path`` None is ``aragora_positions.db`` under ``NOMIC_DIR``.

    Methods that write take a transaction of the same database as ``tx``; without one, each is its own.
    """

    database_name = "positions"

    def record(
        self,
        agent_name: str,
        claim: str,
        confidence: float,
        debate_id: str,
        *,
        round_num: int = 0,
        domain: str = "",
        position_id: str | None = None,
        tx: Transaction | None = None,
    ) -> Position:
        """Record a position, still ``pending``, and return it.

        Who may have to repeat a call gives the position its ``position_id``: recording it again changes nothing.

        Raises:
            ConflictError: there is another position with this id.
            InvalidValueError: a value breaks a rule.

        """
        operation = "position.record"
        row = (
            checks.new_id() if position_id is None else checks.ident(operation, "position_id", position_id),
            checks.ident(operation, "agent_name", agent_name),
            checks.text(operation, "claim", claim, empty=False),
            checks.number(operation, "confidence", confidence, least=0, most=1) + 0.0,
            checks.ident(operation, "debate_id", debate_id),
            checks.whole(operation, "round_num", round_num, least=0),
            checks.text(operation, "domain", domain, longest=checks.LONGEST_ID),
            *("pending", 0, None, self._now(), None),
        )
        return self._write(operation, partial(_record, row), tx)

    def get(self, position_id: str) -> Position | None:
        """Return the position of this id, or None."""
        checks.ident("position.get", "position_id", position_id)
        row = self._database.read_one("position.get", _ONE, (position_id,), {"position_id": position_id})
        return None if row is None else to_position(row)

    def resolve(self, position_id: str, outcome: str, *, tx: Transaction | None = None) -> Position:
        """Say what came of a position (``correct``, ``incorrect``, ``unresolved``); saying it again changes nothing.

        ``unresolved`` can be decided later; ``correct`` and ``incorrect`` are final.

        Raises:
            NotFoundError: there is no such position.
            ConflictError: it was decided otherwise.
            InvalidValueError: the outcome is none of these.

        """
        operation = "position.resolve"
        checks.ident(operation, "position_id", position_id)
        checks.choice(operation, "outcome", outcome, _RESOLUTIONS)
        return self._write(operation, partial(_resolve, position_id, outcome, self._now()), tx)

    def reverse(
        self,
        position_id: str,
        new_position_id: str,
        *,
        kind: str = "contradiction",
        similarity: float = 0.0,
        tx: Transaction | None = None,
    ) -> Flip:
        """Note that an agent gave up a position for another one of its own, and return the flip.

        A position is given up once: noting the same flip again changes nothing.

        Raises:
            NotFoundError: there is no such position, or no such new one.
            ConflictError: the position was given up before, for another one or in another way.
            InvalidValueError: the two are of different agents or the same, or a value breaks a rule.

        """
        operation = "position.reverse"
        checks.ident(operation, "position_id", position_id)
        checks.ident(operation, "new_position_id", new_position_id)
        if position_id == new_position_id:
            raise InvalidValueError(operation, "new_position_id", "is the position itself")
        checks.choice(operation, "kind", kind, FLIP_KINDS)
        degree = checks.number(operation, "similarity", similarity, least=0, most=1) + 0.0
        link = (position_id, new_position_id, kind, degree)
        return self._write(operation, partial(_reverse, checks.new_id(), link, self._now()), tx)

    def list_by_agent(
        self, agent_name: str, *, outcome: str | None = None, limit: int = 100, after: str | None = None
    ) -> Page[Position]:
        """Return the positions of an agent, all or those of one outcome, the last recorded first."""
        operation = "position.list_by_agent"
        checks.ident(operation, "agent_name", agent_name)
        wanted = "" if outcome is None else checks.choice(operation, "outcome", outcome, OUTCOMES)
        page_limit(operation, limit)
        start = (_AFTER_ALL_TIMES, "") if after is None else from_cursor(operation, after, str, str)
        with self._database.read(operation) as view:
            rows = view.all(_BY_AGENT, (agent_name, *start, wanted, wanted, limit + 1))
        return to_page([to_position(row) for row in rows], limit, lambda one: (to_text(one.created_at), one.id))

    def iter_by_agent(self, agent_name: str, *, outcome: str | None = None) -> Iterator[Position]:
        """Yield what ``list_by_agent`` lists, in bounded memory."""
        return walk(lambda after: self.list_by_agent(agent_name, outcome=outcome, limit=LARGEST_PAGE, after=after))

    def list_by_debate(self, debate_id: str, *, limit: int = 100, after: str | None = None) -> Page[Position]:
        """Return the positions taken in a debate, round by round, the first recorded first."""
        operation = "position.list_by_debate"
        checks.ident(operation, "debate_id", debate_id)
        page_limit(operation, limit)
        start = (-1, "", "") if after is None else from_cursor(operation, after, int, str, str)
        with self._database.read(operation, {"debate_id": debate_id}) as view:
            positions = [to_position(row) for row in view.all(_BY_DEBATE, (debate_id, *start, limit + 1))]
        return to_page(positions, limit, lambda one: (one.round_num, to_text(one.created_at), one.id))

    def iter_by_debate(self, debate_id: str) -> Iterator[Position]:
        """Yield what ``list_by_debate`` lists, in bounded memory."""
        return walk(lambda after: self.list_by_debate(debate_id, limit=LARGEST_PAGE, after=after))

    def list_flips(self, agent_name: str, *, limit: int = 100, after: str | None = None) -> Page[Flip]:
        """Return the flips of an agent, the last noted first."""
        operation = "position.list_flips"
        checks.ident(operation, "agent_name", agent_name)
        page_limit(operation, limit)
        start = (_AFTER_ALL_TIMES, "") if after is None else from_cursor(operation, after, str, str)
        with self._database.read(operation) as view:
            flips = [to_flip(row) for row in view.all(_FLIPS, (agent_name, *start, limit + 1))]
        return to_page(flips, limit, lambda flip: (to_text(flip.detected_at), flip.id))

    def iter_flips(self, agent_name: str) -> Iterator[Flip]:
        """Yield what ``list_flips`` lists, in bounded memory."""
        return walk(lambda after: self.list_flips(agent_name, limit=LARGEST_PAGE, after=after))

    def stats(self, agent_name: str, domain: str = "") -> PositionStats:
        """Return the positions of an agent in a domain ('' is all domains), counted."""
        operation = "position.stats"
        checks.ident(operation, "agent_name", agent_name)
        checks.text(operation, "domain", domain, longest=checks.LONGEST_ID)
        with self._database.read(operation, {"domain": domain}) as view:
            rows = cast("list[tuple[str, int, int, float]]", view.all(_COUNTS, (agent_name, domain, domain)))
        counts = dict.fromkeys(OUTCOMES, 0) | {outcome: int(count) for outcome, count, _, _ in rows}
        total = sum(counts.values())
        return PositionStats(
            agent_name,
            domain,
            total,
            counts["pending"],
            counts["correct"],
            counts["incorrect"],
            counts["unresolved"],
            sum(int(flipped) for _, _, flipped, _ in rows),
            sum(confidence for _, _, _, confidence in rows) / total if total else None,
        )


def _existing(view: Reader, operation: str, position_id: str) -> Position:
    row = view.one(_ONE, (position_id,))
    if row is None:
        raise NotFoundError(operation, position_id, "there is no such position")
    return to_position(row)


def _record(row: Row, tx: Transaction) -> Position:
    stored = tx.one(_ONE, row[:1])
    if stored is None:
        tx.execute(_ADD, row)
        stored = row
    if stored[1:7] != row[1:7]:
        raise ConflictError("position.record", row[0], "is another position", hint="give the new one an id of its own")
    return to_position(stored)


def _resolve(position_id: str, outcome: str, now: str, tx: Transaction) -> Position:
    position = _existing(tx, "position.resolve", position_id)
    if position.outcome == outcome:
        return position
    if position.outcome in _DECIDED:
        raise ConflictError("position.resolve", position_id, f"was decided: {position.outcome}")
    tx.execute("UPDATE positions SET outcome = ?, resolved_at = ? WHERE id = ?", (outcome, now, position_id))
    return _existing(tx, "position.resolve", position_id)


def _reverse(flip_id: str, link: tuple[str, str, str, float], now: str, tx: Transaction) -> Flip:
    operation, (old_id, new_id, *_) = "position.reverse", link
    old, new = _existing(tx, operation, old_id), _existing(tx, operation, new_id)
    if old.agent_name != new.agent_name:
        raise InvalidValueError(operation, "new_position_id", "is a position of another agent")
    stored = tx.one(_FLIP_FROM, (old_id,))
    if stored is None:
        stored = (flip_id, old.agent_name, *link, now)
        tx.execute(_ADD_FLIP, stored)
        tx.execute("UPDATE positions SET reversed = 1, reversal_debate_id = ? WHERE id = ?", (new.debate_id, old_id))
    if stored[2:6] != link:
        raise ConflictError(operation, old_id, "was given up before, for another position or in another way")
    return to_flip(stored)
