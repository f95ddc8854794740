"""What an answer of the REST interface means: which error, what is worth trying, and what may be said of it."""

from __future__ import annotations

import json

import pytest

from aragora_persist.cloud.answers import Answer, Call, read_answer
from aragora_persist.errors import (
    AccessDeniedError,
    PersistError,
    RejectedError,
    SchemaOutdatedError,
    UnreachableError,
)

CALL = Call("supabase.save_event", "example.supabase.co", "stream_events", "GRANT INSERT ON public.stream_events TO x;")


def postgrest(status: int, code: str | None, message: str = "said") -> Answer:
    """Return the answer that such a body is."""
    body = {"code": code, "message": message, "details": "Failing row contains (secret).", "hint": "secret"}
    return read_answer(status, {}, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "42P01", SchemaOutdatedError),
        (400, "42703", SchemaOutdatedError),
        (400, "42804", SchemaOutdatedError),
        (404, "42883", SchemaOutdatedError),
        (400, "PGRST204", SchemaOutdatedError),
        (404, "PGRST205", SchemaOutdatedError),
        (404, "PGRST202", SchemaOutdatedError),
        (401, None, AccessDeniedError),
        (403, None, AccessDeniedError),
        (403, "42501", AccessDeniedError),
        (401, "PGRST301", AccessDeniedError),
        (406, "PGRST106", AccessDeniedError),
        (400, "22P02", RejectedError),
        (400, "22P05", RejectedError),
        (400, "22003", RejectedError),
        (400, "23502", RejectedError),
        (409, "23505", RejectedError),
        (400, "23514", RejectedError),
        (500, "21000", RejectedError),
        (413, "54000", RejectedError),
        (400, "P0001", RejectedError),
        (413, None, RejectedError),
        (400, "PGRST102", RejectedError),
        (500, "57014", UnreachableError),
        (405, "25006", UnreachableError),
        (503, "53100", UnreachableError),
        (503, "PGRST002", UnreachableError),
        (500, "XX000", UnreachableError),
        (404, None, UnreachableError),
        (0, None, UnreachableError),
    ],
)
def test_every_answer_is_one_kind_of_error(status: int, code: str | None, kind: type[PersistError]) -> None:
    """Each names the operation and the place, says code and message, and has a way out."""
    error = postgrest(status, code).error(CALL)

    assert type(error) is kind
    assert (error.operation, error.target in {CALL.host, CALL.target}) == (CALL.operation, True)
    assert (code or "") in error.problem
    assert "said" in error.problem
    assert error.hint
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    ("status", "code", "passing", "too_much"),
    [
        (0, "", True, False),
        (429, "", True, False),
        (502, "", True, False),
        (503, "PGRST001", True, False),
        (504, "PGRST003", True, False),
        (500, "40P01", True, False),
        (404, "PGRST205", True, False),
        (500, "57014", False, True),
        (413, "", False, True),
        (401, "", False, False),
        (400, "22P02", False, False),
        (404, "42P01", False, False),
        (307, "", False, False),
        (500, "57P01", True, False),
    ],
)
def test_another_attempt_and_fewer_rows_are_for_what_they_can_help(
    status: int, code: str, *, passing: bool, too_much: bool
) -> None:
    """An outage and a cache that is behind pass; a limit of time or size asks for less; the rest stays as it is."""
    answer = Answer(status, code, "")

    assert (answer.is_passing, answer.is_too_much) == (passing, too_much)


def test_a_missing_grant_is_named() -> None:
    """The hint is the statement to run, unless the key itself is the wrong one."""
    assert CALL.grant in postgrest(403, "42501").error(CALL).hint
    assert "publishable" in postgrest(401, "42501").error(CALL).hint


def test_a_refused_value_is_not_quoted() -> None:
    """PostgreSQL quotes what it refuses; names of the schema stay."""
    value = postgrest(400, "22P02", 'invalid input syntax for type uuid: "my "secret" words"').error(CALL)
    name = postgrest(400, "23502", 'null value in column "stage" violates not-null constraint').error(CALL)
    own = postgrest(400, "P0001", 'no "secret" here').error(CALL)

    assert 'type uuid: "…"' in value.problem
    assert '"stage"' in name.problem
    assert "secret" not in value.problem + own.problem


def test_what_is_said_is_short_and_holds_no_key() -> None:
    """A message of any length is cut, and one that quotes a key loses it."""
    long = postgrest(500, "XX000", "word " * 10_000).error(CALL)
    leaking = postgrest(401, None, "bad sb_secret_abcdefghijklmnop").error(CALL)

    assert len(long.problem) < 300
    assert "abcdefgh" not in str(leaking)


@pytest.mark.parametrize(
    "body",
    [b"<html><h1>secret</h1></html>", b"", b"\xff\xfe", b'["secret"]', b'{"message": ["secret"]}', b"[" * 99_999],
)
def test_a_body_that_is_not_postgrests_is_not_passed_on(body: bytes) -> None:
    """A gateway's page stands for its status and no more."""
    answer = read_answer(502, {"content-type": "text/html"}, body)

    assert (answer.status, answer.code, answer.message) == (502, "", "Bad Gateway")


@pytest.mark.parametrize("code", ["", "22P0222", "a b", 5, None, {"x": 1}])
def test_a_code_of_another_form_is_none(code: object) -> None:
    """What is no code of PostgreSQL or PostgREST decides nothing."""
    assert read_answer(400, {}, json.dumps({"code": code, "message": "m"}).encode()).code == ""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3", 3.0), ("0", 0.0), ("-1", None), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("9" * 99, None)],
)
def test_how_long_a_server_asks_to_wait(text: str, seconds: float | None) -> None:
    """Seconds are understood and told; a date is not worth trusting two clocks."""
    answer = read_answer(429, {"retry-after": text}, b"")

    assert answer.retry_after_s == seconds
    assert (f"in {seconds:g} s" in answer.error(CALL).hint) if seconds is not None else True


def test_a_redirect_names_where_it_leads_and_no_more() -> None:
    """Only the host: the rest may hold what was asked for."""
    answer = read_answer(301, {"location": "https://other.example/path?apikey=secret"}, b"")

    assert "https://other.example," in answer.message
    assert "secret" not in answer.message
    assert "SUPABASE_URL" in answer.error(CALL).hint


def test_an_unknown_status_is_no_obstacle() -> None:
    """Gateways make up their own."""
    assert read_answer(599, {}, b"").message == "Unknown Status"
