"""What is stored of a replay: the summary that lists show, the row of an event, and the filters over events.

Pure: no database, no clock. Leaves out: the trace format (``trace``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from aragora_persist import json_text
from aragora_persist.errors import DamagedError, InvalidValueError, NotFoundError, PersistError
from aragora_persist.storage import checks
from aragora_persist.storage.replays.trace import Trace, TraceEvent
from aragora_persist.storage.rows import stored_time, stored_time_or_none
from aragora_persist.times import to_text

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from aragora_persist.storage.port import Row, Value

_MOST_TYPES = 100
_BOUNDS = {"from_position": "position >= ?", "first_round": "round_num >= ?", "last_round": "round_num <= ?"}

SUMMARY = "trace_id, debate_id, task, started_at, completed_at, event_count, checksum, saved_at, is_recording"
"""What ``to_summary`` takes, in this order."""


@dataclass(frozen=True, slots=True)
class ReplaySummary:
    """What a list of replays shows of one. While it is recorded, it has no ``checksum``, and ``event_count`` grows."""

    trace_id: str
    debate_id: str
    task: str
    started_at: datetime
    completed_at: datetime | None
    event_count: int
    checksum: str | None
    saved_at: datetime
    is_recording: bool


class EventFilter(TypedDict, total=False):
    """Which events of a replay are wanted; all conditions hold at once."""

    from_position: int
    """From this place of the trace on; the first event has 0."""
    event_types: Collection[str]
    agent: str
    first_round: int
    last_round: int


class EventRow(NamedTuple):
    """An event as it is stored, all but its place."""

    event_id: str
    event_type: str
    occurred_at: str
    round_num: int
    agent: str | None
    body: str


def to_event_row(operation: str, event: TraceEvent, field: str) -> EventRow:
    """Return the row of an event.

    Raises:
        InvalidValueError: a part of it is too long, or no database can store it.

    """
    checks.instance(operation, field, event, TraceEvent)
    return EventRow(
        checks.ident(operation, f"{field}.event_id", event.event_id),
        checks.text(operation, f"{field}.event_type", event.event_type, longest=checks.LONGEST_NAME),
        to_text(event.timestamp, field=f"{field}.timestamp"),
        event.round_num,
        None
        if event.agent is None
        else checks.text(operation, f"{field}.agent", event.agent, longest=checks.LONGEST_NAME),
        checks.json_object(operation, field, event.document),
    )


def header_columns(operation: str, trace: Trace) -> dict[str, Value]:
    """Return what is stored of a trace's header.

    Raises:
        InvalidValueError: a part of it is too long, or no database can store it.

    """
    checks.instance(operation, "trace", trace, Trace)
    return {
        "trace_id": checks.ident(operation, "trace_id", trace.trace_id),
        "debate_id": checks.ident(operation, "debate_id", trace.debate_id),
        "task": checks.text(operation, "task", trace.task),
        "started_at": to_text(trace.started_at, field="started_at"),
        "completed_at": None if trace.completed_at is None else to_text(trace.completed_at, field="completed_at"),
        "header": checks.json_object(operation, "header", trace.header),
    }


def to_summary(row: Row) -> ReplaySummary:
    """Return the summary of a row of ``SUMMARY``.

    Raises:
        DamagedError: somebody else has changed it to what it cannot be.

    """
    trace_id, debate_id, task, started_at, completed_at, event_count, checksum, saved_at, is_recording = row
    record = f"replay {trace_id!s}"
    return ReplaySummary(
        trace_id=str(trace_id),
        debate_id=str(debate_id),
        task=str(task),
        started_at=stored_time(started_at, record, "started_at"),
        completed_at=stored_time_or_none(completed_at, record, "completed_at"),
        event_count=int(event_count or 0),
        checksum=str(checksum) if checksum else None,
        saved_at=stored_time(saved_at, record, "saved_at"),
        is_recording=bool(is_recording),
    )


def to_event(operation: str, trace_id: str, body: Value) -> TraceEvent:
    """Return the event of a stored body.

    Raises:
        DamagedError: it holds none.

    """
    try:
        return TraceEvent.from_document(json_text.decode(str(body)))
    except (PersistError, ValueError, RecursionError) as error:
        raise damaged(operation, trace_id) from error


def to_conditions(operation: str, wanted: EventFilter) -> tuple[str, list[Value]]:
    """Return the conditions of a filter as SQL after ``WHERE trace_id = ?``, and their parameters.

    Raises:
        InvalidValueError: it has a field that no filter has, or a value of the wrong kind.

    """
    checks.fields(operation, wanted, EventFilter.__annotations__)
    conditions: list[str] = []
    values: list[Value] = []
    for name, condition in _BOUNDS.items():
        if (bound := wanted.get(name)) is not None:
            conditions.append(condition)
            values.append(checks.whole(operation, name, bound))
    if (agent := wanted.get("agent")) is not None:
        conditions.append("agent = ?")
        values.append(checks.text(operation, "agent", agent, longest=checks.LONGEST_NAME))
    if (types := wanted.get("event_types")) is not None:
        names = _type_names(operation, types)
        conditions.append(f"event_type IN ({', '.join('?' * len(names))})" if names else "1 = 0")
        values += names
    return "".join(f" AND {condition}" for condition in conditions), values


def _type_names(operation: str, types: Any) -> list[str]:  # noqa: ANN401 - from outside: it may be anything
    if isinstance(types, str) or not isinstance(types, (list, tuple, set, frozenset, dict)):
        raise InvalidValueError(operation, "event_types", f"is a {type(types).__name__}, not several texts")
    if len(types) > _MOST_TYPES:
        raise InvalidValueError(operation, "event_types", f"has {len(types)} texts, at most {_MOST_TYPES} are allowed")
    return [checks.text(operation, "event_types", name, longest=checks.LONGEST_NAME) for name in types]


def damaged(operation: str, trace_id: str) -> DamagedError:
    """Return the error for a replay that is not what was stored."""
    return DamagedError(operation, trace_id, "is not what was saved", hint="restore the database from a backup")


def unknown(operation: str, trace_id: str) -> NotFoundError:
    """Return the error for a replay that is not there."""
    return NotFoundError(operation, trace_id, "there is no replay with this trace id")
