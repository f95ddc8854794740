"""The trace format of a debate's replay: reading, validating, checksums, writing.

One JSON object with a header and ordered ``events``. Every object is kept as it came, unknown fields and unknown event
types included, so that an export has the checksum of the import. Pure. Leaves out: files and databases.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aragora_persist import json_text, times
from aragora_persist.errors import DamagedError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

EVENT_TYPES: tuple[str, ...] = (
    *("debate_start", "debate_end", "round_start", "round_end"),
    *("message", "agent_proposal", "agent_critique", "agent_synthesis"),
    *("consensus_check", "fork_decision", "fork_created", "merge_result"),
    *("memory_access", "memory_write", "human_intervention", "error", "tool_call", "tool_result"),
)
"""The documented event types; others are kept too."""

_OPERATION = "read trace"
_TEXT = (str,)
_NULLABLE_TEXT = (str, type(None))
_NUMBER = (int, float, type(None))


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
        fields = _Fields(document, where)
        return cls(
            document=fields.document,
            event_id=fields.text("event_id"),
            event_type=fields.text("event_type"),
            timestamp=fields.time("timestamp"),
            round_num=fields.get("round_num", (int,)),
            agent=fields.get("agent", _NULLABLE_TEXT, None),
            content=fields.get("content", (dict,)),
            parent_event_id=fields.get("parent_event_id", _NULLABLE_TEXT, None),
            duration_ms=fields.get("duration_ms", _NUMBER, None),
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
        fields = _Fields(document, "")
        listed = fields.get("events", (list,))
        events = tuple(TraceEvent.from_document(event, f"events[{index}]") for index, event in enumerate(listed))
        header = {name: value for name, value in fields.document.items() if name not in {"events", "checksum"}}
        _require_storable(header, events)
        checksum = checksum_of(event.document for event in events)
        if not accept_bad_checksum:
            _require_checksum(fields.document.get("checksum"), checksum)
        return cls._from_fields(fields, header, events, checksum)

    @classmethod
    def _from_fields(
        cls, fields: _Fields, header: dict[str, Any], events: tuple[TraceEvent, ...], checksum: str
    ) -> Trace:
        agents = fields.get("agents", (list,))
        for index, agent in enumerate(agents):
            if not isinstance(agent, str):
                raise InvalidValueError(_OPERATION, f"agents[{index}]", f"is {_kind(agent)}, not a text")
        final_result = fields.get("final_result", (dict, type(None)), None) or {}
        result = _Fields(final_result, "final_result")
        result.get("consensus_reached", (bool, type(None)), None)
        result.get("confidence", _NUMBER, None)
        result.get("final_answer", _NULLABLE_TEXT, None)
        result.get("rounds_used", (int, type(None)), None)
        return cls(
            header=header,
            events=events,
            checksum=checksum,
            trace_id=fields.text("trace_id"),
            debate_id=fields.text("debate_id"),
            task=fields.get("task", _TEXT),
            agents=tuple(agents),
            random_seed=fields.get("random_seed", (int, type(None)), None, largest=math.inf),
            started_at=fields.time("started_at"),
            completed_at=None
            if fields.get("completed_at", _NULLABLE_TEXT, None) is None
            else fields.time("completed_at"),
            final_result=final_result,
            metadata=fields.get("metadata", (dict, type(None)), None) or {},
        )

    def to_text(self) -> str:
        """Return the trace as the text of a file."""
        fields = [f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in self.header.items()]
        events = ",\n".join(json.dumps(event.document, ensure_ascii=False) for event in self.events)
        return "{\n" + ",\n".join([*fields, f'"events": [\n{events}\n]', f'"checksum": "{self.checksum}"']) + "\n}\n"

    def digest(self) -> str:
        """Return the SHA-256 of the whole content: equal for equal traces, whatever their files' spacing and order."""
        events = _hash(event.document for event in self.events)
        return hashlib.sha256(f"{json.dumps(self.header, sort_keys=True)}\n{events}".encode()).hexdigest()


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
        raise InvalidValueError(_OPERATION, "the file", problem) from error
    return Trace.from_document(document, accept_bad_checksum=accept_bad_checksum)


def checksum_of(events: Iterable[dict[str, Any]]) -> str:
    """Return the format's checksum: 16 hex digits of SHA-256 over the events as sorted JSON, non-ASCII escaped."""
    return _hash(events)[:16]


def _hash(events: Iterable[dict[str, Any]]) -> str:
    digest = hashlib.sha256(b"[")
    for index, event in enumerate(events):
        digest.update(((", " if index else "") + json.dumps(event, sort_keys=True)).encode())
    digest.update(b"]")
    return digest.hexdigest()


def _require_checksum(said: object, checksum: str) -> None:
    if said != checksum:
        problem = "is missing" if said is None else f"says {said!r}, but the events have {checksum!r}"
        hint = "get the file again; or take it as it is with --accept-bad-checksum"
        raise DamagedError(_OPERATION, "checksum", problem, hint=hint)


def _require_storable(header: dict[str, Any], events: tuple[TraceEvent, ...]) -> None:
    """Refuse what some database on the way cannot store, before anything is written."""
    for name, value in header.items():
        json_text.encode(name, operation=_OPERATION, field="a field's name")
        json_text.encode(value, operation=_OPERATION, field=name)
    for index, event in enumerate(events):
        json_text.encode(event.document, operation=_OPERATION, field=f"events[{index}]")


_REQUIRED = object()
_LARGEST = 2**53
"""The largest whole number that every database and every reader of JSON keeps exactly."""


class _Fields:
    """Reads the fields of one JSON object and says which one is wrong."""

    def __init__(self, document: object, where: str) -> None:
        if not isinstance(document, dict):
            raise InvalidValueError(_OPERATION, where or "the file", f"is {_kind(document)}, not an object")
        self.document: dict[str, Any] = document
        self._where = where

    def get(self, name: str, kinds: tuple[type, ...], default: object = _REQUIRED, *, largest: float = _LARGEST) -> Any:  # noqa: ANN401 - a JSON value of one of the given kinds
        """Return a field; a missing one is its default, or an error where there is none."""
        value = self.document.get(name, default)
        path = f"{self._where}.{name}" if self._where else name
        if value is _REQUIRED:
            raise InvalidValueError(_OPERATION, path, "is missing")
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            wanted = " or ".join(_KIND_NAMES[kind] for kind in kinds)
            raise InvalidValueError(_OPERATION, path, f"is {_kind(value)}, not {wanted}")
        if isinstance(value, int | float) and not abs(value) <= largest:
            raise InvalidValueError(_OPERATION, path, f"is not a number of at most {largest}")
        return value

    def text(self, name: str) -> str:
        """Return a text that is not empty."""
        value: str = self.get(name, _TEXT)
        if not value:
            raise InvalidValueError(_OPERATION, f"{self._where}.{name}" if self._where else name, "is empty")
        return value

    def time(self, name: str) -> datetime:
        """Return a time; one without a zone is UTC."""
        value: str = self.get(name, _TEXT)
        try:
            return times.from_text(value)
        except InvalidValueError as error:
            path = f"{self._where}.{name}" if self._where else name
            raise InvalidValueError(_OPERATION, path, f"{value!r} is not an ISO 8601 time") from error


_KIND_NAMES: dict[type, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
    type(None): "null",
}


def _kind(value: object) -> str:
    return _KIND_NAMES.get(type(value), type(value).__name__)
