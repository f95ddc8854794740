"""Marks in long replays: the latest time and the highest round up to each 512th event.

Both only grow from mark to mark, however the events' own go up and down: so the first event that is not before a time
or a round stands behind the last mark that is, and no further than the next one. A replay without marks, or with fewer,
is only sought through for longer. Leaves out: when events are stored (``writing``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from aragora_persist.storage.port import Row, Transaction

EVERY = 512
SEEK_TIME, SEEK_ROUND = (
    f"""
    SELECT position FROM replay_events WHERE trace_id = ? AND {event} >= ? AND position > COALESCE(
        (SELECT MAX(position) FROM replay_marks WHERE trace_id = ? AND {mark} < ?), -1
    ) ORDER BY position LIMIT 1
    """  # noqa: S608 - constants of this module
    for event, mark in (("occurred_at", "latest_at"), ("round_num", "latest_round"))
)
"""Take trace, time or round, trace, time or round."""

_LAST = "SELECT position, latest_at, latest_round FROM replay_marks WHERE trace_id = ? ORDER BY position DESC LIMIT 1"
_BETWEEN = """
    SELECT MAX(occurred_at), MAX(round_num) FROM replay_events WHERE trace_id = ? AND position > ? AND position <= ?
"""
_ADD = "INSERT INTO replay_marks (trace_id, position, latest_at, latest_round) VALUES (?, ?, ?, ?)"


def add(tx: Transaction, trace_id: str, before: int, after: int) -> None:
    """Set the marks that a replay gets when it has grown from so many events to so many."""
    if before // EVERY == after // EVERY:
        return
    last = tx.one(_LAST, (trace_id,))
    marks: list[Row] = []
    for count in range(before // EVERY + 1, after // EVERY + 1):
        place = count * EVERY - 1
        reached = tx.one(_BETWEEN, (trace_id, -1 if last is None else last[0], place))
        latest = [cast("tuple[str, int]", row) for row in (last and last[1:], reached) if row]
        last = (place, max(at for at, _ in latest), max(number for _, number in latest))
        marks.append((trace_id, *last))
    tx.execute_many(_ADD, marks)
