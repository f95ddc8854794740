"""Whose turn it is to migrate a file: one process's, and the others wait for as long as it lives.

SQLite's own lock already keeps two from applying one migration. But it is let go between two migrations, where another
starter would slip in, with a snapshot of its own; and it is waited for no longer than ``DB_TIMEOUT``, while a migration
may take minutes. So there is a lock file beside the database. It ends with its holder, however that ends, and names it.
Where no lock can be had, everyone goes ahead, and SQLite's lock decides.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from aragora_persist.backup.files import beside, is_same_file, try_lock
from aragora_persist.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aragora_persist.migrations.progress import Progress

LONGEST_WAIT_S = 900.0
"""How long a living holder is waited for, if ``DB_TIMEOUT`` is not even longer."""

_ENDING = "-migrating"
_POLL_S = 0.02
_NOTE_BYTES = 500


@contextmanager
def turn(path: Path, timeout_s: float, progress: Progress) -> Iterator[Progress]:
    """Hold the turn; what the given callable is told in the block, those who wait are told too.

    Raises:
        BusyError: another process held it for ``LONGEST_WAIT_S``, or for ``timeout_s`` if that is longer.

    """
    place = beside(path, _ENDING)
    lock = _wait(path, place, max(timeout_s, LONGEST_WAIT_S), progress)
    if lock is None:
        yield progress
        return
    holder = f"process {os.getpid()} on {os.uname().nodename}"

    def noted(text: str) -> None:
        _note(lock, f"{holder}, at {text}")
        progress(text)

    try:
        _note(lock, holder)
        yield noted
    finally:
        with suppress(OSError):
            place.unlink()  # while it is locked: who opened it before finds that it is not the file of this name
        os.close(lock)


def clear_turn(path: Path) -> None:
    """Take away the lock file that a killed process left, where nobody has the turn and nobody needs it."""
    place = beside(path, _ENDING)
    with suppress(OSError):
        lock = os.open(place, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            if try_lock(lock) and is_same_file(lock, place):
                place.unlink()
        finally:
            os.close(lock)


def _wait(path: Path, place: Path, longest_s: float, progress: Progress) -> int | None:
    """Return the lock file, locked; None where there are no such locks."""
    began, seen = time.monotonic(), ""
    while True:
        try:
            lock = os.open(place, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError:
            return None
        try:
            locked = try_lock(lock)
            if locked and is_same_file(lock, place):
                return lock
            holder = "" if locked else os.pread(lock, _NOTE_BYTES, 0).decode("utf-8", "replace")
        except OSError:
            os.close(lock)
            return None
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)
        if locked:
            continue  # the holder has just taken the file away
        if holder != seen:
            seen = holder
            progress(f"waiting for {holder}, which migrates it")
        waited_s = time.monotonic() - began
        if waited_s >= longest_s:
            raise BusyError(
                "migrate",
                path,
                f"{holder or 'another process'}, has been migrating it for {waited_s:.0f} s",
                hint="wait for it; if it hangs, end it: what it has committed stays, and the next run goes on",
            )
        time.sleep(_POLL_S)


def _note(lock: int, text: str) -> None:
    with suppress(OSError):  # a full disk must not end a migration for the sake of those who wait
        data = text.encode("utf-8", "replace")[:_NOTE_BYTES]
        os.pwrite(lock, data, 0)
        os.ftruncate(lock, len(data))
