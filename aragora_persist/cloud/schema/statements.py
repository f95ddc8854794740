"""Where one SQL statement ends and the next begins. Pure.

The parts are the same as those that the Supabase CLI stores in its history: the text between semicolons with its
comments, without the semicolon. Leaves out: what the statements mean; PostgreSQL says that.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_TOKEN = re.compile(
    r"""
      (?P<comment> --[^\n]* | /\* )
    | (?P<quoted>
          [eE]'(?:[^'\\]|\\.|'')*'
        | '(?:[^']|'')*'
        | "(?:[^"]|"")*"
        | (?P<tag>\$(?:[^\W\d]\w*)?\$).*?(?P=tag)
      )
    | (?P<word> [^\W\d][\w$]* )
    | (?P<end> ; )
    | (?P<other> \S )
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK_COMMENT_EDGE = re.compile(r"/\*|\*/")
_IN_TRANSACTION = frozenset({"begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release", "prepare"})


class Statement(NamedTuple):
    """One statement as it stands in its file.

    ``start_line`` is the line of its first character, from 1, which may be a comment's; ``first_word`` is its first
    word in lower case, at ``first_at`` in the text.
    """

    text: str
    start_line: int
    first_word: str
    first_at: int

    @property
    def line(self) -> int:
        """The line of the first word."""
        return self.line_at(self.first_at)

    def line_at(self, position: int) -> int:
        """Return the line of the character at ``position`` in the text."""
        return self.start_line + self.text.count("\n", 0, position)

    @property
    def controls_transaction(self) -> bool:
        """Whether it would begin or end a transaction."""
        return self.first_word in _IN_TRANSACTION


def split(text: str) -> tuple[Statement, ...]:
    """Return the statements of ``text``; what is left after the last one, if only a comment, is one too."""
    statements = []
    start = position = 0
    body = _Body()
    while match := _TOKEN.search(text, position):
        position = _end_of_block_comment(text, match.end()) if match[0] == "/*" else match.end()
        if match["comment"]:
            continue
        if match["end"] and not body.is_open:
            statements.append(_statement(text, start, match.start(), body))
            start, body = position, _Body()
        else:
            body.take(match[0], match["word"], match.start())
    statements.append(_statement(text, start, len(text), body))
    return tuple(statement for statement in statements if statement.text)


class _Body:
    """What was read of a statement: its first token, and whether a body ``BEGIN ATOMIC … END`` or a bracket is open."""

    def __init__(self) -> None:
        self.first_word = ""
        self.first_at: int | None = None
        self._previous = ""
        self._depth = 0
        self._brackets = 0

    @property
    def is_open(self) -> bool:
        return self._depth > 0 or self._brackets > 0

    def take(self, token: str, word: str | None, at: int) -> None:
        name = (word or "").lower()
        self._brackets += {"(": 1, ")": -1}.get(token, 0)
        if self.first_at is None:
            self.first_word, self.first_at = name, at
        if (name == "atomic" and self._previous == "begin") or (name == "case" and self._depth):
            self._depth += 1
        elif name == "end" and self._depth:
            self._depth -= 1
        self._previous = name


def _statement(text: str, start: int, end: int, body: _Body) -> Statement:
    start += len(text[start:end]) - len(text[start:end].lstrip())
    first_at = 0 if body.first_at is None else body.first_at - start
    return Statement(text[start:end].rstrip(), text.count("\n", 0, start) + 1, body.first_word, first_at)


def _end_of_block_comment(text: str, position: int) -> int:
    """Return where the comment ends that was opened before ``position``; such comments nest."""
    depth = 1
    while depth and (edge := _BLOCK_COMMENT_EDGE.search(text, position)):
        depth += 1 if edge[0] == "/*" else -1
        position = edge.end()
    return len(text) if depth else position
