"""The way to Supabase's REST interface: writes that may be repeated, reads page by page, errors with a way out.

Every request is bounded in time and tried a few times. Repeating a write is safe, because each row carries the key that
its client made. Leaves out: what rows mean (``rows``), and waiting for the end of an outage (the outbox).
"""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from aragora_persist import json_text
from aragora_persist.cloud.address import checked_address, checked_key
from aragora_persist.cloud.answers import Answer, Call
from aragora_persist.cloud.backoff import Backoff
from aragora_persist.cloud.batches import batches, measured
from aragora_persist.cloud.models import MODELS
from aragora_persist.cloud.pages import Query
from aragora_persist.errors import MisuseError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from aragora_persist.cloud.transport import Row, Transport
    from aragora_persist.settings import Secret

_MUTABLE = {model.TABLE for model in MODELS if model.MUTABLE}
_FIRST_WAIT_S = 0.2
_LONGEST_WAIT_S = 5.0


class CloudConnection:
    """Connections to one Supabase project, for any number of threads; the network is first used by the first request.

    ``timeout_s`` bounds each step of a request (connecting, sending, waiting for the answer, reading it), ``attempts``
    how often one is sent.

    Raises:
        InvalidValueError: the URL is not that of a project.

    """

    def __init__(self, url: str, key: Secret, *, timeout_s: float = 10.0, attempts: int = 3) -> None:
        self._url, self.host = checked_address(url)
        self._key = key
        self._timeout_s = timeout_s
        self._attempts = attempts
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._transport: Transport | None = None
        self._pid = os.getpid()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.host})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; a request that waits for its next attempt gives up."""
        self._closed.set()
        with self._lock:
            if self._transport is not None and self._pid == os.getpid():
                self._transport.close()
            self._transport = None

    def write(self, table: str, rows: Sequence[Mapping[str, object]], *, operation: str = "supabase.write") -> None:
        """Store rows, each with its ``id`` and, for a mutable kind, its ``revision``; doing it again changes nothing.

        Of an immutable kind the first row of an id stays, of a mutable one the row of the highest revision. Large
        numbers go in batches, each of which is stored whole or not at all; after an error some of them may be stored.

        Raises:
            UnreachableError: no usable answer came; nothing is lost by trying later.
            AccessDeniedError: the key is wrong, or may not write here.
            SchemaOutdatedError: the table or a column is not there.
            RejectedError: at least one of the rows cannot be stored.

        """
        call = self._table_call(operation, table, writes=True)
        for batch in batches(table, rows, operation):
            self._store(call, batch)

    def merge(self, table: str, row: Mapping[str, object], *, operation: str = "supabase.write") -> bool:
        """Store one row of a mutable kind as ``write`` does; return False when a newer revision was stored already."""
        measured(table, row, operation)
        call = self._table_call(operation, table, writes=True)
        if self._ask(call, lambda transport: transport.merge(table, row)):
            return True
        # Dropped for being older than what is stored, or stored by an attempt whose answer was lost.
        stored = self.find(table, str(row["id"]), ("revision",), operation=operation)
        return stored is not None and stored["revision"] == row["revision"]

    def page(self, query: Query, *, operation: str) -> tuple[list[Row], Query]:
        """Return one page of a query, and the query for what comes after it; only an empty page is the end.

        Pages that take too long are asked for in halves, from there on.
        """
        json_text.encode(dict(query.equal), operation=operation, field=query.table)
        call = self._table_call(operation, query.table, writes=False)

        def select(transport: Transport) -> list[Row] | Answer:
            return transport.select(query)

        while True:
            answer = self._try(call, select, divisible=query.page_rows > 1)
            if not isinstance(answer, Answer):
                return answer, query.following(answer)
            if not answer.is_too_much or query.page_rows == 1:
                raise answer.error(call)
            query = replace(query, page_rows=query.page_rows // 2)

    def pages(self, query: Query, *, operation: str) -> Iterator[list[Row]]:
        """Yield the rows of a query in pages, none of them empty, until there are no more."""
        page, query = self.page(query, operation=operation)
        while page:
            yield page
            page, query = self.page(query, operation=operation)

    def find(self, table: str, key: str, columns: tuple[str, ...], *, operation: str) -> Row | None:
        """Return the row with this id, or None when there is none."""
        query = Query(table=table, columns=columns, equal={"id": key}, order="inserted_at", page_rows=1)
        page, _ = self.page(query, operation=operation)
        return page[0] if page else None

    def call(self, function: str, arguments: Mapping[str, str | None], *, operation: str) -> Iterator[list[Row]]:
        """Yield the rows that a function of the database gives, in pages as above; its arguments are texts."""
        types = ", ".join("text" for _ in arguments)
        grant = f"GRANT EXECUTE ON FUNCTION public.{function}({types}) TO service_role;"
        call = Call(operation, self.host, f"{function}()", grant)
        json_text.encode(dict(arguments), operation=operation, field=function)
        offset = 0

        def rest(transport: Transport) -> list[Row] | Answer:
            return transport.call(function, arguments, offset)

        while page := self._ask(call, rest):
            yield page
            offset += len(page)

    def _table_call(self, operation: str, table: str, *, writes: bool) -> Call:
        rights = ["SELECT", *(["INSERT"] if writes else []), *(["UPDATE"] if writes and table in _MUTABLE else [])]
        return Call(operation, self.host, table, f"GRANT {', '.join(rights)} ON public.{table} TO service_role;")

    def _store(self, call: Call, batch: Sequence[Mapping[str, object]]) -> None:
        mutable = call.target in _MUTABLE
        divisible = len(batch) > 1
        answer = self._try(
            call, lambda transport: transport.upsert(call.target, batch, replace=mutable), divisible=divisible
        )
        if not isinstance(answer, Answer):
            return
        if not answer.is_too_much or not divisible:
            raise answer.error(call)
        middle = len(batch) // 2
        self._store(call, batch[:middle])
        self._store(call, batch[middle:])

    def _ask(self, call: Call, send: Callable[[Transport], list[Row] | Answer]) -> list[Row]:
        answer = self._try(call, send, divisible=False)
        if isinstance(answer, Answer):
            raise answer.error(call)
        return answer

    def _try(
        self, call: Call, send: Callable[[Transport], list[Row] | Answer], *, divisible: bool
    ) -> list[Row] | Answer:
        """Send a request until it succeeds, another attempt would change nothing, or there were enough of them.

        One that is too much and can be divided is not sent again as it is.
        """
        transport = self._open(call.operation)
        backoff = Backoff(_FIRST_WAIT_S, _LONGEST_WAIT_S)
        for attempt in range(1, self._attempts + 1):
            answer = send(transport)
            if not isinstance(answer, Answer) or not answer.is_passing or attempt == self._attempts:
                break
            if divisible and answer.is_too_much:
                break
            wait_s = max(backoff.next_s(), answer.retry_after_s or 0.0)
            if wait_s > _LONGEST_WAIT_S or self._closed.wait(wait_s):
                break
        return answer

    def _open(self, operation: str) -> Transport:
        """Return the transport of this process: sockets that a fork has copied would mix up two processes' answers."""
        transport = self._transport
        if transport is None or self._pid != os.getpid() or self._closed.is_set():
            with self._lock:
                if self._closed.is_set():
                    raise MisuseError(operation, self.host, "the connection is closed", hint="make another one")
                if self._transport is None or self._pid != os.getpid():
                    self._transport, self._pid = self._connect(operation), os.getpid()
                transport = self._transport
        return transport

    def _connect(self, operation: str) -> Transport:
        try:
            from aragora_persist.cloud.transport import Transport  # noqa: PLC0415 - slow to import, and of an extra
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if missing not in {"httpx", "postgrest", "supabase"}:
                raise
            hint = "pip install 'aragora-persist[supabase]'"
            raise UnsupportedError(operation, "supabase", f"{missing} is not installed", hint=hint) from error
        return Transport(self._url, checked_key(self._key), self._timeout_s)
