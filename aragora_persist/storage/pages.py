"""Keyset pages: how every list of a store is read, a page at a time or as a stream in bounded memory.

A page begins after the key of the last row of the one before, so that it costs the same however far down it is, and
rows that come or go meanwhile shift nothing. Leaves out: the statements, which are each store's own.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Generic, TypeVar

from aragora_persist.errors import InvalidValueError
from aragora_persist.records import dataclass
from aragora_persist.storage.checks import whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

LARGEST_PAGE = 1000
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some rows of a list; ``next`` is the cursor of the page after it, None at the end."""

    items: list[Item]
    next: str | None


def page_limit(operation: str, limit: int) -> int:
    """Return the size of a page.

    Raises:
        InvalidValueError: it is not a whole number from 1 to ``LARGEST_PAGE``.

    """
    return whole(operation, "limit", limit, least=1, most=LARGEST_PAGE)


def to_page(items: Sequence[Item], limit: int, key: Callable[[Item], tuple[str | int | float, ...]]) -> Page[Item]:
    """Return the page of ``items``, of which one more than ``limit`` was read; ``key`` is what they are sorted by."""
    if len(items) <= limit:
        return Page(list(items), None)
    return Page(list(items[:limit]), _to_cursor(key(items[limit - 1])))


def from_cursor(operation: str, cursor: str, *kinds: type[str | int | float]) -> tuple[str | int | float, ...]:
    """Return the key that a cursor holds.

    Raises:
        InvalidValueError: it is not a cursor of this list.

    """
    try:
        key = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii")))
    except (AttributeError, UnicodeError, binascii.Error, ValueError, RecursionError):
        key = None
    if not isinstance(key, list) or [type(part) for part in key] != list(kinds):
        raise InvalidValueError(operation, "after", "is not a cursor of this list", hint="pass the `next` of a page")
    return tuple(key)


def walk(fetch: Callable[[str | None], Page[Item]]) -> Iterator[Item]:
    """Yield every row of a list, page by page: no page is open while the caller works on a row."""
    cursor: str | None = None
    while True:
        page = fetch(cursor)
        yield from page.items
        if page.next is None:
            return
        cursor = page.next


def _to_cursor(key: tuple[str | int | float, ...]) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()
