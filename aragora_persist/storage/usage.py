"""The records of usage, and the one question that two stores ask: what an organization used in a month.

Leaves out: how usage gets in, is aggregated and is deleted (``usage_store``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from aragora_persist.errors import DamagedError, InvalidValueError
from aragora_persist.storage import checks
from aragora_persist.storage.organizations.memberships import no_such_organization
from aragora_persist.storage.rows import stored_object, stored_time, stored_time_or_none

if TYPE_CHECKING:
    from datetime import datetime

    from aragora_persist.storage.port import Reader, Row, Value

EVENT_COLUMNS = "id, org_id, event_type, count, metadata, timestamp, event_key, recorded_at"
MOST_AT_ONCE = 10**12
"""The largest count of one event: nine million of them fit into the 64 bits of a month."""

_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")

# One statement, so that no aggregation can come between its two halves and count an event twice or not at all.
_SUMMARY = """
    SELECT event_type, SUM(used), SUM(events) FROM (
        SELECT event_type, count AS used, events FROM usage_monthly WHERE org_id = ? AND month = ?
        UNION ALL
        SELECT event_type, COALESCE(count, 1) AS used, 1 AS events FROM usage_events
        WHERE aggregated = 0 AND org_id = ? AND timestamp >= ? AND timestamp < ?
    ) AS parts GROUP BY event_type
"""


@dataclass(frozen=True, slots=True)
class NewUsage:
    """One event that is to be recorded; ``timestamp`` None is the present."""

    org_id: str
    event_type: str
    count: int = 1
    metadata: dict[str, Any] = field(default_factory=dict)
    event_key: str | None = None
    timestamp: datetime | None = None


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """One recorded event; ``recorded_at`` is None where plain SQL wrote it."""

    id: int
    org_id: str
    event_type: str
    count: int
    metadata: dict[str, Any]
    timestamp: datetime
    event_key: str | None
    recorded_at: datetime | None


@dataclass(frozen=True, slots=True)
class UsageSummary:
    """What an organization used in a month (UTC): the sum of the counts, and the number of events, of each type."""

    org_id: str
    month: str
    counts: dict[str, int]
    events: dict[str, int]


def checked_month(operation: str, month: str) -> str:
    """Return a month of the form ``2026-01``."""
    if not _MONTH.fullmatch(checks.text(operation, "month", month)):
        raise InvalidValueError(operation, "month", "is not of the form 2026-01")
    return month


def summarize(view: Reader, operation: str, org_id: str, month: str) -> UsageSummary:
    """Return what this organization used in this month, aggregated or not, exactly as it stands now.

    Raises:
        NotFoundError: there is no such organization.

    """
    if view.one("SELECT 1 FROM organizations WHERE id = ?", (org_id,)) is None:
        raise no_such_organization(operation, org_id)
    year, number = month.split("-")
    after = f"{year}-{int(number) + 1:02}"  # compared as text, so that a thirteenth month is behind the twelfth
    rows = sorted(view.all(_SUMMARY, (org_id, month, org_id, month, after)), key=lambda row: str(row[0]))
    return UsageSummary(
        org_id,
        month,
        {str(event_type): int(used or 0) for event_type, used, _ in rows},
        {str(event_type): int(events or 0) for event_type, _, events in rows},
    )


def to_event(row: Row) -> UsageEvent:
    """Return the record of a row of ``EVENT_COLUMNS``; a NULL that the documented schema allows is its default."""
    ident, org_id, event_type, count, metadata, timestamp, event_key, recorded = cast(
        "tuple[int, str, str, int | None, str | None, str, str | None, str | None]", row
    )
    record = f"usage event {ident}"
    return UsageEvent(
        ident,
        org_id,
        event_type,
        stored_count(count, record),
        stored_object(metadata, record, "metadata"),
        stored_time(timestamp, record, "timestamp"),
        event_key,
        stored_time_or_none(recorded, record, "recorded_at"),
    )


def stored_count(value: Value, record: str) -> int:
    """Return the count of a row; NULL is the documented default.

    Raises:
        DamagedError: it is no whole number.

    """
    if value is None:
        return 1
    if not isinstance(value, int):
        raise DamagedError("read", record, "its count is not a whole number", hint="correct the row")
    return value


def checked_usage(operation: str, usage: NewUsage, now: datetime) -> Row:
    """Return the row of an event: organization, type, count, metadata, time, key, time of recording.

    Raises:
        InvalidValueError: a value breaks a rule.

    """
    if not isinstance(usage, NewUsage):
        raise InvalidValueError(operation, "events", f"hold a {type(usage).__name__}, not a NewUsage")
    return (
        checks.ident(operation, "org_id", usage.org_id),
        checks.ident(operation, "event_type", usage.event_type),
        checks.whole(operation, "count", usage.count, least=1, most=MOST_AT_ONCE),
        checks.json_object(operation, "metadata", usage.metadata),
        checks.moment(operation, "timestamp", now if usage.timestamp is None else usage.timestamp),
        None if usage.event_key is None else checks.ident(operation, "event_key", usage.event_key),
        checks.moment(operation, "recorded_at", now),
    )
