"""A machine for the bootstrap to look at: real programs in a PATH of its own, a store and a checkout in a folder.

And a vendor's server, to fetch files from.
"""

from __future__ import annotations

import contextlib
import http.server
import io
import os
import threading
from typing import TYPE_CHECKING

from infra.toolchain.process import Console
from infra.toolchain.step import Context
from infra.toolchain.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Machine:
    """Programs put into ``programs`` are found before the system's; ``told`` is all that was printed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "programs"
        self.programs.mkdir()
        self.repository = folder / "repository"
        self.repository.mkdir()
        self._printed = io.StringIO()
        environment = {
            "PATH": f"{self.programs}{os.pathsep}/usr/bin{os.pathsep}/bin",
            "HOME": str(folder),
            "ARAGORA_TOOLCHAIN_DIR": str(folder / "tools"),
        }
        self.context = Context(environment, Store(folder / "tools"), self.repository, Console(self._printed))

    @property
    def told(self) -> str:
        """What the bootstrap has printed so far."""
        return self._printed.getvalue()

    def program(self, name: str, script: str) -> Path:
        """Put a shell script on PATH."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def tree(self) -> dict[str, tuple[int, int, bytes]]:
        """Return every file of the machine with its mode, time and content."""
        return {
            str(path.relative_to(self.folder)): (
                path.lstat().st_mode,
                path.lstat().st_mtime_ns,
                path.read_bytes() if path.is_file() else b"",
            )
            for path in sorted(self.folder.rglob("*"))
        }


class Vendor:
    """A server that gives the same file at every path; ``asked`` are the paths that were asked for."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[str] = []


@contextlib.contextmanager
def vendor(content: bytes) -> Iterator[Vendor]:
    """Serve this file."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            serving.asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_arguments: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = Vendor(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield serving
        finally:
            server.shutdown()
            thread.join()
