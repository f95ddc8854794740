"""Reading a table page by page, each beginning after the last row of the one before.

Never by offset, which grows slow, and never trusting that a short page is the last one: the server cuts answers off at
a number of rows that it does not tell. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from aragora_persist.cloud.models import CloudModel
from aragora_persist.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_CURSOR = re.compile(r"(?P<moment>[0-9T:.+-]{10,40})\|(?P<id>[0-9a-f-]{36})")


Model = TypeVar("Model", bound=CloudModel)


@dataclass(frozen=True, slots=True)
class Page(Generic[Model]):
    """Some records of a list, newest first."""

    records: tuple[Model, ...]
    older: str | None
    """What to pass as ``before`` for the next page; None when there are no older records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Some rows of a table in the order of a column of moments, and of ``id`` where these are equal."""

    table: str
    columns: tuple[str, ...]
    equal: Mapping[str, str]
    order: str
    descending: bool = False
    least: str | None = None
    """The first moment, inclusive."""
    below: str | None = None
    """The end, exclusive."""
    after: tuple[str, str] | None = None
    """The moment and the id after which the page begins, in the direction of the order."""
    page_rows: int = 1000

    def conditions(self) -> Iterator[tuple[str, str, str]]:
        """Yield column, operator and value of each condition that all rows of the page meet."""
        for column, value in self.equal.items():
            yield column, "eq", value
        if self.least is not None:
            yield self.order, "gte", self.least
        if self.below is not None:
            yield self.order, "lt", self.below
        if self.after is not None:
            # Says no more than `beyond`, but in a form that an index serves.
            yield self.order, "lte" if self.descending else "gte", self.after[0]

    def beyond(self) -> str:
        """Return the condition for being after ``after``: one of these two."""
        moment, key = self.after or ("", "")
        operator = "lt" if self.descending else "gt"
        return f"{self.order}.{operator}.{moment},id.{operator}.{key}"

    def following(self, page: Sequence[Mapping[str, Any]]) -> Query:
        """Return the query for what comes after this page."""
        return replace(self, after=(str(page[-1][self.order]), str(page[-1]["id"]))) if page else self


def cursor_text(query: Query, row: Mapping[str, Any]) -> str:
    """Return the place after a row as text, for a later call."""
    return f"{row[query.order]}|{row['id']}"


def read_cursor(operation: str, text: str) -> tuple[str, str]:
    """Return what ``cursor_text`` wrote.

    Raises:
        InvalidValueError: the text is something else.

    """
    match = _CURSOR.fullmatch(text)
    if match is None:
        raise InvalidValueError(
            operation, "before", f"{text!r:.80} is no place in a list", hint="pass a page's `older`"
        )
    return match["moment"], match["id"]
