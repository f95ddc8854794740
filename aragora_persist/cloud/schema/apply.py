"""Applying the migrations to a project's database, and looking at how it stands to them.

Each file is one transaction under an advisory lock: its statements, its row of the history, and the word to PostgREST
that the schema changed. So a file that fails leaves nothing, a process that is killed leaves whole files, and of two
appliers one works and the other finds nothing to do. Looking writes nothing.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aragora_persist.cloud.schema import history, plan
from aragora_persist.cloud.schema.catalog import differences, read_catalog
from aragora_persist.cloud.schema.connecting import connected
from aragora_persist.cloud.schema.folder import load, load_catalog, shipped_folder
from aragora_persist.errors import AccessDeniedError, BusyError, MigrationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import psycopg

    from aragora_persist.cloud.schema.folder import MigrationFile
    from aragora_persist.cloud.schema.plan import SchemaState
    from aragora_persist.cloud.schema.statements import Statement
    from aragora_persist.errors import PersistError
    from aragora_persist.settings import Secret

_APPLY = "apply schema"
_LOCK = "select pg_advisory_xact_lock(8241998931513341292)"
_LOCK_TIMEOUT = "set local lock_timeout = '60s'"
_RELOAD = "notify pgrst, 'reload schema'"


def inspect_schema(db_url: Secret, *, folder: Path | None = None) -> SchemaState:
    """Return how the database stands to the migrations of ``folder`` (default: this release's); nothing is written.

    Raises:
        PersistError: the database cannot be reached or read (see ``connected``), or a file must not be applied.

    """
    folder = folder or shipped_folder()
    files = load(folder)
    with connected(db_url) as (connection, database):
        return _inspect(connection, database, folder, files)


def apply_schema(
    db_url: Secret, *, folder: Path | None = None, on_applied: Callable[[str], None] = lambda _: None
) -> tuple[str, ...]:
    """Apply what is pending and return it; ``on_applied`` is called with each one as soon as it is committed.

    Raises:
        MigrationError: a file was refused or failed, an applied one was edited, or the tables are not as the applied
            ones made them; the files before it are applied, and nothing of it is.
        SchemaTooNewError: the history has a version that no file has.
        BusyError: a lock was not had in time.
        PersistError: the database cannot be reached or read (see ``connected``).

    """
    folder = folder or shipped_folder()
    files = load(folder)
    done: list[str] = []
    with connected(db_url) as (connection, database):
        while True:
            state = _inspect(connection, database, folder, files)
            state.check()
            if not state.pending:
                return tuple(done)
            file = next(file for file in files if file.title == state.pending[0])
            load_catalog(folder, file.version)  # one without it must not be applied: its drift could not be known
            if _apply(connection, file, state, files):
                done.append(file.title)
                on_applied(file.title)


def _inspect(
    connection: psycopg.Connection[Any], database: str, folder: Path, files: Sequence[MigrationFile]
) -> SchemaState:
    with _told(connection, database), connection.transaction():
        connection.execute("set transaction isolation level repeatable read, read only")
        state = plan.compare(database, files, history.read(connection))
        if state.unknown or not state.applied:
            return state
        newest = max(file.version for file in files if file.title in state.applied)
        return replace(state, drift=differences(load_catalog(folder, newest), read_catalog(connection)))


def _apply(
    connection: psycopg.Connection[Any], file: MigrationFile, seen: SchemaState, files: Sequence[MigrationFile]
) -> bool:
    """Apply one file, unless the history is no longer the one that was seen: then tell so, and leave all as it is."""
    with _told(connection, file.path.name), connection.transaction():
        # What an earlier file has set for its session would otherwise hold for this one too.
        connection.execute("reset all")
        connection.execute(_LOCK_TIMEOUT)
        connection.execute(_LOCK)
        if plan.compare(seen.database, files, history.read(connection)) != replace(seen, drift=()):
            return False
        run_file(connection, file)
        history.add(connection, file)
        connection.execute(_RELOAD)
    return True


def run_file(connection: psycopg.Connection[Any], file: MigrationFile) -> None:
    """Execute the statements of a file in the transaction that is open.

    Raises:
        PersistError: one failed; ``target`` names file and line.

    """
    for statement in file.statements:
        _execute(connection, file, statement)


def _execute(connection: psycopg.Connection[Any], file: MigrationFile, statement: Statement) -> None:
    import psycopg  # noqa: PLC0415 - an extra; it is there, since a connection is

    try:
        connection.execute(statement.text.encode())
    except psycopg.Error as error:
        if connection.broken:
            raise
        position = error.diag.statement_position
        line = statement.line_at(int(position) - 1) if position else statement.line
        message = ": ".join(filter(None, (error.diag.message_primary or str(error), error.diag.message_detail)))
        raise _failure(error, f"{file.path.name} line {line}", f"{message}; nothing of this file was kept") from error


@contextmanager
def _told(connection: psycopg.Connection[Any], target: str) -> Iterator[None]:
    """Translate what PostgreSQL says to anything but a migration's own statements."""
    import psycopg  # noqa: PLC0415 - as above

    try:
        yield
    except psycopg.Error as error:
        if connection.broken:
            raise
        raise _failure(error, target, error.diag.message_primary or str(error)) from error


def _failure(error: psycopg.Error, target: str, problem: str) -> PersistError:
    match error.sqlstate:
        case "42501":
            return AccessDeniedError(_APPLY, target, problem, hint="use the database URL of the role postgres")
        case "55P03":
            hint = "another apply runs, or a long query holds a table: run it again when that has ended"
            return BusyError(_APPLY, target, problem, hint=hint)
        case "25001":
            hint = "each file is one transaction: write it without CONCURRENTLY"
        case "42704" if problem.startswith('role "'):
            hint = "is this the database of a Supabase project?"
        case _:
            hint = "run it again when that is mended: what was applied before stays"
    return MigrationError(_APPLY, target, problem, hint=hint)
