"""A restore that replaces a database's files, made safe against a kill between any two of its steps.

Several files have to change at once: the database, and the ``-wal``, ``-shm`` or ``-journal`` of the one before it,
which SQLite would replay onto the new one. So the new file waits beside the database under a name of its own, a note
says what is meant, and from then on whoever opens the database first completes it: ``finish_interrupted_restore``.
Leaves out: where the new file comes from, and why (``restore``).
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from aragora_persist.backup.files import SIDE_FILES, beside, locked, partial
from aragora_persist.backup.snapshot import open_read_only
from aragora_persist.errors import BusyError, DamagedError, StorageError
from aragora_persist.storage.sqlite.faults import translate
from aragora_persist.storage.sqlite.files import is_being_restored, restore_note, sync_folder

if TYPE_CHECKING:
    from pathlib import Path

_OPERATION = "restore"
_HINT = "restore it again: aragora-persist restore"


@dataclass(frozen=True, slots=True)
class Intent:
    """What is meant: the file ``staged`` becomes the database; what was there before is kept as ``replaced``.

    Both are names in the database's own folder.
    """

    staged: str
    replaced: str


def finish_interrupted_restore(database: Path, *, timeout_s: float = 30.0) -> None:
    """Complete the restore of ``database`` that was killed half-way, or refuse; without one, one look and no more.

    Everyone who opens a database calls this before, with the resolved path, and looks for a note once more when the
    connection has read: a restore that began in between cannot have seen it.

    Raises:
        BusyError: the restore is still running, or another process has the database open.
        DamagedError: the restored file is gone, or the note cannot be read.
        StorageError: the files cannot be moved, for example on a read-only mount.

    """
    if not is_being_restored(database):
        return
    try:
        with locked(database.parent, timeout_s=timeout_s, operation=_OPERATION):
            if is_being_restored(database):
                complete(database, timeout_s=timeout_s)
    except OSError as error:
        raise StorageError(
            _OPERATION, database, f"an interrupted restore cannot be completed: {error.strerror}", hint=_HINT
        ) from error


def declare(database: Path, intent: Intent) -> None:
    """Write the note; on the disk when this returns. The caller holds the folder's lock, and there is none yet."""
    with partial(restore_note(database)) as note:
        note.path.write_text(json.dumps(asdict(intent)), encoding="utf-8")
        note.publish(restore_note(database), operation=_OPERATION)


def withdraw(database: Path) -> None:
    """Take the note back: nothing was moved, or everything, or there is nothing to move."""
    restore_note(database).unlink()
    sync_folder(database.parent)


def complete(database: Path, *, timeout_s: float) -> Path | None:
    """Do what the note says, from wherever it stopped, and remove it; the caller holds the folder's lock.

    Returns where the replaced database is now, or None if there was none or an earlier call has moved it.

    Raises:
        BusyError: another connection has the database open; nothing was moved.
        DamagedError: there is neither a new nor a replaced file in its place, or the note cannot be read.

    """
    intent = _read(database)
    staged = database.with_name(intent.staged)
    replaced = None
    if staged.exists():
        _refuse_holders(database, timeout_s)
        replaced = _move_aside(database, database.with_name(intent.replaced))
        sync_folder(database.parent)
        staged.rename(database)
        sync_folder(database.parent)
    elif not database.exists():
        raise DamagedError(_OPERATION, database, "was interrupted, and its new file is gone", hint=_HINT)
    withdraw(database)
    return replaced


def _read(database: Path) -> Intent:
    try:
        intent = Intent(**json.loads(restore_note(database).read_text(encoding="utf-8")))
        for name in (intent.staged, intent.replaced):
            database.with_name(name)  # refuses what is no name of a file in this folder
    except (ValueError, TypeError, AttributeError) as error:
        raise DamagedError(_OPERATION, restore_note(database), "cannot be read", hint=_HINT) from error
    return intent


def _refuse_holders(database: Path, timeout_s: float) -> None:
    """Raise if anyone has the database open: in exclusive locking mode SQLite finds idle connections too.

    Once the note is there, whoever opens the database is held up by it: so nobody can come in after this look.
    """
    if not database.exists() or is_unreadable(database):
        return
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True, timeout=timeout_s)) as connection:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        if isinstance(problem := translate(error, _OPERATION, database), BusyError):
            raise problem from error
        # A file that SQLite cannot open is what a restore is for, and nobody can be working with it.


def is_unreadable(database: Path) -> bool:
    """Say whether SQLite finds no database in the file.

    Asked read-only: a connection that may write would checkpoint and remove the ``-wal`` of a damaged file when it
    closes, and what is moved aside is perhaps all that is left of the rows.
    """
    try:
        with closing(open_read_only(database)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        return isinstance(translate(error, _OPERATION, database), DamagedError)
    return False


def _move_aside(database: Path, replaced: Path) -> Path | None:
    """Move the database and its side files to ``replaced``, or to the next name that is free for all of them."""
    # The database goes last: while it is there, the rest of the move is still to be done.
    endings = [ending for ending in (*SIDE_FILES, "") if beside(database, ending).exists()]
    number = 1
    candidate = replaced
    while any(beside(candidate, ending).exists() for ending in endings):
        number += 1
        candidate = replaced.with_name(f"{replaced.stem}_{number}{replaced.suffix}")
    for ending in endings:
        beside(database, ending).rename(beside(candidate, ending))
    return candidate if "" in endings else None
