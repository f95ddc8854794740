"""Calling Litestream: where the program is, its configuration in a folder of its own, one command with a bound.

Leaves out: keeping it running (``sidecar``).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING

from aragora_persist.backup.litestream.configuration import environment, replica_place
from aragora_persist.errors import NotFoundError, StorageError, UnreachableError, UnsupportedError
from aragora_persist.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aragora_persist.settings import Settings

NAME = "litestream"
_POLL_S = 0.05
_PATIENCE_S = 300.0
"""How long a call may go on without any progress: its own client tries a server again for some of that time."""
_NOTHING_THERE = ("no matching backup files", "transaction not available", "non-contiguous")


def find_program(operation: str) -> str:
    """Return the path of the program.

    Raises:
        UnsupportedError: there is none.

    """
    if path := shutil.which(NAME):
        return path
    hint = "run this in the container of the Litestream sidecar, or install Litestream 0.5 from litestream.io"
    raise UnsupportedError(operation, NAME, "is not on PATH", hint=hint)


def child_environment(settings: Settings) -> dict[str, str]:
    """Return the environment in which Litestream runs, keys included: for a child, and for nothing else."""
    return environment(settings, os.environ.copy())


def call(operation: str, command: list[str], settings: Settings, *, progress: Callable[[], object]) -> None:
    """Run one command of Litestream, as long as it exits or what ``progress`` returns goes on changing.

    Raises:
        NotFoundError: there is nothing that it could restore.
        UnreachableError: it came no further.
        StorageError: it failed; the problem is what it said.

    """
    place = str(replica_place(settings))
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(command, stdout=output, stderr=output, env=child_environment(settings)) as child,
    ):
        try:
            _wait(child, progress)
        except TimeoutError:
            problem = f"Litestream came no further for {_PATIENCE_S:g} s"
            raise UnreachableError(operation, place, problem, hint="look at the network and the server") from None
        finally:
            child.kill()
        output.seek(0)
        said = output.read().decode(errors="replace")
    if child.returncode != 0:
        raise _failure(operation, place, said)


def _wait(child: subprocess.Popen[bytes], progress: Callable[[], object]) -> None:
    state, deadline = progress(), time.monotonic() + _PATIENCE_S
    while True:
        try:
            child.wait(_POLL_S)
        except subprocess.TimeoutExpired:
            now = progress()
            if now != state:
                state, deadline = now, time.monotonic() + _PATIENCE_S
            elif time.monotonic() > deadline:
                raise TimeoutError from None
        else:
            return


def _failure(operation: str, place: str, said: str) -> NotFoundError | StorageError:
    lines = [line.removeprefix("Error: ").strip() for line in said.splitlines() if line.strip()]
    problem = redact(lines[-1] if lines else "it said nothing")
    if any(text in problem for text in _NOTHING_THERE):
        return NotFoundError(operation, place, f"Litestream finds nothing of that moment there: {problem}")
    return StorageError(operation, place, f"Litestream failed: {problem}", hint="mend what it names, then repeat")


def progress_of(path: Path) -> Callable[[], object]:
    """Return what tells whether a file is still being written."""

    def size() -> int:
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return -1

    return size
