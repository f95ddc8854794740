"""A server on loopback in front of a real one, for the tests that have it fail as they say.

Leaves out: what passes, what fails and how (``faulty_gateway``, ``faulty_s3``).
"""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import urlsplit


class FaultyServer:
    """Listens inside of ``with``; each connection is served by a ``handler`` that knows its ``owner``.

    ``released`` is set when the block ends: what waits on purpose waits no longer.
    """

    def __init__(self, url: str, handler: type[BaseHTTPRequestHandler]) -> None:
        self.behind = urlsplit(url).netloc
        self.requests: list[str] = []
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


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """Take it that a client has gone: the tests look at what it did, and at what is stored."""
