"""Where the errors of ``sqlite3`` become ours: once, at the boundary.

The code of SQLite decides, not the text. Leaves out: the errors of the file system around the database, which whoever
touches the files translates.
"""

from __future__ import annotations

import sqlite3

from aragora_persist.errors import (
    BusyError,
    ConflictError,
    DamagedError,
    InvalidValueError,
    PersistError,
    StorageError,
)

DRIVER_ERRORS = (sqlite3.Error, sqlite3.Warning, OverflowError, UnicodeError)
"""All that ``sqlite3`` raises for a statement or its parameters (an int of more than 64 bits, a lone surrogate)."""

_BUSY_HINT = "look for a long-running query or transaction, or raise DB_TIMEOUT"
_FULL_HINT = "free some space on this file system"
_DAMAGED_HINT = "restore a backup: aragora-persist restore DB; without one: aragora-persist recover DB"

_LEAVES: dict[int, tuple[type[PersistError], str]] = {
    sqlite3.SQLITE_CONSTRAINT: (ConflictError, ""),
    sqlite3.SQLITE_BUSY: (BusyError, _BUSY_HINT),
    sqlite3.SQLITE_LOCKED: (BusyError, _BUSY_HINT),
    sqlite3.SQLITE_FULL: (StorageError, _FULL_HINT),
    sqlite3.SQLITE_IOERR_SHMSIZE: (StorageError, _FULL_HINT),  # the log's index could not grow: a full disk, too
    sqlite3.SQLITE_CORRUPT: (DamagedError, _DAMAGED_HINT),
    sqlite3.SQLITE_NOTADB: (DamagedError, _DAMAGED_HINT),
    sqlite3.SQLITE_READONLY: (StorageError, "this file or view is for reading only"),
    sqlite3.SQLITE_CANTOPEN: (StorageError, "check that the folder exists and that this user may write there"),
    sqlite3.SQLITE_MISMATCH: (InvalidValueError, ""),
    sqlite3.SQLITE_TOOBIG: (InvalidValueError, ""),
    sqlite3.SQLITE_RANGE: (InvalidValueError, ""),
}

_CALLERS_MISTAKES = (
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    sqlite3.DataError,
    sqlite3.Warning,
    OverflowError,
    UnicodeError,
)


def translate(error: BaseException, operation: str, target: object) -> PersistError:
    """Return the error of this package that says what ``error`` of the driver says; raise it ``from error``."""
    extended = getattr(error, "sqlite_errorcode", 0)
    known = _LEAVES.get(extended) or _LEAVES.get(extended & 0xFF)
    leaf, hint = known or (InvalidValueError if isinstance(error, _CALLERS_MISTAKES) else StorageError, "")
    return leaf(operation, target, str(error), hint=hint)


def is_full(error: BaseException) -> bool:
    """Say whether it is a full disk that the driver met."""
    return getattr(error, "sqlite_errorcode", 0) in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE}
