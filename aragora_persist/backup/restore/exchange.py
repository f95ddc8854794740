"""How a restored database takes the place of the one before: as one transaction of the open file, or as another file.

Either way the database that was there before is kept beside it. Leaves out: surviving a kill between the steps of the
second way (``intent``).
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from aragora_persist.backup.files import SIDE_FILES, beside, partial
from aragora_persist.backup.restore.holders import are_held
from aragora_persist.errors import BusyError, DamagedError, StorageError
from aragora_persist.migrations.progress import report
from aragora_persist.storage.sqlite.checkpointer import under_litestream
from aragora_persist.storage.sqlite.faults import DRIVER_ERRORS, translate
from aragora_persist.storage.sqlite.files import sync_folder
from aragora_persist.storage.sqlite.readonly import open_unchanging

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_OPERATION = "restore"
_PAGES_AT_ONCE = 1000
_RETRY_S = 0.05
_STOP_HINT = "stop the services and programs that use it, then repeat; start them again afterwards"


def takes_pages_of(source: Path, target: Path, *, timeout_s: float) -> bool:
    """Say whether SQLite can open the target and write the pages of ``source``, which nobody writes to, into it.

    Raises:
        BusyError: another connection held a lock that whole time.

    """
    if not target.exists() or is_unreadable(target):
        return False
    try:
        with (
            closing(open_unchanging(source)) as origin,
            closing(connect(target, timeout_s)) as live,
        ):
            live.execute("SELECT count(*) FROM sqlite_master").fetchone()
            sizes = [connection.execute("PRAGMA page_size").fetchone() for connection in (origin, live)]
            return bool(sizes[0] == sizes[1])
    except DRIVER_ERRORS as error:
        problem = translate(error, _OPERATION, target)
        if isinstance(problem, BusyError):
            raise problem from error
        return False


def write_into(source: Path, target: Path, replaced: Path, *, timeout_s: float) -> Path:
    """Write the pages of ``source`` into the live database as one transaction.

    Idle connections of others go on, and see the new rows. Returns where the database from before is: ``replaced``, or
    the next name that is free; it has the last transaction before this one.

    Raises:
        BusyError: another connection was in a transaction for ``timeout_s``; nothing was changed.
        DamagedError: the target cannot be read, not even to keep it aside; nothing was changed.
        StorageError: there is no room; nothing was changed.

    """
    replaced = _free_name(replaced, ("", *SIDE_FILES))
    try:
        with (
            closing(open_unchanging(source)) as origin,
            closing(connect(target, timeout_s)) as live,
            partial(replaced) as kept,
        ):
            make_ready(live, target)
            pages = origin.execute("PRAGMA page_count").fetchone()[0]

            def keep_replaced() -> None:
                # The live file is now locked for writing: this copy holds the last transaction before the restore.
                _copy(target, kept.path, timeout_s)
                own_like(kept.path, target)
                kept.publish(replaced, operation=_OPERATION)

            # At least two steps: in a single one the target would be committed when the first is over.
            at_once = max(1, min(_PAGES_AT_ONCE, pages // 2))
            try:
                origin.backup(live, pages=at_once, progress=_watch(target, timeout_s, keep_replaced), sleep=_RETRY_S)
            except sqlite3.Error:  # a full disk, perhaps: nothing was replaced, and the copy only takes room
                replaced.unlink(missing_ok=True)
                raise
            with suppress(sqlite3.OperationalError):  # only tidier: the restored rows are on the disk already
                if not under_litestream(live):
                    live.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except DRIVER_ERRORS as error:
        raise translate(error, _OPERATION, target) from error
    return replaced


def _watch(locked: Path, timeout_s: float, after_first_step: Callable[[], None]) -> Callable[[int, int, int], None]:
    """Return what SQLite's backup calls after each step: by itself, it would wait for a lock for ever.

    After the first step the target is locked for writing, so that ``after_first_step`` sees its last state.
    """
    deadline = time.monotonic() + timeout_s
    is_first = True

    def check(status: int, remaining: int, total: int) -> None:
        nonlocal deadline, is_first
        if status in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            if time.monotonic() >= deadline:
                problem = f"another connection has held a lock on it for {timeout_s:g} s"
                raise BusyError(_OPERATION, locked, problem, hint="end its transaction, or raise DB_TIMEOUT")
            return
        if is_first:
            is_first = False
            after_first_step()
        report(f"{100 * (total - remaining) // max(total, 1)} % written")
        deadline = time.monotonic() + timeout_s

    return check


def _copy(database: Path, path: Path, timeout_s: float) -> None:
    """Copy the live database, on which this process holds the lock, to the empty file ``path``, in rollback mode.

    Through SQLite, unlike every other copy: it finds a file and a log that do not belong together, which are then moved
    aside as they are, and a copy of the files would only be of what came of them. Nobody writes who could be held up.
    """
    with (
        closing(connect(database, timeout_s, mode="ro")) as reader,
        closing(sqlite3.connect(path, isolation_level=None)) as writer,
    ):
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = OFF", "synchronous = OFF"):
            writer.execute(f"PRAGMA {pragma}")
        reader.backup(writer)
        writer.execute("PRAGMA journal_mode = DELETE")


def make_ready(live: sqlite3.Connection, target: Path) -> None:
    """Put the live file into WAL mode, and wait for the transactions that others hold on it.

    Readers would not stop a restore. But who reads for long goes on with rows that are no longer there, and acts on
    them: so a restore waits for transactions that began before it, and is refused by those that do not end. Litestream
    is such a reader for ever, and acts on nothing.

    Raises:
        BusyError: a transaction did not end in time.

    """
    for pragma in ("synchronous = FULL", "fullfsync = ON", "journal_mode = WAL"):
        live.execute(f"PRAGMA {pragma}")
    if under_litestream(live):
        return
    live.execute("BEGIN IMMEDIATE")
    # Any write will do: with it, whoever began before it is behind the newest state, and a full checkpoint waits.
    version = live.execute("PRAGMA user_version").fetchone()[0]
    live.execute(f"PRAGMA user_version = {int(version)}")
    live.execute("COMMIT")
    if live.execute("PRAGMA wal_checkpoint(FULL)").fetchone()[0]:
        hint = f"wait for it to end, or {_STOP_HINT}"
        raise BusyError(_OPERATION, target, "another connection is in a transaction", hint=hint)


def move_into_place(staged: Path, target: Path, replaced: Path) -> Path | None:
    """Move the database aside, with its side files, and ``staged`` into its place; go on where a killed call stopped.

    Returns where the database is now: ``replaced``, or the next name that is free; None where there was none.
    """
    # The database goes last: while it is there, the rest of the move is still to be done.
    endings = [ending for ending in (*SIDE_FILES, "") if beside(target, ending).exists()]
    aside = _free_name(replaced, endings)
    for ending in endings:
        beside(target, ending).rename(beside(aside, ending))
    sync_folder(target.parent)
    staged.rename(target)
    sync_folder(target.parent)
    return aside if "" in endings else None


def refuse_holders(database: Path, timeout_s: float) -> None:
    """Raise if anyone has the database open: in exclusive locking mode SQLite finds idle connections too.

    Once a note is there, whoever opens the database is held up by it: so nobody can come in after this look.

    Raises:
        BusyError: someone has.

    """
    if database.exists() and not is_unreadable(database):
        try:
            with closing(connect(database, timeout_s)) as connection:
                connection.execute("PRAGMA locking_mode = EXCLUSIVE")
                connection.execute("BEGIN EXCLUSIVE")
                connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            if isinstance(translate(error, _OPERATION, database), BusyError):
                raise _held(database) from error
            # A file that SQLite cannot open for writing is what a restore is for.
    elif _are_held(database):
        raise _held(database)


def _are_held(database: Path) -> bool:
    try:
        return are_held(database)
    except OSError as error:
        problem = f"no process can be started that asks who has it open: {error.strerror or error}"
        raise StorageError(_OPERATION, database, problem, hint="from a shell: aragora-persist restore") from error


def _held(database: Path) -> BusyError:
    return BusyError(_OPERATION, database, "another connection has it open", hint=_STOP_HINT)


def is_unreadable(database: Path) -> bool:
    """Say whether SQLite finds no database in the file.

    Asked read-only: a connection that may write would checkpoint and remove the ``-wal`` of a damaged file when it
    closes, and what is moved aside is perhaps all that is left of the rows.
    """
    try:
        with closing(connect(database, 0.0, mode="ro")) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        return isinstance(translate(error, _OPERATION, database), DamagedError)
    return False


def own_like(path: Path, database: Path) -> None:
    """Give a file the rights of ``database``, or of its folder; a restore as root must not lock its services out."""
    if database.exists():
        path.chmod(database.stat().st_mode & 0o777)
    like = (database if database.exists() else database.parent).stat()
    if os.geteuid() == 0:
        os.chown(path, like.st_uid, like.st_gid)


def connect(database: Path, timeout_s: float, *, mode: str = "rw") -> sqlite3.Connection:
    """Open an existing database, as services have it open; in autocommit, for the caller to close."""
    return sqlite3.connect(
        f"{database.absolute().as_uri()}?mode={mode}", uri=True, timeout=timeout_s, isolation_level=None
    )


def _free_name(wanted: Path, endings: tuple[str, ...] | list[str]) -> Path:
    """Return ``wanted``, or the next name that is free for all of these endings."""

    def names() -> Iterator[Path]:
        yield wanted
        number = 2
        while True:
            yield wanted.with_name(f"{wanted.stem}_{number}{wanted.suffix}")
            number += 1

    return next(name for name in names() if not any(beside(name, ending).exists() for ending in endings))
