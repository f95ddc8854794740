"""An S3 server on loopback that passes requests on to the real one, and fails as it is told.

``faults`` say the method that they wait for and what then happens, such as ``PUT lose``, or ``GET pass`` where nothing
does: each happens once. When all have, ``always`` happens to every request. Some faults come before the request has
reached the server, others after.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.faulty_server import LONGEST_S, FaultyHandler, FaultyServer

if TYPE_CHECKING:
    from collections.abc import Iterable

_PAUSE_S = 0.02
_REFUSALS = {
    "403": (403, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"),
    "skewed": (403, b"<Error><Code>RequestTimeTooSkewed</Code></Error>"),
    "region": (400, b"<Error><Code>AuthorizationHeaderMalformed</Code></Error>"),
    "400": (400, b"<Error><Code>InvalidRequest</Code></Error>"),
    "gone": (404, b"<Error><Code>NoSuchKey</Code></Error>"),
    "500": (500, b"<Error><Code>InternalError</Code></Error>"),
    "501": (501, b"<Error><Code>NotImplemented</Code></Error>"),
    "503": (503, b"<Error><Code>SlowDown</Code></Error>"),
    "portal": (200, b"<html><body>sign in here</body></html>"),
}


class FaultyS3(FaultyServer):
    """Listens inside of ``with``; ``requests`` are the methods, paths and ranges that came, and ``headers`` theirs."""

    def __init__(self, url: str, faults: Iterable[str] = (), *, always: str = "") -> None:
        super().__init__(url, _Handler, faults)
        self.always = always
        self.headers: list[dict[str, str]] = []

    def count(self, method: str) -> int:
        """Return how many requests of this method have come."""
        return sum(request.startswith(f"{method} ") for request in self.requests)

    def next_fault(self, method: str, request: str, headers: dict[str, str]) -> str:
        """Note a request, and return what shall happen to it."""
        with self.lock:
            self.requests.append(request)
            self.headers.append(headers)
            if not self.faults:
                return self.always
            awaited, _, fault = self.faults[0].partition(" ")
            if awaited != method:
                return "pass"
            self.faults.popleft()
            return fault


class _Handler(FaultyHandler):
    owner: FaultyS3

    def serve(self, body: bytes) -> None:
        request = f"{self.command} {self.path} {self.headers.get('Range', '')}".rstrip()
        headers = {name.lower(): value for name, value in self.headers.items()}
        fault = self.owner.next_fault(self.command, request, headers)
        self.close_connection = True  # one that is kept alive would keep the server from ending
        if fault in _REFUSALS:
            status, content = _REFUSALS[fault]
            self._answer(status, content if self.command != "HEAD" else b"", {})
        elif fault == "liar":
            self._answer(200, b"", {"ETag": '"00000000000000000000000000000000"'})
        elif fault == "stall":
            self.owner.released.wait(LONGEST_S)
        elif fault == "reset":
            self.break_off()
        else:
            self._pass(_flipped(body) if fault == "flip" and body else body, fault)

    def _pass(self, body: bytes, fault: str) -> None:
        status, headers, content = self.pass_on(body, self.owner.behind)
        if fault == "lose":
            self.break_off()
        elif fault == "cut":
            self._answer(status, content[: len(content) // 2], headers)
            self.break_off()
        elif fault == "slow":
            self._answer(status, content, headers, pause_s=_PAUSE_S)
        elif fault == "flip answer":
            self._answer(status, _flipped(content), headers)
        else:
            self._answer(status, content, headers)

    def _answer(self, status: int, content: bytes, headers: dict[str, str], *, pause_s: float = 0) -> None:
        """Answer, with a pause before the answer and in the midst of it."""
        self.owner.released.wait(pause_s)
        self.send_response_only(status)
        for name, value in ({"content-length": str(len(content))} | headers | {"connection": "close"}).items():
            self.send_header(name, value)
        self.end_headers()
        for piece in (content[: len(content) // 2], content[len(content) // 2 :]):
            self.wfile.write(piece)
            self.wfile.flush()
            self.owner.released.wait(pause_s)


def _flipped(data: bytes) -> bytes:
    """Return the data with one bit of it changed."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
