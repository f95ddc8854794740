"""The one way to copy a live database: its committed state as one private file, while others write to it.

A process of its own copies the file and then its log (``copier``): on XFS and btrfs as clones that share their blocks,
in milliseconds and without room for them, elsewhere in pieces, so that writers hardly notice. Two kinds of lock make
it whole:

- with a log and its shared memory (someone has the file open, or was killed), a read transaction: it keeps the log,
  and as much of the file as the log does not hold; writers go on;
- otherwise SQLite's lock of readers, taken by the copying process: nobody has the file open, or it is another
  program's with a rollback journal, whose writers wait as they do for any reader. The journal is copied too.

Then the copy takes in its log or journal, and is a single file in rollback mode: it can be read from a read-only
medium, and no other file belongs to it. Nothing is written to the original or beside it. Leaves out: whether the copy
is sound (``backup.verify``), and bringing it to the disk.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import sys
import time
from contextlib import ExitStack, closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aragora_persist.errors import BusyError, DamagedError, NotFoundError, PersistError, StorageError
from aragora_persist.storage.sqlite import copier
from aragora_persist.storage.sqlite.connecting import busy_timeout_ms, refuse_restore
from aragora_persist.storage.sqlite.faults import DRIVER_ERRORS, is_full, translate
from aragora_persist.storage.sqlite.files import is_there
from aragora_persist.storage.sqlite.readonly import is_only_begun, open_readonly
from aragora_persist.wording import size_text

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

BACKUP_API = "sqlite-backup-api"
"""The method where no process can be started: who has given up rights may not run the interpreter that runs it."""

_OPERATION = "copy database"
_ENDINGS = ("", "-wal", "-journal")
_BUSY_HINT = "end the transaction that holds it, or raise DB_TIMEOUT"
_ATTEMPTS = 5
_RETRY_S = 0.02
# Nobody else has the copy; a torn one is thrown away, and a whole one is flushed by whoever keeps it.
_PRIVATE = ("locking_mode=EXCLUSIVE", "synchronous=OFF")
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


class _Place(NamedTuple):
    """What lies at a database's path; equal before and after a copy, or others came or went meanwhile."""

    device: int
    inode: int
    wal: bool
    shm: bool


def copy_into(source: Path, target: Path, *, timeout_s: float = 30.0) -> str:
    """Copy what is committed in ``source`` to ``target``, a new or empty file of the caller's own; not flushed to disk.

    Returns the method's name, as the catalog records it: ``reflink``, ``file-copy`` or ``sqlite-backup-api``. What a
    killed call leaves is ``target`` and SQLite's files beside it.

    Raises:
        NotFoundError: there is no source.
        BusyError: the source is being restored, or was locked or exchanged by others for ``timeout_s``.
        DamagedError: the source is not a database that SQLite can read.
        StorageError: the target's disk is too small, or a file cannot be read or written.

    """
    deadline, attempts = time.monotonic() + timeout_s, 0
    while True:
        refuse_restore(source)
        before, method = _place(source), None
        try:
            method = _copy(source, target, before, timeout_s)
        except (DamagedError, StorageError):
            if _place(source) == before:  # else it is an error of what is there no more
                raise
        if method is not None:
            refuse_restore(source)
            # After that look, not before it: of an exchange that was under way all the while and is over, this tells.
            if _place(source) == before:
                return method
        attempts += 1
        if time.monotonic() >= deadline and attempts >= _ATTEMPTS:
            problem = f"was opened, closed or exchanged by others again and again for {timeout_s:g} s"
            raise BusyError(_OPERATION, source, problem, hint="try again, or raise DB_TIMEOUT")
        time.sleep(_RETRY_S)


def _place(source: Path) -> _Place:
    if not is_there(source):
        raise NotFoundError(_OPERATION, source, "does not exist")
    try:
        state = source.stat()
    except FileNotFoundError:
        raise NotFoundError(_OPERATION, source, "does not exist any more") from None
    wal, shm = (Path(f"{source}-{ending}").exists() for ending in ("wal", "shm"))
    return _Place(state.st_dev, state.st_ino, wal, shm)


def _copy(source: Path, target: Path, place: _Place, timeout_s: float) -> str | None:
    """Copy once; None where files went meanwhile."""
    live = place.wal and place.shm
    try:
        with _read_lock(source, timeout_s) if live else nullcontext() as reader:
            log = "-wal" if place.wal else "-journal"
            method = _copy_files(source, target, log, lock="held" if live else str(timeout_s))
            if method == BACKUP_API and not _copy_pages(source, target, reader):
                return None
    except DRIVER_ERRORS as error:
        if is_full(error):
            raise _no_room(source, target) from error
        if _place(source) != place:  # the last one who had it open has closed it since we looked
            return None
        raise translate(error, _OPERATION, source) from error
    if method is not None:
        _fold(source, target)
    return method


@contextmanager
def _read_lock(source: Path, timeout_s: float) -> Iterator[sqlite3.Connection]:
    """Hold a read transaction of a database in WAL mode."""
    how = "" if is_only_begun(Path(f"{source}-wal")) else "&readonly_shm=1"
    with ExitStack() as stack:
        try:
            reader = stack.enter_context(_reading(source, how, timeout_s))
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_READONLY:
                raise
            # A writer that was killed left the shared memory in a state that only a reader who may write there mends.
            reader = stack.enter_context(_reading(source, "", timeout_s))
        yield reader


@contextmanager
def _reading(source: Path, how: str, timeout_s: float) -> Iterator[sqlite3.Connection]:
    uri, timeout = f"{source.absolute().as_uri()}?mode=ro{how}", busy_timeout_ms(timeout_s) / 1000
    with closing(sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        yield reader


def _copy_files(source: Path, target: Path, log: str, *, lock: str) -> str | None:
    """Have the program that is made for it copy the database and its log; return the method, or None as above.

    Where it cannot be started, nothing is done, and the method is the one that is left.
    """
    import subprocess  # noqa: PLC0415 - whoever only looks at backups copies nothing

    if not sys.executable:  # a program that has Python in it need not know of one
        return BACKUP_API
    private = partial(os.open, mode=0o600)
    try:
        with ExitStack() as stack:
            # Made anew: an attempt before this one may have left something.
            paths = (str(target), f"{target}{log}")
            copies = [stack.enter_context(open(path, "wb", buffering=0, opener=private)) for path in paths]
            descriptors = [copy.fileno() for copy in copies]
            names = [str(source), f"{source}{log}", *map(str, descriptors)]
            command = [sys.executable, "-I", "-S", copier.__file__, lock, *names]
            try:
                done = subprocess.run(
                    command, check=False, stdin=subprocess.DEVNULL, capture_output=True, pass_fds=descriptors, text=True
                )
            except OSError:
                return BACKUP_API
            if done.returncode == 0:
                return done.stdout.strip()
    except OSError as error:
        raise StorageError(_OPERATION, target, f"cannot be copied to: {error.strerror or error}") from error
    if done.returncode == copier.MOVED or done.stdout.strip() == str(errno.ENOENT):
        return None
    raise _failure(source, target, done)


def _copy_pages(source: Path, target: Path, reader: sqlite3.Connection | None) -> bool:
    """Copy in one step of SQLite's backup API: page by page it would begin again at every write of others.

    Without a ``reader``, whose lock keeps the source as it is, say whether it stayed as it was by itself.
    """
    before = source.stat()
    with ExitStack() as stack:
        copy = stack.enter_context(closing(sqlite3.connect(target, isolation_level=None)))
        for pragma in _PRIVATE:
            copy.execute(f"PRAGMA {pragma}")
        (reader or stack.enter_context(open_readonly(source))).backup(copy)
    after = source.stat()
    return reader is not None or (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


def _failure(source: Path, target: Path, done: subprocess.CompletedProcess[str]) -> PersistError:
    """Return the error that says how the program that copies ended."""
    if done.returncode == copier.LOCKED:
        return BusyError(_OPERATION, source, "is locked by another connection", hint=_BUSY_HINT)
    if done.returncode < 0:
        problem = f"the process that copied it was ended by signal {-done.returncode}"
        return StorageError(_OPERATION, source, problem, hint="look for what ends processes, a lack of memory for one")
    try:
        code = int(done.stdout)
    except ValueError:
        return StorageError(_OPERATION, source, f"the process that copies failed: {done.stderr.strip()[-500:]}")
    if code in _NO_ROOM:
        return _no_room(source, target)
    return StorageError(_OPERATION, source, f"cannot be copied to {target}: {os.strerror(code)}")


def _no_room(source: Path, target: Path) -> StorageError:
    """Return the error for a copy that did not fit; what there is of it is given up, to tell how much is free."""
    for ending in _ENDINGS:
        if (copy := Path(f"{target}{ending}")).exists():
            os.truncate(copy, 0)
    logs = (Path(f"{source}{ending}") for ending in _ENDINGS[1:])
    # A log is copied, and then its pages are brought into the file.
    needed = source.stat().st_size + 2 * sum(log.stat().st_size for log in logs if log.exists())
    problem = f"has {size_text(shutil.disk_usage(target.parent).free)} free, and the copy may take {size_text(needed)}"
    return StorageError(_OPERATION, target.parent, problem, hint="free some space on this file system")


def _fold(source: Path, target: Path) -> None:
    """Bring the copy's log or journal into it, and make it a single file in rollback mode."""
    try:
        with closing(sqlite3.connect(target, isolation_level=None)) as copy:
            for pragma in _PRIVATE:
                copy.execute(f"PRAGMA {pragma}")
            copy.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
            copy.execute("PRAGMA journal_mode=DELETE").fetchone()
    except DRIVER_ERRORS as error:
        if is_full(error):
            raise _no_room(source, target) from error
        raise translate(error, _OPERATION, source) from error
    for ending in _ENDINGS[1:]:
        Path(f"{target}{ending}").unlink(missing_ok=True)
