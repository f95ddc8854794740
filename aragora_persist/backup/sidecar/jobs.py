"""The sidecar's work in processes of their own: the commands that an operator runs by hand.

So whatever a piece of work runs into (a server that never answers, a copy of many gigabytes, a library that crashes),
it can be ended at once, and the sidecar goes on. Leaves out: what is run when (``sidecar``).
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_LOGGER = logging.getLogger("aragora_persist.backup")
_PACKAGE_HOME = str(Path(__file__).resolve().parents[2])
_UNWIND_S = 3.0
"""How long an interrupted job may take to remove what it was making."""
_DEATH_S = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command said on standard output, and its exit code."""

    code: int
    lines: tuple[str, ...]


class Jobs:
    """Runs commands, of several threads at once, and can end all of them."""

    def __init__(self, nomic_dir: Path) -> None:
        # This very package, wherever the sidecar was started and whatever lies there.
        self._command = (sys.executable, "-P", "-m", "aragora_persist", "--nomic-dir", str(nomic_dir))
        self._environ = os.environ.copy()
        self._environ["PYTHONPATH"] = os.pathsep.join(filter(None, (_PACKAGE_HOME, self._environ.get("PYTHONPATH"))))
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._ended = threading.Event()

    def run(self, *arguments: str) -> Answer | None:
        """Run a command to its end, and log its problems; None where it was ended, or not begun, because of ``end``."""
        with self._lock:
            if self._ended.is_set():
                return None
            job = subprocess.Popen(
                (*self._command, *arguments),
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="backslashreplace",
                start_new_session=True,  # a group of its own: Ctrl-C is for the sidecar, and its children go with it
            )
            self._running.add(job)
        try:
            said, problems = job.communicate()
        finally:
            with self._lock:
                self._running.discard(job)
        if self._ended.is_set():
            return None
        for problem in problems.replace("\n  ", "; ").splitlines():  # causes and ways out are indented lines
            _LOGGER.error("%s", problem.removeprefix("aragora-persist: "))
        return Answer(job.returncode, (*said.splitlines(),))

    def end(self) -> int:
        """Interrupt what runs, kill what does not end soon, and let nothing more begin; return how many it were.

        An interrupted command removes what it was making; what a killed one leaves, the next one removes.
        """
        with self._lock:
            self._ended.set()
            running = tuple(self._running)
        for job in running:
            _signal_group(job, signal.SIGINT)
        for job in running:
            with suppress(subprocess.TimeoutExpired):
                job.wait(_UNWIND_S)
            _signal_group(job, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):  # until then it has its locks; a disk that hangs may keep it
                job.wait(_DEATH_S)
        return len(running)


def _signal_group(job: subprocess.Popen[str], number: signal.Signals) -> None:
    # Its group, too, when it has ended itself: what it started may go on, and holds the ends of its pipes.
    with suppress(ProcessLookupError):
        os.killpg(job.pid, number)
