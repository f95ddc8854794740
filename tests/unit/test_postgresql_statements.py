"""The port's statements in PostgreSQL's form."""

from __future__ import annotations

import pytest

from aragora_persist.storage.postgresql.statements import numbered


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1", "SELECT 1"),
        ("SELECT a FROM t WHERE b = ? AND c IN (?, ?)", "SELECT a FROM t WHERE b = $1 AND c IN ($2, $3)"),
        ("SELECT '?', ?", "SELECT '?', $1"),
        ("SELECT 'it''s ?', ?, ''", "SELECT 'it''s ?', $1, ''"),
        ('SELECT "a?""?" FROM t WHERE b = ?', 'SELECT "a?""?" FROM t WHERE b = $1'),
        ("SELECT ? -- why?\n, ?", "SELECT $1 -- why?\n, $2"),
        ("SELECT /* ?\n'? */ ?", "SELECT /* ?\n'? */ $1"),
        ("SELECT 'a%s' || ? || '%'", "SELECT 'a%s' || $1 || '%'"),
        ("SELECT 5 % ?", "SELECT 5 % $1"),
        ("SELECT 'ä☕' || ?", "SELECT 'ä☕' || $1"),
    ],
)
def test_parameters_are_numbered(sql: str, expected: str) -> None:
    """A question mark in a text, a quoted name or a comment is none, and percent signs are only themselves."""
    assert numbered(sql) == expected.encode()


def test_each_text_is_translated_once() -> None:
    """The same statement is the same bytes, so that a store's statements cost nothing more than looking them up."""
    assert numbered("SELECT ? + 1") is numbered("SELECT ? + 1")
