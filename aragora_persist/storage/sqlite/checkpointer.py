"""Who brings the write-ahead log of a file back into it, and when: one process at a time, and before the log is large.

Nobody checkpoints while the log is small. The first process that commits when it has some size takes a lock file beside
the database (``<file>-checkpoint``), and from then on lets SQLite checkpoint as it commits; the others leave the log
alone until the holder has closed or died. Readers that never pause keep SQLite from starting the log anew: then, and
where the holder does not write, whoever writes empties it, and waits a moment for those readers.

Litestream, where it runs beside the database, checkpoints by itself: two would only keep each other from it. What it
leaves behind in the database (its table ``_litestream_seq``) stays when it is gone, and while it lives it holds a lock
that no checkpoint of others gets past. So under Litestream nobody does any of this while the log is smaller than it
would ever let it become; from then on whoever writes tries, in vain while it lives.

No thread: all of it happens behind a commit.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_PAGE_BYTES = 4096
_PAGES = 4000
_DUE_BYTES = _PAGES * _PAGE_BYTES
_LARGE_BYTES = 24 * 2**20
_LARGEST_BYTES = 60 * 2**20
LITESTREAM_BYTES = 96 * 2**20
"""How large Litestream, as this package configures it, lets the log become only when it is not there."""
_PATIENCE_S = 0.05
_LONGEST_PATIENCE_S = 0.4
_LOOK_AGAIN_S = 0.005
_ASK_AGAIN_S = 1.0


class Checkpointer:
    """The part of one process in it; used by whoever has the writer's turn."""

    def __init__(self, path: Path) -> None:
        self._wal = f"{path}-wal"
        self._lock_path = f"{path}-checkpoint"
        self._lock: int | None = None
        self._without_locks = False
        self._look_at = 0.0
        self._ask_at = 0.0
        self._large_bytes = _LARGE_BYTES
        self.patience_s = _PATIENCE_S
        """How long ``run`` should wait for other connections at most."""

    def prepare(self, connection: sqlite3.Connection) -> None:
        """Tell a connection for writing whether it is the one that checkpoints."""
        pages = _PAGES if self._lock is not None or self._without_locks else 0
        connection.execute(f"PRAGMA wal_autocheckpoint={pages}")

    def due(self) -> bool:
        """Say, behind a commit, whether there is something to do; the log cannot grow much between two looks at it."""
        now = monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + _LOOK_AGAIN_S
        try:
            size = os.stat(self._wal).st_size  # noqa: PTH116 - the path is text, like its neighbour's
        except OSError as error:
            _raise_interrupt(error)
            return False
        if size < _LARGE_BYTES:
            self._forget_readers()
        return size >= self._large_bytes or (size >= _DUE_BYTES and self._lock is None and now >= self._ask_at)

    def run(self, connection: sqlite3.Connection) -> None:
        """Do what is due, with no transaction open. What fails here fails nobody's write, and is tried again."""
        try:
            self._ask_at = monotonic() + _ASK_AGAIN_S
            size = os.stat(self._wal).st_size  # noqa: PTH116 - as above
            if under_litestream(connection):
                connection.execute("PRAGMA wal_autocheckpoint=0")
                if size >= LITESTREAM_BYTES:
                    self._empty(connection, size)
                else:
                    self._large_bytes = min(size + size // 4, LITESTREAM_BYTES)
                return
            if self._lock is None:
                self._lock = self._locked()
                self.prepare(connection)
            if size >= self._large_bytes:
                self._empty(connection, size)
        except sqlite3.Error:
            pass
        except OSError as error:
            _raise_interrupt(error)

    def close(self) -> None:
        """Pass the role on, and take the lock file away."""
        if self._lock is not None:
            with suppress(OSError):
                os.unlink(self._lock_path)  # noqa: PTH108 - as above
            os.close(self._lock)
            self._lock = None

    def abandon(self) -> None:
        """Leave the role with the parent, as its forked child: closing a copy of the lock does not release it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _empty(self, connection: sqlite3.Connection, size: int) -> None:
        """Empty the log, which is large; where a reader is in the way, try again when it has grown, with more patience.

        Beyond the size that is to be kept, a reader takes longer than any patience, and holds up nobody in vain.
        """
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            self._large_bytes = size + size // 4
            more_s = min(2 * self.patience_s, _LONGEST_PATIENCE_S)
            self.patience_s = more_s if size < _LARGEST_BYTES else _PATIENCE_S

    def _forget_readers(self) -> None:
        self._large_bytes = _LARGE_BYTES
        self.patience_s = _PATIENCE_S

    def _locked(self) -> int | None:
        """Return the lock file, locked; None when another process has it. It ends with the process, however that ends.

        Where there are no locks, or no file can be made, every process checkpoints, as SQLite does by itself.
        """
        try:
            lock = os.open(self._lock_path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            _raise_interrupt(error)
            self._without_locks = True
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), os.stat(self._lock_path)):  # noqa: PTH116 - as above
                return lock
        except (BlockingIOError, FileNotFoundError):
            pass  # another process has it, or has just taken it away: its successor has a new one
        except BaseException as error:
            os.close(lock)
            if not isinstance(error, OSError):
                raise
            _raise_interrupt(error)
            self._without_locks = True
            return None
        os.close(lock)
        return None


def _raise_interrupt(error: OSError) -> None:
    """Raise what a handler of a signal has raised (``TimeoutError`` is one, too): the system's own have a number."""
    if error.errno is None:
        raise error


def under_litestream(connection: sqlite3.Connection) -> bool:
    """Say whether Litestream replicates this database; then all checkpoints are its own."""
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = '_litestream_seq'").fetchone() is not None
