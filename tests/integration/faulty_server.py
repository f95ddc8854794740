"""A server on loopback in front of a real one, for the tests that have it fail as they say.

Leaves out: what passes, what fails and how (``faulty_gateway``, ``faulty_s3``).
"""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from abc import ABC, abstractmethod
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, NamedTuple, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST_S = 30.0
"""How long a test may have something wait at the most."""


class FaultyServer:
    """Listens inside of ``with``; each connection is served by a ``handler`` that knows its ``owner``.

    ``requests`` are those that came, and ``faults`` what shall happen to those that come. ``released`` is set when the
    block ends: what waits on purpose waits no longer.
    """

    def __init__(self, url: str, handler: type[FaultyHandler], faults: Iterable[str]) -> None:
        self.behind = urlsplit(url).netloc
        self.requests: list[str] = []
        self.faults = deque(faults)
        self.lock = threading.Lock()
        self.released = threading.Event()
        self._server = _Server(("127.0.0.1", 0), type("Handler", (handler,), {"owner": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Answered(NamedTuple):
    """What the server behind it answered; names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    content: bytes


class FaultyHandler(BaseHTTPRequestHandler, ABC):
    """One connection of a client; a subclass serves each of its requests, whatever the method, in ``serve``."""

    protocol_version = "HTTP/1.1"

    @abstractmethod
    def serve(self, body: bytes) -> None:
        """Answer a request, or do not."""

    def do_GET(self) -> None:
        """Serve one request."""
        self.serve(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 - the names that the class looks for

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def pass_on(self, body: bytes, behind: str) -> Answered:
        """Make the request of the server behind, as the client made it."""
        connection = http.client.HTTPConnection(behind, timeout=LONGEST_S)
        try:
            # With the client's own Host, which it may have signed.
            connection.request(self.command, self.path, body, dict(self.headers))
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answered(response.status, headers, response.read())
        finally:
            connection.close()

    def break_off(self) -> None:
        """Close the connection as a crash does."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """Take it that a client has gone: the tests look at what it did, and at what is stored."""
