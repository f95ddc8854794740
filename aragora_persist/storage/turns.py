"""A lock that is fair and bounded: first come, first served, and nobody waits longer than he said.

``threading.Lock`` promises no order: a thread that writes in a loop would take it again and again while the others run
into their timeouts. Leaves out: other processes; between those SQLite's own lock decides.
"""

from __future__ import annotations

import threading
from collections import deque


class Turns:
    """Hands one turn from holder to holder, in the order in which they asked."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._taken = False
        self._holder: int | None = None

    def mine(self) -> bool:
        """Whether the calling thread holds the turn."""
        return self._holder == threading.get_ident()

    def take(self, timeout_s: float) -> bool:
        """Wait at most ``timeout_s`` for the turn; False when it was not had. The holder must not ask again."""
        with self._guard:
            if not self._taken:
                self._taken = True
                self._holder = threading.get_ident()
                return True
            gate = threading.Lock()
            gate.acquire()
            self._waiting.append(gate)
        try:
            had = gate.acquire(timeout=min(timeout_s, threading.TIMEOUT_MAX)) or not self._leave(gate)
        except BaseException:  # an interrupt while waiting: a turn handed over meanwhile must not be lost
            if not self._leave(gate):
                self.give()
            raise
        if had:
            self._holder = threading.get_ident()
        return had

    def give(self) -> None:
        """Hand the turn to the next who waits."""
        with self._guard:
            self._holder = None
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False

    def _leave(self, gate: threading.Lock) -> bool:
        """Stop waiting; False when the turn was handed over just before."""
        with self._guard:
            if gate in self._waiting:
                self._waiting.remove(gate)
                return True
            return False
