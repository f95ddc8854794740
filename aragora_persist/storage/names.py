"""The names of tables and columns, whatever stands in them: on SQLite and on PostgreSQL alike."""

from __future__ import annotations

from string import ascii_uppercase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_ROWID_NAMES = ("rowid", "_rowid_", "oid")
_LOWER = {ord(letter): letter.lower() for letter in ascii_uppercase}


def quoted(name: str) -> str:
    """Return a name as SQL takes it."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def folded(name: str) -> str:
    """Return what is the same for two spellings of one name: to SQLite, Ä and ä are two."""
    return name.translate(_LOWER)


def free_rowid(columns: Iterable[str]) -> str | None:
    """Return a name of SQLite's rowid that none of a table's columns hides; None where they hide all three."""
    taken = {folded(name) for name in columns}
    return next((name for name in _ROWID_NAMES if name not in taken), None)
