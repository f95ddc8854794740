"""What a forked child does with its parent's connections: keep them untouched for ever, and make its own.

SQLite forbids a child to use, and even to close, a connection that it inherited; to PostgreSQL it would speak in its
parent's name. So every holder of connections is known here; in the child each gives its connections up, and they are
kept alive until the process has gone. A lock that SQLite had at that moment stays locked in the child's memory: so
writers pause while a child is forked.
"""

from __future__ import annotations

import atexit
import os
import weakref
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable


class Holder(Protocol):
    """Something that keeps connections."""

    def abandon(self) -> Iterable[object]:
        """Forget every connection and lock, as a child of the process that made them, and return the connections."""
        ...


class Pausing(Protocol):
    """Something that writes."""

    target: str

    def pause(self) -> None:
        """Wait a moment for what is being written in other threads, and begin nothing new."""
        ...

    def resume(self) -> None:
        """Go on, in the parent. A child is told by ``abandon``."""
        ...


_pausing: weakref.WeakSet[Pausing] = weakref.WeakSet()
_holders: weakref.WeakSet[Holder] = weakref.WeakSet()
_inherited: list[object] = []


def watch(holder: Holder) -> None:
    """Tell ``holder`` when it finds itself in a forked child."""
    _holders.add(holder)


def pause(holder: Pausing) -> None:
    """Have ``holder`` pause while a child is forked."""
    _pausing.add(holder)


def _before() -> None:
    for holder in sorted(_pausing, key=lambda each: each.target):  # one order, or two threads wait for each other
        holder.pause()


def _in_parent() -> None:
    for holder in list(_pausing):
        holder.resume()


def _in_child() -> None:
    if not _inherited:
        atexit.register(_keep_beyond_exit)
    for holder in list(_holders):
        _inherited.extend(holder.abandon())


def _keep_beyond_exit() -> None:
    """Stop the interpreter from closing them when it clears its modules at the end."""
    import ctypes  # noqa: PLC0415 - only a forked child that ends in good order needs it

    for connection in _inherited:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
