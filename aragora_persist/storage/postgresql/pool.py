"""The connections of one database in one process: made when none is free, at most so many at once.

Each is opened by the thread that needs it, so that a server that is away is told at once, with its reason, and is found
again by the first call after it is back. Leaves out: transactions.
"""

from __future__ import annotations

import threading
from collections import deque
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING
from weakref import ref

from psycopg.pq import TransactionStatus

from aragora_persist.errors import BusyError, MisuseError

if TYPE_CHECKING:
    from aragora_persist.storage.postgresql.connecting import Connection, Server

MOST_CONNECTIONS = 10
_IDLE_S = 600.0


class Pool:
    """Lends connections, last in, first out: the others grow old, and are closed when nobody has needed them."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._room: SimpleQueue[_Slot] = SimpleQueue()
        for _ in range(MOST_CONNECTIONS):
            self._room.put(_Slot(self._room))
        self._slots: dict[Connection, _Slot] = {}
        self._free: deque[tuple[Connection, float]] = deque()
        self._closed = False

    def take(self, operation: str, timeout_s: float) -> Connection:
        """Return a connection, with no transaction open; the server may have closed it meanwhile.

        Raises:
            BusyError: all were in use for the timeout.
            MisuseError: the pool was closed.
            UnreachableError, AccessDeniedError, NotFoundError: no connection could be opened.

        """
        if self._closed:
            raise MisuseError(operation, self._server.target, "the database was closed", hint="open the store again")
        try:
            slot = self._room.get(timeout=min(max(0.0, timeout_s), threading.TIMEOUT_MAX))
        except Empty:
            problem = f"all {MOST_CONNECTIONS} connections were in use for {self._server.timeout_s:g} s"
            hint = "look for a long-running query, or raise DB_TIMEOUT"
            raise BusyError(operation, self._server.target, problem, hint=hint) from None
        try:
            connection = self._free_one() or self._server.connect(operation)
        except BaseException:
            self._room.put(slot)
            raise
        self._slots[connection] = slot
        return connection

    def give(self, connection: Connection) -> None:
        """Take a connection back; one that broke, or whose transaction did not end, is closed."""
        slot = self._slots.pop(connection, None)
        if slot is None:  # given back, but for the end of it
            return
        if connection.pgconn.transaction_status == TransactionStatus.IDLE:
            self._free.append((connection, monotonic()))
        else:
            connection.close()
        self._room.put(slot)
        self._close_free(0.0 if self._closed else _IDLE_S)

    def close(self) -> None:
        """Close what is free now, and what is lent when it comes back."""
        self._closed = True
        self._close_free(0.0)

    def abandon(self) -> list[Connection]:
        """Return what is free, to be kept untouched by a forked child."""
        return [connection for connection, _ in self._free]

    def _free_one(self) -> Connection | None:
        try:
            return self._free.pop()[0]
        except IndexError:
            return None

    def _close_free(self, idle_s: float) -> None:
        """Close what has been free for so long, the oldest first."""
        while self._free:
            try:
                connection, since = self._free.popleft()
            except IndexError:  # another thread took the last one
                return
            if monotonic() - since < idle_s:
                self._free.appendleft((connection, since))
                return
            connection.close()


class _Slot:
    """Room for one connection. One that is lost, as an interrupt can come between any two calls, makes room again."""

    __slots__ = ("_room",)

    def __init__(self, room: SimpleQueue[_Slot]) -> None:
        self._room = ref(room)  # weak, or the queue and what is in it would keep each other alive

    def __del__(self) -> None:
        room = self._room()
        if room is not None:
            room.put(_Slot(room))
