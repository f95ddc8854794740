"""Following the events of a loop by asking for what is new, again and again.

Leaves out: being told by the server (Supabase's realtime channel), which not every project and no local stack has.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from aragora_persist import times
from aragora_persist.cloud.models import StreamEvent
from aragora_persist.cloud.pages import Query
from aragora_persist.cloud.rows import columns_of, from_row

if TYPE_CHECKING:
    from aragora_persist.cloud.connection import CloudConnection

OVERLAP = timedelta(seconds=12)
"""How far behind the newest event rows may still appear: a row is stamped when its transaction begins and is visible
when it ends, and the server lets a statement of the service run for 8 s."""
_OPERATION = "supabase.subscribe_events"


class EventSubscription:
    """The events of a loop that arrive from now on, nearly in the order of their arrival, each once.

    ``SupabaseClient.subscribe_events`` makes it. An iterator that waits for the next event. It ends after ``stop``,
    which any thread may call. An error ends nothing: the next step goes on where it was. It holds one page of events
    and the ids of those of the last seconds, however long nobody asks for the next one.
    """

    def __init__(self, connection: CloudConnection, loop_id: str, *, since: str | None, poll_interval_s: float) -> None:
        self._connection = connection
        self._poll_interval_s = poll_interval_s
        self._stopped = threading.Event()
        self._all = Query(
            table=StreamEvent.TABLE, columns=columns_of(StreamEvent), equal={"loop_id": loop_id}, order="inserted_at"
        )
        self._least = times.from_text(since) if since else None
        self._round: Query | None = None
        self._settled = datetime.min.replace(tzinfo=UTC)
        self._seen: dict[str, datetime] = {}
        self._waiting: deque[StreamEvent] = deque()
        if since is None:
            self._skip_what_is_there()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> StreamEvent:
        while not self._stopped.is_set():
            if self._waiting:
                return self._waiting.popleft()
            fresh = self._step()
            if fresh is None:
                self._stopped.wait(self._poll_interval_s)
            else:
                self._waiting.extend(from_row(StreamEvent, row, _OPERATION) for row in fresh)
        raise StopIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Let the iteration end; one that waits ends at once."""
        self._stopped.set()

    def _skip_what_is_there(self) -> None:
        newest = self._newest()
        if newest is not None:
            self._least = newest - OVERLAP
            while self._step() is not None:
                pass

    def _step(self) -> list[dict[str, Any]] | None:
        """Return what is new on the next page of this round, or None at the round's end.

        A round goes up to the row that is the newest when it begins, so that it ends however many arrive meanwhile. It
        begins that much before the end of the last one that it finds what became visible behind that one's back.
        Nothing changes when a request fails.
        """
        if self._round is None:
            newest = self._newest()
            if newest is None:
                return None
            least = times.to_text(self._least) if self._least else None
            below = times.to_text(newest + timedelta(microseconds=1))
            self._round, self._settled = replace(self._all, least=least, below=below), newest - OVERLAP
        page, following = self._connection.page(self._round, operation=_OPERATION)
        if not page:
            self._round = None
            self._least = max(self._least, self._settled) if self._least else self._settled
            self._seen = {key: at for key, at in self._seen.items() if at >= self._settled}
            return None
        self._round = following
        fresh = [row for row in page if row["id"] not in self._seen]
        arrivals = ((row["id"], times.from_text(row["inserted_at"])) for row in fresh)
        self._seen.update((key, at) for key, at in arrivals if at >= self._settled)  # older ones are not met again
        return fresh

    def _newest(self) -> datetime | None:
        """Return when the newest row arrived, or None while there is none."""
        newest = replace(self._all, columns=(), descending=True, page_rows=1)
        page, _ = self._connection.page(newest, operation=_OPERATION)
        return times.from_text(page[0]["inserted_at"]) if page else None
