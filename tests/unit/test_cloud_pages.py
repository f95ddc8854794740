"""Pages: conditions that an index serves, and places in a list as text."""

from __future__ import annotations

import pytest

from aragora_persist.cloud.pages import Query, cursor_text, read_cursor
from aragora_persist.errors import InvalidValueError

KEY = "301bab61-8fd2-5a95-8152-3719764a09f0"
MOMENT = "2026-01-02T12:00:00.123456+00:00"


def query(*, descending: bool = False) -> Query:
    """Return a query for a loop's events."""
    return Query(table="stream_events", columns=(), equal={"loop_id": "l"}, order="timestamp", descending=descending)


def test_a_page_begins_after_the_last_row_of_the_one_before() -> None:
    """In the direction of the order, with the key deciding among equal moments."""
    page = [{"timestamp": "2025", "id": "first"}, {"timestamp": MOMENT, "id": KEY}]

    assert list(query().following(page).conditions())[-1] == ("timestamp", "gte", MOMENT)
    assert query().following(page).beyond() == f"timestamp.gt.{MOMENT},id.gt.{KEY}"
    assert list(query(descending=True).following(page).conditions())[-1] == ("timestamp", "lte", MOMENT)
    assert query(descending=True).following(page).beyond() == f"timestamp.lt.{MOMENT},id.lt.{KEY}"


def test_a_place_in_a_list_goes_through_text() -> None:
    """What is told as the place of a row is understood as it."""
    assert read_cursor("test", cursor_text(query(), {"timestamp": MOMENT, "id": KEY})) == (MOMENT, KEY)


@pytest.mark.parametrize("text", ["", "2026-01-02", f"{MOMENT},x|{KEY}", f"{MOMENT}|{KEY})", f"{MOMENT}|{KEY}\n", "|"])
def test_another_text_is_no_place(text: str) -> None:
    """It would be read as a condition."""
    with pytest.raises(InvalidValueError, match="no place in a list"):
        read_cursor("test", text)
