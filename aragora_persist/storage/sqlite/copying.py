"""A private copy of a database's committed state, to work on: nothing is written to the original or beside it.

Where the file system shares blocks (XFS, btrfs), the files are cloned under a read lock, in milliseconds and without
room for them; elsewhere SQLite's backup API copies in one step, which always finishes however much others write. Leaves
out: copies that are kept (``backup.snapshot``): this one is neither flushed to disk nor verified.
"""

from __future__ import annotations

import errno
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from aragora_persist.errors import BusyError, DamagedError, StorageError
from aragora_persist.storage.sqlite import cloning
from aragora_persist.storage.sqlite.connecting import refuse_restore
from aragora_persist.storage.sqlite.faults import DRIVER_ERRORS, translate
from aragora_persist.storage.sqlite.files import is_there
from aragora_persist.storage.sqlite.readonly import open_readonly
from aragora_persist.storage.sqlite.tables import file_of
from aragora_persist.wording import size_text

_OPERATION = "copy database"
_ATTEMPTS = 20
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


def copy_committed(source: Path, target: Path) -> None:
    """Copy what is committed in ``source`` to ``target``, a new file in a folder of the caller's own.

    A missing source makes an empty copy, as it would make an empty database.

    Raises:
        StorageError: the folder has no room for the copy (said before it begins), or a file cannot be read or written,
            or the source is no file.
        DamagedError: the source is not a database.
        BusyError: the source is being restored, or kept changing without a lock that could be waited for.

    """
    refuse_restore(source)
    is_there(source)
    for left in reversed(range(_ATTEMPTS)):
        before = _state(source)
        if before is None:
            target.touch(mode=0o600)
            return
        # Others may have the file only since we looked: what was then read without a lock is worth nothing.
        try:
            whole = _copy(source, target) or _state(source) == before
        except BusyError:
            if not left:
                raise
            whole = False
        except DamagedError:
            if not left or _state(source) == before:
                raise
            whole = False
        if whole:
            refuse_restore(source)
            return
        _remove(target)
    raise BusyError(_OPERATION, source, "kept changing while it was copied", hint="try again")


def no_room(folder: Path, problem: str) -> StorageError:
    """Return the error that says that ``folder`` is too small for a copy, or for the work on it."""
    hint = "set TMPDIR to a folder with more room (on the database's own XFS or btrfs, a copy takes none)"
    return StorageError(_OPERATION, folder, problem, hint=hint)


def _copy(source: Path, target: Path) -> bool:
    """Copy once, and say whether a lock of SQLite kept the source as it was meanwhile."""
    try:
        with open_readonly(source) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
            if not _clone(reader, target):
                _refuse_without_room(source, target.parent)
                _backup(reader, source, target)
            # In WAL mode a read transaction keeps the log and as much of the file as the copy needs. Without a log the
            # file was opened without locks, and SQLite then says that the mode is another one.
            return bool(reader.execute("PRAGMA journal_mode").fetchone() == ("wal",))
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise no_room(target.parent, "is full") from error
        raise StorageError(_OPERATION, source, error.strerror or str(error)) from error


def _clone(reader: sqlite3.Connection, target: Path) -> bool:
    """Clone the file and its log while ``reader`` holds its lock; False where the file system cannot."""
    if not _clones_within(target.parent):
        return False
    name = file_of(reader)
    # The file before the log: what a checkpoint brings into the file meanwhile is still in the log, not the other way.
    pairs = [str(name), str(target)]
    if Path(f"{name}-wal").exists():
        pairs += [f"{name}-wal", f"{target}-wal"]
    done = subprocess.run([sys.executable, "-I", "-S", cloning.__file__, *pairs], check=False, capture_output=True)
    if done.returncode != 0:
        _remove(target)
    return done.returncode == 0


def _clones_within(folder: Path) -> bool:
    """Say whether files within ``folder`` can be cloned: if not, the process that would try is spared."""
    probe, copy = folder / ".probe", folder / ".probe-clone"
    try:
        probe.write_bytes(b"probe")
        return cloning.clone(str(probe), str(copy))
    finally:
        probe.unlink(missing_ok=True)
        copy.unlink(missing_ok=True)


def _refuse_without_room(source: Path, folder: Path) -> None:
    wal = Path(f"{source}-wal")
    needed = source.stat().st_size + (wal.stat().st_size if wal.exists() else 0)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise no_room(folder, f"has {size_text(free)} free, and the copy may take {size_text(needed)}")


def _backup(reader: sqlite3.Connection, source: Path, target: Path) -> None:
    with closing(sqlite3.connect(target, isolation_level=None)) as writer:
        try:
            # Nobody else has the copy, and a torn one is thrown away: a journal and a flush would only cost.
            for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=OFF", "synchronous=OFF"):
                writer.execute(f"PRAGMA {pragma}")
            reader.backup(writer)
        except DRIVER_ERRORS as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
                raise no_room(target.parent, "is full") from error
            raise translate(error, _OPERATION, source) from error


def _remove(target: Path) -> None:
    for path in (target, Path(f"{target}-wal")):
        path.unlink(missing_ok=True)


def _state(source: Path) -> tuple[int, int, int, bool] | None:
    """Return what changes when others write to the file, or None where it is missing."""
    try:
        state = source.stat()
    except FileNotFoundError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns, Path(f"{source}-wal").exists()
