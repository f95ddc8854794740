"""Who else is at work on a database that is to be adopted, or was cut off in it.

Leaves out: SQLite's own locks, which whoever exchanges the file looks at.
"""

from __future__ import annotations

import os
from pathlib import Path

from aragora_persist.backup.files import beside
from aragora_persist.errors import BusyError

_OPERATION = "adopt"
_PROCESSES = Path("/proc")
_HOT = bytes.fromhex("d9d505f920a163d7")
"""How a rollback journal begins that is in use (the database file format, section 3)."""


def refuse_unfinished(source: Path) -> None:
    """Raise if a transaction was cut off in rollback mode: only who may write to the file can undo what it wrote.

    Raises:
        BusyError: one was, or one is under way.

    """
    try:
        with beside(source, "-journal").open("rb") as journal:
            unfinished = journal.read(len(_HOT)) == _HOT
    except FileNotFoundError:
        return
    if unfinished:
        hint = "stop the program that writes to it, and open it once with sqlite3, which rolls back"
        raise BusyError(_OPERATION, source, "has an unfinished transaction (-journal) beside it", hint=hint)


def refuse_openers(target: Path) -> None:
    """Raise if a process has the file open, as far as this machine shows it to this user (on Linux).

    SQLite's locks, which are looked at too, show no idle connection to a database that is not in WAL mode.

    Raises:
        BusyError: one has.

    """
    state = target.stat()
    for process in _PROCESSES.iterdir() if _PROCESSES.is_dir() else ():
        if process.name.isdigit() and _has_open(process, state):
            problem = f"the process {process.name} has it open"
            raise BusyError(_OPERATION, target, problem, hint="stop it, and adopt the database again")


def _has_open(process: Path, state: os.stat_result) -> bool:
    try:
        files = list((process / "fd").iterdir())
    except OSError:  # it has ended by now, or is none of this user's
        return False
    return any(_is_open_as(path, state) for path in files)


def _is_open_as(path: Path, state: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), state)
    except OSError:  # closed by now
        return False
