"""A gateway on loopback that passes requests on to the real one, and fails as it is told: once for each fault given.

Some faults come before the request has reached the database, others after: only the latter lose answers to writes that
took place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.faulty_server import LONGEST_S, FaultyHandler, FaultyServer

if TYPE_CHECKING:
    from collections.abc import Iterable

BEFORE = ("reset", "502", "busy", "portal", "redirect")
AFTER = ("lose", "late 502", "cut", "stall", "drip")
_PAGE = b"<html><body>secret page</body></html>"


class FaultyGateway(FaultyServer):
    """Listens from ``with`` on; ``faults`` are consumed one a request, after which everything passes."""

    def __init__(self, url: str, faults: Iterable[str] = ()) -> None:
        super().__init__(url, _Handler, faults)
        self.redirect_to = ""
        self.retry_after = "0"
        self.largest_bytes: int | None = None

    def next_fault(self, request: str) -> str:
        """Note a request, and return what shall happen to it."""
        with self.lock:
            self.requests.append(request)
            return self.faults.popleft() if self.faults else ""


class _Handler(FaultyHandler):
    owner: FaultyGateway
    timeout = 1  # an idle connection that is kept alive would keep the server from ending

    def serve(self, body: bytes) -> None:
        fault = self.owner.next_fault(f"{self.command} {self.path}")
        if self.owner.largest_bytes is not None and len(body) > self.owner.largest_bytes:
            self._answer(413, "text/html", _PAGE)
        elif fault == "reset":
            self.break_off()
        elif fault == "502":
            self._answer(502, "text/html", _PAGE)
        elif fault == "busy":
            self._answer(503, "application/json", b'{"message": "busy"}', ("Retry-After", self.owner.retry_after))
        elif fault == "too slow":
            self._answer(500, "application/json", b'{"code": "57014", "message": "canceling statement"}')
        elif fault == "portal":
            self._answer(200, "text/html", _PAGE)
        elif fault == "redirect":
            self._answer(307, "text/html", b"", ("Location", f"{self.owner.redirect_to}{self.path}"))
        else:
            self._pass(body, fault)

    def _pass(self, body: bytes, fault: str) -> None:
        status, headers, content = self.pass_on(body, self.owner.behind)
        kind = headers.get("content-type", "")
        if fault == "lose":
            self.break_off()
        elif fault == "late 502":
            self._answer(502, "text/html", _PAGE)
        elif fault == "cut":
            self._answer(status, kind, content[: len(content) // 2], ("Content-Length", str(len(content) + 10)))
            self.break_off()
        elif fault == "stall":
            self.owner.released.wait(LONGEST_S)
            self.close_connection = True
        elif fault == "drip":
            self._drip(status)
        else:
            self._answer(status, kind, content)

    def _answer(self, status: int, kind: str, content: bytes, *more: tuple[str, str]) -> None:
        headers = {"Content-Type": kind, "Content-Length": str(len(content)), **dict(more)}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _drip(self, status: int) -> None:
        """Send a body that never ends, one byte at a time."""
        self.close_connection = True
        try:
            self._answer(status, "application/json", b"[", ("Content-Length", "1000000"))
            while not self.owner.released.wait(0.05):
                self.wfile.write(b" ")
        except OSError:
            return
