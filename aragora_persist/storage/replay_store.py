"""The store of debate replays, in ``aragora_replay.db``: saved whole or recorded, read, sought, verified, exported.

Leaves out: opening files (the caller gives open ones), and what follows from a replay (``importers.replay``).
"""

from __future__ import annotations

import io
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from aragora_persist.errors import InvalidValueError, PersistError
from aragora_persist.settings import Durability
from aragora_persist.storage import checks
from aragora_persist.storage.pages import Page, walk
from aragora_persist.storage.replays import files as replay_files
from aragora_persist.storage.replays import reading as replay_reading
from aragora_persist.storage.replays import writing as replay_writing
from aragora_persist.storage.replays.marks import SEEK_ROUND, SEEK_TIME
from aragora_persist.storage.replays.records import damaged, header_columns, to_event, to_event_row
from aragora_persist.storage.replays.trace import header_of
from aragora_persist.storage.replays.trace_text import EventHash
from aragora_persist.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime
    from typing import BinaryIO, Unpack

    from aragora_persist.storage.port import Row, Transaction, Value
    from aragora_persist.storage.replays.reading import Fetch
    from aragora_persist.storage.replays.records import EventFilter, ReplaySummary
    from aragora_persist.storage.replays.trace import Trace, TraceEvent


class ReplayStore(Store):
    """Replays by their trace id, which is a key and never a path.

    A replay is either saved whole, or begun, recorded and finished. While it is recorded it can be read like any other;
    its checksum and its digest are made of all its events, in one pass, when it is finished.
    """

    database_name = "replay"

    def save(self, trace: Trace, *, tx: Transaction | None = None) -> bool:
        """Save a replay with all its events, and return whether it is new; the same one again changes nothing.

        Raises:
            ConflictError: another content is stored under this trace id, and stays.
            InvalidValueError: a part of it is too long.

        """
        operation = "replay.save"
        columns = header_columns(operation, trace)
        columns |= {"checksum": trace.checksum, "digest": trace.digest(), "saved_at": self._now()}
        events = [to_event_row(operation, event, f"events[{place}]") for place, event in enumerate(trace.events)]
        return self._write(operation, partial(replay_writing.save, columns=columns, events=events), tx)

    def begin(self, trace: Trace, *, tx: Transaction | None = None) -> bool:
        """Begin to record a replay (``new_trace``), and return whether it is new; the same one again changes nothing.

        Raises:
            ConflictError: another content is stored under this trace id, and stays.
            InvalidValueError: it has events or an end already, or a part of it is too long.

        """
        operation = "replay.begin"
        columns = header_columns(operation, trace)
        if trace.events or any(name in trace.header for name in replay_writing.ENDING):
            hint = "begin without events and without an end, or save a whole one"
            raise InvalidValueError(operation, "trace", "has events or an end already", hint=hint)
        columns["saved_at"] = self._now()
        return self._write(operation, partial(replay_writing.begin, columns=columns, header=trace.header), tx)

    def append_events(
        self,
        trace_id: str,
        events: Iterable[TraceEvent],
        *,
        position: int | None = None,
        tx: Transaction | None = None,
    ) -> int:
        """Append events to a replay that is being recorded, all or none, and return how many are new.

        They get the places behind all others, in their order. Events that are there already, told by their ids, are
        not stored again: after an error, append the same ones once more. ``position`` is the place that the first one
        must have, for a recorder that counts: then a batch that got lost before this one is noticed.

        An append is *committed*, not *durable*: it survives a crash of the process. ``finish`` makes all durable.

        Raises:
            NotFoundError: there is no such replay.
            ConflictError: the replay is finished, has another event under one of the ids, has these in another order,
                or they would begin at another place than ``position``; nothing was appended.
            InvalidValueError: an id comes twice among them, or an event is too long.

        """
        operation = "replay.append_events"
        checks.ident(operation, "trace_id", trace_id)
        if position is not None:
            checks.whole(operation, "position", position, least=0)
        rows = [
            to_event_row(operation, event, f"events[{place}]")
            for place, event in enumerate(checks.several(operation, "events", events))
        ]
        if len({row.event_id for row in rows}) < len(rows):
            raise InvalidValueError(operation, "events", "has an event_id twice")
        work = partial(replay_writing.append, trace_id=trace_id, events=rows, position=position)
        return self._write(operation, work, tx, durability=Durability.COMMITTED)

    def finish(
        self, trace_id: str, completed_at: datetime, final_result: dict[str, Any], *, tx: Transaction | None = None
    ) -> ReplaySummary:
        """End a recording, and return its summary; the same end again changes nothing.

        Checksum and digest are made before the transaction, in one pass over the events in bounded memory; events that
        were appended meanwhile are added to it. With ``tx`` the pass takes place inside of that transaction.

        Raises:
            NotFoundError: there is no such replay.
            ConflictError: it is finished already, with another end; or it was deleted meanwhile, and begun anew.
            InvalidValueError: the time is naive, or the result is not one of a trace.
            DamagedError: an event is not readable.

        """
        operation = "replay.finish"
        checks.ident(operation, "trace_id", trace_id)
        end = {"completed_at": checks.moment(operation, "completed_at", completed_at), "final_result": final_result}
        fetch = self._fetch(operation, trace_id) if tx is None else tx.all
        found = replay_reading.require(fetch, operation, trace_id)
        header = {**replay_writing.begun(found.header), **end}
        columns = header_columns(operation, header_of(header))
        hashed = EventHash()
        while True:
            count = replay_reading.require(fetch, operation, trace_id).event_count
            for event in replay_reading.events(fetch, operation, trace_id, range(hashed.events, count)):
                hashed.add(event.document)
            ending = _ending(columns, header, hashed, found.saved_at)
            work = partial(replay_writing.close, operation=operation, trace_id=trace_id, ending=ending)
            if summary := self._write(operation, work, tx):
                return summary

    def get(self, trace_id: str) -> Trace | None:
        """Return a whole replay, or None when there is none; of one that is being recorded, what there is so far.

        Raises:
            DamagedError: it is not what was saved.

        """
        operation = "replay.get"
        checks.ident(operation, "trace_id", trace_id)
        with self._database.read(operation, {"trace_id": trace_id}) as view:
            found = replay_reading.find(view.all, operation, trace_id)
            if found is None:
                return None
            hashed = EventHash()
            events = tuple(replay_reading.whole(view.all, trace_id, found, hashed, operation))
        try:
            return replace(header_of(found.header), events=events, checksum=hashed.checksum)
        except PersistError as error:
            raise damaged(operation, trace_id) from error

    def get_summary(self, trace_id: str) -> ReplaySummary | None:
        """Return what a list shows of this replay, or None when there is none."""
        operation = "replay.get_summary"
        checks.ident(operation, "trace_id", trace_id)
        return replay_reading.summary(self._fetch(operation, trace_id), trace_id)

    def list_replays(
        self, *, debate_id: str | None = None, limit: int = 100, after: str | None = None
    ) -> Page[ReplaySummary]:
        """Return replays, those that began last first, of one debate or of all."""
        return replay_reading.summary_page(self._fetch("replay.list_replays"), debate_id, limit, after)

    def iter_replays(self, *, debate_id: str | None = None) -> Iterator[ReplaySummary]:
        """Yield the same as ``list_replays``, page by page."""
        return walk(lambda after: self.list_replays(debate_id=debate_id, after=after))

    def list_events(
        self, trace_id: str, *, limit: int = 100, after: str | None = None, **wanted: Unpack[EventFilter]
    ) -> Page[TraceEvent]:
        """Return events of a replay in their order; ``from_position`` begins at a place, such as that of ``seek``.

        Raises:
            NotFoundError: there is no such replay.
            DamagedError: an event is not readable.

        """
        operation = "replay.list_events"
        checks.ident(operation, "trace_id", trace_id)
        rows = replay_reading.event_rows(self._fetch(operation, trace_id), operation, trace_id, limit, after, wanted)
        return Page([to_event(operation, trace_id, body) for _, body in rows.items], rows.next)

    def iter_events(self, trace_id: str, **wanted: Unpack[EventFilter]) -> Iterator[TraceEvent]:
        """Yield events of a replay in their order, in bounded memory; events that are appended meanwhile come too.

        Raises:
            NotFoundError: there is no such replay.
            DamagedError: an event is not readable; ``verify`` compares all of them with what was saved.

        """
        operation = "replay.iter_events"
        checks.ident(operation, "trace_id", trace_id)
        fetch, at_once = self._fetch(operation, trace_id), replay_reading.EVENTS_AT_ONCE
        rows = walk(lambda after: replay_reading.event_rows(fetch, operation, trace_id, at_once, after, wanted))
        return (to_event(operation, trace_id, body) for _, body in rows)

    def seek(self, trace_id: str, *, at: datetime | None = None, round_num: int | None = None) -> int | None:
        """Return the place of the first event that is not before this time, or this round; None when there is none.

        Raises:
            NotFoundError: there is no such replay.
            InvalidValueError: not exactly one of time and round is given.

        """
        operation = "replay.seek"
        checks.ident(operation, "trace_id", trace_id)
        if (at is None) == (round_num is None):
            raise InvalidValueError(operation, "at, round_num", "exactly one of them is wanted")
        fetch = self._fetch(operation, trace_id)
        if at is not None:
            moment = checks.moment(operation, "at", at)
            return replay_reading.first_place(fetch, operation, trace_id, SEEK_TIME, moment)
        wanted = checks.whole(operation, "round_num", round_num)
        return replay_reading.first_place(fetch, operation, trace_id, SEEK_ROUND, wanted)

    def verify(self, trace_id: str) -> None:
        """Compare a whole replay with its checksum and its digest, in bounded memory.

        Of one that is being recorded, which has none yet: that its events are all there and readable.

        Raises:
            NotFoundError: there is no such replay.
            DamagedError: it is not what was saved.

        """
        operation = "replay.verify"
        checks.ident(operation, "trace_id", trace_id)
        fetch = self._fetch(operation, trace_id)
        found = replay_reading.require(fetch, operation, trace_id)
        for _ in replay_reading.whole(fetch, trace_id, found, EventHash(), operation):
            pass

    def export(self, trace_id: str) -> str:
        """Return a replay as the text of a trace file. See ``export_to``."""
        file = io.BytesIO()
        self.export_to(trace_id, file)
        return file.getvalue().decode()

    def export_to(self, trace_id: str, file: BinaryIO) -> None:
        """Write a replay as a trace file, in bounded memory, its checksum verified on the way out.

        After an error the file has no end, so that nobody takes it for whole. A replay that is being recorded is
        written as far as it has come.

        Raises:
            NotFoundError: there is no such replay; nothing was written.
            DamagedError: it is not what was saved.

        """
        operation = "replay.export_to"
        checks.ident(operation, "trace_id", trace_id)
        replay_files.export_to(self._fetch(operation, trace_id), operation, trace_id, file)

    def import_from(self, file: BinaryIO, *, accept_bad_checksum: bool = False) -> bool:
        """Save the replay of a trace file, in bounded memory, and return whether it is new.

        The file is read twice: the first time all of it is checked, the second time stored, in batches, so that nobody
        waits long for the writer. Until the last one is there, it shows as a replay that is being recorded; importing
        the file again completes what a crash has left.

        Raises:
            InvalidValueError: the file is not one of a trace; nothing was stored.
            DamagedError: the checksum is not that of the events, and ``accept_bad_checksum`` is off.
            ConflictError: another content is stored under this trace id, and stays; or the file was changed meanwhile.

        """
        operation = "replay.import_from"
        header, hashed = replay_files.check(operation, file, accept_bad_checksum=accept_bad_checksum)
        columns = header_columns(operation, header_of(header))
        trace_id = str(columns["trace_id"])
        fetch = self._fetch(operation, trace_id)
        found = replay_reading.find(fetch, operation, trace_id)
        if found is not None and found.digest == hashed.digest(header):
            return False
        self.begin(header_of(replay_writing.begun(header)))
        begun = replay_reading.require(fetch, operation, trace_id)
        for position, rows in replay_files.batches(operation, file, hashed):
            work = partial(replay_writing.place, trace_id=trace_id, position=position, events=rows)
            self._write(operation, work, durability=Durability.COMMITTED)  # the end makes all of it durable
        ending = _ending(columns, header, hashed, begun.saved_at)
        end = partial(replay_writing.close, operation=operation, trace_id=trace_id, ending=ending)
        if not self._write(operation, end):
            raise replay_writing.another(operation, trace_id)  # somebody else recorded more under this id
        return True

    def delete(self, trace_id: str, *, tx: Transaction | None = None) -> None:
        """Delete a replay with all its events, recorded or saved.

        Raises:
            NotFoundError: there is no such replay.

        """
        checks.ident("replay.delete", "trace_id", trace_id)
        self._write("replay.delete", partial(replay_writing.delete, trace_id=trace_id), tx)

    def _fetch(self, operation: str, trace_id: str | None = None) -> Fetch:
        """Return what reads each page in a view of its own, so that no read transaction is open between them."""

        def fetch(sql: str, parameters: Sequence[Value]) -> list[Row]:
            with self._database.read(operation, {"trace_id": trace_id}) as view:
                return view.all(sql, parameters)

        return fetch


def _ending(
    columns: dict[str, Value], header: dict[str, Any], hashed: EventHash, saved_at: str
) -> replay_writing.Ending:
    digest = hashed.digest(header)
    return replay_writing.Ending(columns["completed_at"], header, hashed.events, hashed.checksum, digest, saved_at)
