"""How the replay store reads: summaries, events with filters, and whole replays that are compared with their digest.

Everything is read a page at a time through a ``Fetch``, which opens a view for each page or reads in one that is open.
Leaves out: what is stored in a row (``records``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from aragora_persist import json_text
from aragora_persist.storage import checks
from aragora_persist.storage.pages import from_cursor, page_limit, to_page
from aragora_persist.storage.port import Row, Value
from aragora_persist.storage.replays.records import (
    SUMMARY,
    ReplaySummary,
    damaged,
    to_conditions,
    to_event,
    to_summary,
    unknown,
)
from aragora_persist.times import to_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aragora_persist.storage.pages import Page
    from aragora_persist.storage.replays.records import EventFilter
    from aragora_persist.storage.replays.trace import TraceEvent
    from aragora_persist.storage.replays.trace_text import EventHash

Fetch = Callable[[str, Sequence[Value]], list[Row]]

EVENTS_AT_ONCE = 200
"""One can have a million characters."""

_EVENTS = (
    "SELECT position, event_id, event_type, occurred_at, round_num, agent, body FROM replay_events"
    " WHERE trace_id = ? AND position >= ? AND position < ? ORDER BY position"
)


class Stored(NamedTuple):
    """What is stored of a replay, without its events; without a ``digest`` it is still being recorded."""

    header: dict[str, Any]
    checksum: str
    digest: str
    event_count: int
    saved_at: str
    """Tells a recording from one that was begun anew under the same id."""


def find(fetch: Fetch, operation: str, trace_id: str) -> Stored | None:
    """Return what is stored of a replay.

    Raises:
        DamagedError: its header is not readable.

    """
    rows = fetch("SELECT header, checksum, digest, event_count, saved_at FROM replays WHERE trace_id = ?", (trace_id,))
    if not rows:
        return None
    header, checksum, digest, count, saved_at = rows[0]
    try:
        return Stored(json_text.decode(str(header)), str(checksum), str(digest), int(count or 0), str(saved_at))
    except (ValueError, RecursionError) as error:
        raise damaged(operation, trace_id) from error


def require(fetch: Fetch, operation: str, trace_id: str) -> Stored:
    """Return what is stored of a replay that must be there."""
    found = find(fetch, operation, trace_id)
    if found is None:
        raise unknown(operation, trace_id)
    return found


def events(fetch: Fetch, operation: str, trace_id: str, places: range) -> Iterator[TraceEvent]:
    """Yield the events of these places, each as its columns say, and none missing.

    Raises:
        DamagedError: an event is missing or not readable, or its columns contradict it.
        NotFoundError: the replay was deleted meanwhile.

    """
    for start in range(places.start, places.stop, EVENTS_AT_ONCE):
        stop = min(start + EVENTS_AT_ONCE, places.stop)
        rows = fetch(_EVENTS, (trace_id, start, stop))
        if [row[0] for row in rows] != list(range(start, stop)):
            require(fetch, operation, trace_id)
            raise damaged(operation, trace_id)
        for row in rows:
            event = to_event(operation, trace_id, row[6])
            columns = event.event_id, event.event_type, to_text(event.timestamp), event.round_num, event.agent
            if columns != row[1:6]:
                raise damaged(operation, trace_id)
            yield event


def whole(fetch: Fetch, trace_id: str, found: Stored, hashed: EventHash, operation: str) -> Iterator[TraceEvent]:
    """Yield all events of a replay, each added to ``hashed``, and raise at the end when they are not what was saved.

    Raises:
        DamagedError, NotFoundError: as ``events``.

    """
    for event in events(fetch, operation, trace_id, range(found.event_count)):
        hashed.add(event.document)
        yield event
    if found.digest and (found.checksum, found.digest) != (hashed.checksum, hashed.digest(found.header)):
        raise damaged(operation, trace_id)


def event_rows(
    fetch: Fetch, operation: str, trace_id: str, limit: int, after: str | None, wanted: EventFilter
) -> Page[Row]:
    """Return a page of the rows, of place and body, of the events that are wanted."""
    page_limit(operation, limit)
    conditions, values = to_conditions(operation, wanted)
    if after is not None:
        conditions += " AND position > ?"
        values += from_cursor(operation, after, int)
    sql = f"SELECT position, body FROM replay_events WHERE trace_id = ?{conditions} ORDER BY position LIMIT ?"  # noqa: S608 - conditions of this package
    rows = fetch(sql, (trace_id, *values, limit + 1))
    if not rows:
        require(fetch, operation, trace_id)
    return to_page(rows, limit, lambda row: (int(row[0] or 0),))


def first_place(fetch: Fetch, operation: str, trace_id: str, seek: str, value: Value) -> int | None:
    """Return the place of the first event that is not before this time or round, by a statement of ``marks``."""
    rows = fetch(seek, (trace_id, value, trace_id, value))
    if not rows:
        require(fetch, operation, trace_id)
    return int(rows[0][0] or 0) if rows else None


def summary(fetch: Fetch, trace_id: str) -> ReplaySummary | None:
    """Return the summary of one replay."""
    rows = fetch(f"SELECT {SUMMARY} FROM replays WHERE trace_id = ?", (trace_id,))  # noqa: S608 - a constant
    return to_summary(rows[0]) if rows else None


def summary_page(fetch: Fetch, debate_id: str | None, limit: int, after: str | None) -> Page[ReplaySummary]:
    """Return a page of the summaries, those that began last first."""
    operation = "replay.list_replays"
    page_limit(operation, limit)
    conditions: list[str] = []
    values: list[Value] = []
    if debate_id is not None:
        conditions.append("debate_id = ?")
        values.append(checks.ident(operation, "debate_id", debate_id))
    if after is not None:
        conditions.append("(started_at, trace_id) < (?, ?)")
        values += from_cursor(operation, after, str, str)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    sql = f"SELECT {SUMMARY} FROM replays{where} ORDER BY started_at DESC, trace_id DESC LIMIT ?"  # noqa: S608 - constants of this package
    rows = [to_summary(row) for row in fetch(sql, (*values, limit + 1))]
    return to_page(rows, limit, lambda one: (to_text(one.started_at), one.trace_id))
