"""The trace format of a debate's replay: its records, read from JSON, validated, and made anew.

One JSON object with a header and ordered ``events``. Every object is kept as it came, unknown fields and unknown event
types included, so that an export has the checksum of the import. Pure. Leaves out: files and databases.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from aragora_persist import json_text
from aragora_persist.errors import DamagedError, InvalidValueError
from aragora_persist.storage import checks
from aragora_persist.storage.replays.trace_fields import NULLABLE_TEXT, NUMBER, READING, TEXT, Fields, kind_of
from aragora_persist.storage.replays.trace_text import event_text, hash_of, head_text, tail_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from typing import Unpack

EVENT_TYPES: tuple[str, ...] = (
    *("debate_start", "debate_end", "round_start", "round_end"),
    *("message", "agent_proposal", "agent_critique", "agent_synthesis"),
    *("consensus_check", "fork_decision", "fork_created", "merge_result"),
    *("memory_access", "memory_write", "human_intervention", "error", "tool_call", "tool_result"),
)
"""The documented event types; others are kept too."""


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """One event; ``document`` is the object as it came, the other fields are read from it."""

    document: dict[str, Any]
    event_id: str
    event_type: str
    timestamp: datetime
    round_num: int
    agent: str | None
    content: dict[str, Any]
    parent_event_id: str | None
    duration_ms: float | None
    metadata: dict[str, Any]

    @classmethod
    def from_document(cls, document: object, where: str = "event") -> TraceEvent:
        """Return the event of a JSON object.

        Raises:
            InvalidValueError: it breaks the format; ``target`` is the path of what breaks it, below ``where``.

        """
        fields = Fields(document, where)
        return cls(
            document=fields.document,
            event_id=fields.text("event_id"),
            event_type=fields.text("event_type"),
            timestamp=fields.time("timestamp"),
            round_num=fields.get("round_num", (int,)),
            agent=fields.get("agent", NULLABLE_TEXT, None),
            content=fields.get("content", (dict,)),
            parent_event_id=fields.get("parent_event_id", NULLABLE_TEXT, None),
            duration_ms=fields.get("duration_ms", NUMBER, None),
            metadata=fields.get("metadata", (dict, type(None)), None) or {},
        )


@dataclass(frozen=True, slots=True)
class Trace:
    """One replay: ``header`` is the object as it came, without ``events`` and ``checksum``."""

    header: dict[str, Any]
    events: tuple[TraceEvent, ...]
    checksum: str
    trace_id: str
    debate_id: str
    task: str
    agents: tuple[str, ...]
    random_seed: int | None
    started_at: datetime
    completed_at: datetime | None
    final_result: dict[str, Any]
    metadata: dict[str, Any]

    @classmethod
    def from_document(cls, document: object, *, accept_bad_checksum: bool = False) -> Trace:
        """Return the trace of a JSON object; its ``checksum`` is the one that its events have.

        Raises:
            InvalidValueError: it breaks the format; ``target`` is the path of what breaks it.
            DamagedError: the checksum is not that of the events, and ``accept_bad_checksum`` is off.

        """
        fields = Fields(document, "")
        listed = fields.get("events", (list,))
        events = tuple(TraceEvent.from_document(event, f"events[{index}]") for index, event in enumerate(listed))
        header = {name: value for name, value in fields.document.items() if name not in {"events", "checksum"}}
        _require_storable(header, events)
        checksum = hash_of(event.document for event in events).checksum
        if not accept_bad_checksum:
            require_checksum(fields.document.get("checksum"), checksum)
        return cls._from_fields(fields, header, events, checksum)

    @classmethod
    def _from_fields(
        cls, fields: Fields, header: dict[str, Any], events: tuple[TraceEvent, ...], checksum: str
    ) -> Trace:
        agents = fields.get("agents", (list,))
        for index, agent in enumerate(agents):
            if not isinstance(agent, str):
                raise InvalidValueError(READING, f"agents[{index}]", f"is {kind_of(agent)}, not a text")
        final_result = fields.get("final_result", (dict, type(None)), None) or {}
        result = Fields(final_result, "final_result")
        result.get("consensus_reached", (bool, type(None)), None)
        result.get("confidence", NUMBER, None)
        result.get("final_answer", NULLABLE_TEXT, None)
        result.get("rounds_used", (int, type(None)), None)
        return cls(
            header=header,
            events=events,
            checksum=checksum,
            trace_id=fields.text("trace_id"),
            debate_id=fields.text("debate_id"),
            task=fields.get("task", TEXT),
            agents=tuple(agents),
            random_seed=fields.get("random_seed", (int, type(None)), None, largest=math.inf),
            started_at=fields.time("started_at"),
            completed_at=None
            if fields.get("completed_at", NULLABLE_TEXT, None) is None
            else fields.time("completed_at"),
            final_result=final_result,
            metadata=fields.get("metadata", (dict, type(None)), None) or {},
        )

    def to_text(self) -> str:
        """Return the trace as the text of a file."""
        lines = (event_text(event.document) for event in self.events)
        return head_text(self.header) + ",\n".join(lines) + tail_text(self.checksum)

    def digest(self) -> str:
        """Return the SHA-256 of the whole content: equal for equal traces, whatever their files' spacing and order."""
        return hash_of(event.document for event in self.events).digest(self.header)


class EventFields(TypedDict, total=False):
    """What an event may have beside its type, content and time."""

    event_id: str
    round_num: int
    agent: str | None
    parent_event_id: str | None
    duration_ms: float | None
    metadata: dict[str, Any]


def new_event(
    event_type: str, content: dict[str, Any], timestamp: datetime, **fields: Unpack[EventFields]
) -> TraceEvent:
    """Return an event in the documented form; without an ``event_id`` it gets a new one.

    Make it once, and append the same one again after a failure: its id is what keeps it from being stored twice.

    Raises:
        InvalidValueError: a field is of the wrong kind or none of an event's, or the time is naive.

    """
    checks.fields("new event", fields, EventFields.__annotations__)
    moment = checks.moment("new event", "timestamp", timestamp)
    defaults = {"event_id": checks.new_id(), "event_type": event_type, "timestamp": moment, "round_num": 0}
    optional = {"agent": None, "content": content, "parent_event_id": None, "duration_ms": None, "metadata": {}}
    return TraceEvent.from_document({**defaults, **optional, **fields})


def new_trace(
    debate_id: str,
    task: str,
    agents: Sequence[str],
    started_at: datetime,
    *,
    trace_id: str | None = None,
    random_seed: int | None = None,
    metadata: dict[str, Any] | None = None,
) -> Trace:
    """Return a trace without events, with which a recording begins; without a ``trace_id`` it gets a new one.

    Raises:
        InvalidValueError: a field is of the wrong kind, or the time is naive.

    """
    return header_of(
        {
            "trace_id": checks.new_id() if trace_id is None else trace_id,
            "debate_id": debate_id,
            "task": task,
            "agents": list(agents),
            "random_seed": random_seed,
            "started_at": checks.moment("new trace", "started_at", started_at),
            "metadata": metadata or {},
        }
    )


def header_of(header: dict[str, Any]) -> Trace:
    """Return the trace of a header alone.

    Raises:
        InvalidValueError: as ``Trace.from_document``.

    """
    return Trace.from_document({**header, "events": []}, accept_bad_checksum=True)


def parse(text: str, *, accept_bad_checksum: bool = False) -> Trace:
    """Return the trace that a file's text holds.

    Raises:
        InvalidValueError: the text is not JSON, or breaks the format.
        DamagedError: as ``Trace.from_document``.

    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        problem = "is nested too deeply" if isinstance(error, RecursionError) else f"is not JSON: {error}"
        raise InvalidValueError(READING, "the file", problem) from error
    return Trace.from_document(document, accept_bad_checksum=accept_bad_checksum)


def require_checksum(said: object, checksum: str) -> None:
    """Return when a file says the checksum that its events have.

    Raises:
        DamagedError: it says another one, or none.

    """
    if said != checksum:
        problem = "is missing" if said is None else f"says {said!r}, but the events have {checksum!r}"
        hint = "get the file again; or take it as it is with --accept-bad-checksum"
        raise DamagedError(READING, "checksum", problem, hint=hint)


def _require_storable(header: dict[str, Any], events: tuple[TraceEvent, ...]) -> None:
    """Refuse what some database on the way cannot store, before anything is written."""
    for name, value in header.items():
        json_text.encode(name, operation=READING, field="a field's name")
        json_text.encode(value, operation=READING, field=name)
    for index, event in enumerate(events):
        json_text.encode(event.document, operation=READING, field=f"events[{index}]")
