"""Whether a database's schema on the server fits this release, asked each time that one is opened.

A schema that is not there is made: by the migrations themselves, as in a file, whose statements are translated as they
come. It is there as a whole or not at all, and of many openers at once one makes it. Leaves out: rolling back.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

from psycopg import sql

from aragora_persist.errors import ConflictError, MigrationError, SchemaOutdatedError, SchemaTooNewError
from aragora_persist.migrations import ledger, plan
from aragora_persist.migrations.apply import record
from aragora_persist.migrations.folder import Body, folder_of, latest_version, load
from aragora_persist.storage.postgresql.faults import DRIVER_ERRORS, translate
from aragora_persist.storage.postgresql.rebuilding import rebuild
from aragora_persist.storage.postgresql.statements import numbered
from aragora_persist.storage.postgresql.translation import translated
from aragora_persist.version import VERSION

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    import psycopg

    from aragora_persist.migrations.plan import Applied, Migration
    from aragora_persist.storage.port import Value
    from aragora_persist.storage.postgresql.connecting import Connection, Server

_OPEN = "open database"
_COLUMNS = ", ".join(plan.Applied._fields)


def require_schema(connection: Connection, server: Server, database: str, *, migrate: bool) -> None:
    """Make sure that this release can work with the schema; one that is not there is made.

    Raises:
        SchemaOutdatedError: it is older, and ``migrate`` is False.
        SchemaTooNewError: it is newer, and its ledger says that this release is too old for it.
        MigrationError: a migration was refused or failed; the schema is as it was.
        ConflictError: there is a schema of this name, and its tables are not ours.
        AccessDeniedError: it is not there, and this user may not make it.
        BusyError: others were making it, or writing, for the timeout.

    """
    latest = latest_version(database)
    try:
        applied = _ledger(connection, server.schema)
        if not applied or (migrate and len(applied) < latest):
            with connection.transaction():
                applied = migrated(connection, server, load(folder_of(database)))
    except DRIVER_ERRORS as error:
        raise translate(error, _OPEN, server.target) from None
    version = len(applied)
    if version < latest:
        problem = f"has schema {version}, this release needs {latest}"
        raise SchemaOutdatedError(_OPEN, server.target, problem, hint="back it up, and open it with migrate=True")
    if version > latest and not ledger.readable_by(applied, VERSION):
        problem = f"has schema {version}, which needs release {applied[-1].min_reader} (this is {VERSION})"
        raise SchemaTooNewError(_OPEN, server.target, problem, hint="upgrade aragora-persist")


def _ledger(connection: Connection, schema: str) -> tuple[Applied, ...]:
    """Return the ledger's rows, none where it is not there."""
    # From the catalog: to_regclass() and its like answer from a cache, which a wait for the lock leaves as it was.
    found = "SELECT 1 FROM pg_tables WHERE schemaname = $1 AND tablename = $2"
    if connection.execute(found, (schema, ledger.TABLE)).fetchone() is None:
        return ()
    rows = connection.execute(f"SELECT {_COLUMNS} FROM {ledger.TABLE} ORDER BY version".encode())  # noqa: S608 - constants
    return tuple(plan.Applied(*row) for row in rows)


def migrated(connection: Connection, server: Server, migrations: Sequence[Migration]) -> tuple[Applied, ...]:
    """Apply what is pending when the lock is had, and return the ledger then; the caller's transaction holds it all."""
    connection.execute("SET TRANSACTION READ WRITE")
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", (f"migrate {server.schema}",))
    applied = _ledger(connection, server.schema)
    as_in_sqlite = cast("sqlite3.Connection", _MigrationConnection(connection))
    if applied:
        connection.execute(f"LOCK TABLE {ledger.TABLE} IN EXCLUSIVE MODE".encode())  # as every writer does
    else:
        _make_namespace(connection, server)
        ledger.create(as_in_sqlite)
    for migration in plan.pending(migrations, applied, server.target):
        try:
            _upgrade(as_in_sqlite, migration)
        except DRIVER_ERRORS as error:
            problem = translate(error, _OPEN, server.target).problem
            raise MigrationError("migrate", server.target, f"{migration.name}: {problem}") from None
    return _ledger(connection, server.schema)


def _make_namespace(connection: Connection, server: Server) -> None:
    """Make the PostgreSQL schema, where nobody has made it for this user before."""
    tables = "SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = n.oid) FROM pg_namespace n WHERE nspname = $1"
    found = connection.execute(tables, (server.schema,)).fetchone()
    if found is None:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(server.schema)))
    elif found != (0,):
        raise ConflictError(_OPEN, server.target, "holds tables that are not ours", hint="pass another schema=")


def _upgrade(connection: sqlite3.Connection, migration: Migration) -> None:
    start = perf_counter()
    body = Body(migration)
    body.step("upgrade")(connection)
    cast("_MigrationConnection", connection).add_foreign_keys()
    record(connection, migration, body, start)


class _MigrationConnection:
    """What a migration knows of ``sqlite3.Connection``: running statements, which are translated."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._foreign_keys: list[str] = []

    def execute(self, statement: str, parameters: Sequence[Value] = ()) -> psycopg.Cursor[Any]:
        """Run a statement and return its rows."""
        return self._connection.execute(self._native(statement), parameters)

    def executemany(self, statement: str, rows: Iterable[Sequence[Value]]) -> None:
        """Run a statement for each row of parameters."""
        self._connection.cursor().executemany(self._native(statement), rows)

    def rebuild_table(self, table: str, new_sql: str, copy: str | None) -> int:
        """Do what ``storage.rebuild.rebuild_table`` is asked for on this connection."""
        self.add_foreign_keys()
        copied, foreign_keys = rebuild(self._connection, table, new_sql, copy)
        self._foreign_keys.extend(foreign_keys)
        return copied

    def add_foreign_keys(self) -> None:
        """Add those of the tables that were made: as in SQLite, one may point at a table that came after its own."""
        while self._foreign_keys:
            self._connection.execute(self._foreign_keys.pop(0).encode())

    def _native(self, statement: str) -> bytes:
        native, foreign_keys = translated(statement)
        self._foreign_keys.extend(foreign_keys)
        return numbered(native)
