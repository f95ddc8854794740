"""A consistent copy of a SQLite database while others write to it.

One step of SQLite's backup API under one read lock: it always finishes (page by page it starts again at every write
of another process), and writers in WAL mode go on meanwhile. Leaves out: whether the copy is sound (``verify``).
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

from aragora_persist.backup.files import beside, make_directory, partial
from aragora_persist.errors import BusyError, NotFoundError, StorageError
from aragora_persist.storage.sqlite.faults import DRIVER_ERRORS, translate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

METHOD = "sqlite-backup-api"
"""How the copies of this module are made, as the catalog records it."""

_RETRY_S = 0.05
_MOVED_DURING_COPY = 3
"""How often a copy from a read-only mount is tried while another mount of it is written to."""


def snapshot(source: Path, target: Path, *, timeout_s: float = 30.0) -> None:
    """Copy the database ``source`` to the new file ``target``, which is whole and on the disk when this returns.

    The source is opened read-only; beside it appear at most SQLite's own ``-wal`` and ``-shm``. The copy is a single
    file in rollback mode: it can be read from a read-only medium too. A killed call leaves a hidden ``.partial`` file
    (``files.clean_partials``) and no ``target``.

    Raises:
        NotFoundError: there is no source.
        ConflictError: ``target`` exists; it is untouched.
        BusyError: the source stayed locked for ``timeout_s``.
        DamagedError: the source is no database that SQLite can read.
        StorageError: the copy cannot be written (a full disk, a missing right).

    """
    try:
        make_directory(target.parent)
        with partial(target) as copy:
            copy_into(source, copy.path, timeout_s=timeout_s)
            copy.publish(target, operation="snapshot")
    except OSError as error:
        raise StorageError("snapshot", target, f"cannot be written: {error.strerror}") from error


def copy_into(source: Path, path: Path, *, timeout_s: float) -> str:
    """Copy the database ``source`` into the empty file ``path``, which nobody else has open; not flushed to disk.

    Returns the method's name, as the catalog records it.
    """
    if not source.is_file():
        raise NotFoundError("snapshot", source, "does not exist")
    try:
        if not _needs_unlocked_read(source):
            _copy(source, "mode=ro", path, timeout_s)
            return METHOD
        for _ in range(_MOVED_DURING_COPY):
            before = _state(source)
            _copy(source, "mode=ro&immutable=1", path, timeout_s)
            if _state(source) == before:
                return METHOD
    except DRIVER_ERRORS as error:
        full = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
        raise translate(error, "snapshot", path.parent if full else source) from error
    raise BusyError("snapshot", source, "changed during every copy", hint="take it where the writer runs")


def run_backup(
    source: sqlite3.Connection,
    target: sqlite3.Connection,
    *,
    locked: Path,
    timeout_s: float,
    pages: int = -1,
    after_first_step: Callable[[], None] | None = None,
) -> None:
    """Run SQLite's backup API, giving up after ``timeout_s`` without progress: by itself it would retry for ever.

    ``locked`` is the file that others may hold, for the error. After the first step the target is locked for writing,
    so that ``after_first_step`` sees the last state before this one.

    Raises:
        BusyError: another connection held a lock that whole time.

    """
    deadline = time.monotonic() + timeout_s
    first = after_first_step

    def check(status: int, _remaining: int, _total: int) -> None:
        nonlocal deadline, first
        if status in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            if time.monotonic() >= deadline:
                problem = f"another connection has held a lock on it for {timeout_s:g} s"
                raise BusyError("copy database", locked, problem, hint="end its transaction, or raise DB_TIMEOUT")
            return
        if first is not None:
            action, first = first, None
            action()
        deadline = time.monotonic() + timeout_s

    source.backup(target, pages=pages, progress=check, sleep=_RETRY_S)


def open_read_only(path: Path, *, parameters: str = "mode=ro", timeout_s: float = 0.0) -> sqlite3.Connection:
    """Open an existing database without the right to write to it; in autocommit, for the caller to close."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?{parameters}", uri=True, timeout=timeout_s, isolation_level=None
    )


def _needs_unlocked_read(source: Path) -> bool:
    """Say whether the source is a cleanly closed WAL database on a medium that takes no ``-shm`` file.

    SQLite cannot open such a one for reading, although nothing is missing from its main file.
    """
    with closing(open_read_only(source)) as connection:
        try:
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1")
        except sqlite3.OperationalError as error:
            refused = error.sqlite_errorname in {"SQLITE_CANTOPEN", "SQLITE_READONLY_DIRECTORY"}
            return refused and not any(beside(source, ending).exists() for ending in ("-wal", "-journal"))
    return False


def _state(source: Path) -> tuple[int, int, int, bool]:
    state = source.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns, beside(source, "-wal").exists()


def _copy(source: Path, parameters: str, path: Path, timeout_s: float) -> None:
    with (
        closing(open_read_only(source, parameters=parameters, timeout_s=timeout_s)) as reader,
        closing(sqlite3.connect(path, isolation_level=None)) as writer,
    ):
        # A torn copy is thrown away and a whole one is flushed before it gets its name: a journal would only cost.
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = OFF", "synchronous = OFF"):
            writer.execute(f"PRAGMA {pragma}")
        run_backup(reader, writer, locked=source, timeout_s=timeout_s)
        # A copy that says WAL cannot be opened on a read-only medium, and makes two more files wherever it is opened.
        writer.execute("PRAGMA journal_mode = DELETE")
