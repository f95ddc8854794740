"""The names of tables and columns, whatever stands in them: on SQLite and on PostgreSQL alike."""

from __future__ import annotations

from string import ascii_uppercase

_LOWER = {ord(letter): letter.lower() for letter in ascii_uppercase}


def quoted(name: str) -> str:
    """Return a name as SQL takes it."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def folded(name: str) -> str:
    """Return what is the same for two spellings of one name: to SQLite, Ä and ä are two."""
    return name.translate(_LOWER)
