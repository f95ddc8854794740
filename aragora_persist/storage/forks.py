"""What a forked child does with its parent's connections: keep them untouched for ever, and make its own.

SQLite forbids a child to use, and even to close, a connection that it inherited; to PostgreSQL it would speak in its
parent's name. So every holder of connections is known here; in the child each gives its connections up, and they are
kept alive until the process has gone.
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


_holders: weakref.WeakSet[Holder] = weakref.WeakSet()
_inherited: list[object] = []


def watch(holder: Holder) -> None:
    """Tell ``holder`` when it finds itself in a forked child."""
    _holders.add(holder)


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


os.register_at_fork(after_in_child=_in_child)
