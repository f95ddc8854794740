"""Rehearsing a rollback on a copy: whether it leads where it should, and what goes with it.

Leaves out: doing it (``apply.undo``).
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from aragora_persist.errors import MigrationError
from aragora_persist.migrations import ledger
from aragora_persist.migrations.apply import undo
from aragora_persist.migrations.rehearsal import blaming, scratch_copy
from aragora_persist.migrations.snapshots import find_snapshot
from aragora_persist.storage.names import quoted
from aragora_persist.storage.sqlite.connecting import connect_reader, connect_writer
from aragora_persist.storage.sqlite.tables import count_rows
from aragora_persist.wording import count_text

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

    from aragora_persist.migrations.progress import Progress
    from aragora_persist.migrations.standing import Expected
    from aragora_persist.settings import Settings

_COLUMNS = """
SELECT t.name, c.name FROM sqlite_master t, pragma_table_info(t.name) c
WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite!_%' ESCAPE '!' AND t.name NOT LIKE '!_litestream!_%' ESCAPE '!'
"""


def rehearse_undo(
    path: Path, expected: Expected, to: int | None, settings: Settings, progress: Progress
) -> tuple[int, tuple[str, ...]]:
    """Undo on a copy; return the version that this leads to, and what the database would lose, in words.

    Raises:
        InvalidValueError: there is nothing to undo.
        MigrationError: a downgrade is missing, failed, or does not restore the earlier schema.
        StorageError: scratch space has no room for the copy or for the work on it.

    """
    with (
        scratch_copy(path) as copy,
        blaming(copy.parent),
        closing(connect_writer(copy, settings.db_timeout_s)) as connection,
        closing(connect_reader(copy, settings.db_timeout_s)) as before,
    ):
        connection.execute("PRAGMA synchronous=OFF")  # nobody needs the copy afterwards
        # It goes on to see the copy as it is now; the original, others may write to meanwhile.
        before.execute("BEGIN")
        expected.pending(before)
        applied = ledger.read(connection)
        goal = len(applied) - 1 if to is None else to
        try:
            undo(connection, expected.migrations, to, path, lambda: None, lambda text: progress(f"rehearsing {text}"))
        except MigrationError as error:
            snapshot = find_snapshot(settings.backup_dir, expected.database, applied[:goal])
            instead = snapshot or "a backup from before it (aragora-persist backups)"
            hint = f"nothing was changed; write the downgrade, or restore {instead}"
            raise MigrationError("roll back", error.target, error.problem, hint=hint) from error.__cause__
        return goal, tuple(_lost(before, connection))


def _lost(before: sqlite3.Connection, after: sqlite3.Connection) -> Iterator[str]:
    """Yield what of the rows of ``before`` is not in ``after``."""
    kept = _columns(after)
    for table, columns in _columns(before).items():
        if table not in kept:
            rows = count_rows(before, table)
            if rows:
                yield f"{count_text(rows, 'row')} of table {table}"
            continue
        gone = count_rows(before, table) - count_rows(after, table) if table != ledger.TABLE else 0
        if gone > 0:
            yield f"{count_text(gone, 'row')} of table {table}"
        for column in sorted(columns - kept[table]):
            values = _count_values(before, table, column)
            if values:
                yield f"{count_text(values, 'value')} of column {table}.{column}"


def _columns(connection: sqlite3.Connection) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for table, column in connection.execute(_COLUMNS):
        found.setdefault(table, set()).add(column)
    return found


def _count_values(connection: sqlite3.Connection, table: str, column: str) -> int:
    values = f"SELECT count({quoted(column)}) FROM {quoted(table)}"  # noqa: S608 - quoted
    return int(connection.execute(values).fetchone()[0])
