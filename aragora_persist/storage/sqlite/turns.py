"""A line before the one writer: fair and bounded. First come, first served, and nobody waits longer than he said.

``threading.Lock`` promises no order: a thread that writes in a loop would take it again and again while the others run
into their timeouts. The first of the line has the turn. Whoever waits with a job may have it done by the one who has
the turn (``group``), and then needs none.

In the main thread a handler of a signal (Ctrl-C, a timeout) can raise whatever it likes between any two calls: so every
change of the line is complete before its last call, and can be made again. Leaves out: other processes; between those
SQLite's own lock decides.
"""

from __future__ import annotations

import threading
from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Job = TypeVar("Job")


class State(Enum):
    """How it stands with a place in the line."""

    WAITING = "waiting"
    RUNNING = "running"
    """Its job is being done by the one who has the turn."""
    DONE = "done"
    """Its job was done, and it has left the line."""
    HAD = "had"
    """It has the turn."""
    LEFT = "left"
    """It has waited long enough, or was interrupted, and is no longer in the line."""


_UNDECIDED = (State.WAITING, State.RUNNING)


class Place(Generic[Job]):
    """One place in the line, with a job that somebody else may do, or without."""

    __slots__ = ("gate", "job", "late", "state", "thread")

    def __init__(self, job: Job | None = None) -> None:
        self.job = job
        self.state = State.WAITING
        self.late = False
        self.thread = threading.get_ident()
        self.gate = threading.Lock()


class Turns(Generic[Job]):
    """Hands one turn from place to place, in the order in which they came."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._line: list[Place[Job]] = []
        self._holder: int | None = None

    def mine(self) -> bool:
        """Whether the calling thread has the turn."""
        return self._holder == threading.get_ident()

    def has(self, place: Place[Job]) -> bool:
        """Whether this place has the turn now."""
        line = self._line
        return bool(line) and line[0] is place

    def take(self, timeout_s: float, place: Place[Job] | None = None) -> bool:
        """Wait at most ``timeout_s``; True when ``place`` is HAD, or DONE (however long its job took, once begun).

        False: it has LEFT. Who has the turn must not ask again. When an interrupt is raised, the place is LEFT or DONE.
        """
        place = place or Place()
        try:
            if not self._enter(place):
                self._wait(place, min(timeout_s, threading.TIMEOUT_MAX))
        except BaseException:
            self._withdraw(place)
            raise
        return place.state is not State.LEFT

    def __len__(self) -> int:
        """Return how many are in the line, with the one who has the turn."""
        return len(self._line)

    def next_job(self, behind: int, fits: Callable[[Job], bool]) -> Place[Job] | None:
        """Take up the job of the place ``behind`` others behind the turn; None when there is none that fits."""
        with self._guard:
            place = self._line[behind + 1] if len(self._line) > behind + 1 else None
            if place is None or place.job is None or not fits(place.job):
                return None
            place.state = State.RUNNING
            return place

    def jobs(self) -> list[Job]:
        """Return what the others in the line would have done."""
        with self._guard:
            return [place.job for place in self._line[1:] if place.job is not None]

    def done_alone(self, behind: int) -> None:
        """Let go of the one RUNNING place that has so many others between it and the turn."""
        with self._guard:
            place = self._line[behind + 1]
            place.state = State.DONE
            del self._line[behind + 1]
            place.gate.release()

    def put_back(self) -> None:
        """Let every RUNNING place wait again where it is, for its job was not done; one whose time is over has LEFT."""
        with self._guard:
            for place in list(self._line):
                if place.late and place.state in {State.RUNNING, State.LEFT}:
                    place.state = State.LEFT
                    if place.gate.locked():
                        place.gate.release()
                    self._line.remove(place)
                elif place.state is State.RUNNING:
                    place.state = State.WAITING

    def done(self) -> None:
        """Let go of every RUNNING place: its job was done. Interrupted, it may be called again."""
        with self._guard:
            line = self._line
            while len(line) > 1 and line[1].state is State.RUNNING:
                place = line[1]
                place.state = State.DONE
                del line[1]
                place.gate.release()

    def give(self) -> None:
        """Hand the turn to the next who waits, and let go of every RUNNING place: its job was done.

        Without the turn, this does nothing: interrupted, it may be called again.
        """
        if not self.mine():
            return
        self.done()
        with self._guard:
            line = self._line
            if len(line) == 1:
                self._holder = None
                del line[0]
                return
            place = line[1]
            self._holder = place.thread
            place.state = State.HAD
            del line[0]
            place.gate.release()

    def _enter(self, place: Place[Job]) -> bool:
        """Join the line; True when the turn was free."""
        with self._guard:
            if not self._line:
                self._holder = place.thread
                place.state = State.HAD
                self._line = [place]
                return True
            place.gate.acquire()
            self._line.append(place)
            return False

    def _wait(self, place: Place[Job], timeout_s: float) -> None:
        while place.state in _UNDECIDED:
            if not place.gate.acquire(timeout=timeout_s) and self._leave(place):
                return
            timeout_s = -1  # its job is being done: the outcome is near, and must be known

    def _leave(self, place: Place[Job]) -> bool:
        """Leave the line; False when it is too late for that, unless its job is put back."""
        with self._guard:
            if place.state is not State.WAITING:
                place.late = True
                return False
            if place in self._line:
                self._line.remove(place)
            place.state = State.LEFT
            return True

    def _withdraw(self, place: Place[Job]) -> None:
        """After an interrupt, leave the line, or see the job done, or give the turn on; another interrupt waits."""
        while place.state is not State.LEFT and place.state is not State.DONE:
            try:
                if not self._leave(place):
                    self._wait(place, -1)
                if place.state is State.HAD:
                    self.give()
                    place.state = State.LEFT
            except BaseException:  # noqa: BLE001, S112 - the first one is raised, once the place is LEFT or DONE
                continue
