"""Processes that must not outlive their parents.

The CLI starts the plugin, the plugin starts the Terraform provider. Whichever of them is killed, even with ``kill -9``,
the ones below must end too. Two independent signs are watched: the kernel's parent-death signal (Linux), and the end of
standard input, which the CLI holds open as long as it lives. Elsewhere than on Linux only the second sign exists, so a
``kill -9`` of the plugin itself leaves the provider behind there.
"""

from __future__ import annotations

import ctypes
import os
import signal
import stat
import sys
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import FrameType

_PR_SET_PDEATHSIG: Final = 1


def die_with_parent(parent_pid: int, signal_number: signal.Signals) -> None:
    """Ask the kernel to send a signal when the parent ends; for the child, between fork and exec, and for the plugin.

    The parent may have ended before the kernel was asked: then its signal never comes, and the process ends here.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal_number))
    if os.getppid() != parent_pid:
        os._exit(1)


class Lifetime:
    """The plugin's own life: ``wait`` returns when it is time to stop.

    Must be made in the main thread, before anything else is started.
    """

    def __init__(self) -> None:
        self._over = threading.Event()
        self._parent_pid = os.getppid()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._end)
        signal.signal(signal.SIGUSR1, self._parent_thread_ended)
        die_with_parent(self._parent_pid, signal.SIGUSR1)

    def watch_stdin(self) -> None:
        """End when the CLI closes standard input. Where it is no pipe (started by hand) it says nothing."""
        mode = os.fstat(0).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            threading.Thread(target=self._read_stdin, name="stdin", daemon=True).start()

    def wait(self) -> None:
        """Return when a signal or the end of standard input says so."""
        self._over.wait()

    def _read_stdin(self) -> None:
        while os.read(0, 4096):
            pass
        self._over.set()

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self._over.set()

    def _parent_thread_ended(self, _number: int, _frame: FrameType | None) -> None:
        # The kernel means the *thread* that started us, and the CLI's runtime may end threads while it lives.
        if os.getppid() != self._parent_pid:
            self._over.set()
