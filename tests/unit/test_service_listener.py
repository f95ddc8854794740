"""The service's HTTP server over real sockets."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest

from aragora_persist.errors import PersistError
from aragora_persist.service import listener
from aragora_persist.service.listener import Listener, Response, text_response
from tests.waiting import PATIENCE_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


def respond(path: str) -> Response:
    """Answer two paths, and break on a third."""
    if path == "/here":
        return text_response(HTTPStatus.OK, "hello")
    if path == "/broken":
        raise ValueError("a bug")
    return text_response(HTTPStatus.NOT_FOUND, "nothing here")


@contextlib.contextmanager
def running() -> Iterator[Listener]:
    """Run a listener on a free port."""
    with Listener("127.0.0.1", 0, respond) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(server: Listener, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
    """Send one request and return status, headers and body."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)) as connection:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()


def send(server: Listener, data: bytes) -> bytes:
    """Send bytes as they are and return everything that comes back."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as client:
        client.sendall(data)
        received = b""
        while part := client.recv(65536):
            received += part
        return received


def test_get_answers_with_security_headers() -> None:
    """A known path answers, whatever the query, and no browser may frame, sniff or keep it."""
    with running() as server:
        status, headers, body = ask(server, "GET", "/here?a=1")

    assert (status, body) == (200, b"hello\n")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert headers["Server"] == "aragora-persist"


def test_head_answers_without_a_body() -> None:
    """HEAD has the headers of GET and nothing after them."""
    with running() as server:
        answer = send(server, b"HEAD /here HTTP/1.0\r\n\r\n")

    assert answer.startswith(b"HTTP/1.0 200 ")
    assert b"Content-Length: 6\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_other_methods_are_refused(method: str) -> None:
    """Nothing can be changed over HTTP."""
    with running() as server:
        status, headers, _ = ask(server, method, "/here")

    assert status == 405
    assert headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    ("request_bytes", "start"),
    [
        (b"GET /<script> HTTP/x\r\n\r\n", b"Bad Request\n"),
        (b"BREW /<script> HTTP/1.0\r\n\r\n", b"HTTP/1.0 501 "),
        (b"GET /" + b"x" * 70000 + b" HTTP/1.0\r\n\r\n", b"HTTP/1.0 414 "),
        (b"GET / HTTP/1.0\r\n" + b"A: b\r\n" * 200 + b"\r\n", b"HTTP/1.0 431 "),
    ],
)
def test_malformed_requests_are_answered_without_an_echo(request_bytes: bytes, start: bytes) -> None:
    """A request that is not understood gets its code and sees nothing of itself again."""
    with running() as server:
        answer = send(server, request_bytes)
        still = ask(server, "GET", "/here")[0]

    assert answer.startswith(start)
    assert b"script" not in answer
    assert still == 200


def test_failing_answer_is_logged_and_the_server_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """A bug in one answer ends that connection only."""
    with running() as server:
        answer = send(server, b"GET /broken HTTP/1.0\r\n\r\n")
        still = ask(server, "GET", "/here")[0]

    assert answer == b""
    assert still == 200
    assert [record.exc_info[1].args for record in caplog.records if record.exc_info and record.exc_info[1]] == [
        ("a bug",)
    ]


def test_too_many_connections_are_refused_and_recover(monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle connections take every place: the next is refused at once; when they end, it is answered."""
    monkeypatch.setattr(listener, "MAX_CONNECTIONS", 2)
    with running() as server, contextlib.ExitStack() as held:
        for _ in range(2):
            held.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        refused = send(server, b"GET /here HTTP/1.0\r\n\r\n")
        assert refused.startswith(b"HTTP/1.0 503 ")
        held.close()

        wait_until(lambda: ask(server, "GET", "/here")[0] == 200, "an answer")


def test_slow_client_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends a byte now and then does not hold a thread for longer than allowed."""
    monkeypatch.setattr(listener, "CONNECTION_SECONDS", 0.2)
    monkeypatch.setattr(listener._Handler, "timeout", 2 * PATIENCE_S)  # the limit of a single read does not help here
    with running() as server, socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as client:
        client.sendall(b"GET /he")
        received = client.recv(1024)

    assert received == b"" or received.startswith(b"HTTP/1.0 4")


@pytest.mark.parametrize(
    ("host", "problem", "hint"),
    [
        ("127.0.0.1", "is in use", "--port"),
        ("192.0.2.1", "is not an address of this machine", "--host"),
        ("no such host", "is not an address of this machine", "--host"),
        ("no-label-is-so-long-" * 4, "is not an address of this machine", "--host"),
    ],
)
def test_address_that_cannot_be_had_names_the_option(host: str, problem: str, hint: str) -> None:
    """The error says what is wrong with which address and what to change."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(PersistError) as caught:
            Listener(host, port, respond)

    assert caught.value.target == f"{host}:{port}"
    assert problem in caught.value.problem
    assert hint in caught.value.hint


def test_listens_on_ipv6() -> None:
    """An address of the other family works too."""
    with Listener("::1", 0, respond) as server:
        assert server.port > 0
