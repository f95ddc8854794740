"""The client of the Supabase half: the documented records, saved and read.

A save that has returned took place; a save that raises may be repeated as it is, and never makes a second row. Whoever
must not wait for a network puts records into the outbox instead (``aragora_persist.cloud.outbox``), whose worker sends
them through the same connection. Supabase's own client is imported by the first request, not before.
"""

from __future__ import annotations

import threading
from datetime import UTC
from itertools import chain, islice
from typing import TYPE_CHECKING, Self

from aragora_persist import times
from aragora_persist.cloud.batches import BATCH_ROWS
from aragora_persist.cloud.connection import CloudConnection
from aragora_persist.cloud.models import (
    AgentMetrics,
    CycleEvolution,
    CycleFileChange,
    DebateArtifact,
    NomicCycle,
    NomicRollback,
    StreamEvent,
)
from aragora_persist.cloud.pages import Model, Page, Query, cursor_text, read_cursor
from aragora_persist.cloud.revisions import REVISIONS
from aragora_persist.cloud.rows import AgentStats, LoopSummary, columns_of, from_row, to_row
from aragora_persist.cloud.subscription import EventSubscription
from aragora_persist.cloud.vocabulary import warn_of_unknown
from aragora_persist.errors import ConflictError, InvalidValueError, MisuseError
from aragora_persist.settings import Secret, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from aragora_persist.cloud.models import CloudModel

__all__ = [
    "AgentMetrics",
    "AgentStats",
    "CycleEvolution",
    "CycleFileChange",
    "DebateArtifact",
    "EventSubscription",
    "LoopSummary",
    "NomicCycle",
    "NomicRollback",
    "Page",
    "StreamEvent",
    "SupabaseClient",
]

_LIST_ROWS = 100
"""How many records one request of a list asks for: debates carry whole transcripts."""


class SupabaseClient:
    """Saves and reads the records of one Supabase project, for any number of threads.

    ``url`` and ``key`` default to SUPABASE_URL and to SUPABASE_KEY or SUPABASE_KEY_FILE. Without them the client can be
    made all the same; only its methods raise. ``close`` it, or use it as a context manager.

    All methods but ``is_configured`` raise:
        MisuseError: the client is not configured, or closed.
        UnreachableError: no usable answer came after several attempts; the call may be repeated.
        AccessDeniedError: the key is wrong or may not do this.
        SchemaOutdatedError: the project's schema is not that of this release.
        RejectedError, InvalidValueError: the database cannot store a record like this, or the client refuses it.
    """

    def __init__(self, url: str | None = None, key: str | Secret | None = None) -> None:
        if url is None or key is None:
            settings = Settings.from_env()
            url = settings.supabase_url if url is None else url
            key = settings.supabase_key if key is None else key
        self._url = url
        self._key = (Secret(key) if key else None) if isinstance(key, str) else key
        self._lock = threading.Lock()
        self._connection: CloudConnection | None = None
        self._is_closed = False

    @property
    def is_configured(self) -> bool:
        """Tell whether there are a URL and a key, not whether they work: no network is used, and no file is opened."""
        return bool(self._url) and self._key is not None

    def __repr__(self) -> str:
        state = repr(self._connection) if self._connection else "not connected"
        return f"{type(self).__name__}({state if self.is_configured else 'not configured'})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; the client is of no use afterwards."""
        with self._lock:
            self._is_closed = True
            if self._connection is not None:
                self._connection.close()

    def save_cycle(self, cycle: NomicCycle) -> str:
        """Save the state of a phase in place of an older one, and return its key.

        Raises:
            ConflictError: a newer state is stored already, and stays.

        """
        return self._save_state("supabase.save_cycle", cycle)

    def get_cycle(self, loop_id: str, cycle_number: int, phase: str) -> NomicCycle | None:
        """Return the state of a phase, or None when none was saved."""
        key = NomicCycle(loop_id, cycle_number, phase, "", times.utc_now()).key()
        return self._get("supabase.get_cycle", NomicCycle, key)

    def list_cycles(self, loop_id: str, *, limit: int = 100, before: str | None = None) -> Page[NomicCycle]:
        """Return the states of a loop's phases, those that began last first; ``before`` is the ``older`` of a page."""
        return self._list("supabase.list_cycles", NomicCycle, "started_at", loop_id, limit, before)

    def save_debate(self, debate: DebateArtifact) -> str:
        """Save a debate in place of an older version, and return its key, by which an evolution names it.

        Raises:
            ConflictError: a newer version is stored already, and stays.

        """
        return self._save_state("supabase.save_debate", debate)

    def get_debate(self, loop_id: str, cycle_number: int, phase: str, task: str) -> DebateArtifact | None:
        """Return a debate, or None when none was saved."""
        sought = DebateArtifact(loop_id, cycle_number, phase, task, [], [], consensus_reached=False, confidence=0.0)
        return self._get("supabase.get_debate", DebateArtifact, sought.key())

    def list_debates(self, loop_id: str, *, limit: int = 100, before: str | None = None) -> Page[DebateArtifact]:
        """Return the debates of a loop, the last to be first saved first; ``before`` is the ``older`` of a page."""
        return self._list("supabase.list_debates", DebateArtifact, "inserted_at", loop_id, limit, before)

    def save_event(self, event: StreamEvent) -> str:
        """Save an event, and return its key; one that is stored already stays as it is."""
        return self._save_facts("supabase.save_event", [event])[0]

    def save_events(self, events: Iterable[StreamEvent]) -> list[str]:
        """Save events, and return their keys.

        They go in batches, each of which is stored whole or not at all: after an error some may be, and saving all of
        them again makes no second row of any.
        """
        return self._save_facts("supabase.save_events", events)

    def iter_events(
        self, loop_id: str, *, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[StreamEvent]:
        """Yield the events of a loop in the order of their time, from ``since`` on and before ``until``.

        However many there are, one page of them is held. Events that are saved meanwhile come if their time does.
        """
        query = Query(
            table=StreamEvent.TABLE,
            columns=columns_of(StreamEvent),
            equal={"loop_id": loop_id},
            order="timestamp",
            least=_text(since),
            below=_text(until),
        )
        operation = "supabase.iter_events"
        pages = self._connected(operation).pages(query, operation=operation)
        return (from_row(StreamEvent, row, operation) for page in pages for row in page)

    def subscribe_events(
        self, loop_id: str, *, since: datetime | None = None, poll_interval_s: float = 1.0
    ) -> EventSubscription:
        """Return an iterator that waits for the events of a loop that are saved from now on, and yields each once.

        With ``since``, those that the server has received from that time on come first, so that a follower which was
        away misses nothing. It asks the server every ``poll_interval_s`` seconds, and looks back far enough to find
        events that became visible late. ``stop()`` ends it, from any thread.
        """
        if poll_interval_s <= 0:
            raise InvalidValueError("supabase.subscribe_events", "poll_interval_s", "is not above 0")
        connection = self._connected("supabase.subscribe_events")
        return EventSubscription(connection, loop_id, since=_text(since), poll_interval_s=poll_interval_s)

    def save_metrics(self, metrics: AgentMetrics) -> str:
        """Save what an agent did, and return the record's key; one that is stored already stays as it is."""
        return self._save_facts("supabase.save_metrics", [metrics])[0]

    def agent_stats(self, loop_id: str | None = None) -> list[AgentStats]:
        """Return what each agent did with each model, in one loop or in all, by name."""
        operation = "supabase.agent_stats"
        pages = self._connected(operation).call("agent_stats", {"p_loop_id": loop_id}, operation=operation)
        return [from_row(AgentStats, row, operation) for page in pages for row in page]

    def save_rollback(self, rollback: NomicRollback) -> str:
        """Save a rollback, and return its key; one that is stored already stays as it is."""
        return self._save_facts("supabase.save_rollback", [rollback])[0]

    def save_evolution(self, evolution: CycleEvolution) -> str:
        """Save what a cycle did to the code base in place of an older version, and return its key.

        Raises:
            ConflictError: a newer version is stored already, and stays.

        """
        return self._save_state("supabase.save_evolution", evolution)

    def save_file_changes(self, changes: Iterable[CycleFileChange]) -> list[str]:
        """Save the paths that a cycle changed as ``save_events`` saves events, and return their keys."""
        return self._save_facts("supabase.save_file_changes", changes)

    def loop_summary(self, loop_id: str) -> LoopSummary:
        """Return a loop at a glance; one without records has zeros."""
        operation = "supabase.loop_summary"
        pages = self._connected(operation).call("loop_summary", {"p_loop_id": loop_id}, operation=operation)
        return from_row(LoopSummary, next(pages, [{}])[0], operation)

    def _save_state(self, operation: str, state: CloudModel) -> str:
        row = _row(state, REVISIONS.next())
        place = f"{state.TABLE} {row['id']}"
        if not self._connected(operation).merge(state.TABLE, row, operation=operation):
            hint = "read it, and save what shall stand; if nobody else wrote it, compare the clocks of the machines"
            raise ConflictError(operation, place, "a newer version is stored", hint=hint)
        return str(row["id"])

    def _save_facts(self, operation: str, facts: Iterable[CloudModel]) -> list[str]:
        connection, rest, keys = self._connected(operation), iter(facts), list[str]()
        while portion := list(islice(rest, BATCH_ROWS)):
            rows = [_row(fact) for fact in portion]
            connection.write(portion[0].TABLE, rows, operation=operation)
            keys += [str(row["id"]) for row in rows]
        return keys

    def _get(self, operation: str, model: type[Model], key: str) -> Model | None:
        row = self._connected(operation).find(model.TABLE, key, columns_of(model), operation=operation)
        return None if row is None else from_row(model, row, operation)

    def _list(
        self, operation: str, model: type[Model], order: str, loop_id: str, limit: int, before: str | None
    ) -> Page[Model]:
        if limit < 1:
            raise InvalidValueError(operation, "limit", f"is {limit}, less than 1")
        query = Query(
            table=model.TABLE,
            columns=columns_of(model),
            equal={"loop_id": loop_id},
            order=order,
            descending=True,
            after=None if before is None else read_cursor(operation, before),
            page_rows=min(limit + 1, _LIST_ROWS),
        )
        pages = self._connected(operation).pages(query, operation=operation)
        rows = list(islice(chain.from_iterable(pages), limit + 1))
        older = cursor_text(query, rows[limit - 1]) if len(rows) > limit else None
        return Page(tuple(from_row(model, row, operation) for row in rows[:limit]), older)

    def _connected(self, operation: str) -> CloudConnection:
        with self._lock:
            if self._is_closed:
                raise MisuseError(operation, "client", "is closed", hint="make another one")
            if not self._url or self._key is None:
                missing = "SUPABASE_KEY" if self._url else "SUPABASE_URL"
                hint = "set SUPABASE_URL and SUPABASE_KEY, or pass url and key"
                raise MisuseError(operation, missing, "is not set", hint=hint)
            if self._connection is None:
                self._connection = CloudConnection(self._url, self._key)
            return self._connection


def _row(model: CloudModel, revision: int | None = None) -> dict[str, object]:
    warn_of_unknown(model)
    return to_row(model.to_record(revision))


def _text(moment: datetime | None) -> str | None:
    """Return a moment as the database takes it; a naive one means UTC, as in the models."""
    if moment is None:
        return None
    return times.to_text(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
