"""What organizations use: events as they happen, sums of each month, and an end for old events.

Each event carries whether its month's sum holds it (``aggregated``). Aggregation sets that mark and adds to the sum in
one transaction, and only marked events are deleted: wherever a run is stopped, every event counts once, and one that
comes late for a month that was aggregated and cleaned up long ago is simply one that is not marked yet.
Leaves out: prices and limits.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from aragora_persist.storage import checks
from aragora_persist.storage.organizations.memberships import require_open
from aragora_persist.storage.pages import Page, from_cursor, page_limit, to_page, walk
from aragora_persist.storage.store import Store
from aragora_persist.storage.usage import (
    EVENT_COLUMNS,
    NewUsage,
    UsageEvent,
    UsageSummary,
    checked_month,
    checked_usage,
    stored_count,
    summarize,
    to_event,
)
from aragora_persist.times import to_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime
    from typing import Any

    from aragora_persist.storage.port import Row, Transaction, Value

RETENTION_DAYS = 90
"""For so long raw events are kept, as documented; their sums stay."""
_LONGEST_RETENTION_DAYS = 36_500
_BATCH = 500

_INSERT = """
    INSERT INTO usage_events (org_id, event_type, count, metadata, timestamp, event_key, recorded_at)
    VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (org_id, event_key) WHERE event_key IS NOT NULL DO NOTHING
"""
# A time that is NULL, which plain SQL can write, belongs to no month.
_MARK = """
    UPDATE usage_events SET aggregated = 1 WHERE id IN (
        SELECT id FROM usage_events WHERE aggregated = 0 AND timestamp IS NOT NULL ORDER BY org_id, timestamp LIMIT ?
    ) RETURNING id, org_id, timestamp, event_type, count
"""
_ADD = """
    INSERT INTO usage_monthly (org_id, month, event_type, count, events) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (org_id, month, event_type) DO UPDATE
    SET count = usage_monthly.count + excluded.count, events = usage_monthly.events + excluded.events
"""
# By the time of recording too: the key of an event that came late must be known when its sender tries again.
_CLEAN = """
    DELETE FROM usage_events WHERE id IN (
        SELECT id FROM usage_events WHERE aggregated = 1 AND timestamp >= ? AND timestamp < ?
        AND COALESCE(recorded_at, timestamp) < ? ORDER BY timestamp LIMIT ?
    ) RETURNING timestamp
"""


class UsageStore(Store):
    """The usage of the organizations of one database. ``db_path`` None is ``aragora_users.db`` under ``NOMIC_DIR``."""

    database_name = "users"

    def record(
        self,
        org_id: str,
        event_type: str,
        count: int = 1,
        metadata: dict[str, Any] | None = None,
        *,
        event_key: str | None = None,
        timestamp: datetime | None = None,
        tx: Transaction | None = None,
    ) -> bool:
        """Record one event and return whether it is new.

        With an ``event_key``, the organization's event of this key is recorded once: trying again changes nothing and
        returns False. A key is known for as long as its event, which is 90 days or more from its recording.

        Raises:
            NotFoundError: there is no such organization.
            ConflictError: the organization is closed.

        """
        usage = NewUsage(org_id, event_type, count, {} if metadata is None else metadata, event_key, timestamp)
        return self._record("usage.record", [usage], tx) == 1

    def record_many(self, events: Iterable[NewUsage], *, tx: Transaction | None = None) -> int:
        """Record events of any organizations, all or none, and return how many are new. See ``record``."""
        return self._record("usage.record_many", events, tx)

    def list_events(
        self,
        org_id: str,
        *,
        event_type: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> Page[UsageEvent]:
        """Return raw events in the order of their recording: ``since`` (included) and ``until`` (not) are their times.

        What ``cleanup`` deleted is not among them.
        """
        operation = "usage.list_events"
        size = page_limit(operation, limit)
        wheres: list[tuple[str, Value]] = [
            ("org_id = ?", checks.ident(operation, "org_id", org_id)),
            ("id > ?", 0 if after is None else from_cursor(operation, after, int)[0]),
        ]
        if event_type is not None:
            wheres.append(("event_type = ?", checks.ident(operation, "event_type", event_type)))
        if since is not None:
            wheres.append(("timestamp >= ?", checks.moment(operation, "since", since)))
        if until is not None:
            wheres.append(("timestamp < ?", checks.moment(operation, "until", until)))
        where = " AND ".join(condition for condition, _ in wheres)
        sql = f"SELECT {EVENT_COLUMNS} FROM usage_events WHERE {where} ORDER BY id LIMIT ?"  # noqa: S608 - our texts
        with self._database.read(operation, {"org_id": org_id}) as view:
            rows = view.all(sql, (*(value for _, value in wheres), size + 1))
        return to_page([to_event(row) for row in rows], size, lambda event: (event.id,))

    def iter_events(
        self,
        org_id: str,
        *,
        event_type: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterator[UsageEvent]:
        """Yield every such event, in bounded memory."""
        return walk(
            lambda after: self.list_events(
                org_id, event_type=event_type, since=since, until=until, limit=1000, after=after
            )
        )

    def summary(self, org_id: str, month: str | None = None) -> UsageSummary:
        """Return what an organization used in a month (``"2026-01"``, UTC; None is the present one), exactly as now.

        Raises:
            NotFoundError: there is no such organization.

        """
        operation = "usage.summary"
        org_id = checks.ident(operation, "org_id", org_id)
        month = checked_month(operation, self._now()[:7] if month is None else month)
        with self._database.read(operation, {"org_id": org_id, "month": month}) as view:
            return summarize(view, operation, org_id, month)

    def aggregate(self) -> int:
        """Add every event that is in no sum yet to its month's, and return how many there were.

        In batches, each its own transaction; it may be stopped and started again at any time, and run twice at once.
        """
        return self._in_batches("usage.aggregate", _aggregate_batch)

    def cleanup(self, *, older_than_days: int = RETENTION_DAYS) -> int:
        """Delete raw events that are older than this and were recorded longer ago, and return how many.

        Only those that a month's sum holds. In batches, each its own transaction; it may be stopped and started again.
        """
        operation = "usage.cleanup"
        days = checks.whole(operation, "older_than_days", older_than_days, least=0, most=_LONGEST_RETENTION_DAYS)
        before = to_text(self._clock() - timedelta(days=days))
        total, since = 0, ""  # each batch begins where the last one ended, and looks at no event that stays again
        while removed := self._write(operation, partial(_cleanup_batch, since=since, before=before)):
            total, since = total + len(removed), max(removed)
        return total

    def _record(self, operation: str, events: Iterable[NewUsage], tx: Transaction | None) -> int:
        now = self._clock()
        rows = [checked_usage(operation, usage, now) for usage in checks.several(operation, "events", events)]
        org_ids = sorted({str(row[0]) for row in rows})

        def work(writing: Transaction) -> int:
            for org_id in org_ids:
                require_open(writing, operation, org_id)
            return writing.execute_many(_INSERT, rows)

        context = {"org_id": org_ids[0]} if len(org_ids) == 1 else None
        return self._write(operation, work, tx, context=context) if rows else 0


def _aggregate_batch(writing: Transaction) -> int:
    marked = writing.all(_MARK, (_BATCH,))
    sums: dict[tuple[Value, str, Value], tuple[int, int]] = defaultdict(lambda: (0, 0))
    for ident, org_id, timestamp, event_type, count in marked:
        key = (org_id, str(timestamp)[:7], event_type)
        used, events = sums[key]
        sums[key] = (used + stored_count(count, f"usage event {ident!r}"), events + 1)
    rows: list[Row] = [(*key, *sums[key]) for key in sorted(sums, key=repr)]
    writing.execute_many(_ADD, rows)
    return len(marked)


def _cleanup_batch(writing: Transaction, *, since: str, before: str) -> list[str]:
    return [str(timestamp) for (timestamp,) in writing.all(_CLEAN, (since, before, before, _BATCH))]
