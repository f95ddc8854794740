"""Memories of several tiers in one order, by what is left of their importance, page by page.

Each tier has an index in this order (``strength``); the pages merge them. Leaves out: everything that writes.
"""

from __future__ import annotations

import heapq
from itertools import islice
from typing import TYPE_CHECKING, cast

from aragora_persist.storage.memory.records import MEMORY_COLUMNS, Memory, to_memory
from aragora_persist.storage.memory.tiers import TIER_NAMES, Tier, age_of_time
from aragora_persist.storage.pages import Page, from_cursor, to_page
from aragora_persist.times import from_text, to_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from aragora_persist.storage.port import Reader, Row

    Place = tuple[float, str]

# replace() tells alike in every database whether a text holds another one, upper and lower case apart; LIKE does not.
_RANKED = f"""
    SELECT strength, {MEMORY_COLUMNS} FROM memories
    WHERE tier = ? AND strength <= ? AND (strength < ? OR id > ?) AND (? = '' OR replace(content, ?, '') <> content)
    ORDER BY strength DESC, id LIMIT ?
"""  # noqa: S608 - constants of this package
_TOP: Place = (1e308, "")
_CURSOR = (str, *(kind for _ in TIER_NAMES for kind in (float, str)))


def ranked(
    view: Reader, tiers: Sequence[Tier], containing: str, now: datetime, limit: int, after: str | None
) -> Page[Memory]:
    """Return a page of the memories of these tiers; its cursor holds the place in each tier and when the list began."""
    began, places = now, dict.fromkeys(TIER_NAMES, _TOP)
    if after is not None:
        moment, *rest = from_cursor("memory.list_memories", after, *_CURSOR)
        began = from_text(cast("str", moment))
        places = dict(zip(TIER_NAMES, cast("list[Place]", list(zip(rest[::2], rest[1::2], strict=True))), strict=True))
    merged = heapq.merge(*(_levels(view, tier, places[tier.name], containing, began, limit + 1) for tier in tiers))
    rows = [row for *_, row in islice(merged, limit + 1)]
    for row in rows[:limit]:
        places[cast("str", row[2])] = (cast("float", row[0]), cast("str", row[1]))
    key = (to_text(began), *(part for place in places.values() for part in place))
    return to_page([to_memory(row[1:], now) for row in rows], limit, lambda _: key)


def _levels(
    view: Reader, tier: Tier, place: Place, containing: str, began: datetime, most: int
) -> Iterator[tuple[float, str, Row]]:
    """Yield a tier's rows from a place on, with what orders them among those of other tiers, the least first."""
    strength, memory_id = place
    age = age_of_time(tier, began)
    parameters = (tier.name, strength, strength, memory_id, containing, containing, most)
    for row in view.stream(_RANKED, parameters):
        yield age - cast("float", row[0]), cast("str", row[1]), row
