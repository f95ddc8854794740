"""Whether a database's schema on the server fits this release, and making one that is not there.

A new one is what the migrations make, in PostgreSQL's terms, with their rows in the ledger; it is there as a whole or
not at all, and of many openers at once one makes it. Leaves out: taking an older schema further.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import cache
from typing import TYPE_CHECKING

from psycopg import sql

from aragora_persist.errors import ConflictError, SchemaOutdatedError, SchemaTooNewError
from aragora_persist.migrations import ledger
from aragora_persist.migrations.apply import apply_pending
from aragora_persist.migrations.folder import folder_of, latest_version, load
from aragora_persist.migrations.plan import Applied
from aragora_persist.migrations.schema import schema_text
from aragora_persist.storage.postgresql.faults import DRIVER_ERRORS, translate
from aragora_persist.storage.postgresql.translation import translated
from aragora_persist.version import VERSION

if TYPE_CHECKING:
    from aragora_persist.storage.postgresql.connecting import Connection, Server

_OPEN = "open database"
_COLUMNS = ", ".join(Applied._fields)


def require_schema(connection: Connection, server: Server, database: str) -> None:
    """Make sure that this release can work with the schema; one that is not there is made.

    Raises:
        SchemaOutdatedError: it is older.
        SchemaTooNewError: it is newer, and its ledger says that this release is too old for it.
        ConflictError: there is a schema of this name, and its tables are not ours.
        AccessDeniedError: it is not there, and this user may not make it.
        BusyError: another process is making it, and was not done within the timeout.

    """
    try:
        applied = _ledger(connection, server.schema) or _made(connection, server, database)
    except DRIVER_ERRORS as error:
        raise translate(error, _OPEN, server.target) from None
    version, latest = len(applied), latest_version(database)
    if version < latest:
        raise SchemaOutdatedError(
            _OPEN,
            server.target,
            f"has schema {version}, this release needs {latest}",
            hint="open another schema with this release, or this one with the release that made it",
        )
    if version > latest and not ledger.readable_by(applied, VERSION):
        raise SchemaTooNewError(
            _OPEN,
            server.target,
            f"has schema {version}, which needs release {applied[-1].min_reader} (this is {VERSION})",
            hint="upgrade aragora-persist",
        )


def _ledger(connection: Connection, schema: str) -> tuple[Applied, ...]:
    """Return the ledger's rows, none where it is not there."""
    # From the catalog: to_regclass() and its like answer from a cache, which a wait for the lock leaves as it was.
    found = "SELECT 1 FROM pg_tables WHERE schemaname = $1 AND tablename = $2"
    if connection.execute(found, (schema, ledger.TABLE)).fetchone() is None:
        return ()
    rows = connection.execute(f"SELECT {_COLUMNS} FROM {ledger.TABLE} ORDER BY version".encode())  # noqa: S608 - constants
    return tuple(Applied(*row) for row in rows)


def _made(connection: Connection, server: Server, database: str) -> tuple[Applied, ...]:
    """Make the schema, unless another opener just did, and return its ledger."""
    statements, rows = _creation(database)
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", (f"make {server.schema}",))
        if applied := _ledger(connection, server.schema):
            return applied
        _make_namespace(connection, server)
        connection.execute("; ".join(statements).encode())
        places = ", ".join(f"${number}" for number in range(1, len(Applied._fields) + 1))
        insert = f"INSERT INTO {ledger.TABLE} ({_COLUMNS}) VALUES ({places})"  # noqa: S608 - constants
        connection.cursor().executemany(insert.encode(), rows)
    return rows


def _make_namespace(connection: Connection, server: Server) -> None:
    """Make the PostgreSQL schema, where nobody has made it for this user before."""
    kinds = "SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = n.oid) FROM pg_namespace n WHERE nspname = $1"
    found = connection.execute(kinds, (server.schema,)).fetchone()
    if found is None:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(server.schema)))
    elif found != (0,):
        raise ConflictError(_OPEN, server.target, "holds tables that are not ours", hint="pass another schema=")


@cache
def _creation(database: str) -> tuple[list[str], tuple[Applied, ...]]:
    """Return the statements that make the schema, and the rows of its ledger: what the migrations make in SQLite."""
    migrations = load(folder_of(database))
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
        apply_pending(made, migrations, ":memory:", lambda: None)
        return translated(schema_text(made)), ledger.read(made)
