"""Processes of their own that end by SIGKILL: at an exact boundary of what they do, or when their parent says so.

Leaves out: what is done, and what is a boundary of it, but for calls of built-in functions.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_NEVER = 0


def forked(work: Callable[[], object]) -> int:
    """Begin ``work`` in a process of its own, and return its id.

    A fork and no new interpreter, which would take twenty times as long and do the same: this process has no other
    thread and nothing open when it forks, and SQLite keeps nothing over the last close of a file.
    """
    sys.stdout.flush()
    if pid := os.fork():
        return pid
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)  # nothing of what the parent would do at its end


class Boundaries:
    """The boundaries that this process has come to, by name; at the one with the number ``last`` it ends."""

    def __init__(self, last: int = _NEVER, *, told: Callable[[str], object] = lambda _name: None) -> None:
        self.passed: list[str] = []
        self._last = last
        self._told = told  # at which one it ends

    def reach(self, name: str) -> None:
        """Come to one."""
        self.passed.append(name)
        if len(self.passed) == self._last:
            self._told(name)
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, builtins: Collection[str], *, function: str = "") -> None:
        """Come to one before and after each call of built-in functions of these names, and of one that is Python's."""

        def look(frame: Any, event: str, called: Any) -> None:  # noqa: ANN401 - as sys.setprofile hands them over
            if event in {"c_call", "c_return"} and called.__name__ in builtins:
                self.reach(f"{'before' if event == 'c_call' else 'after'} {called.__name__}")
            elif event in {"call", "return"} and frame.f_code.co_name == function:
                self.reach(f"{'before' if event == 'call' else 'after'} {function}")

        sys.setprofile(look)
