"""Which of our errors an error of the driver becomes: SQLite's code decides."""

from __future__ import annotations

import sqlite3

import pytest

from aragora_persist.errors import StorageError
from aragora_persist.storage.sqlite.faults import is_full, translate


def failed(code: int) -> sqlite3.OperationalError:
    """Return what the driver raises for a code of SQLite."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE])
def test_a_full_disk_is_told_as_one(code: int) -> None:
    """Also where it is the index of the write-ahead log that could not grow, which SQLite calls an I/O error."""
    error = translate(failed(code), "migrate", "x.db")
    assert is_full(failed(code))
    assert (type(error), error.hint) == (StorageError, "free some space on this file system")


def test_another_error_of_the_disk_is_not() -> None:
    """A broken disk has no hint to free space."""
    error = translate(failed(sqlite3.SQLITE_IOERR_READ), "migrate", "x.db")
    assert not is_full(failed(sqlite3.SQLITE_IOERR_READ))
    assert (type(error), error.hint) == (StorageError, "")
