"""Bringing a backup back from off-site: what has arrived stays, and nothing gets a name before it is proved whole.

Leaves out: choosing the backup (``restore.choosing``), and what is in the file (``unpacking``).
"""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from aragora_persist.backup.files import Partial, is_same_file, partial, try_lock
from aragora_persist.backup.offsite.layout import line_name, parts, parts_folder
from aragora_persist.backup.offsite.objects import Objects
from aragora_persist.errors import ConflictError, DamagedError, NotFoundError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aragora_persist.backup.offsite.layout import Part
    from aragora_persist.backup.records import BackupEntry
    from aragora_persist.settings import Settings

_OPERATION = "fetch"
_AT_ONCE = 8 << 20
_ENDING = ".fetched"


def fetch(entry: BackupEntry, target: Path, settings: Settings, *, grow_in: Path | None = None) -> None:
    """Make ``target`` the stored file of a backup: all of it, by its digest, and on the disk.

    It grows in a hidden file in ``grow_in``, a folder of the same file system (default: that of ``target``). What is in
    it when the connection, the process or the machine ends is not fetched again by the next call for the same backup;
    one for another backup of the database removes it.

    Raises:
        NotFoundError: the backup, its bucket or its folder is not there, or not all of it.
        DamagedError: what is there is not the backup; ``target`` was not made.
        ConflictError: ``target`` exists.
        UnreachableError, AccessDeniedError: the server does not give it.
        StorageError: the file cannot be written.

    """
    objects = Objects(settings)
    url = objects.url(line_name(entry))
    found = parts(entry, objects.listing(parts_folder(entry)))
    if found is None:
        raise NotFoundError(_OPERATION, url, "is not there as a whole", hint="aragora-persist backups --offsite")
    if target.exists():
        raise ConflictError(_OPERATION, target, "exists and is not overwritten", hint="move it away")
    try:
        with _growing(entry, target, grow_in or target.parent) as file:
            resumed = os.fstat(file.descriptor).st_size > 0
            if not _complete(file, entry, objects, found):
                # A machine that lost its power may have kept less of the file than it said.
                os.ftruncate(file.descriptor, 0)
                if not resumed or not _complete(file, entry, objects, found):
                    os.ftruncate(file.descriptor, 0)
                    raise DamagedError(_OPERATION, url, "is not what was shipped", hint="choose another backup")
            file.publish(target, operation=_OPERATION)
    except OSError as error:
        raise StorageError(_OPERATION, target, f"cannot be written: {error.strerror or error}") from error


@contextmanager
def _growing(entry: BackupEntry, target: Path, folder: Path) -> Iterator[Partial]:
    """Open the hidden file, locked; it stays when the block fails, unless it is empty.

    Where another process is fetching the same, this one has a file of its own, which goes when the block fails.
    """
    path = folder / f".{entry.file}.{entry.sha256[:8]}{_ENDING}"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():  # scratch space is everybody's, and its owner could change it
            raise StorageError(_OPERATION, path, "belongs to another user", hint="set TMPDIR to a folder of your own")
        if not try_lock(descriptor) or not is_same_file(descriptor, path):
            with partial(target) as own:
                yield own
            return
        _remove_others(path, entry.database)
        try:
            yield Partial(path, descriptor)
        except OSError:
            os.ftruncate(descriptor, 0)  # what does not fit on the disk must not keep it full
            raise
        finally:
            if not os.fstat(descriptor).st_size:
                path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _remove_others(mine: Path, database: str) -> None:
    """Remove what fetches of other backups have left: each may be as large as a database."""
    for path in mine.parent.glob(f".{database}_*{_ENDING}"):
        if path == mine:
            continue
        with suppress(OSError):  # another user's, or one that is just going
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                if try_lock(descriptor):
                    path.unlink()
            finally:
                os.close(descriptor)


def _complete(file: Partial, entry: BackupEntry, objects: Objects, found: tuple[Part, ...]) -> bool:
    """Fetch what the file still lacks, and say whether it is the backup."""
    digest = hashlib.sha256()
    size = _read_digest(file, digest)
    for part in found:
        for start in range(part.offset, part.offset + part.size_bytes, _AT_ONCE):
            end = min(start + _AT_ONCE, part.offset + part.size_bytes)
            if end <= size:
                continue
            begin = max(start, size)
            data = objects.read(part.name, begin - part.offset, end - part.offset)
            digest.update(data)
            _write(file.descriptor, data, begin)
    return digest.hexdigest() == entry.sha256


def _read_digest(file: Partial, digest: hashlib._Hash) -> int:
    size = 0
    while data := os.pread(file.descriptor, _AT_ONCE, size):
        digest.update(data)
        size += len(data)
    return size


def _write(descriptor: int, data: bytes, offset: int) -> None:
    unwritten = memoryview(data)
    while unwritten:
        written = os.pwrite(descriptor, unwritten, offset)
        unwritten, offset = unwritten[written:], offset + written
