"""Rows of Supabase as they are sent, as the models that they were saved from, and the answers of its two functions.

Pure. A model read back equals the one that was saved, with one reserve: numbers inside free JSON come back as
PostgreSQL's ``numeric`` writes them, so that a float from 1e16 on is an integer there, and -0.0 is 0.0.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

from aragora_persist import times
from aragora_persist.errors import DamagedError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from aragora_persist.cloud.models import CloudModel, Record
    from aragora_persist.cloud.outbox import OutboxEntry

Shape = TypeVar("Shape")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStats:
    """What one agent did with one model; the mean response time is weighted by the messages sent."""

    agent_name: str
    model: str | None
    cycles: int
    messages_sent: int
    proposals_made: int
    critiques_given: int
    votes_won: int
    votes_received: int
    consensus_contributions: int
    avg_response_time_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSummary:
    """One loop at a glance: how many records of each kind, from when to when, and how it went."""

    cycles: int
    debates: int
    events: int
    rollbacks: int
    evolutions: int
    file_changes: int
    first_at: datetime | None
    last_at: datetime | None
    consensus_rate: float | None
    """The share of debates that reached consensus; None without debates."""
    last_success: bool | None
    """How the newest phase with an outcome ended; None without one."""


def columns_of(shape: type[CloudModel]) -> tuple[str, ...]:
    """Return the columns that a model is made of."""
    return tuple(item.name for item in fields(shape))


def to_row(record: Record | OutboxEntry) -> dict[str, object]:
    """Return a record as the row that is sent; tables of immutable kinds, whose revision is 0, have no such column."""
    return {**record.payload, "id": record.key} | ({"revision": record.revision} if record.revision else {})


def from_row(shape: type[Shape], row: Mapping[str, Any], operation: str) -> Shape:
    """Return the object of this class that a row holds.

    Raises:
        DamagedError: the row is not what this package writes.

    """
    try:
        return shape(**{item.name: _value(str(item.type), row[item.name]) for item in fields(shape)})  # type: ignore[arg-type] # every shape here is a dataclass
    except (KeyError, TypeError, ValueError, InvalidValueError) as error:
        name = str(row.get("id", shape.__name__))
        problem = f"holds what no {shape.__name__} has ({type(error).__name__})"
        raise DamagedError(operation, name, problem, hint="it was not written by this package") from error


def _value(kind: str, value: Any) -> Any:  # noqa: ANN401 - JSON on its way to a typed field
    if value is None:
        return None
    if kind.startswith("datetime"):
        return times.from_text(value)
    return float(value) if kind.startswith("float") else value
