"""What stands in the columns of our tables, read from their names and types. Pure."""

from __future__ import annotations

from enum import Enum


class Kind(Enum):
    """What a column holds."""

    TIME = "times"
    EMAIL = "emails"
    SLUG = "slugs"
    FLAG = "truth values"
    OBJECT = "JSON objects"
    SCORES = "JSON objects of numbers"
    TEXT = "texts"
    INTEGER = "whole numbers"
    REAL = "numbers"
    RAW = "bytes"


_TIMES = ("_at", "_until")
_FLAGS = frozenset(
    (
        *("is_active", "email_verified", "mfa_enabled", "allow_comments", "allow_forking", "aggregated"),
        *("red_line", "correct", "reversed", "is_recording"),
    )
)
_OBJECTS = frozenset(("preferences", "settings", "details", "metadata", "scores"))
_BY_TYPE = {"TEXT": Kind.TEXT, "INTEGER": Kind.INTEGER, "REAL": Kind.REAL, "BLOB": Kind.RAW}


def kind_of(column: str, declared_type: str) -> Kind:
    """Return what a column of ours holds."""
    if column == "timestamp" or column.endswith(_TIMES):
        return Kind.TIME
    if column in _FLAGS:
        return Kind.FLAG
    if column in _OBJECTS:
        return Kind.SCORES if column == "scores" else Kind.OBJECT
    if column == "email":
        return Kind.EMAIL
    if column == "slug":
        return Kind.SLUG
    return _BY_TYPE[declared_type]
