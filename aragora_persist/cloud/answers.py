"""What an answer of Supabase's REST interface means: try again, send less, or which error it is.

Codes of five characters are PostgreSQL's, those with PGRST are PostgREST's. Pure. Leaves out: who asked, and how often.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from aragora_persist.errors import (
    AccessDeniedError,
    PersistError,
    RejectedError,
    SchemaOutdatedError,
    UnreachableError,
)
from aragora_persist.redaction import redact

_LONGEST_MESSAGE = 200
_CODE = re.compile(r"PGRST\d{3}|[0-9A-Z]{5}")
# The server is starting, overloaded or shut down, or two writers met: the same request may pass a moment later.
_PASSING_STATUSES = {408, 425, 429, 500, 502, 503, 504, *range(520, 528), 530}
_PASSING = re.compile(r"PGRST00\d|PGRST20[245]|08...|40...|53...|55P03|57P0.|58...|XX...")
# Of class 42 are statements that do not fit the schema, a trigger's too: whatever the rows are.
_OUTDATED = re.compile(r"PGRST20\d|42(?!501)...")
_DENIED = re.compile(r"42501|28...|0P000|0L...|PGRST3\d\d|PGRST106")
_REJECTED = re.compile(r"2[123]...|44...|54...|P0...|PGRST1\d\d")
_NAMES_SCHEMA_ONLY = re.compile(r"PGRST2\d\d|23...|42...|28...|0....")


@dataclass(frozen=True, slots=True)
class Call:
    """What was asked: for the errors that come of it."""

    operation: str
    host: str
    target: str
    """The table or the function."""
    grant: str
    """The statement that gives the right to it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is no success; ``status`` 0 when none came at all."""

    status: int
    code: str
    message: str
    retry_after_s: float | None = None
    is_partial: bool = False
    """It began to come, and took too long."""

    @property
    def is_too_much(self) -> bool:
        """Tell whether fewer rows at a time may do."""
        return self.is_partial or self.code == "57014" or self.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE

    @property
    def is_passing(self) -> bool:
        """Tell whether the same request may succeed a moment later."""
        if self.code:
            return bool(_PASSING.fullmatch(self.code))
        return self.status == 0 or self.status in _PASSING_STATUSES

    def error(self, call: Call) -> PersistError:
        """Return the error that this answer is, once nothing more will be tried."""
        if _OUTDATED.fullmatch(self.code):
            hint = "run aragora-persist supabase apply; after that the interface may need some seconds to see it"
            return SchemaOutdatedError(call.operation, call.target, self._said(), hint=hint)
        if _DENIED.fullmatch(self.code) or self.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return self._denied(call)
        too_large = self.status in {HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.REQUEST_URI_TOO_LONG}
        if _REJECTED.fullmatch(self.code) or too_large:
            hint = "sending it again cannot help: correct it"
            return RejectedError(call.operation, call.target, f"is refused: {self._said()}", hint=hint)
        return UnreachableError(call.operation, call.host, self._said(), hint=self._way_out())

    def _denied(self, call: Call) -> AccessDeniedError:
        if self.code != "42501":
            hint = "SUPABASE_KEY is not a service key of this project"
            return AccessDeniedError(call.operation, call.host, f"refuses the key: {self._said()}", hint=hint)
        if self.status == HTTPStatus.UNAUTHORIZED:  # PostgREST's answer to the role anon
            hint = "SUPABASE_KEY is the publishable key, which may do nothing here: use the service key"
        else:
            hint = f"run this in the project's database: {call.grant}"
        return AccessDeniedError(call.operation, call.target, self._said(), hint=hint)

    def _said(self) -> str:
        """Return code and message, without anything that may come of a row or a key."""
        message = " ".join(redact(self.message).split())
        if not _NAMES_SCHEMA_ONLY.fullmatch(self.code):
            message = re.sub(r'".*"', '"…"', message)  # PostgreSQL quotes the value that it refuses
        if len(message) > _LONGEST_MESSAGE:
            message = f"{message[:_LONGEST_MESSAGE]}…"
        return " ".join(part for part in (str(self.status or ""), self.code, message) if part)

    def _way_out(self) -> str:
        if self.code == "57014":
            return "the database stopped it for taking too long; try again later"
        if self.code == "25006":
            return "the database takes no writes; a hosted project whose disk is full is such"
        if 0 < self.status < HTTPStatus.INTERNAL_SERVER_ERROR and not self.is_passing:
            return "check SUPABASE_URL: no Supabase REST interface answers like this"
        when = "later" if self.retry_after_s is None else f"in {self.retry_after_s:g} s, as it asks"
        return f"try again {when}; check SUPABASE_URL if it stays so"


def read_answer(status: int, headers: dict[str, str], body: bytes) -> Answer:
    """Return what a response says; the names of ``headers`` are in lower case.

    Text that is not PostgREST's, such as a gateway's page, is not passed on.
    """
    wait = headers.get("retry-after", "")
    retry_after_s = float(wait) if re.fullmatch(r"\d{1,6}", wait) else None
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    if status == HTTPStatus.NOT_FOUND and said == {}:  # PostgREST's whole answer to a write into a table it cannot see
        said = {"code": "PGRST205", "message": "the table is not there"}
    said = said if isinstance(said, dict) else {}
    code, message = str(said.get("code") or ""), said.get("message")
    if not isinstance(message, str):
        message = _phrase(status, headers)
    return Answer(status, code if _CODE.fullmatch(code) else "", message, retry_after_s)


def _phrase(status: int, headers: dict[str, str]) -> str:
    if "location" in headers:
        place = urlsplit(headers["location"])
        return f"redirects to {place.scheme or 'http'}://{place.hostname or 'itself'}, which is not followed with a key"
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown Status"
