"""The gateway and PostgREST behind it: who gets in and as whom, what is refused, and what happens when one is away."""

from __future__ import annotations

import json
import socket
import uuid
from typing import TYPE_CHECKING

import httpx
import psycopg
import pytest

from infra.components.gateway_keys import jwt
from tests.supabase_stack import connects, published_port
from tests.waiting import PATIENCE_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker.models.containers import Container

    from tests.supabase_stack import LocalSupabase

pytest_plugins = ("tests.supabase_fixtures",)
pytestmark = pytest.mark.engine

METHODS = ("GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS")
SETTINGS = "/rest/v1/rpc/settings_of_caller"


@pytest.fixture
def rest(supabase: LocalSupabase) -> Iterator[httpx.Client]:
    """Give a client without any key, and no rows."""
    supabase.empty()
    with httpx.Client(base_url=supabase.url, timeout=PATIENCE_S) as client:
        yield client


@pytest.fixture(scope="module")
def settings_of_caller(supabase: LocalSupabase) -> Iterator[None]:
    """Make a function that tells as whom a request runs; PostgREST learns of it by itself."""
    make = """
        CREATE FUNCTION settings_of_caller(seconds float DEFAULT 0) RETURNS json LANGUAGE sql VOLATILE AS $$
          SELECT pg_sleep(seconds);
          SELECT json_build_object('role', current_user, 'limit', current_setting('statement_timeout'),
                                   'headers', current_setting('request.headers')::json) $$"""
    with psycopg.connect(supabase.db_url) as connection:
        connection.execute(make)
    try:
        known = {"apikey": supabase.service_key}
        wait_until(lambda: httpx.post(supabase.url + SETTINGS, headers=known).is_success, "PostgREST to know it")
        yield
    finally:
        with psycopg.connect(supabase.db_url) as connection:
            connection.execute("DROP FUNCTION settings_of_caller")


def _raw(supabase: LocalSupabase, request: bytes) -> tuple[int, dict[str, str]]:
    """Send bytes as they are; return the status and the JSON of the answer."""
    with socket.create_connection(("127.0.0.1", published_port(supabase.gateway, 8000)), timeout=PATIENCE_S) as sent:
        sent.sendall(request)
        sent.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: sent.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


@pytest.mark.usefixtures("settings_of_caller")
def test_a_key_stands_for_a_role(supabase: LocalSupabase, rest: httpx.Client) -> None:
    """As clients send them: in one header, in both, in any spelling of the scheme; with the limits of the role."""
    for key, role, limit in ((supabase.service_key, "service_role", "8s"), (supabase.publishable_key, "anon", "3s")):
        for more in ({}, {"Authorization": f"Bearer {key}"}, {"Authorization": f"bearer  {key}"}):
            answer = rest.post(SETTINGS, headers={"apikey": key, **more}).json()
            assert (answer["role"], answer["limit"]) == (role, limit)
            assert "apikey" not in answer["headers"]
            assert key not in json.dumps(answer)


@pytest.mark.usefixtures("settings_of_caller")
def test_a_user_s_own_token_goes_through(supabase: LocalSupabase, rest: httpx.Client) -> None:
    """With it the request runs as that user; one that another secret signed is refused by PostgREST."""
    headers = {"apikey": supabase.publishable_key}
    mine, forged = jwt("authenticated", supabase.jwt_secret), jwt("authenticated", "another secret, that is not theirs")
    answer = rest.post(SETTINGS, headers={**headers, "Authorization": f"Bearer {mine}"})
    assert answer.json()["role"] == "authenticated"
    answer = rest.post(SETTINGS, headers={**headers, "Authorization": f"Bearer {forged}"})
    assert (answer.status_code, answer.json()["code"]) == (401, "PGRST301")


@pytest.mark.usefixtures("settings_of_caller")
def test_a_statement_of_anon_ends_after_its_limit(supabase: LocalSupabase, rest: httpx.Client) -> None:
    """The limit is not only said: what takes longer is cancelled with the code that clients know."""
    answer = rest.post(SETTINGS, headers={"apikey": supabase.publishable_key}, json={"seconds": 30})
    assert answer.json()["code"] == "57014"


@pytest.mark.parametrize("method", METHODS)
def test_nobody_gets_in_without_a_key(supabase: LocalSupabase, rest: httpx.Client, method: str) -> None:
    """No key, a made-up one, one in other letters, two at once, one in the URL: 401 in JSON, whatever the method."""
    key, token = supabase.service_key, jwt("service_role", supabase.jwt_secret)
    refused = [
        ({}, "", "No API key found in request"),
        ({"Authorization": f"Bearer {key}"}, "", "No API key found in request"),
        ({"Authorization": f"Bearer {token}"}, "", "No API key found in request"),
        ({"apikey": "sb_secret_made-up-made-up-made-up"}, "", "Invalid API key"),
        ({"apikey": key.upper()}, "", "Invalid API key"),
        ({"apikey": key + "x"}, "", "Invalid API key"),
        ({"apikey": token}, "", "Invalid API key"),
        ({"apikey": "a:b", "Authorization": f"Bearer {token}"}, "", "Invalid API key"),
        ({"apikey": supabase.publishable_key, "Authorization": f"Bearer {key}"}, "", "Invalid API key"),
        ({"apikey": key, "Authorization": f"Bearer {supabase.publishable_key}"}, "", "Invalid API key"),
        ({}, f"?apikey={key}", "Invalid API key"),
        ({"apikey": key}, f"?apikey={key}", "Invalid API key"),
    ]
    for headers, query, message in refused:
        answer = rest.request(method, f"/rest/v1/stream_events{query}", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/json"
        if method != "HEAD":
            assert answer.json()["message"] == message
            assert answer.json()["hint"]


def test_what_is_repeated_is_not_taken(supabase: LocalSupabase) -> None:
    """Two keys are none, and two tokens are a malformed request."""
    get = b"GET /rest/v1/stream_events HTTP/1.1\r\nHost: x\r\nConnection: close\r\napikey: %b\r\n"
    get %= supabase.service_key.encode()
    assert _raw(supabase, get + b"apikey: x\r\n\r\n")[0] == 401
    assert _raw(supabase, get + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n")[0] == 400


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize(
    "path", ["/", "/rest/v1", "/rest/v2/x", "/auth/v1/user", "/rest/v1/%2e%2e/x", "/storage/v1/", "/unavailable"]
)
def test_there_is_nothing_but_the_rest_interface(
    supabase: LocalSupabase, rest: httpx.Client, path: str, method: str
) -> None:
    """Every other path is a 404 in JSON, with a key and without."""
    for headers in ({}, {"apikey": supabase.service_key}):
        answer = rest.request(method, path, headers=headers)
        assert (answer.status_code, answer.json()["message"]) == (404, "no such path")


def test_what_cannot_be_read_is_told_in_json(supabase: LocalSupabase, rest: httpx.Client) -> None:
    """Garbage, headers without end, a method that is none of REST, a URL and a body beyond the limits."""
    long = b"a" * 60_000
    assert _raw(supabase, b"garbage\r\n\r\n")[0] == 400
    assert _raw(supabase, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: " + long + b"\r\n\r\n")[0] == 400
    assert _raw(supabase, b"TRACE /rest/v1/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")[0] == 400
    status, answer = _raw(supabase, b"GET /rest/v1/x?y=" + long + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (status, answer["hint"]) == (414, "filter by fewer values at a time")
    headers = {"apikey": supabase.service_key}
    refused = rest.post("/rest/v1/stream_events", headers=headers, content=b" " * (32 * 2**20 + 1))
    assert (refused.status_code, refused.json()["hint"]) == (413, "send fewer rows at a time")


def test_a_long_filter_and_a_large_body_go_through(supabase: LocalSupabase, rest: httpx.Client) -> None:
    """A thousand keys in one filter, whose answer repeats them in a header, and a body close to the limit."""
    headers = {"apikey": supabase.service_key}
    keys = ",".join(str(uuid.uuid4()) for _ in range(1200))
    assert rest.get(f"/rest/v1/stream_events?id=in.({keys})", headers=headers).json() == []
    body = b"[" + b" " * (32 * 2**20 - 2) + b"]"
    assert rest.post("/rest/v1/stream_events", headers=headers, content=body).status_code == 201


def test_a_page_has_a_thousand_rows(supabase: LocalSupabase, rest: httpx.Client) -> None:
    """As hosted, more are not given at once."""
    function = "CREATE FUNCTION numbers() RETURNS SETOF int LANGUAGE sql AS 'SELECT generate_series(1, 1500)'"
    with psycopg.connect(supabase.db_url, autocommit=True) as connection:
        connection.execute(function)
        try:
            ask = "/rest/v1/rpc/numbers", {"apikey": supabase.publishable_key}
            wait_until(lambda: rest.get(ask[0], headers=ask[1]).is_success, "PostgREST to know it")
            assert rest.get(ask[0], headers=ask[1]).json() == list(range(1, 1001))
        finally:
            connection.execute("DROP FUNCTION numbers")


def test_a_stopped_postgrest_is_a_503_and_a_new_one_is_found(supabase: LocalSupabase, rest: httpx.Client) -> None:
    """While it is away callers are told to try again; the one that takes its place has another address."""
    headers = {"apikey": supabase.service_key}
    supabase.stop_rest()
    try:
        answer = rest.get("/rest/v1/stream_events", headers=headers)
        assert (answer.status_code, answer.json()["message"]) == (503, "the REST interface does not answer")
        assert _is_healthy(supabase.gateway)
    finally:
        supabase.start_rest()
    before = supabase.rest.id
    supabase.replace_rest()
    assert supabase.rest.id != before
    assert rest.get("/rest/v1/stream_events", headers=headers).json() == []


def test_a_restarted_database_is_found_again(supabase: LocalSupabase, rest: httpx.Client) -> None:
    """While it is away PostgREST is not healthy and answers 503; after that requests go through and it is healthy."""
    headers = {"apikey": supabase.service_key}
    assert _is_healthy(supabase.rest)
    supabase.db.stop(timeout=int(PATIENCE_S))
    try:
        assert not _is_healthy(supabase.rest)
        assert rest.get("/rest/v1/stream_events", headers=headers).status_code == 503
    finally:
        supabase.db.start()
        wait_until(lambda: connects(supabase.db_url), "the database to answer")
    wait_until(lambda: rest.get("/rest/v1/stream_events", headers=headers).is_success, "requests to go through")
    wait_until(lambda: _is_healthy(supabase.rest), "PostgREST to be healthy")
    assert rest.get("/rest/v1/stream_events", headers=headers).json() == []


def test_no_secret_is_in_a_log_an_argument_or_an_environment(supabase: LocalSupabase, rest: httpx.Client) -> None:
    """Whatever callers send to wherever, and also while PostgREST is away."""
    key = supabase.service_key
    given = ({"apikey": key, "Authorization": f"Bearer {key}"}, {"Authorization": f"Bearer {key}"})

    def ask() -> None:
        for headers in given:
            for path in ("/rest/v1/stream_events", "/rest/v1/nothing", "/", "/rest"):
                for query in ("", f"?apikey={key}"):
                    rest.get(path + query, headers=headers)
            rest.post("/rest/v1/stream_events", headers=headers, content=b"{" + key.encode())
        answer = rest.post("/rest/v1/stream_events", headers=given[0], json={"event_type": "a row's content"})
        assert not answer.is_success

    ask()
    supabase.stop_rest()
    try:
        ask()
    finally:
        supabase.start_rest()
    secrets = {"service": key, "publishable": supabase.publishable_key, "jwt": supabase.jwt_secret}
    secrets |= {"row": "a row's content"} | supabase.passwords | {"token": jwt("service_role", supabase.jwt_secret)}
    for container in (supabase.db, supabase.rest, supabase.gateway):
        container.reload()
        seen = container.logs().decode() + str(container.attrs) + str(container.top(ps_args="-eo pid,args"))
        assert [name for name, secret in secrets.items() if secret in seen] == []
    assert "GET /rest/v1/nothing 404" in supabase.gateway.logs().decode()


def test_the_parts_run_without_any_right(supabase: LocalSupabase) -> None:
    """PostgREST's image holds nothing to start but itself and its probe; neither root can be written."""
    for container in (supabase.rest, supabase.gateway):
        assert container.attrs["HostConfig"]["ReadonlyRootfs"]
        assert container.attrs["Config"]["User"] == "10001:10001"
        assert _is_healthy(container)
    assert supabase.rest.exec_run(["sh", "-c", "true"]).exit_code != 0
    output = supabase.gateway.exec_run(["touch", "/x"]).output
    assert isinstance(output, bytes)
    assert output.endswith(b"Read-only file system\n")


def _is_healthy(container: Container) -> bool:
    """Run the check of the container's image, now."""
    container.reload()
    return container.exec_run(container.attrs["Config"]["Healthcheck"]["Test"][1:]).exit_code == 0
