"""Rehearsing migrations on a copy: what would run, how long it takes, which rows it touches, what the schema becomes.

The original is only read. Leaves out: how the copy is made (``storage.sqlite.copying``), how it is told (``answers``).
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from aragora_persist.backup.files import scratch_folder
from aragora_persist.errors import MigrationError, NotFoundError, PersistError, StorageError
from aragora_persist.migrations import ledger
from aragora_persist.migrations.apply import apply_pending
from aragora_persist.migrations.progress import no_progress
from aragora_persist.migrations.recording import RecordingConnection, Statement
from aragora_persist.migrations.schema import schema_diff, schema_text
from aragora_persist.migrations.standing import Expected
from aragora_persist.storage.sqlite.copying import copy_into
from aragora_persist.storage.sqlite.faults import DRIVER_ERRORS, is_full, translate
from aragora_persist.storage.sqlite.files import resolve

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from aragora_persist.migrations.plan import Migration


class Rehearsed(NamedTuple):
    """One migration, as it went on the copy."""

    migration: Migration
    duration_ms: float
    statements: tuple[Statement, ...]


class Rehearsal(NamedTuple):
    """What a run would do: the pending migrations, and a unified diff of the schema's text before and after."""

    migrations: tuple[Rehearsed, ...]
    diff: tuple[str, ...]


def rehearse(
    path: str | os.PathLike[str],
    database: str,
    *,
    folder: Path | None = None,
    progress: Callable[[str], None] = no_progress,
) -> Rehearsal:
    """Apply what is pending to a copy and tell what happened; the original is only read, a missing one is not made.

    Raises:
        MigrationError: the migrations would be refused or would fail; the problem names the statement.
        SchemaTooNewError: the file is newer than this release.
        StorageError: scratch space has no room for the copy or for the work on it.
        DamagedError: the file is not a database.

    """
    place = resolve(path)
    expected = Expected(place, database, folder)
    latest = len(expected.migrations)
    with scratch_copy(place) as copy, blaming(copy.parent), _opened(copy, place) as connection:
        pending, before = expected.pending(connection), schema_text(connection)
        connection.watch(pending)
        for migration in pending:  # by itself: an error after others would tell of them as if they had been kept
            with _explained(connection):
                steps = expected.migrations[: migration.version]
                apply_pending(connection, steps, place, lambda: None, _of_all(progress, latest))
        names = f"version {latest - len(pending)}", f"version {latest}"
        return Rehearsal(_rehearsed(connection, pending), schema_diff(before, schema_text(connection), *names))


@contextmanager
def scratch_copy(path: Path) -> Iterator[Path]:
    """Yield a private copy of the committed state of ``path``, in scratch space (TMPDIR); it is removed at the end.

    It works while others write, on a read-only mount, and for a missing file, whose copy is empty.

    Raises:
        StorageError: scratch space has no room for it, or the original cannot be read.
        DamagedError: the original is not a database.
        BusyError: the original is being restored.

    """
    with scratch_folder("aragora-rehearsal-") as scratch:
        copy = scratch / path.name
        with blaming(scratch):
            try:
                copy_into(path, copy)
            except NotFoundError:
                copy.touch(mode=0o600)
        yield copy


@contextmanager
def _opened(copy: Path, place: Path) -> Iterator[RecordingConnection]:
    """Open the copy as a migration finds its database, but for the waits for the disk: nobody needs it afterwards."""
    try:
        with closing(sqlite3.connect(copy, isolation_level=None, factory=RecordingConnection)) as connection:
            for pragma in ("journal_mode=WAL", "synchronous=OFF", "foreign_keys=ON"):
                connection.execute(f"PRAGMA {pragma}")
            yield connection
    except DRIVER_ERRORS as error:
        raise translate(error, "rehearse", place) from error


@contextmanager
def blaming(scratch: Path) -> Iterator[None]:
    """Have an error of the work on a copy say that it is scratch space that is full, not the database's disk."""
    try:
        yield
    except PersistError as error:
        if any(is_full(cause) for cause in _chain(error)):
            raise _no_room(scratch, "is full") from error
        # A copy and a rebuild ask for their room before they begin.
        if error.target == str(scratch) or str(scratch) in error.problem:
            raise _no_room(scratch, error.problem) from error
        raise


def _no_room(scratch: Path, problem: str) -> StorageError:
    hint = "set TMPDIR to a folder with more room (on the database's own XFS or btrfs, a copy takes none)"
    return StorageError("copy database", scratch, problem, hint=hint)


@contextmanager
def _explained(connection: RecordingConnection) -> Iterator[None]:
    """Have an error say which statement failed."""
    try:
        yield
    except PersistError as error:
        statement = connection.failed_at(_chain(error))
        if statement is None:
            raise
        problem = f"{error.problem}, at the statement {' '.join(statement.split())}"
        raise MigrationError("rehearse", error.target, problem, hint=error.hint) from error.__cause__


def _of_all(progress: Callable[[str], None], count: int) -> Callable[[str], None]:
    """Return what is told "003_accounts 3/3" and tells "rehearsing 003_accounts 3/7"."""
    return lambda text: progress(f"rehearsing {re.sub(r'/[0-9]+', f'/{count}', text, count=1)}")


def _rehearsed(connection: RecordingConnection, done: Sequence[Migration]) -> tuple[Rehearsed, ...]:
    durations = {row.version: row.duration_ms for row in ledger.read(connection)}
    return tuple(
        Rehearsed(migration, durations[migration.version], connection.statements(migration)) for migration in done
    )


def _chain(error: BaseException) -> list[BaseException]:
    """Return the error and its causes."""
    return [error, *(_chain(error.__cause__) if error.__cause__ is not None else [])]
