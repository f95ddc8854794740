"""Whether a database's schema fits this release, asked each time that one is opened.

The common case costs one query and one look into a folder; the migration machinery loads only when something is to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist.databases import find_database
from aragora_persist.errors import SchemaOutdatedError, SchemaTooNewError
from aragora_persist.migrations import ledger
from aragora_persist.migrations.folder import latest_version
from aragora_persist.storage.sqlite.faults import DRIVER_ERRORS, translate
from aragora_persist.storage.sqlite.files import MEMORY
from aragora_persist.version import VERSION

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from pathlib import Path

    from aragora_persist.migrations.plan import Applied
    from aragora_persist.settings import Settings


def require_schema(
    connection: sqlite3.Connection, path: Path | None, database: str, *, migrate: bool, settings: Settings
) -> None:
    """Make sure that this release can work with the schema; a database without any table is migrated. None: in memory.

    Raises:
        SchemaOutdatedError: it is older, and ``migrate`` is False.
        SchemaTooNewError: it is newer, and its ledger says that this release is too old for it.

    """
    target = path or MEMORY
    try:
        # In this order: another process may make the database between the two, tables and ledger at once, and what was
        # looked at in the other order would be taken for an old one.
        fresh = connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None
        applied = ledger.read(connection)
    except DRIVER_ERRORS as error:
        raise translate(error, "open database", target) from error
    if len(applied) < latest_version(database) and (migrate or fresh):
        from aragora_persist.migrations.runner import migrate_connection  # noqa: PLC0415 - loads only when needed

        migrate_connection(connection, path, database, settings=settings)
    else:
        refuse_unfit(applied, path, database)


def refuse_unfit(applied: Sequence[Applied], path: Path | None, database: str) -> None:
    """Make sure that this release can work with what the ledger says of the schema.

    Raises:
        SchemaOutdatedError: it is older.
        SchemaTooNewError: it is newer, and says that this release is too old for it.

    """
    target = path or MEMORY
    version, latest = len(applied), latest_version(database)
    if version < latest:
        problem = f"has schema {version}, this release needs {latest}"
        raise SchemaOutdatedError("open database", target, problem, hint=_way_out(path, database))
    if version > latest and not ledger.readable_by(applied, VERSION):
        problem = f"has schema {version}, which needs release {applied[-1].min_reader} (this is {VERSION})"
        raise SchemaTooNewError("open database", target, problem, hint="upgrade aragora-persist")


def _way_out(path: Path | None, database: str) -> str:
    """Return the command that migrates this very file; the runner knows files by their documented names only."""
    if path is None or path.name != find_database(database).file_name:
        return "open it with migrate=True"
    import shlex  # noqa: PLC0415 - for this message alone

    folder = shlex.quote(str(path.parent))
    return f"python -m aragora_persist.migrations.runner --migrate --db {database} --nomic-dir {folder}"
