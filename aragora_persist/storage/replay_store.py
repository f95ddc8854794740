"""The store of debate replays, in ``aragora_replay.db``: traces saved whole, read back event by event, exported.

Leaves out: files (the importer reads them, the caller writes an export) and replays that are still being recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aragora_persist import json_text, times
from aragora_persist.errors import ConflictError, DamagedError, NotFoundError, PersistError
from aragora_persist.storage.store import Store
from aragora_persist.storage.trace import Trace, TraceEvent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from aragora_persist.storage.port import Row, Transaction

_LIST = """
    SELECT trace_id, debate_id, task, started_at, completed_at, event_count, checksum, saved_at FROM replays
    WHERE trace_id > ? ORDER BY trace_id LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class ReplaySummary:
    """What a list of replays shows of one."""

    trace_id: str
    debate_id: str
    task: str
    started_at: datetime
    completed_at: datetime | None
    event_count: int
    checksum: str
    saved_at: datetime


class ReplayStore(Store):
    """Replays by their trace id, which is a key and never a path."""

    database_name = "replay"

    def save(self, trace: Trace, *, tx: Transaction | None = None) -> bool:
        """Save a replay with all its events, and return whether it is new; the same one again changes nothing.

        Raises:
            ConflictError: another content is stored under this trace id, and stays.

        """
        # The most of the work: not while everybody waits for the writer.
        digest, header = trace.digest(), json_text.encode(trace.header, operation="replay.save", field="trace")
        events = [_event_row(trace.trace_id, position, event) for position, event in enumerate(trace.events)]
        if tx is not None:
            return _insert(tx, trace, digest, header, events)
        with self._database.transaction("replay.save") as own:
            return _insert(own, trace, digest, header, events)

    def get(self, trace_id: str) -> Trace | None:
        """Return a replay as it was saved, or None when there is none.

        Raises:
            DamagedError: it is not what was saved.

        """
        with self._database.read("replay.get") as view:
            row = view.one("SELECT header, checksum, digest FROM replays WHERE trace_id = ?", (trace_id,))
            if row is None:
                return None
            events = view.all("SELECT body FROM replay_events WHERE trace_id = ? ORDER BY position", (trace_id,))
        try:
            document = json_text.decode(str(row[0]))
            document["events"] = [json_text.decode(str(body)) for (body,) in events]
            document["checksum"] = row[1]
            trace = Trace.from_document(document)
        except (PersistError, ValueError) as error:
            raise _damaged("replay.get", trace_id) from error
        if trace.digest() != row[2]:
            raise _damaged("replay.get", trace_id)
        return trace

    def iter_events(self, trace_id: str) -> Iterator[TraceEvent]:
        """Yield the events of a replay in their order, in bounded memory.

        Raises:
            NotFoundError: there is no such replay.
            DamagedError: an event is not readable; only ``get`` and ``export`` compare all of it with what was saved.

        """
        with self._database.read("replay.iter_events") as view:
            if view.one("SELECT 1 FROM replays WHERE trace_id = ?", (trace_id,)) is None:
                raise _unknown("replay.iter_events", trace_id)
            sql = "SELECT body FROM replay_events WHERE trace_id = ? ORDER BY position"
            for (body,) in view.stream(sql, (trace_id,)):
                try:
                    event = TraceEvent.from_document(json_text.decode(str(body)))
                except (PersistError, ValueError) as error:
                    raise _damaged("replay.iter_events", trace_id) from error
                yield event

    def export(self, trace_id: str) -> str:
        """Return a replay as the text of a trace file, its checksum verified on the way out.

        Raises:
            NotFoundError: there is no such replay.
            DamagedError: as ``get``.

        """
        trace = self.get(trace_id)
        if trace is None:
            raise _unknown("replay.export", trace_id)
        return trace.to_text()

    def list(self, *, limit: int = 100, after: str = "") -> list[ReplaySummary]:
        """Return replays in the order of their trace ids, from the first one above ``after``."""
        with self._database.read("replay.list") as view:
            return [_summary(row) for row in view.all(_LIST, (after, limit))]


def _insert(tx: Transaction, trace: Trace, digest: str, header: str, events: Sequence[Row]) -> bool:
    stored = tx.one("SELECT digest FROM replays WHERE trace_id = ?", (trace.trace_id,))
    if stored is not None:
        if stored[0] != digest:
            raise ConflictError(
                "replay.save",
                trace.trace_id,
                "is stored with another content",
                hint="give the new one its own trace_id",
            )
        return False
    tx.execute(
        "INSERT INTO replays (trace_id, debate_id, task, started_at, completed_at, event_count, checksum, digest,"
        " header, saved_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            trace.trace_id,
            trace.debate_id,
            trace.task,
            times.to_text(trace.started_at),
            None if trace.completed_at is None else times.to_text(trace.completed_at),
            len(trace.events),
            trace.checksum,
            digest,
            header,
            times.to_text(times.utc_now()),
        ),
    )
    tx.execute_many(
        "INSERT INTO replay_events (trace_id, position, event_id, event_type, occurred_at, round_num, agent, body)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        events,
    )
    return True


def _event_row(trace_id: str, position: int, event: TraceEvent) -> Row:
    return (
        trace_id,
        position,
        event.event_id,
        event.event_type,
        times.to_text(event.timestamp),
        event.round_num,
        event.agent,
        json_text.encode(event.document, operation="replay.save", field=f"events[{position}]"),
    )


def _summary(row: Row) -> ReplaySummary:
    trace_id, debate_id, task, started_at, completed_at, event_count, checksum, saved_at = row
    return ReplaySummary(
        trace_id=str(trace_id),
        debate_id=str(debate_id),
        task=str(task),
        started_at=times.from_text(str(started_at)),
        completed_at=None if completed_at is None else times.from_text(str(completed_at)),
        event_count=int(event_count or 0),
        checksum=str(checksum),
        saved_at=times.from_text(str(saved_at)),
    )


def _damaged(operation: str, trace_id: str) -> DamagedError:
    return DamagedError(operation, trace_id, "is not what was saved", hint="restore the database from a backup")


def _unknown(operation: str, trace_id: str) -> NotFoundError:
    return NotFoundError(operation, trace_id, "there is no replay with this trace id")
