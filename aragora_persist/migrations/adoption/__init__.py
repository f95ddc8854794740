"""Taking over databases that another program made, or somebody by hand.

To ask whether a database is such a one costs a query; everything else (``adopting``) loads when it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from aragora_persist.errors import MigrationError
from aragora_persist.migrations import ledger

if TYPE_CHECKING:
    import sqlite3

    from aragora_persist.migrations.adoption.adopting import adopt
    from aragora_persist.migrations.adoption.report import NotAdoptableError, Report

__all__ = ["NotAdoptableError", "Report", "adopt", "is_foreign"]

_HOMES = {"adopt": "adopting", "NotAdoptableError": "report", "Report": "report"}
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


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
