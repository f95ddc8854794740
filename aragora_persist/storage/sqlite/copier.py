"""The program that copies a database's files for ``copying``: cloned where the file system can, else in small pieces.

    python -I -S copier.py LOCK DATABASE LOG DESCRIPTOR DESCRIPTOR

A program of its own, of the standard library alone: a process that closes a database file which it also has open in
SQLite loses SQLite's locks on it (POSIX drops all of a process's locks on a file at the first close). It writes to the
two descriptors; there need be no log. ``LOCK`` is ``held`` where a reader has one for this copy, else for how many
seconds to wait for one. Prints the method, or the number of the system's error. It makes no names and ends when its
parent does: what a killed run leaves is what its parent made. Leaves out: the reader, and what the log means
(``copying``).
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import time

TYPE_CHECKING = False  # `typing` would take longer to import than all of the others
if TYPE_CHECKING:
    from collections.abc import Callable

REFLINK, FILE_COPY = "reflink", "file-copy"
"""The methods, as the catalog of backups records them."""
LOCKED = 2
"""The exit code where another program's lock is in the way."""
MOVED = 3
"""The exit code where someone has opened the database since it was looked at, and may have written into it."""

_FICLONE = 0x40049409  # ioctl_ficlone(2)
_SHARED_BYTES = (510, 0x40000002)  # how many and where: SQLite's lock of readers (sqlite.org/lockingv3.html)
_RETRY_S = 0.001
_LOG_HEADER_BYTES = 32
_PIECE_BYTES = 2**18
_PIECES_ON_THE_WAY = 6
_SYNC_BEGIN, _SYNC_WHOLE = 2, 1 | 2 | 4  # sync_file_range(2): begin to write; wait, write and wait
_PARENT = os.getppid()


def copy_files(database: int, log: int | None, targets: tuple[int, int]) -> str:
    """Copy what the first two descriptors read to where ``targets`` write; return the method.

    The file before the log: what a checkpoint brings into the file meanwhile is still in the log, not the other way.
    """
    method = _copy(database, targets[0])
    if log is None:
        return method
    # A reader of a file that needs nothing of its log does not keep others from beginning the log anew. The start of
    # the old one alone would take pages back to what they once were; of the new one, every part is right.
    while True:
        header = os.pread(log, _LOG_HEADER_BYTES, 0)
        log_method = _copy(log, targets[1])
        if os.pread(log, _LOG_HEADER_BYTES, 0) == header:
            return method if method == log_method else FILE_COPY
        os.ftruncate(targets[1], 0)


def _copy(source: int, target: int) -> str:
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        _copy_pieces(source, target)
        return FILE_COPY
    return REFLINK


def _copy_pieces(source: int, target: int) -> None:
    """Copy a file in pieces, few of which are on their way to the disk at a time.

    What is left to the system, it writes in one go: whoever commits a transaction then waits for all of that, for half
    a second and more. A few pieces are some milliseconds, and keep the disk as busy.
    """
    size = os.fstat(source).st_size
    _reserve(target, size)
    flush = _flusher(target) if size > _PIECE_BYTES else lambda _offset, _count: None
    buffer = memoryview(bytearray(_PIECE_BYTES))
    offset = 0
    while count := os.preadv(source, [buffer], offset):
        if os.getppid() != _PARENT:
            sys.exit(1)
        piece = buffer[:count]
        while piece:
            piece = piece[os.pwrite(target, piece, offset + count - len(piece)) :]
        flush(offset, count)
        offset += count
    os.ftruncate(target, offset)  # the source may have become shorter


def _reserve(target: int, size: int) -> None:
    """Take the room for the file before the first piece: a disk that is too small is not filled to its last byte."""
    state = os.fstatvfs(target)
    if state.f_bavail * state.f_frsize < size:
        raise OSError(errno.ENOSPC, "no room")
    if size and sys.platform == "linux":
        try:
            # Blocks that are there already need no work of the journal, which every commit of others would wait for.
            os.posix_fallocate(target, 0, size)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise  # else the file system knows no such thing, and can be written to all the same


def _flusher(target: int) -> Callable[[int, int], None]:
    """Return what begins to bring a piece to the disk, and waits for the first of those that are on their way."""
    sync = _sync_file_range(target)
    going: list[tuple[int, int]] = []

    def flush(offset: int, count: int) -> None:
        if sync is None:
            os.fsync(target)
            return
        sync(target, offset, count, _SYNC_BEGIN)
        going.append((offset, count))
        if len(going) == _PIECES_ON_THE_WAY:
            sync(target, *going.pop(0), _SYNC_WHOLE)

    return flush


def _sync_file_range(target: int) -> Callable[[int, int, int, int], None] | None:
    """Return the system's call of this name, or None where it has none, or does not let us."""
    try:
        import ctypes  # noqa: PLC0415 - a small file needs it not

        call = ctypes.CDLL(None, use_errno=True).sync_file_range
    except (ImportError, OSError, AttributeError):
        return None
    call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    if call(target, 0, 0, 0) != 0:
        return None

    def sync(descriptor: int, offset: int, count: int, how: int) -> None:
        if call(descriptor, offset, count, how) != 0:
            raise OSError(ctypes.get_errno(), "sync_file_range")

    return sync


def main(lock: str, database: str, log: str, *targets: str) -> int:
    """Copy these files to the descriptors ``targets``; return the exit code."""
    first, second = map(int, targets)
    try:
        # It stays open to the end: to close it would drop the lock.
        opened = os.open(database, os.O_RDONLY)
        if lock != "held" and not _lock(opened, float(lock)):
            return LOCKED
        method = copy_files(opened, _opened_log(log), (first, second))
        # Now, because whoever closes it can only remove these files once the lock is gone.
        if lock != "held" and os.access(database + ("-shm" if log.endswith("-wal") else "-wal"), os.F_OK):
            return MOVED
        print(method)  # noqa: T201 - the answer
    except OSError as error:
        print(error.errno)  # noqa: T201 - as above
        return 1
    return 0


def _lock(database: int, timeout_s: float) -> bool:
    """Take SQLite's lock of readers, which goes with this process; say whether it was had in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.lockf(database, fcntl.LOCK_SH | fcntl.LOCK_NB, *_SHARED_BYTES)
        except BlockingIOError:
            if time.monotonic() >= deadline or os.getppid() != _PARENT:
                return False
            time.sleep(_RETRY_S)  # often: whoever writes without a pause leaves only moments
        else:
            return True


def _opened_log(path: str) -> int | None:
    """Open the log, once the lock is there: without it, a writer could begin one, and be killed in its middle."""
    try:
        return os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
