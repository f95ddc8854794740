"""Who may send from an outbox: one process at a time, over processes and containers that share its volume.

The lease is a lock on a file beside the database, so it ends with its holder, however that ends. Nothing breaks where
two send at once (every record carries its own key); it would only be sent twice.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

from aragora_persist.backup.files import beside, is_same_file, try_lock
from aragora_persist.errors import StorageError
from aragora_persist.storage.sqlite.files import resolve
from aragora_persist.storage.sqlite.forks import watch

if TYPE_CHECKING:
    from pathlib import Path

_ENDING = ".sync-lock"


def is_taken(database: Path) -> bool:
    """Say whether a process sends from the outbox in the file ``database`` now. Looking makes no file."""
    try:
        descriptor = os.open(beside(resolve(database), _ENDING), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not try_lock(descriptor)
    finally:
        os.close(descriptor)


class Lease:
    """The right to send from the outbox in the file ``database``; to be used in a ``with``, which gives it back."""

    def __init__(self, database: Path) -> None:
        self._path = beside(resolve(database), _ENDING)
        self._descriptor: int | None = None
        watch(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def take(self) -> bool:
        """Take the lease if nobody else has it; say whether it is ours now. Taking it again is nothing.

        Raises:
            StorageError: the lock's file cannot be made.

        """
        if self._descriptor is not None and is_same_file(self._descriptor, self._path):
            return True
        self._close()
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError("sync", self._path, f"cannot be opened: {error.strerror}") from error
        # Between the two calls somebody may remove the file: a lock on a file without a name keeps nobody out.
        if try_lock(self._descriptor) and is_same_file(self._descriptor, self._path):
            return True
        self._close()
        return False

    def abandon(self) -> tuple[()]:
        """See ``forks.Holder``: a forked child that kept the file open would hold the lease beyond its parent's end."""
        self._close()
        return ()

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
