"""Taking over databases that another program made, or somebody by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist.errors import MigrationError
from aragora_persist.migrations import ledger

if TYPE_CHECKING:
    import sqlite3

_TABLE = """
SELECT 1 FROM sqlite_master WHERE type = 'table' AND name <> ?
AND name NOT LIKE 'sqlite!_%' ESCAPE '!' AND name NOT LIKE '!_litestream!_%' ESCAPE '!' LIMIT 1
"""


def is_foreign(connection: sqlite3.Connection) -> bool:
    """Say whether the database has tables, but no ledger of ours that says which migrations made them."""
    try:
        applied = ledger.read(connection)
    except MigrationError:
        return True
    return not applied and connection.execute(_TABLE, (ledger.TABLE,)).fetchone() is not None
