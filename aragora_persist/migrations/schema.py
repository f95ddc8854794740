"""A database's schema as text, for comparing two and for the committed ``schema.sql``.

Leaves out of it: SQLite's own tables, and those that Litestream adds, with their indexes and triggers.
"""

from __future__ import annotations

import re
from textwrap import dedent
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

_QUERY = """
SELECT name, sql FROM sqlite_master
WHERE sql IS NOT NULL AND tbl_name NOT LIKE 'sqlite!_%' ESCAPE '!' AND tbl_name NOT LIKE '!_litestream!_%' ESCAPE '!'
ORDER BY CASE type WHEN 'table' THEN 0 ELSE 1 END, tbl_name, type, name
"""
_QUOTED_NAME = re.compile(r'"([A-Za-z_][A-Za-z0-9_]*)"')
_TEXT_OR_SPACE = re.compile(r"('(?:[^']|'')*')|\s+")


def read_schema(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Return name and definition of everything in the schema, in a form that spaces and needless quotes do not change.

    (``ALTER TABLE`` rewrites definitions: it quotes names, and leaves the spaces around what it takes out.)
    """
    return [(name, _normalised(sql)) for name, sql in connection.execute(_QUERY)]


def schema_text(connection: sqlite3.Connection) -> str:
    """Return the whole schema as SQL that makes it again."""
    return "\n".join(f"{_outdented(sql)};\n" for _, sql in connection.execute(_QUERY))


def schema_diff(before: str, after: str, before_name: str, after_name: str) -> tuple[str, ...]:
    """Return the unified diff of two schema texts, without line ends; empty where they are the same."""
    from difflib import unified_diff  # noqa: PLC0415 - only a rehearsal and a refusal show one

    return tuple(unified_diff(before.splitlines(), after.splitlines(), before_name, after_name, lineterm=""))


def _normalised(sql: str) -> str:
    unquoted = _QUOTED_NAME.sub(r"\1", sql)
    return _TEXT_OR_SPACE.sub(lambda match: match.group(1) or "", unquoted)


def _outdented(sql: str) -> str:
    """Take away the indentation that a definition had inside its migration, which its first line shows no more."""
    first, _, rest = sql.partition("\n")
    return f"{first}\n{dedent(rest)}" if rest else first
