"""Whether anyone has a database's files open: ``python -I -S holders.py DATABASE`` asks for SQLite's own locks.

For files that SQLite cannot read, and for a ``-shm`` whose database is gone: who had them open before goes on with what
is moved away, and never sees what is put in its place. A program of its own, of the standard library alone: a process
that closes a file which it also has open in SQLite loses SQLite's locks on it. Exit code 1 where the files are held.
"""

from __future__ import annotations

import fcntl
import sys

# Ending, first byte and number of bytes of SQLite's locks: in the database those of rollback mode and the one that
# every connection in WAL mode keeps, in the -shm all of WAL mode (https://www.sqlite.org/walformat.html, section 2.3).
_LOCKS = (("", 0x40000000, 512), ("-shm", 120, 9))


def are_held(database: object) -> bool:
    """Say whether a connection, of whatever process, has the database's files open; OSError where none can tell."""
    import subprocess  # noqa: PLC0415 - the program itself starts none, and few who import this ever ask

    if not sys.executable:
        raise OSError("it is not known where Python is")
    command = [sys.executable, "-I", "-S", __file__, str(database)]
    return subprocess.run(command, check=False, capture_output=True).returncode != 0  # killed, it has not said no


def _is_held(path: str, first: int, count: int) -> bool:
    try:
        with open(path, "r+b") as file:  # noqa: PTH123 - pathlib would take longer
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, count, first)
    except (BlockingIOError, PermissionError) as error:
        return isinstance(error, BlockingIOError)
    except OSError:  # there is no such file
        return False
    return False


if __name__ == "__main__":
    sys.exit(any(_is_held(sys.argv[1] + ending, first, count) for ending, first, count in _LOCKS))
