"""Reading a database file without leaving a trace: nothing is made or written beside it.

Five cases, all of which SQLite itself gets wrong for a plain ``mode=ro`` (it makes ``-wal`` and ``-shm``, or fails on
a read-only mount):

- neither ``-wal`` nor ``-journal``: nobody has it open; ``immutable=1`` reads the file alone;
- ``-wal`` and ``-shm``: someone has it open, or was killed; ``readonly_shm=1`` reads with them and writes neither;
- the same, where a killed writer has begun the ``-wal`` and written nothing to it: SQLite answers "locking protocol" to
  who may write nothing, for ever; the file alone holds everything;
- ``-wal`` alone: a copy, or a mount without the shared memory; both files are copied to scratch and read there;
- ``-journal``: another program's database, which is being written, or whose writer was killed in the middle; the file
  alone would be half of two states. Both are copied to scratch, where SQLite may roll back.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from aragora_persist.errors import BusyError
from aragora_persist.storage.sqlite.faults import DRIVER_ERRORS, translate
from aragora_persist.storage.sqlite.files import is_there

if TYPE_CHECKING:
    from collections.abc import Iterator

_ATTEMPTS = 20
_MOVED_ATTEMPTS = 5
_RETRY_S = 0.01
_WAL_HEADER_BYTES = 32
_TORN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


@contextmanager
def open_readonly(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection that reads the committed state of ``path``, for a short look.

    Raises:
        DamagedError: the file is not a database.
        StorageError: it cannot be read, or is no file.
        BusyError: it kept changing while it was looked at.

    """
    is_there(path)
    with ExitStack() as stack:
        try:
            yield _opened(path, stack)
        except DRIVER_ERRORS as error:
            raise translate(error, "read database", path) from error


def open_unchanging(path: Path) -> sqlite3.Connection:
    """Open a file to which nobody writes: it alone is read, whatever lies beside it; for the caller to close."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None)


def _opened(path: Path, stack: ExitStack) -> sqlite3.Connection:
    """Return a connection that has read once: from then on nobody takes the files away from it."""
    for left in reversed(range(_MOVED_ATTEMPTS)):
        with ExitStack() as attempt:
            before = _state(path)
            try:
                connection = attempt.enter_context(closing(_connected(path, attempt)))
                connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
            except (sqlite3.DatabaseError, FileNotFoundError, BusyError) as error:
                # The last one who had it open has closed it between our look at its side files and our opening them; or
                # the first one has opened it and written to it, while we read it as a file that nobody writes to.
                code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CANTOPEN) & 0xFF
                moved = code == sqlite3.SQLITE_CANTOPEN or (code in _TORN and _state(path) != before)
                if not (moved and path.exists()):
                    raise
                if not left:
                    if isinstance(error, FileNotFoundError):
                        raise BusyError("read database", path, "kept changing while it was looked at") from error
                    raise
                time.sleep(_RETRY_S)
            else:
                stack.push(attempt.pop_all())
                return connection
    raise AssertionError("the last attempt returns or raises")


def is_only_begun(wal: Path) -> bool:
    """Say whether a log has its header and nothing more, for which readers who may write nothing wait ten seconds."""
    with suppress(FileNotFoundError):
        return wal.stat().st_size == _WAL_HEADER_BYTES
    return False


def _connected(path: Path, stack: ExitStack) -> sqlite3.Connection:
    """Connect in the way that leaves no trace; what is needed for it lives as long as ``stack``."""
    wal, shm, journal = (Path(f"{path}-{ending}") for ending in ("wal", "shm", "journal"))
    if wal.exists() and shm.exists():
        how = "mode=ro&immutable=1" if is_only_begun(wal) else "mode=ro&readonly_shm=1"
    elif wal.exists():
        path, how = stack.enter_context(_copied(path, wal)), "mode=ro"
    elif journal.exists():
        path, how = stack.enter_context(_copied(path, journal)), "mode=rw"
    else:
        how = "mode=ro&immutable=1"
    return sqlite3.connect(f"{path.as_uri()}?{how}", uri=True, isolation_level=None, check_same_thread=False)


@contextmanager
def _copied(path: Path, log: Path) -> Iterator[Path]:
    """Yield a copy in scratch space, made while neither file changed."""
    import tempfile  # noqa: PLC0415 - brings `random` and more, for a rare case

    with tempfile.TemporaryDirectory(prefix="aragora-read-") as scratch:
        copy = Path(scratch, path.name)
        for _ in range(_ATTEMPTS):
            before = _stamps(path, log)
            shutil.copyfile(path, copy)
            shutil.copyfile(log, copy.with_name(log.name))
            if before == _stamps(path, log):
                break
            if Path(f"{path}-shm").exists():  # somebody has it open by now: there is a better way to read it
                raise BusyError("read database", path, "was opened while it was copied")
        else:
            raise BusyError("read database", path, "kept changing while it was copied")
        yield copy


def _state(path: Path) -> tuple[list[tuple[int, int, int]], bool]:
    """Return what changes when others begin to write to the file."""
    return _stamps(path) if path.exists() else [], Path(f"{path}-wal").exists()


def _stamps(*paths: Path) -> list[tuple[int, int, int]]:
    stats = [path.stat() for path in paths]
    return [(stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats]
