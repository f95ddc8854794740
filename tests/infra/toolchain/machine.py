"""A machine for the bootstrap to look at: real programs in a PATH of its own, a store and a checkout in a folder."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from infra.toolchain.process import Console
from infra.toolchain.step import Context
from infra.toolchain.store import Store

if TYPE_CHECKING:
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
