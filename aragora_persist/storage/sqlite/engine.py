"""The SQLite backend of the port: one shared engine for each file in a process, opened with the right schema.

``open_engine`` is the only door. Everyone who opens the same file shares its writer and its readers; each gets a
handle, and the last one closed closes the file. Leaves out: how a schema gets up to date (``migrations.runner``).
"""

from __future__ import annotations

import atexit
import contextlib
import threading
from typing import TYPE_CHECKING, Self
from weakref import WeakValueDictionary

from aragora_persist.databases import find_database
from aragora_persist.errors import BusyError, ConflictError, MisuseError
from aragora_persist.settings import Settings
from aragora_persist.storage.blocks import Block
from aragora_persist.storage.sqlite.checkpointer import Checkpointer
from aragora_persist.storage.sqlite.connecting import connect_memory, connect_writer
from aragora_persist.storage.sqlite.files import MEMORY, make_ready, resolve
from aragora_persist.storage.sqlite.forks import pause, watch
from aragora_persist.storage.sqlite.group import Member, write
from aragora_persist.storage.sqlite.opening import require_schema
from aragora_persist.storage.sqlite.readers import ReaderPool, SharedConnection
from aragora_persist.storage.sqlite.sessions import View
from aragora_persist.storage.sqlite.transactions import WriteTransaction
from aragora_persist.storage.sqlite.writer import Writer

if TYPE_CHECKING:
    import os
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path
    from types import TracebackType

    from aragora_persist.settings import Durability
    from aragora_persist.storage.port import Context, Item, Result, Row, Transaction, Value


def open_engine(
    path: str | os.PathLike[str] | None, database: str, *, migrate: bool = False, settings: Settings | None = None
) -> Engine:
    """Open ``path`` as the database of this name (``"users"``); None is its place under ``NOMIC_DIR``.

    A missing or empty file is made and migrated. ``":memory:"`` is a database of this handle alone. Who opens a file
    that is open already in this process shares it, with the settings of the first.

    Raises:
        SchemaOutdatedError: the file's schema is older than this release's and ``migrate`` is False.
        SchemaTooNewError: it is newer, and says that this release cannot work with it.
        UnsupportedError: the file is on a network file system.
        StorageError: the file cannot be made or opened.
        DamagedError: it is not a database.
        ConflictError: it is open in this process as another database, or was replaced since.
        InvalidValueError: there is no database of this name.

    """
    settings = settings or Settings.from_env()
    known = find_database(database)
    if path is not None and str(path) == MEMORY:
        return Engine(_open_memory(database, settings))
    place = resolve(known.path(settings.nomic_dir) if path is None else path)
    return _registry.open(place, database, migrate=migrate, settings=settings)


class Engine:
    """One user's handle on an open database; satisfies ``port.Backend``."""

    def __init__(self, shared: _Shared) -> None:
        self._shared = shared
        self._closed = False

    @property
    def name(self) -> str:
        """The database's name in the registry."""
        return self._shared.database

    @property
    def target(self) -> str:
        """The resolved path, as errors name it."""
        return self._shared.target

    @property
    def writer(self) -> Writer:
        """The one writer of this file in this process."""
        return self._shared.writer

    def read(self, operation: str, context: Context | None = None) -> Block[View]:
        """Open a view for reading. See ``port.Backend``."""
        if self._closed:
            raise self._used_after_close(operation)
        return Block(View(self._shared.readers, operation, context))

    def read_one(
        self, operation: str, sql: str, parameters: Sequence[Value] = (), context: Context | None = None
    ) -> Row | None:
        """Return the first row of one statement. See ``port.Backend``."""
        if self._closed:
            raise self._used_after_close(operation)
        return self._shared.readers.one(operation, sql, parameters, context)

    def write(
        self,
        operation: str,
        work: Callable[[Transaction], Result],
        *,
        durability: Durability | None = None,
        context: Context | None = None,
    ) -> Result:
        """Run ``work`` in a write transaction and return its result. See ``port.Backend``."""
        if self._closed:
            raise self._used_after_close(operation)
        writer = self._shared.writer
        result: Result = write(writer, Member(writer, operation, work, durability, context))
        return result

    def write_together(
        self,
        operation: str,
        item: Item,
        work: Callable[[Transaction, Sequence[Item]], Sequence[Result]],
        *,
        durability: Durability | None = None,
        context: Context | None = None,
    ) -> Result:
        """Do ``work`` to ``item`` and return its result. See ``port.Backend``."""
        if self._closed:
            raise self._used_after_close(operation)
        writer = self._shared.writer
        result: Result = write(writer, Member(writer, operation, work, durability, context, item))
        return result

    def transaction(
        self, operation: str = "transaction", *, durability: Durability | None = None
    ) -> Block[WriteTransaction]:
        """Open a write transaction. See ``port.Backend``."""
        if self._closed:
            raise self._used_after_close(operation)
        return Block(WriteTransaction(self._shared.writer, operation, durability))

    def tidy(self) -> None:
        """Do the maintenance that a long-running process owes its file; it waits for nobody for long.

        Raises:
            BusyError: somebody else was writing; a later call makes up for it.

        """
        if self._closed:
            raise self._used_after_close("tidy")
        self._shared.writer.tidy()

    def close(self) -> None:
        """Give the database back; the last one of a process closes it cleanly. Closing twice does nothing.

        Raises:
            BusyError: this was the last one, and a transaction was still open after the timeout.

        """
        if not self._closed:
            self._closed = True
            _registry.release(self._shared)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _used_after_close(self, operation: str) -> MisuseError:
        return MisuseError(operation, self.target, "the database was closed", hint="open the store again")


class _Shared:
    """What all handles on one file share."""

    def __init__(
        self,
        target: str,
        database: str,
        settings: Settings,
        connect: Callable[[], sqlite3.Connection],
        checkpointer: Checkpointer | None = None,
    ) -> None:
        self.target = target
        self.database = database
        self.handles = 0
        self.file: tuple[int, int] | None = None
        self.timeout_s = settings.db_timeout_s
        self.writer = Writer(target, settings, connect, checkpointer)
        self.readers: ReaderPool | SharedConnection = SharedConnection(self.writer)
        watch(self.writer)
        pause(self.writer)

    def close(self, wait_s: float) -> None:
        self.readers.close()
        self.writer.close(wait_s)


class _Registry:
    """The files that are open in this process, by their resolved paths."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[Path, _Shared] = {}
        self._gates: WeakValueDictionary[Path, threading.Lock] = WeakValueDictionary()
        watch(self)

    def open(self, path: Path, database: str, *, migrate: bool, settings: Settings) -> Engine:
        with self._lock:
            gate = self._gates.setdefault(path, threading.Lock())
        # A gate for each file: opening one can take a migration or a timeout long, and must not hold up the others.
        with gate:
            shared = self._share(path, database)
            if shared is None:
                shared = _open_file(path, database, migrate=migrate, settings=settings)
                shared.handles = 1
                with self._lock:
                    self._open[path] = shared
            return Engine(shared)

    def _share(self, path: Path, database: str) -> _Shared | None:
        """Count one handle more on the file where it is open already."""
        with self._lock:
            shared = self._open.get(path)
            if shared is None:
                return None
            if shared.file != _identity(path):
                problem = "was removed or replaced while this process has it open"
                raise ConflictError("open database", path, problem, hint="close the stores that use the old file")
            if shared.database != database:
                raise ConflictError("open database", path, f"is open as {shared.database!r}, not as {database!r}")
            shared.handles += 1
            return shared

    def release(self, shared: _Shared) -> None:
        with self._lock:
            shared.handles -= 1
            if shared.handles > 0:
                return
            for path in [path for path, other in self._open.items() if other is shared]:
                del self._open[path]
        shared.close(shared.timeout_s)

    def close_all(self) -> None:
        """Close what nobody closed before the process ends, so that no WAL is left; never wait for a stuck thread."""
        for shared in list(self._open.values()):
            with contextlib.suppress(BusyError):
                shared.close(0)

    def abandon(self) -> Iterable[sqlite3.Connection]:
        """See ``forks.Holder``: another thread of the parent may have held a lock."""
        self._lock = threading.Lock()
        self._gates = WeakValueDictionary()
        return ()


_registry = _Registry()
atexit.register(_registry.close_all)


def _identity(path: Path) -> tuple[int, int] | None:
    """Tell one file at a path from another that took its place."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _open_file(path: Path, database: str, *, migrate: bool, settings: Settings) -> _Shared:
    make_ready(path)
    shared = _Shared(
        str(path), database, settings, lambda: connect_writer(path, settings.db_timeout_s), Checkpointer(path)
    )
    _require_schema(shared, path, migrate=migrate, settings=settings)
    shared.file = _identity(path)
    shared.readers = ReaderPool(path, settings)
    watch(shared.readers)
    return shared


def _open_memory(database: str, settings: Settings) -> _Shared:
    connections = [connect_memory()]

    def connect_once() -> sqlite3.Connection:
        if not connections:
            raise MisuseError("open database", MEMORY, "a database in memory ends with its process and its connection")
        return connections.pop()

    shared = _Shared(MEMORY, database, settings, connect_once)
    shared.handles = 1
    _require_schema(shared, None, migrate=True, settings=settings)
    return shared


def _require_schema(shared: _Shared, path: Path | None, *, migrate: bool, settings: Settings) -> None:
    connection = shared.writer.take("open database")
    try:
        require_schema(connection, path, shared.database, migrate=migrate, settings=settings)
    except BaseException:
        shared.writer.give()
        shared.close(0)
        raise
    shared.writer.give()
