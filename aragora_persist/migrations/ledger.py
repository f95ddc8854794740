"""The table ``schema_version``: which migrations a database has had. Readable with plain ``sqlite3``.

Leaves out: transactions; a row is written inside the one of the migration that it tells of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist.errors import MigrationError
from aragora_persist.migrations.plan import Applied
from aragora_persist.version import order

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

TABLE = "schema_version"

_CREATE = f"""
CREATE TABLE IF NOT EXISTS {TABLE} (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at TEXT NOT NULL,
    duration_ms REAL NOT NULL,
    package_version TEXT NOT NULL,
    min_reader TEXT NOT NULL
)
"""
_COLUMNS = "version, name, checksum, applied_at, duration_ms, package_version, min_reader"


def read(connection: sqlite3.Connection) -> tuple[Applied, ...]:
    """Return the rows in the order of their versions; empty where the table is not there yet.

    Raises:
        MigrationError: a table of this name has other columns.

    """
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({TABLE})")]
    if not columns:
        return ()
    if not set(_COLUMNS.split(", ")) <= set(columns):
        raise MigrationError(
            "read ledger", TABLE, "this table was made by another program", hint="is this one of our databases?"
        )
    rows = connection.execute(f"SELECT {_COLUMNS} FROM {TABLE} ORDER BY version")  # noqa: S608 - constants of this module
    return tuple(Applied(*row) for row in rows)


def create(connection: sqlite3.Connection) -> None:
    """Make the table where it is missing."""
    connection.execute(_CREATE)


def add(connection: sqlite3.Connection, row: Applied) -> None:
    """Write that a migration was applied."""
    connection.execute(
        f"INSERT INTO {TABLE} ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - constants of this module
        (
            row.version,
            row.name,
            row.checksum,
            row.applied_at,
            row.duration_ms,
            row.package_version,
            row.min_reader,
        ),
    )


def remove(connection: sqlite3.Connection, version: int) -> None:
    """Write that a migration was undone."""
    connection.execute(f"DELETE FROM {TABLE} WHERE version = ?", (version,))  # noqa: S608 - a constant of this module


def readable_by(applied: Sequence[Applied], release: str) -> bool:
    """Whether every applied migration lets this release work with the database."""
    return all(order(row.min_reader) <= order(release) for row in applied)
