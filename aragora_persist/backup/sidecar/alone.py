"""One sidecar to a backup folder: the first one works, others wait until it ends, however it ends.

Leaves out: backups that are taken by hand meanwhile; those are safe beside a sidecar.
"""

from __future__ import annotations

import logging
import os
import socket
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from aragora_persist.backup.files import make_directory, try_lock

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator
    from pathlib import Path

LOCK_FILE = ".sidecar"
"""In the backup folder, locked by the sidecar that works there; it says which one that is."""

_LOGGER = logging.getLogger("aragora_persist.backup")
_LONGEST_NAME = 300


@contextmanager
def alone(directory: Path, stopping: threading.Event, *, look_s: float) -> Iterator[None]:
    """Wait for the folder's lock, saying who holds it, and hold it; a stop ends the wait, without the lock."""
    try:
        make_directory(directory)
        descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        # Backups are safe without it, there would only be too many of them. And a full disk may pass.
        _LOGGER.warning("%s: another sidecar here would go unnoticed: %s", directory, error.strerror)
        yield
        return
    try:
        told = False
        while not (locked := try_lock(descriptor)) and not stopping.is_set():
            if not told:
                told = True
                holder = os.pread(descriptor, _LONGEST_NAME, 0).decode(errors="replace")
                _LOGGER.warning("%s: another sidecar works here (%s): waiting until it ends", directory, holder)
            stopping.wait(look_s)
        if locked:
            with suppress(OSError):  # on a full disk nobody learns the name
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
    finally:
        os.close(descriptor)
