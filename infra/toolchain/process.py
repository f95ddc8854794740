"""Run commands: their whole output is kept for the error, and a long one shows that it is alive.

On a terminal the progress is one line that counts the seconds; in a pipe it is a line every half minute. Nothing is
written for a command that is quick.
"""

from __future__ import annotations

import contextlib
import ctypes
import signal
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

TERMINAL_INTERVAL_S = 1.0
PIPE_INTERVAL_S = 30.0
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


class CommandFailedError(Exception):
    """A command could not be started, failed, or did not end in time; ``output`` is all it printed."""

    def __init__(self, command: Sequence[str], problem: str, output: str) -> None:
        super().__init__(f"{' '.join(command[:3])} {problem}")
        self.output = output


class Console:
    """Where a bootstrap tells what it does: finished lines, and the progress of what is under way."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.terminal = self.stream.isatty()
        self.interval_s = TERMINAL_INTERVAL_S if self.terminal else PIPE_INTERVAL_S

    def line(self, text: str) -> None:
        """Print one finished line."""
        self._erase()
        print(text, file=self.stream, flush=True)

    def progress(self, label: str, elapsed_s: float) -> None:
        """Show that ``label`` is still under way."""
        text = f"  … {label}: {elapsed_s:.0f} s"
        if self.terminal:
            self._erase()
            print(text, end="", file=self.stream, flush=True)
        else:
            print(text, file=self.stream, flush=True)

    def _erase(self) -> None:
        if self.terminal:
            print("\r\x1b[2K", end="", file=self.stream)


def run(
    command: Sequence[str],
    *,
    console: Console,
    label: str,
    environment: Mapping[str, str],
    cwd: Path | None = None,
    timeout_s: float | None = None,
) -> str:
    """Run ``command`` to its end and return its output, standard error included.

    Raises CommandFailedError when it cannot be started, exits with an error, or runs longer than ``timeout_s``.
    """
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=environment,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - there are no other threads here
            )
        except OSError as error:
            raise CommandFailedError(command, f"could not be started: {error.strerror}", "") from error
        with _ended(process):
            code = _wait(process, console, label, timeout_s)
        output.seek(0)
        text = output.read()
    if code is None:
        raise CommandFailedError(command, f"did not end within {timeout_s:g} s", text)
    if code != 0:
        raise CommandFailedError(command, f"exited with {code}", text)
    return text


def _wait(process: subprocess.Popen[bytes], console: Console, label: str, timeout_s: float | None) -> int | None:
    """Return the exit code, or None when it took too long; tells of the progress meanwhile."""
    started = time.monotonic()
    while True:
        try:
            return process.wait(console.interval_s)
        except subprocess.TimeoutExpired:
            elapsed_s = time.monotonic() - started
            if timeout_s is not None and elapsed_s > timeout_s:
                return None
            console.progress(label, elapsed_s)


def _end_with_parent() -> None:
    """Have Linux end this process when its parent is gone: a bootstrap that was killed must not go on building."""
    if sys.platform == "linux":
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Let no child outlive the block: an interrupted bootstrap must not go on building."""
    try:
        yield
    finally:
        if process.poll() is None:
            with contextlib.suppress(PermissionError):  # what sudo runs is not ours to end; a Ctrl-C reaches it too
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
        process.wait()
