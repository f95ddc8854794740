"""A receiver of webhooks on this machine: it keeps what it is sent, and answers byte for byte as it is told."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OK = b"HTTP/1.1 204 No Content\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came; the names of headers are in lower case."""

    line: str
    headers: dict[str, str]
    body: bytes


def answering(answer: bytes) -> Callable[[socket.socket], None]:
    """Return the behaviour of a receiver that always answers so."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(answer)

    return behave


class Receiver:
    """Listening while its block runs; ``behave`` is given each connection whose request has come whole.

    By default it takes everything.
    """

    def __init__(
        self, behave: Callable[[socket.socket], None] | None = None, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self.behave = behave or answering(OK)
        self.requests: list[Request] = []
        self.connections = 0
        self.ending = threading.Event()
        """Set at the end of the block: a behaviour that waits ends with it."""
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._threads = [threading.Thread(target=self._accept)]
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/in?a=b"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            stack.callback(connection.close)
            connection.settimeout(60)
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                stack.callback(connection.close)
            with connection.makefile("rb") as stream:
                line, *lines = iter(lambda: stream.readline().decode("latin-1").strip(), "")
                headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)}
                self.requests.append(Request(line, headers, stream.read(int(headers["content-length"]))))
            self.behave(connection)


def certificate(folder: Path, name: str) -> Path:
    """Make a certificate for this name, signed by itself, and return the file with it and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


def server_tls(path: Path) -> ssl.SSLContext:
    """Return the context of a server with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
