"""How SQL takes the name of a table or a column, whatever stands in it: on SQLite and on PostgreSQL alike."""

from __future__ import annotations


def quoted(name: str) -> str:
    """Return a name as SQL takes it."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
