"""The records of memories, and what their rows hold. Pure: no database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from aragora_persist.errors import DamagedError
from aragora_persist.storage.memory.tiers import TIER_NAMES, decayed, tier_named
from aragora_persist.storage.rows import stored_object, stored_time, stored_time_or_none

if TYPE_CHECKING:
    from datetime import datetime

    from aragora_persist.storage.port import Row

_KEPT = (
    "id, tier, content, importance, surprise, stability, success_count, failure_count, access_count, red_line, "
    "metadata, created_at, last_accessed_at, tier_changed_at"
)
MEMORY_COLUMNS = f"{_KEPT}, updated_at"
ARCHIVE_COLUMNS = f"{_KEPT}, reason, archived_at"
KEPT_COLUMNS = _KEPT
"""What a memory takes with it into the archive and back."""


@dataclass(frozen=True, slots=True)
class Memory:
    """One memory. Times are aware UTC."""

    id: str
    tier: str
    content: str
    importance: float
    """As it was given, from 0 to 1."""
    decayed_importance: float
    """What is left of it at the time of reading."""
    surprise: float
    stability: float
    success_count: int
    failure_count: int
    access_count: int
    red_line: bool
    """Whether it must not go without a stated reason."""
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    """When it was last touched: it decays from then on."""
    last_accessed_at: datetime | None
    tier_changed_at: datetime | None


@dataclass(frozen=True, slots=True)
class ArchivedMemory:
    """One memory in the archive: ``reason`` is ``retention``, ``cap``, ``archived`` or what its archiver gave."""

    id: str
    tier: str
    content: str
    importance: float
    red_line: bool
    metadata: dict[str, Any]
    reason: str
    created_at: datetime
    archived_at: datetime


@dataclass(frozen=True, slots=True)
class TierTransition:
    """One move of a memory between tiers; ``reason`` is ``promotion`` or ``demotion``."""

    memory_id: str
    from_tier: str
    to_tier: str
    reason: str
    moved_at: datetime


@dataclass(frozen=True, slots=True)
class RedLineEvent:
    """What was done to a red line and why: ``marked``, ``lifted``, ``archived`` or ``deleted``."""

    memory_id: str
    action: str
    reason: str
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep did."""

    expired: int
    """Archived because nobody had touched them for two half-lives."""
    demoted: int
    promoted: int
    crowded_out: int
    """Archived because their tier was full, the weakest first."""


def to_memory(row: Row, now: datetime) -> Memory:
    """Return the record of a row of ``MEMORY_COLUMNS``, decayed until ``now``.

    Raises:
        DamagedError: its tier is none, its metadata no JSON object, or a time is none.

    """
    values = cast(
        "tuple[str, str, str, float, float, float, int, int, int, int, str, str, str | None, str | None, str]", row
    )
    (ident, tier, content, importance, surprise, stability, successes, failures, accesses, red_line) = values[:10]
    metadata, created, accessed, changed, updated = values[10:]
    record = f"memory {ident}"
    if tier not in TIER_NAMES:
        raise DamagedError("read", record, "its tier is none", hint="correct the row")
    updated_at = stored_time(updated, record, "updated_at")
    return Memory(
        ident,
        tier,
        content,
        importance,
        decayed(tier_named(tier), importance, updated_at, now),
        surprise,
        stability,
        successes,
        failures,
        accesses,
        bool(red_line),
        stored_object(metadata, record, "metadata"),
        stored_time(created, record, "created_at"),
        updated_at,
        stored_time_or_none(accessed, record, "last_accessed_at"),
        stored_time_or_none(changed, record, "tier_changed_at"),
    )


def to_archived(row: Row) -> ArchivedMemory:
    """Return the record of a row of ``ARCHIVE_COLUMNS``."""
    ident, tier, content, importance = cast("tuple[str, str, str, float]", row[:4])
    red_line, metadata, created = row[9:12]
    reason, archived = row[14:]
    record = f"archived memory {ident}"
    return ArchivedMemory(
        ident,
        tier,
        content,
        importance,
        bool(red_line),
        stored_object(metadata, record, "metadata"),
        cast("str", reason),
        stored_time(created, record, "created_at"),
        stored_time(archived, record, "archived_at"),
    )


def to_transition(row: Row) -> TierTransition:
    """Return the record of a row of memory_id, from_tier, to_tier, reason, moved_at."""
    memory_id, from_tier, to_tier, reason, moved_at = cast("tuple[str, str, str, str, str]", row)
    moment = stored_time(moved_at, f"a move of memory {memory_id}", "moved_at")
    return TierTransition(memory_id, from_tier, to_tier, reason, moment)


def to_red_line_event(row: Row) -> RedLineEvent:
    """Return the record of a row of memory_id, action, reason, recorded_at."""
    memory_id, action, reason, recorded_at = cast("tuple[str, str, str, str]", row)
    moment = stored_time(recorded_at, f"an event of memory {memory_id}", "recorded_at")
    return RedLineEvent(memory_id, action, reason, moment)
