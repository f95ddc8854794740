"""One POST to an address that was checked: the name is resolved once, and the connection goes to what was checked.

Between a check and a second look-up a name may change its address; there is no second look-up. Redirects are not
followed: that would be a request to a place that nobody subscribed, and the webhook's owner is to name the new one. Of
the answer only the status is read. Leaves out: what is sent, and what follows from the answer.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from aragora_persist.storage.webhooks.targets import address_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from aragora_persist.storage.webhooks.targets import Networks, Target

RESOLVE_S = 30.0
"""A name that took longer than this is not connected to: the system's resolver cannot be stopped, only overtaken."""
CONNECT_S = 5.0
"""For each of connecting and the TLS handshake."""
ANSWER_S = 15.0
"""For request and answer together, whatever trickles meanwhile."""

_REDIRECTS = range(300, 400)
_SUCCESSES = range(200, 300)


class Answer(NamedTuple):
    """How a request ended: ``error`` is '' for a success, else one of ``records.ERRORS``."""

    error: str
    status: int | None = None


def post(
    target: Target, body: bytes, headers: Mapping[str, str], *, allowed: Networks = (), tls: ssl.SSLContext
) -> Answer:
    """Send one request and return how it ended; nothing of the network is raised."""
    asked = monotonic()
    try:
        addresses = _resolved(target)
        if any(address_problem(address, allowed, is_tls=target.is_tls) for address in addresses):
            return Answer("target")
        if monotonic() - asked > RESOLVE_S:
            return Answer("timeout")
        return _exchanged(_Connection(target, addresses, tls), target.path, body, headers)
    except TimeoutError:
        return Answer("timeout")
    except ssl.SSLError:
        return Answer("tls")
    except (OSError, UnicodeError):  # the latter: a name that no name server can be asked for
        return Answer("unreachable")


def _resolved(target: Target) -> list[str]:
    """Return the numeric addresses of a host, each once."""
    found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(place[0]) for *_, place in found))


class _Connection(http.client.HTTPConnection):
    """A connection to one of these addresses, in the name of the target."""

    def __init__(self, target: Target, addresses: list[str], tls: ssl.SSLContext) -> None:
        super().__init__(target.host, target.port)
        self.default_port = 443 if target.is_tls else 80  # a Host header names any other
        self._addresses = addresses
        self._tls = tls if target.is_tls else None

    def connect(self) -> None:
        """Connect to the first address that accepts, within ``CONNECT_S``."""
        deadline = monotonic() + CONNECT_S
        for number, address in enumerate(self._addresses, 1):
            try:
                self.sock = socket.create_connection((address, self.port), max(0.001, deadline - monotonic()))
                break
            except OSError:
                if number == len(self._addresses):
                    raise
        if self._tls is not None:
            self.sock.settimeout(CONNECT_S)  # Python holds a handshake as a whole to it
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self.host)


def _exchanged(connection: _Connection, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    with contextlib.closing(connection):
        connection.connect()
        with _bounded(connection.sock) as is_over:
            try:
                connection.request("POST", path, body, dict(headers))
                with contextlib.closing(connection.getresponse()) as response:
                    status = response.status
            except OSError:
                if is_over():
                    return Answer("timeout")
                raise
            except http.client.HTTPException:
                return Answer("timeout" if is_over() else "answer")
            if is_over():  # what has come was cut off, and to the parser its end is one like any other
                return Answer("timeout")
    if status in _SUCCESSES:
        return Answer("", status)
    return Answer("redirect" if status in _REDIRECTS else "status", status)


@contextlib.contextmanager
def _bounded(sock: socket.socket) -> Iterator[Callable[[], bool]]:
    """End the connection after ``ANSWER_S``, and tell whether that was done.

    A timeout of the socket would begin anew with every byte that a receiver lets through.
    """
    over = threading.Event()

    def end() -> None:
        over.set()
        with contextlib.suppress(OSError):  # it is closed already
            # Of the plain socket: that of TLS would also forget, in the midst of a read, that there is TLS.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)

    sock.settimeout(None)
    timer = threading.Timer(ANSWER_S, end)
    timer.daemon = True
    timer.start()
    try:
        yield over.is_set
    finally:
        timer.cancel()
        timer.join()
