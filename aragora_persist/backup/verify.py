"""What a database file holds, checked: integrity, foreign keys, schema version, and each table's rows and digest.

A digest is equal for equal rows, whatever pages they lie on, so that a restored or migrated file can be compared with
the one it came from. Leaves out: SQLite's own tables and those of Litestream, which change without any of our writes.
"""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aragora_persist.errors import DamagedError
from aragora_persist.storage.names import free_rowid, quoted
from aragora_persist.storage.sqlite.faults import DRIVER_ERRORS, translate
from aragora_persist.storage.sqlite.readonly import open_unchanging

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping
    from pathlib import Path

_OPERATION = "verify"
_PROBLEMS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class TableContent:
    """How many rows a table has, and the SHA-256 of all of them."""

    rows: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a sound database holds; ``schema_version`` is None where no migration ledger is."""

    schema_version: int | None
    foreign_key_violations: int
    """Rows that refer to nothing. They are counted, not refused: one such row must not end all backups."""
    tables: Mapping[str, TableContent]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """A file and what it holds, read and found sound."""

    size_bytes: int
    sha256: str
    content: Content


def verify(path: Path) -> Verification:
    """Read and check a database file that nobody writes to, without writing anything beside it.

    Raises:
        DamagedError: it is not a sound database.

    """
    sha256 = file_sha256(path)
    try:
        with closing(open_unchanging(path)) as connection:
            content = read_content(connection, path)
    except DRIVER_ERRORS as error:
        raise translate(error, _OPERATION, path) from error
    return Verification(size_bytes=path.stat().st_size, sha256=sha256, content=content)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file; not of one that SQLite has open in this process, whose locks this would drop."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_content(connection: sqlite3.Connection, path: Path) -> Content:
    """Check and read what a connection sees, in one read transaction; ``path`` names it in errors.

    Raises:
        DamagedError: SQLite's integrity check finds a problem.
        sqlite3.Error: the file cannot be read.

    """
    connection.execute("BEGIN")
    try:
        problems = [row[0] for row in connection.execute(f"PRAGMA integrity_check({_PROBLEMS_SHOWN})")]
        if problems != ["ok"]:
            raise DamagedError(_OPERATION, path, "; ".join(problems), hint="restore an earlier backup")
        tables = connection.execute(
            "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'shadow') ORDER BY name"
        ).fetchall()
        return Content(
            schema_version=_schema_version(connection),
            foreign_key_violations=sum(count_violations(connection, name) for name, _ in tables),
            tables={
                name: _read_table(connection, name, _row_order(connection, name, without_rowid=bool(wr)))
                for name, wr in tables
                if not name.startswith(("sqlite_", "_litestream_"))
            },
        )
    finally:
        connection.execute("ROLLBACK")


def count_violations(connection: sqlite3.Connection, table: str) -> int:
    """Return how many rows of a table refer to nothing."""
    try:
        return sum(1 for _ in connection.execute(f"PRAGMA foreign_key_check({quoted(table)})"))
    except DRIVER_ERRORS as error:
        # It may refer to columns that are not unique: SQLite lets anyone declare that, and then cannot check it. Rows
        # in such a table must not end all backups.
        if "foreign key mismatch" not in str(error):
            raise
        return 0


def _schema_version(connection: sqlite3.Connection) -> int | None:
    columns = [row[0] for row in connection.execute("SELECT name FROM pragma_table_info('schema_version')")]
    if "version" not in columns:
        return None
    version = connection.execute("SELECT max(version) FROM schema_version").fetchone()[0]
    return version if isinstance(version, int) else None


def _row_order(connection: sqlite3.Connection, table: str, *, without_rowid: bool) -> str:
    """Return the ORDER BY terms that give each row its one place: the primary key, or the rowid."""
    columns = connection.execute("SELECT name, pk FROM pragma_table_xinfo(?)", (table,)).fetchall()
    if without_rowid:
        return ", ".join(quoted(name) for name, pk in sorted(columns, key=lambda column: int(column[1])) if pk)
    names = [name for name, _ in columns]
    return free_rowid(names) or ", ".join(map(quoted, names))


def _read_table(connection: sqlite3.Connection, table: str, order: str) -> TableContent:
    try:
        return _digest(connection, table, order)
    except UnicodeDecodeError:
        pass
    except DRIVER_ERRORS as error:
        if "decode" not in str(error).lower():
            raise
    # Text that is not UTF-8 (SQLite does not check) must not end all backups. Slower, so only where it is needed; for
    # valid text both ways give the same digest.
    connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
    try:
        return _digest(connection, table, order)
    finally:
        connection.text_factory = str


def _digest(connection: sqlite3.Connection, table: str, order: str) -> TableContent:
    """Hash ``ascii()`` of each row and a newline.

    That form tells the types apart (1, 1.0, '1', b'1' and None), holds no newline of its own, writes a float in its
    shortest exact form, and is the same in every version of Python, as ``repr`` of newer Unicode is not.
    """
    digest, rows = hashlib.sha256(), 0
    cursor = connection.execute(f"SELECT * FROM {quoted(table)} ORDER BY {order}")  # noqa: S608 - quoted names
    digest.update(ascii([column[0] for column in cursor.description]).encode() + b"\n")
    for row in cursor:  # one at a time: many large ones together would not be faster, and take all of the memory
        rows += 1
        digest.update(b"%a\n" % (row,))
    return TableContent(rows=rows, digest=digest.hexdigest())
