"""A restore that must come to its end, made safe against a kill between any two of its steps.

Several files have to change at once: a database, and the ``-wal``, ``-shm`` or ``-journal`` of the one before it, which
SQLite would replay onto the new one; or several databases, which belong together. So each new file waits beside its
database under a name of its own, a note says what is meant, and from then on whoever opens the database first completes
it: ``finish_interrupted_restore``. The notes of a set count from the moment on when the file that they all name as
``pending`` is removed; until then whoever finds one takes all of them back. Leaves out: how a database takes the new
one's place (``exchange``), and where the new file comes from (``restore``).
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from aragora_persist.backup.files import locked, partial
from aragora_persist.backup.restore.exchange import connect, move_into_place, refuse_holders, write_into
from aragora_persist.errors import DamagedError, StorageError
from aragora_persist.storage.sqlite.faults import DRIVER_ERRORS, translate
from aragora_persist.storage.sqlite.files import is_being_restored, restore_note, sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_OPERATION = "restore"
_HINT = "restore it again: aragora-persist restore"
_PENDING = ".restoring-"
"""How the files begin whose removal makes a set's notes count; each set has its own."""


@dataclass(frozen=True, slots=True)
class Intent:
    """What is meant: the file ``staged`` becomes the database; what was there before is kept as ``replaced``.

    These and ``pending`` are names in the database's own folder.
    """

    staged: str
    replaced: str
    mark: int = 0
    """Not 0: ``staged`` is written into the open database, and carries this number as its ``application_id``: a
    database that has it has been restored, and what was written to it since must not be restored over."""
    application_id: int = 0
    """The number that ``staged`` has of its own, which the database gets when that is over."""
    pending: str = ""
    """The file whose removal makes this note count; '' where it counts at once."""


def new_mark() -> int:
    """Return a number that no ``application_id`` has by chance."""
    return secrets.randbelow(2**31 - 1) + 1


def put_mark(database: Path, mark: int, *, timeout_s: float = 0.0) -> None:
    """Make ``mark`` the ``application_id`` of a database.

    Raises:
        BusyError: another connection was writing for ``timeout_s``.

    """
    try:
        with closing(sqlite3.connect(database, timeout=timeout_s, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA application_id = {mark}")
    except DRIVER_ERRORS as error:
        raise translate(error, _OPERATION, database) from error


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
    said = {name: value for name, value in asdict(intent).items() if value}  # release 0.1.0 knows the first two
    with partial(restore_note(database)) as note:
        note.path.write_text(json.dumps(said), encoding="utf-8")
        note.publish(restore_note(database), operation=_OPERATION)


def declare_together(folder: Path, intents: Iterable[tuple[Path, Intent]]) -> None:
    """Write the notes of several databases of one folder so that they all count, or none; else as ``declare``."""
    pending = folder / f"{_PENDING}{secrets.token_hex(8)}"
    pending.touch(mode=0o600)
    sync_folder(folder)
    for database, intent in intents:
        declare(database, replace(intent, pending=pending.name))
    pending.unlink()
    sync_folder(folder)


def withdraw(database: Path) -> None:
    """Take the note back: nothing was moved, or everything, or there is nothing to move."""
    restore_note(database).unlink()
    sync_folder(database.parent)


def withdraw_pending(folder: Path) -> None:
    """Take back the notes that do not count yet, with the files that they name; the caller holds the folder's lock."""
    pending = {path.name: path for path in folder.glob(f"{_PENDING}*")}
    for note in folder.glob("*.restoring") if pending else ():
        database = note.with_name(note.name.removesuffix(".restoring"))
        with suppress(DamagedError):  # what cannot be read is none of these, and is told to whoever opens its database
            if (intent := _read(database)).pending in pending:
                database.with_name(intent.staged).unlink(missing_ok=True)
                withdraw(database)
    for path in pending.values():
        path.unlink()


def complete(database: Path, *, timeout_s: float) -> Path | None:
    """Do what the note says, from wherever it stopped, and remove it; the caller holds the folder's lock.

    A note that does not count is taken back, with all of its set. Returns where the replaced database is now, or None
    if there was none or an earlier call has put it there.

    Raises:
        BusyError: another connection has the database open, or is in a transaction; nothing was changed.
        DamagedError: there is neither a new nor a replaced file in its place, or the note cannot be read.

    """
    intent = _read(database)
    if intent.pending and database.with_name(intent.pending).exists():
        withdraw_pending(database.parent)
        return None
    staged = database.with_name(intent.staged)
    replaced = None
    if staged.exists():
        replaced = _exchange(database, staged, intent, timeout_s)
    elif not database.exists():
        raise DamagedError(_OPERATION, database, "was interrupted, and its new file is gone", hint=_HINT)
    if intent.mark and _mark_of(database) == intent.mark:
        put_mark(database, intent.application_id, timeout_s=timeout_s)
    withdraw(database)
    return replaced


def _exchange(database: Path, staged: Path, intent: Intent, timeout_s: float) -> Path | None:
    replaced = database.with_name(intent.replaced)
    if intent.mark and database.exists():
        try:
            done = _mark_of(database) == intent.mark
            kept = None if done else write_into(staged, database, replaced, timeout_s=timeout_s)
        except DamagedError:  # it cannot be read, not even to copy it: it is moved aside as it is
            pass
        else:
            staged.unlink()
            sync_folder(database.parent)
            return kept
    refuse_holders(database, timeout_s)
    return move_into_place(staged, database, replaced)


def _mark_of(database: Path) -> int:
    try:
        with closing(connect(database, 0.0, mode="ro")) as connection:
            return int(connection.execute("PRAGMA application_id").fetchone()[0])
    except DRIVER_ERRORS as error:
        raise translate(error, _OPERATION, database) from error


def _read(database: Path) -> Intent:
    try:
        intent = Intent(**json.loads(restore_note(database).read_text(encoding="utf-8")))
        for name in (intent.staged, intent.replaced, intent.pending or intent.staged):
            database.with_name(name)  # refuses what is no name of a file in this folder
        for number in (intent.mark, intent.application_id):
            format(number, "d")  # refuses what is no whole number
    except (ValueError, TypeError, AttributeError) as error:
        raise DamagedError(_OPERATION, restore_note(database), "cannot be read", hint=_HINT) from error
    return intent
