"""The documented connection API: plain ``sqlite3`` connections for code that works without the stores.

``get_wal_connection`` and ``DatabaseManager``; for migrations ``safe_add_column`` and ``rebuild_table``. Leaves out:
schemas; a file opened here is neither migrated nor checked. Implicit transactions of these connections begin
``IMMEDIATE``: a deferred one can fail halfway.
"""

from __future__ import annotations

import atexit
import os
import re
import sqlite3
import threading
from pathlib import Path
from typing import TypeVar

from aragora_persist.databases import find_database
from aragora_persist.errors import ConflictError, InvalidValueError, NotFoundError
from aragora_persist.settings import Settings
from aragora_persist.storage.names import folded, quoted
from aragora_persist.storage.rebuild import rebuild_table
from aragora_persist.storage.sqlite.connecting import busy_timeout_ms, enable_wal, refuse_restore, warn_of_wal_reset_bug
from aragora_persist.storage.sqlite.faults import DRIVER_ERRORS, translate
from aragora_persist.storage.sqlite.files import MEMORY, make_ready, resolve
from aragora_persist.storage.sqlite.forks import watch

__all__ = ("DatabaseManager", "get_wal_connection", "rebuild_table", "safe_add_column")

_Kind = TypeVar("_Kind", bound=sqlite3.Connection)
_TYPE = re.compile(r"[A-Za-z]\w*(?: [A-Za-z]\w*)*(?: ?\(\d+(?:, ?\d+)?\))?")
_CONSTRAINT = re.compile(
    r"\b(AS|CHECK|COLLATE|CONSTRAINT|DEFAULT|GENERATED|NOT|NULL|PRIMARY|REFERENCES|UNIQUE)\b", re.IGNORECASE
)
_LITERAL = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|[xX]?'(?:[^']|'')*'|NULL|TRUE|FALSE", re.IGNORECASE)


def get_wal_connection(path: str | os.PathLike[str], timeout: float | None = None) -> sqlite3.Connection:
    """Return a connection with tuple rows: WAL, foreign keys on, waiting for locks up to ``timeout`` seconds.

    None is ``DB_TIMEOUT``. A missing file is made (folder 0700, file 0600). The caller closes the connection.

    Raises:
        UnsupportedError: the file is on a network file system.
        StorageError: it cannot be made or opened.
        DamagedError: it is not a database.
        BusyError: other openers kept it from WAL mode for that long.

    """
    return _connect(path, timeout, sqlite3.Connection)


class DatabaseManager:
    """One a name in a process; keeps one open connection for each thread."""

    _instances: dict[str, DatabaseManager] = {}  # noqa: RUF012 - the singletons, guarded by _lock
    _lock = threading.Lock()

    def __init__(self, name: str, path: Path) -> None:
        """Private: call ``get_instance``."""
        self.name = name
        self.path = path
        self._threads = threading.local()
        self._every: set[_PooledConnection] = set()
        watch(self)

    @classmethod
    def get_instance(cls, name: str, path: str | os.PathLike[str] | None = None) -> DatabaseManager:
        """Return the manager of this name; the first call says where its file is (None: the registry's place).

        Raises:
            ConflictError: this name is another file's.
            InvalidValueError: without a path, the name must be one of the databases.

        """
        with cls._lock:
            known = cls._instances.get(name)
            if path is None and known is not None:
                return known
            place = resolve(find_database(name).path(Settings.from_env().nomic_dir) if path is None else path)
            if known is None:
                known = cls._instances[name] = cls(name, place)
            elif known.path != place:
                raise ConflictError("open database", name, f"is {known.path} in this process, not {place}")
            return known

    @classmethod
    def close_all(cls) -> None:
        """Close every connection of every manager and forget them all; for tests and for the end of a process."""
        with cls._lock:
            managers = list(cls._instances.values())
            cls._instances.clear()
        for manager in managers:
            manager.disconnect()

    def get_connection(self) -> sqlite3.Connection:
        """Return this thread's connection. Its ``close()`` hands it back: rolled back, and kept open for the next."""
        slot: _Slot | None = getattr(self._threads, "slot", None)
        if slot is None or slot.connection.gone:
            connection = _connect(self.path, None, _PooledConnection)
            self._every.add(connection)
            slot = self._threads.slot = _Slot(connection, self._every)
        return slot.connection

    def disconnect(self) -> None:
        """Close the connections of every thread."""
        while self._every:
            self._every.pop().disconnect()

    def abandon(self) -> list[sqlite3.Connection]:
        """See ``forks.Holder``."""
        inherited: list[sqlite3.Connection] = list(self._every)
        for connection in self._every:
            connection.gone = True
        self._every = set()
        self._renew_lock()
        return inherited

    @classmethod
    def _renew_lock(cls) -> None:
        """Replace the lock, which another thread of the parent may have held."""
        cls._lock = threading.Lock()


atexit.register(DatabaseManager.close_all)


class _PooledConnection(sqlite3.Connection):
    """A plain connection whose ``close`` hands it back."""

    gone = False

    def close(self) -> None:
        if not self.gone and self.in_transaction:
            self.rollback()

    def disconnect(self) -> None:
        if not self.gone:
            self.gone = True
            super().close()


class _Slot:
    """A thread's connection; when the thread ends, so does its slot, and the connection is closed."""

    def __init__(self, connection: _PooledConnection, every: set[_PooledConnection]) -> None:
        self.connection = connection
        self._every = every
        self._process = os.getpid()

    def __del__(self) -> None:
        # In a forked child the slots of the parent's other threads end before `abandon` is called.
        if os.getpid() == self._process:
            self._every.discard(self.connection)
            self.connection.disconnect()


def safe_add_column(
    conn: sqlite3.Connection, table: str, column: str, column_type: str, default_sql: str | None = None
) -> bool:
    """Add a column unless it is there; return whether it was added. Works inside a transaction and outside.

    ``default_sql`` is an SQL literal: ``"NULL"``, ``"0"``, ``"'text'"``. A column with a constraint, or with a computed
    default, takes ``rebuild_table``.

    Raises:
        NotFoundError: there is no such table.
        ConflictError: the column is there with another type.
        InvalidValueError: the type is not a plain type, or the default not a literal.

    """
    operation, target = "add column", f"{table}.{column}"
    if not _TYPE.fullmatch(column_type) or _CONSTRAINT.search(column_type):
        raise InvalidValueError(operation, target, f"{column_type!r} is not a plain type", hint="such as TEXT")
    if default_sql is not None and not _LITERAL.fullmatch(default_sql):
        raise InvalidValueError(operation, target, f"{default_sql!r} is not an SQL literal", hint="such as 'text' or 0")
    try:
        types = {folded(row[1]): row[2] for row in conn.execute(f"PRAGMA table_info({quoted(table)})")}
        if not types:
            raise NotFoundError(operation, table, "is not a table")
        present = types.get(folded(column))
        if present is not None:
            if _same(present) != _same(column_type):
                raise ConflictError(operation, target, f"is there with type {present}, not {column_type}")
            return False
        default = "" if default_sql is None else f" DEFAULT {default_sql}"
        conn.execute(f"ALTER TABLE {quoted(table)} ADD COLUMN {quoted(column)} {column_type}{default}")
    except DRIVER_ERRORS as error:
        raise translate(error, operation, target) from error
    return True


def _connect(path: str | os.PathLike[str], timeout: float | None, kind: type[_Kind]) -> _Kind:
    timeout_s = Settings.from_env().db_timeout_s if timeout is None else timeout
    memory = str(path) == MEMORY
    place = Path(MEMORY) if memory else resolve(path)
    if not memory:
        make_ready(place)
    warn_of_wal_reset_bug()
    try:
        connection = sqlite3.connect(
            place,
            timeout=busy_timeout_ms(timeout_s) / 1000,
            isolation_level="IMMEDIATE",
            check_same_thread=kind is sqlite3.Connection,  # a pooled one is closed by whoever ends its thread's life
            factory=kind,
        )
    except DRIVER_ERRORS as error:
        raise translate(error, "open database", place) from error
    try:
        if not memory:
            enable_wal(connection, timeout_s)
            refuse_restore(place)
        connection.execute("PRAGMA foreign_keys=ON")
    except BaseException as error:
        sqlite3.Connection.close(connection)
        if isinstance(error, DRIVER_ERRORS):
            raise translate(error, "open database", place) from error
        raise
    return connection


def _same(column_type: str) -> str:
    return column_type.replace(" ", "").upper()
