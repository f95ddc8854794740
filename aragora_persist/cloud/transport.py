"""One request through Supabase's own client, bounded in time, with what came back as a value.

The only module that imports that client: it is slow to import, and an extra. HTTP/1.1, because over HTTP/2 answers to
writes that took place get lost behind gateways that recycle connections. No redirect is followed: some turn a write
into a read that looks like a success, and others take the key elsewhere. Leaves out: trying again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

import httpx
from postgrest.types import ReturnMethod
from supabase import ClientOptions, create_client

from aragora_persist.cloud.answers import Answer, read_answer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from postgrest import APIResponse

    from aragora_persist.cloud.pages import Query
    from aragora_persist.settings import Secret

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


Row = dict[str, Any]


class _Request(Protocol):
    """A request that is ready to be sent, as Supabase's client builds it."""

    def execute(self) -> APIResponse:
        """Send it."""


class _NoSuccessError(Exception):
    """Takes an answer past Supabase's client, which would drop its status and its headers."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


class _Timed(httpx.SyncByteStream):
    """A body that must be there in time as a whole; the time-out of httpx is one for each of its pieces."""

    def __init__(self, stream: httpx.SyncByteStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._stream:
            if time.monotonic() > self._deadline:
                raise httpx.ReadTimeout("")
            yield piece

    def close(self) -> None:
        self._stream.close()


class Transport:
    """Connections to one project, for any number of threads."""

    def __init__(self, url: str, key: Secret, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        host = httpx.URL(url).host
        self._http = httpx.Client(
            http2=False,
            timeout=timeout_s,
            follow_redirects=False,
            event_hooks={"response": [self._check]},
            trust_env=host not in _LOOPBACK,  # a proxy of the environment does not lead to this machine
        )
        options = ClientOptions(
            auto_refresh_token=False, persist_session=False, postgrest_client_retry=False, httpx_client=self._http
        )
        self._client = create_client(url, key.reveal(), options)
        _ = self._client.postgrest  # made here, by one thread

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def upsert(self, table: str, rows: Sequence[Mapping[str, object]], *, replace: bool) -> list[Row] | Answer:
        """Store rows by their ids; of rows that are there already, replace these or keep them."""
        request = self._client.table(table).upsert(
            [dict(row) for row in rows],
            returning=ReturnMethod.minimal,
            ignore_duplicates=not replace,
            on_conflict="id",
            default_to_null=False,
        )
        return self._send(request)

    def merge(self, table: str, row: Mapping[str, object]) -> list[Row] | Answer:
        """Store one row by its id and return it, or nothing when the database has dropped it."""
        request = self._client.table(table).upsert(dict(row), on_conflict="id").select("id")
        return self._send(request)

    def select(self, query: Query) -> list[Row] | Answer:
        """Return one page of a query."""
        columns = dict.fromkeys([*query.columns, query.order, "id"])
        request = self._client.table(query.table).select(*columns)
        for column, operator, value in query.conditions():
            request = request.filter(column, operator, value)
        if query.after is not None:
            request = request.or_(query.beyond())
        for column in (query.order, "id"):
            request = request.order(column, desc=query.descending)
        return self._send(request.limit(query.page_rows))

    def call(self, function: str, arguments: Mapping[str, object], offset: int) -> list[Row] | Answer:
        """Return the rows that a function of the database gives, beginning with the one at ``offset``."""
        request = self._client.rpc(function, dict(arguments))
        return self._send(request.offset(offset) if offset else request)

    def _send(self, request: _Request) -> list[Row] | Answer:
        """Send a request, and return the rows of a success or the answer that is none.

        Nothing that the client raises is passed on: its frames hold the key.
        """
        try:
            data: object = request.execute().data
        except _NoSuccessError as error:
            return error.answer
        except httpx.InvalidURL:
            return Answer(414, "", "the filter is too long for an address")
        except httpx.RequestError as error:
            return Answer(0, "", self._describe(error))
        except RecursionError:
            return Answer(413, "", "JSON that is nested too deeply")
        except RuntimeError:
            if not self._http.is_closed:  # by another thread, a moment ago
                raise
            return Answer(0, "", "the connection was closed meanwhile")
        # A page, of a portal for example, is text here, and no success.
        return data if isinstance(data, list) else Answer(200, "", "is no answer of PostgREST")

    def _check(self, response: httpx.Response) -> None:
        if isinstance(response.stream, httpx.SyncByteStream):
            response.stream = _Timed(response.stream, time.monotonic() + self._timeout_s)
        try:
            body = response.read()
        except httpx.TimeoutException:
            message = f"only a part of an answer within {self._timeout_s:g} s"
            raise _NoSuccessError(Answer(0, "", message, is_partial=True)) from None
        if not response.is_success:
            raise _NoSuccessError(read_answer(response.status_code, dict(response.headers), body))

    def _describe(self, error: httpx.RequestError) -> str:
        """Return what happened; the text of other errors than these may quote what was sent."""
        if isinstance(error, httpx.ConnectTimeout):
            return f"no connection within {self._timeout_s:g} s"
        if isinstance(error, httpx.ConnectError):
            return f"no connection: {error}"
        if isinstance(error, httpx.TimeoutException):
            return f"no answer within {self._timeout_s:g} s"
        return f"the connection broke off ({type(error).__name__})"
