"""Files that are whole or absent: written under a temporary name, flushed to disk, then given their own name.

A temporary file is locked while its maker lives, so that the next run can tell the remains of a killed one from the
work of a running one, whatever container either is in. Leaves out: what is in the files.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from aragora_persist.errors import BusyError, ConflictError
from aragora_persist.storage.sqlite.files import sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

SIDE_FILES = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a database, as endings of its whole path."""

_PARTIAL = ".partial"
_PARTIAL_NAME = re.compile(rf"\..+\.[0-9a-f]{{8}}{re.escape(_PARTIAL)}")
"""Whole, because in a folder that is not ours alone other programs' hidden files may end like ours."""
_SCRATCH = ".scratch"
"""What the folders in scratch space end in: nobody else's folder is to be taken for one of a killed process."""
_POLL_S = 0.02
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


def beside(path: Path, ending: str) -> Path:
    """Return the path whose whole text is ``path`` followed by ``ending``."""
    return path.with_name(path.name + ending)


def flush(descriptor: int) -> None:
    """Return when what was written to ``descriptor`` is on the disk."""
    if sys.platform == "darwin":
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # fsync there stops at the drive's cache
    else:
        os.fsync(descriptor)


def write_all(file: BinaryIO, data: bytes) -> None:
    """Write all of ``data`` to a file without a buffer, which may take less of it at once.

    Such files are for what must not be half there: what a full disk refused, a buffer writes once more at its closing.
    """
    unwritten = memoryview(data)
    while unwritten:
        unwritten = unwritten[file.write(unwritten) :]


def make_directory(directory: Path) -> None:
    """Make ``directory`` and its parents, for its owner alone; the names are on the disk when this returns."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in missing:
        sync_folder(path.parent)


@contextmanager
def locked(directory: Path, *, timeout_s: float, operation: str) -> Iterator[None]:
    """Hold the lock of ``directory`` (no file of its own is left behind); it ends with the process, however that ends.

    Raises:
        BusyError: another process held it for ``timeout_s``.

    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + timeout_s
        while not try_lock(descriptor):
            if time.monotonic() >= deadline:
                problem = f"another process has been working in it for {timeout_s:g} s"
                raise BusyError(operation, directory, problem, hint="wait for it, then repeat")
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Lock an open file if nobody else has; say whether it is ours now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_same_file(descriptor: int, path: Path) -> bool:
    """Say whether ``path`` still names the file that is open."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


class Partial:
    """A temporary file in the making; ``path`` is where to write it."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor

    def publish(self, target: Path, *, operation: str) -> None:
        """Flush the file and give it the name ``target``; both are on the disk when this returns.

        Raises:
            ConflictError: the name is taken; what has it is untouched.

        """
        flush(self.descriptor)
        try:
            _name_without_replacing(self.path, target)
        except FileExistsError:
            raise ConflictError(
                operation, target, "exists and is not overwritten", hint="name another file or move it away"
            ) from None
        sync_folder(target.parent)

    def replace(self, target: Path) -> None:
        """Flush the file and put it in the place of ``target``; a reader sees the old one or the new one, whole."""
        flush(self.descriptor)
        self.path.replace(target)
        sync_folder(target.parent)


def _name_without_replacing(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        # exFAT and some network mounts have no hard links: the check and the rename are then two steps.
        if target.exists():
            raise FileExistsError from error
        source.rename(target)
    else:
        source.unlink()


@contextmanager
def partial(target: Path) -> Iterator[Partial]:
    """Make an empty temporary file beside ``target``, locked; what was not published by the end is removed."""
    while True:
        path = target.with_name(f".{target.name}.{os.urandom(4).hex()}{_PARTIAL}")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        # Between the two calls a cleaner may take an unlocked file for remains: then make another.
        if try_lock(descriptor) and is_same_file(descriptor, path):
            break
        os.close(descriptor)
    try:
        yield Partial(path, descriptor)
    finally:
        _remove(path)
        os.close(descriptor)


def clean_partials(directory: Path) -> list[Path]:
    """Remove the temporary files that killed processes left in ``directory``, and return them; others stay."""
    removed = []
    for path in sorted(directory.glob(f".*{_PARTIAL}")):
        if not _PARTIAL_NAME.fullmatch(path.name):
            continue
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            if try_lock(descriptor):
                _remove(path)
                removed.append(path)
        finally:
            os.close(descriptor)
    return removed


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """Make a folder in scratch space (TMPDIR) that goes with the block; it is locked as temporary files are.

    What killed processes of this user left there under the same ``prefix`` is removed first.
    """
    import tempfile  # noqa: PLC0415 - brings `random` and more, which a backup does not need

    _clean_folders(Path(tempfile.gettempdir()), prefix)
    while True:
        folder = Path(tempfile.mkdtemp(_SCRATCH, prefix))
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # as below
        if try_lock(descriptor) and is_same_file(descriptor, folder):
            break
        os.close(descriptor)  # as in `partial`: a cleaner came in between
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _clean_folders(parent: Path, prefix: str) -> None:
    ours = re.compile(rf"{re.escape(prefix)}[a-z0-9_]{{8}}{re.escape(_SCRATCH)}")
    for folder in (path for path in parent.glob(f"{prefix}*") if ours.fullmatch(path.name)):
        with suppress(OSError):  # another user's, or one that is just going
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if os.fstat(descriptor).st_uid == os.getuid() and try_lock(descriptor):
                    shutil.rmtree(folder)
            finally:
                os.close(descriptor)


def _remove(path: Path) -> None:
    # The side files go first: without its main file, nobody would find them again.
    for ending in SIDE_FILES:
        beside(path, ending).unlink(missing_ok=True)
    path.unlink(missing_ok=True)
