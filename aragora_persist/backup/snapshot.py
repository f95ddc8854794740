"""A consistent copy of a SQLite database, on the disk under a name of its own.

Leaves out: how it is copied (``storage.sqlite.copying``), and whether the copy is sound (``verify``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist.backup.files import make_directory, partial
from aragora_persist.errors import StorageError
from aragora_persist.storage.sqlite.copying import copy_into

if TYPE_CHECKING:
    from pathlib import Path


def snapshot(source: Path, target: Path, *, timeout_s: float = 30.0) -> str:
    """Copy the database ``source`` to the new file ``target``, which is whole and on the disk when this returns.

    Returns the method's name, as ``copy_into`` does. A killed call leaves a hidden ``.partial`` file
    (``files.clean_partials``) and no ``target``.

    Raises:
        NotFoundError: there is no source.
        ConflictError: ``target`` exists; it is untouched.
        BusyError: the source is being restored, or stayed locked for ``timeout_s``.
        DamagedError: the source is no database that SQLite can read.
        StorageError: the copy cannot be written (a full disk, a missing right).

    """
    try:
        make_directory(target.parent)
        with partial(target) as copy:
            method = copy_into(source, copy.path, timeout_s=timeout_s)
            copy.publish(target, operation="snapshot")
    except OSError as error:
        raise StorageError("snapshot", target, f"cannot be written: {error.strerror}") from error
    return method
