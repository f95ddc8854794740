"""A real S3 server on loopback whose objects are files: versitygw, which `scripts/bootstrap --tests` gets.

Its own marks of the objects are in their extended attributes, so a file that a test alters behind its back is an object
that has rotted.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from infra.toolchain import environment, pins
from infra.toolchain.process import LIBC, PR_SET_PDEATHSIG
from tests.ports import free_ports
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

ACCESS_KEY_ID = "aragora-test"
SECRET_ACCESS_KEY = "the-secret-of-aragora-test"


def program() -> str:
    """Return the server's program."""
    found = shutil.which(pins.VERSITYGW.name, path=os.pathsep.join((str(environment.bin_dir()), os.environ["PATH"])))
    assert found, "there is no S3 server: scripts/bootstrap --tests gets one"
    return found


def _end_with_parent() -> None:
    """Have Linux end the server with a run of the tests that is killed."""
    if sys.platform == "linux":
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class S3Server:
    """Listens inside of ``with``; ``folder`` holds a folder for each bucket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, as it was stopped."""
        keys = {"ROOT_ACCESS_KEY": ACCESS_KEY_ID, "ROOT_SECRET_KEY": SECRET_ACCESS_KEY}
        self._process = subprocess.Popen(
            (program(), "--port", f"127.0.0.1:{self.port}", "--quiet", "posix", str(self.folder)),
            env={"PATH": os.environ["PATH"], **keys},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=_end_with_parent,  # noqa: PLW1509 - it takes no lock that a thread could hold
        )
        wait_until(self._listens, "the S3 server")

    def stop(self) -> None:
        """Stop it; what it holds stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def make_bucket(self, name: str) -> Path:
        """Make a bucket and return its folder."""
        bucket = self.folder / name
        bucket.mkdir()
        return bucket

    def environ(self, bucket: str, *, endpoint: str = "") -> dict[str, str]:
        """Return the variables that say that off-site is there."""
        return {
            "ARAGORA_OFFSITE_URL": f"s3://{bucket}",
            "ARAGORA_OFFSITE_ENDPOINT": endpoint or self.url,
            "ARAGORA_OFFSITE_ACCESS_KEY_ID": ACCESS_KEY_ID,
            "ARAGORA_OFFSITE_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
        }

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "the S3 server has ended"
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False
