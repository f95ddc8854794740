"""The HTTP server of the service: bounded threads, bounded time, GET and HEAD only.

It knows HTTP and nothing of databases: what to answer is a function from a path to a ``Response``. Leaves out: TLS and
authentication; the service shows state, never data, and listens on the loopback interface unless told otherwise.
"""

from __future__ import annotations

import contextlib
import errno
import http.server
import logging
import socket
import socketserver
import sys
import threading
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aragora_persist.errors import PersistError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_CONNECTIONS = 16
CONNECTION_SECONDS = 10.0
"""How long one connection may live, whatever it does: a client that sends a byte a second holds no thread for ever."""

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Response:
    """What a path answers; ``headers`` replace or join those that every answer carries."""

    status: HTTPStatus
    content_type: str
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)


def text_response(status: HTTPStatus, *lines: str) -> Response:
    """Return a plain text response."""
    return Response(status, "text/plain; charset=utf-8", "".join(f"{line}\n" for line in lines))


class Listener(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A listening socket, open from the moment it is made; ``serve_forever`` answers, ``shutdown`` ends that.

    Port 0 lets the system choose; ``port`` tells which.

    Raises:
        PersistError: the address cannot be listened on; the hint names the option that changes it.

    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, host: str, port: int, respond: Callable[[str], Response]) -> None:
        self.respond = respond
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._opened_at: dict[socket.socket, float] = {}
        self._opened_lock = threading.Lock()
        try:
            family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
            self.address_family = family
            super().__init__(address, _Handler)  # type: ignore[arg-type]  # a stream socket's address is (host, port, …)
        except (OSError, UnicodeError) as error:  # the latter: it cannot even be a host's name
            raise _listen_error(host, port, error) from error

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as in the base class
        """Answer in a thread of its own, or refuse at once where too many are open."""
        if not self._slots.acquire(blocking=False):
            # Here, without a thread and without reading: the refusal must cost nothing.
            with contextlib.suppress(OSError):
                request.settimeout(0.1)
                request.sendall(b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
            self.shutdown_request(request)
            return
        with self._opened_lock:
            self._opened_at[request] = time.monotonic()
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread to be had
            self._forget(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as in the base class
        """Answer one connection and give its place back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._forget(request)

    def service_actions(self) -> None:
        """Between two polls, end the connections that have lived too long."""
        oldest = time.monotonic() - CONNECTION_SECONDS
        with self._opened_lock:
            for request in [request for request, opened_at in self._opened_at.items() if opened_at < oldest]:
                with contextlib.suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - as in the base class
        """Log what went wrong in an answer; a client that went away is no error."""
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            _log.error("answer to %s failed", client_address[0], exc_info=error)

    def _forget(self, request: socket.socket) -> None:
        with self._opened_lock:
            self._opened_at.pop(request, None)
        self._slots.release()


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection, one request (HTTP/1.0)."""

    timeout = 5.0  # for each read and write
    server: Listener

    def do_GET(self) -> None:
        """Answer with what the path means."""
        self._send(self.server.respond(self.path.partition("?")[0]))

    do_HEAD = do_GET  # noqa: N815 - the name is given by http.server

    def do_POST(self) -> None:
        """Refuse to change anything."""
        self._send(text_response(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD"))

    do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_POST  # noqa: N815 - as above

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002 - as in the base class
        """Answer a request that is not understood, in plain text and without quoting it."""
        self._send(text_response(HTTPStatus(code), HTTPStatus(code).phrase))

    def _send(self, response: Response) -> None:
        body = response.body.encode()
        headers = {
            **_HEADERS,
            "Content-Type": response.content_type,
            "Content-Length": str(len(body)),
            **({"Allow": "GET, HEAD"} if response.status == HTTPStatus.METHOD_NOT_ALLOWED else {}),
            **response.headers,
        }
        self.send_response(response.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        """Say what answers, without the version of the Python below."""
        return "aragora-persist"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is given by http.server
        """Log at debug level only: health checks ask every few seconds."""
        _log.debug(format, *args)


def _listen_error(host: str, port: int, error: OSError | UnicodeError) -> PersistError:
    target = f"{host}:{port}"
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return PersistError(
            "serve", target, f"port {port} is in use", hint="stop what listens there, or choose another with --port"
        )
    if number == errno.EACCES:
        return PersistError("serve", target, f"port {port} needs more rights", hint="choose one above 1023 with --port")
    if isinstance(error, socket.gaierror | UnicodeError) or number == errno.EADDRNOTAVAIL:
        return PersistError(
            "serve", target, "is not an address of this machine", hint="choose one with --host, such as 127.0.0.1"
        )
    return PersistError("serve", target, f"cannot be listened on: {error}", hint="see --host and --port")
