"""The few questions and orders that the bootstrap has for a container engine, over its HTTP interface.

Without a client program and without a package: a machine may have an engine's socket and nothing else. Engines on a
unix socket or on plain TCP are understood; ssh and TLS addresses need packages, and are left to those that use them.
"""

from __future__ import annotations

import http.client
import json
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DEFAULT_ADDRESS = "unix:///var/run/docker.sock"


class EngineError(Exception):
    """The engine could not be reached or refused; the text is its answer."""


class AccessDeniedError(EngineError):
    """There is an engine, and this user may not speak to it."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Engine:
    """The engine at an address in the form of ``DOCKER_HOST``."""

    def __init__(self, address: str) -> None:
        self.address = address

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Engine:
        """Return the engine that this environment's programs would use."""
        return cls(environment.get("DOCKER_HOST") or DEFAULT_ADDRESS)

    def version(self) -> str:
        """Return the engine's version; raises EngineError when none answers."""
        return str(json.loads(self._call("GET", "/version", timeout_s=5))["Version"])

    def image(self, reference: str) -> dict[str, Any] | None:
        """Return what the engine knows of an image that it has, or None."""
        try:
            described: dict[str, Any] = json.loads(self._call("GET", f"/images/{reference}/json", timeout_s=10))
        except FileNotFoundError:
            return None
        return described

    def pull(self, repository: str, tag: str) -> None:
        """Pull an image; raises EngineError with the registry's answer."""
        _raise_reported(self._call("POST", f"/images/create?fromImage={quote(repository)}&tag={tag}", timeout_s=120))

    def load(self, archive: Path, repository: str, tag: str, changes: tuple[str, ...]) -> None:
        """Make an image of a root file system's tar archive, with Dockerfile instructions (``CMD …``) on top."""
        query = "&".join(f"changes={quote(change)}" for change in changes)
        with archive.open("rb") as body:
            path = f"/images/create?fromSrc=-&repo={quote(repository)}&tag={tag}&{query}"
            _raise_reported(self._call("POST", path, timeout_s=300, body=body, size=archive.stat().st_size))

    def _call(self, method: str, path: str, *, timeout_s: float, body: Any = None, size: int = 0) -> bytes:  # noqa: ANN401 - what http.client takes as a body has no common type
        connection = self._connection(timeout_s)
        try:
            connection.request(method, path, body=body, headers={"Content-Length": str(size)})
            response = connection.getresponse()
            answer = response.read()
        except PermissionError as error:
            raise AccessDeniedError(f"{self.address}: permission denied") from error
        except (OSError, http.client.HTTPException) as error:
            raise EngineError(f"{self.address}: {error}") from error
        finally:
            connection.close()
        if response.status == http.HTTPStatus.NOT_FOUND:
            raise FileNotFoundError(path)
        if response.status >= http.HTTPStatus.BAD_REQUEST:
            raise EngineError(_message(answer))
        return answer

    def _connection(self, timeout_s: float) -> http.client.HTTPConnection:
        parts = urlsplit(self.address)
        if parts.scheme == "unix":
            return _UnixConnection(parts.path, timeout_s)
        if parts.scheme in {"tcp", "http"} and parts.hostname:
            return http.client.HTTPConnection(parts.hostname, parts.port or 2375, timeout=timeout_s)
        raise EngineError(f"{self.address}: not a unix:// or tcp:// address")


def _message(answer: bytes) -> str:
    try:
        return str(json.loads(answer)["message"])
    except (ValueError, KeyError, TypeError):
        return answer.decode(errors="replace").strip()


def _raise_reported(progress: bytes) -> None:
    """Raise the error that a stream of progress messages ends with: the engine says 200 before it knows."""
    for line in progress.splitlines():
        problem = json.loads(line).get("error")
        if problem:
            raise EngineError(str(problem))
