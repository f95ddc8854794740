"""The service as a process of its own, for tests that ask it over HTTP."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.waiting import PATIENCE_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

COMMAND = Path(sys.executable).with_name("aragora-persist")


@contextlib.contextmanager
def serving(
    home: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run the service on a free port, with more in its environment, and yield the process and the port."""
    with subprocess.Popen(
        [COMMAND, "--nomic-dir", home, "serve", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.fullmatch(r"Serving http://127\.0\.0\.1:(\d+)/\n", line)
        assert match, line
        try:
            yield process, int(match.group(1))
        finally:
            if process.poll() is None:
                process.kill()


def get(port: int, path: str) -> tuple[int, dict[str, str], str]:
    """Ask the service for a path."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read().decode()


def ready(port: int) -> bool:
    """Say whether the service calls itself ready."""
    return get(port, "/readyz")[0] == 200


def wait_ready(port: int) -> None:
    """Return when the service calls itself ready."""
    wait_until(partial(ready, port), "the service to be ready")
