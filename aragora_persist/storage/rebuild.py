"""Giving a table another definition where ``ALTER TABLE`` cannot: SQLite's documented procedure in one call.

https://www.sqlite.org/lang_altertable.html#otheralter: the new table is made beside the old one and filled, the old one
is dropped, the new one gets its name, and what belonged to the old one is made again. Foreign keys of other tables and
views go on pointing at the name. Leaves out the steps around it, which are the migration's: foreign keys off, the
transaction, and the check of the foreign keys before its commit.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

from aragora_persist.errors import MisuseError, NotFoundError, StorageError
from aragora_persist.migrations.progress import report
from aragora_persist.storage.names import folded, quoted
from aragora_persist.storage.rebuild_checks import (
    meanings,
    refuse_lost_columns,
    refuse_other_meanings,
    refuse_temporary,
    refused,
)
from aragora_persist.storage.rebuild_rules import (
    OPERATION,
    check_count,
    columns_to_fill,
    definition_of,
    without_texts,
)
from aragora_persist.storage.sqlite.faults import DRIVER_ERRORS, translate
from aragora_persist.storage.sqlite.tables import (
    companions_of,
    count_rows,
    file_of,
    find_table,
    read_table,
    sequence_of,
    size_bytes,
)
from aragora_persist.wording import size_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aragora_persist.storage.sqlite.tables import Companion, Table

_COUNTER = "aragora_rebuild_count"
_REPORTED_ROWS = 50_000  # fewer are copied before anybody could read how far they are
_STEPS_BETWEEN_REPORTS = 250_000  # of the machine that SQLite runs statements on: some milliseconds
# The new table in the log, the old one's pages in it, zeroed (where SQLite deletes securely), and the file's growth:
# three times were just too little where the keys came in no order.
_ROOM_IN_SIZES = 3.1


def rebuild_table(conn: sqlite3.Connection, table: str, new_sql: str, copy: str | None = None) -> int:
    """Give a table the definition ``new_sql``, copy its rows, and return how many were copied.

    To be called in a migration: in a transaction with foreign keys off. ``new_sql`` is the whole ``CREATE TABLE`` as it
    is to be, under the table's own name. Its indexes and triggers are made again; views, triggers elsewhere and foreign
    keys of other tables stay as they are and refer to the new one; ids, rowids and the count of AUTOINCREMENT stay.
    What cannot be made again with the new columns is refused by name: drop it before.

    ``copy`` None copies each column into the one of its name; columns that only the new table has take their defaults.
    Otherwise it is a SELECT, whose columns are named as the ones that they fill; with a WHERE (outside of brackets), it
    says that rows are left out. For example::

        rebuild_table(conn, "users", "CREATE TABLE users (id TEXT PRIMARY KEY, email TEXT NOT NULL)",
                      copy="SELECT id, lower(mail) AS email FROM users WHERE mail IS NOT NULL")

    All or nothing, also where the caller catches the error. One pass over the rows, a few MB of memory, whatever the
    size; but until it is committed, all that was written stands in the write-ahead log: it takes some three times the
    size of the table and its indexes of free disk, which is asked for before the first row.

    Raises:
        MisuseError: no transaction is open, or foreign keys are on.
        NotFoundError: there is no such table.
        ConflictError: values or rows would be lost, a new column has no value, a constraint or index does not hold for
            the rows, or an index, a trigger or a view refers to what is no more.
        InvalidValueError: ``new_sql`` is not this table's definition, or ``copy`` fills a column that is not there.
        StorageError: there is not enough room on the disk, or the SQL is wrong.

    """
    elsewhere = getattr(conn, "rebuild_table", None)
    if elsewhere is not None:  # the connection that a migration gets on PostgreSQL
        return int(elsewhere(table, new_sql, copy))
    if not conn.in_transaction:
        raise MisuseError(OPERATION, table, "no transaction is open", hint="rebuild a table in a migration")
    if conn.execute("PRAGMA foreign_keys").fetchone()[0]:
        hint = "switch them off before BEGIN (inside a transaction SQLite does not), as migrations do"
        raise MisuseError(OPERATION, table, "foreign keys are on: dropping the old table would empty others", hint=hint)
    try:
        with _all_or_nothing(conn):
            return _Rebuild(conn, table).run(definition_of(table, new_sql), copy)
    except DRIVER_ERRORS as error:
        raise translate(error, OPERATION, table) from error


class _Rebuild:
    """One rebuild, step by step."""

    def __init__(self, conn: sqlite3.Connection, table: str) -> None:
        found = find_table(conn, table)
        if found is None or found[1] != "table":
            raise NotFoundError(OPERATION, table, "is not there" if found is None else f"is a {found[1]}, not a table")
        self._conn = conn
        self._table = found[0]
        self._scratch = f"aragora_rebuild_{self._table}"
        refuse_temporary(conn, self._table, self._scratch)

    def run(self, definition: str, copy: str | None) -> int:
        """Do it all and return the number of rows copied."""
        conn = self._conn
        path = file_of(conn)
        if path is not None:
            folder = path.parent
            _refuse_without_room(conn, self._table, folder, _free_bytes(folder))
        before = meanings(conn, self._table, "is in a schema that is broken already: ", "mend it in a migration before")
        old = read_table(conn, self._table)
        companions, sequence = companions_of(conn, self._table), sequence_of(conn, self._table)
        conn.execute(f"CREATE TABLE {quoted(self._scratch)} {definition}")
        new = read_table(conn, self._scratch)
        refuse_lost_columns(conn, self._table, companions, old.columns, new.columns)
        copied = self._copy(old, new, copy)
        conn.execute(f"DROP TABLE {quoted(self._table)}")
        with _pragma(conn, "legacy_alter_table", "ON"):  # else it would follow the references, which are right already
            conn.execute(f"ALTER TABLE {quoted(self._scratch)} RENAME TO {quoted(self._table)}")
        if sequence is not None and "AUTOINCREMENT" in without_texts(definition).upper():
            self._restore_sequence(sequence)
        for companion in companions:
            self._make_again(companion)
        refuse_other_meanings(conn, self._table, before)
        return copied

    def _copy(self, old: Table, new: Table, copy: str | None) -> int:
        conn, table = self._conn, quoted(self._table)
        before = count_rows(conn, self._table)
        if copy is None:
            names = list(columns_to_fill(self._table, old.columns, new.columns, None))
            if old.rowid is not None and old.rowid == new.rowid and new.key not in names:
                names.insert(0, old.rowid)
            source = f"{', '.join(quoted(name) for name in names)} FROM {table}"
        else:
            select = f"(\n{copy.strip().removesuffix(';')}\n)"
            names = [column[0] for column in conn.execute(f"SELECT * FROM {select} LIMIT 0").description]  # noqa: S608 - the migration's own SQL
            selected = [name for name in names if folded(name) != new.rowid]
            columns_to_fill(self._table, old.columns, new.columns, selected)
            source = f"* FROM {select}"
        into = f"{quoted(self._scratch)} ({', '.join(quoted(name) for name in names)})"
        with _told(conn, self._table, before) as condition:
            # OR ABORT: a conflict clause in the new definition would leave out rows without a word.
            copied = conn.execute(f"INSERT OR ABORT INTO {into} SELECT {source} {condition}").rowcount
        check_count(self._table, before, copied, copy)
        return copied

    def _make_again(self, companion: Companion) -> None:
        if companion.kind == "index":
            report(f"{self._table}: index {companion.name}")
        try:
            self._conn.execute(companion.sql)
        except (sqlite3.OperationalError, sqlite3.IntegrityError) as error:
            if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT}:
                raise
            raise refused(self._table, companion, f"cannot be made again: {error}") from error

    def _restore_sequence(self, sequence: int) -> None:
        conn = self._conn
        update = "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?"
        if conn.execute(update, (sequence, self._table)).rowcount == 0:
            conn.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (self._table, sequence))


def _refuse_without_room(conn: sqlite3.Connection, table: str, folder: Path, free_bytes: int) -> None:
    pages, empty, page_size = (
        conn.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    if free_bytes >= _ROOM_IN_SIZES * (pages - empty) * page_size:
        return  # room for all of the database: what the table has of it need not be counted
    needed = int(_ROOM_IN_SIZES * size_bytes(conn, table))
    if free_bytes < needed:
        raise StorageError(
            OPERATION,
            table,
            f"may take {size_text(needed)} in {folder}, which has {size_text(free_bytes)} free",
            hint="free some space on this file system",
        )


def _free_bytes(folder: Path) -> int:
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize


@contextmanager
def _all_or_nothing(conn: sqlite3.Connection) -> Iterator[None]:
    """Leave nothing of the block where it fails, whatever the caller makes of the error."""
    conn.execute("SAVEPOINT rebuild_table")
    try:
        with _pragma(conn, "legacy_alter_table", "OFF"):
            yield
    except BaseException:
        if conn.in_transaction:
            conn.execute("ROLLBACK TO rebuild_table")
            conn.execute("RELEASE rebuild_table")
        raise
    conn.execute("RELEASE rebuild_table")


@contextmanager
def _pragma(conn: sqlite3.Connection, name: str, value: str) -> Iterator[None]:
    (before,) = conn.execute(f"PRAGMA {name}").fetchone()
    conn.execute(f"PRAGMA {name}={value}")
    try:
        yield
    finally:
        # Where a full disk has ended it, a migration may run nothing more, and the setting is reset for it.
        if conn.in_transaction:
            conn.execute(f"PRAGMA {name}={before}")


@contextmanager
def _told(conn: sqlite3.Connection, table: str, rows: int) -> Iterator[str]:
    """Report how many rows a statement has read in the block; yield the condition with which it counts them."""
    if rows < _REPORTED_ROWS:
        yield ""
        return
    read, looks = count(1), count(1)

    def tell() -> None:
        report(f"{table}: {min(next(read) - next(looks), rows):,} of {rows:,} rows")

    conn.create_function(_COUNTER, 0, read.__next__)
    conn.set_progress_handler(tell, _STEPS_BETWEEN_REPORTS)
    try:
        yield f"WHERE {_COUNTER}()"
    finally:
        conn.set_progress_handler(None, 0)
        conn.create_function(_COUNTER, 0, None)
