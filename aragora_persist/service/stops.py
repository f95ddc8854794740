"""How a process that runs until it is told to stop waits for that."""

from __future__ import annotations

import signal
from queue import SimpleQueue

from aragora_persist.service.init import STOP_SIGNALS, unblock_signals


class Stop:
    """Wakes ``wait`` on SIGTERM, SIGINT or ``ask``; to be made in the main thread."""

    def __init__(self) -> None:
        # Not an Event: a handler that interrupts the main thread inside of Event.wait could wait for it for ever.
        self._asked: SimpleQueue[None] = SimpleQueue()
        for number in STOP_SIGNALS:
            signal.signal(number, lambda *_: self.ask())
        unblock_signals()

    def ask(self) -> None:
        """Ask for the stop, from any thread or handler."""
        self._asked.put(None)

    def wait(self) -> None:
        """Return when the stop was asked for; a second signal then ends the process at once."""
        self._asked.get()
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
