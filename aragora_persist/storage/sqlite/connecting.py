"""How a connection to one of our files is opened: WAL, foreign keys, a busy timeout; for writing or for reading.

Leaves out: who may use it when (``writer``, ``readers``), and making the file (``files``).
"""

from __future__ import annotations

import sqlite3
import time
from functools import cache
from typing import TYPE_CHECKING

from aragora_persist.errors import BusyError, StorageError
from aragora_persist.storage.logs import logger
from aragora_persist.storage.sqlite.faults import DRIVER_ERRORS, translate
from aragora_persist.storage.sqlite.files import is_being_restored

if TYPE_CHECKING:
    from pathlib import Path

_CACHED_STATEMENTS = 256
_MMAP_BYTES = 64 * 2**20  # counts as memory of the process: a stream over a large file stays below 100 MB
_WAL_SIZE_LIMIT_BYTES = 20 * 2**20  # what is kept of a log that was larger; more than it takes without readers
_LONGEST_BUSY_TIMEOUT_MS = 2**31 - 1
_RETRY_S = 0.01
_WAL_RESET_BUG = ((3, 7, 0), (3, 51, 3))


def busy_timeout_ms(timeout_s: float) -> int:
    """Return SQLite's form of a timeout; one that is longer than SQLite knows, or infinite, is its longest."""
    return int(min(max(0.0, timeout_s) * 1000, _LONGEST_BUSY_TIMEOUT_MS))


def connect_writer(path: Path, timeout_s: float) -> sqlite3.Connection:
    """Return a connection in autocommit mode for writing, with the file in WAL mode.

    Raises:
        BusyError: other openers kept the file from WAL mode for longer than the timeout, or it is being restored.
        DamagedError: the file is not a database.
        StorageError: the file is missing or must not be written.

    """
    warn_of_wal_reset_bug()
    connection = _connect(path, timeout_s)
    try:
        enable_wal(connection, timeout_s)
        refuse_restore(path)
        for pragma in (
            "foreign_keys=ON",
            # On macOS a plain fsync leaves data in the drive's cache; elsewhere these two change nothing.
            "fullfsync=ON",
            "checkpoint_fullfsync=ON",
            f"journal_size_limit={_WAL_SIZE_LIMIT_BYTES}",
        ):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException as error:
        connection.close()
        if isinstance(error, DRIVER_ERRORS):
            raise translate(error, "open database", path) from error
        raise
    return connection


def connect_reader(path: Path, timeout_s: float) -> sqlite3.Connection:
    """Return a connection in autocommit mode that refuses to write."""
    connection = _connect(path, timeout_s)
    try:
        connection.execute("PRAGMA query_only=ON")
        connection.execute(f"PRAGMA mmap_size={_MMAP_BYTES}")
    except DRIVER_ERRORS as error:
        connection.close()
        raise translate(error, "open database", path) from error
    return connection


def connect_memory() -> sqlite3.Connection:
    """Return the one connection of a database in memory."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


def enable_wal(connection: sqlite3.Connection, timeout_s: float) -> None:
    """Put the file into WAL mode, once for ever.

    Several openers of a new file race here, and SQLite answers "locked" at once, without its busy timeout: so we wait.
    The rollback journal that this leaves deleted cannot come back after a loss of power: with the first sync of a new
    log, and so before the first commit returns, SQLite syncs the folder too.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            row = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        except sqlite3.OperationalError as error:
            busy = (error.sqlite_errorcode & 0xFF) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
            if not busy or time.monotonic() >= deadline:
                raise
            time.sleep(_RETRY_S)
            continue
        if row != ("wal",):
            raise StorageError("open database", "journal_mode", f"is {row[0]!r} and cannot be made 'wal'")
        return


def refuse_restore(path: Path) -> None:
    """Raise if a restore of the file began before it could see this connection: its file may be on its way out.

    Only after the connection's first read, from which on a restore finds it.
    """
    if is_being_restored(path):
        raise BusyError("open database", path, "is just being restored", hint="try again")


def has_wal_reset_bug() -> bool:
    """Say whether this SQLite can corrupt a database that two processes write and checkpoint at once."""
    first, fixed = _WAL_RESET_BUG
    return first <= sqlite3.sqlite_version_info < fixed


@cache
def warn_of_wal_reset_bug() -> None:
    """Warn of it once a process."""
    if has_wal_reset_bug():
        logger("storage").warning(
            "SQLite %s has the WAL-reset bug (fixed in 3.51.3): "
            "two processes that write one database at the same time can, very rarely, corrupt it",
            sqlite3.sqlite_version,
        )


def _connect(path: Path, timeout_s: float) -> sqlite3.Connection:
    try:
        return sqlite3.connect(
            f"{path.as_uri()}?mode=rw",
            uri=True,
            timeout=busy_timeout_ms(timeout_s) / 1000,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=_CACHED_STATEMENTS,
        )
    except DRIVER_ERRORS as error:
        raise translate(error, "open database", path) from error
