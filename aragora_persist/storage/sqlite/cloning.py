"""Clone files within one file system (reflink): ``python -I -S cloning.py SOURCE TARGET [SOURCE TARGET …]``.

A program of its own, of the standard library alone: a process that closes a database file which it also has open in
SQLite loses SQLite's locks on it (POSIX drops all of a process's locks on a file at the first close). Exit code 1 where
the file system does not clone; what it began is left to the caller to remove. Leaves out: the lock under which it runs
(``copying``).
"""

from __future__ import annotations

import fcntl
import sys

_FICLONE = 0x40049409  # ioctl_ficlone(2)


def clone(source: str, target: str) -> bool:
    """Make the new file ``target`` share the content of ``source``; False where that cannot be."""
    try:
        with open(source, "rb") as original, open(target, "xb") as copy:  # noqa: PTH123 - pathlib would take longer
            fcntl.ioctl(copy, _FICLONE, original.fileno())
    except OSError:
        return False
    return True


if __name__ == "__main__":
    pairs = zip(sys.argv[1::2], sys.argv[2::2], strict=True)
    sys.exit(0 if all(clone(source, target) for source, target in pairs) else 1)
