"""The one form of time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aragora_persist.errors import InvalidValueError
from aragora_persist.times import from_text, to_text, utc_now

EARLIEST = datetime(2, 1, 1)  # noqa: DTZ001 - hypothesis adds the zone
LATEST = datetime(9998, 1, 1)  # noqa: DTZ001 - as above
MOMENTS = st.datetimes(EARLIEST, LATEST, timezones=st.timezones() | st.just(UTC))


@given(MOMENTS)
def test_a_moment_survives_its_text(moment: datetime) -> None:
    """Whatever its zone, it comes back as the same moment in UTC, to the microsecond."""
    text = to_text(moment)
    assert len(text) == 27
    assert from_text(text) == moment.astimezone(UTC)
    assert from_text(text).tzinfo is UTC


@given(MOMENTS, MOMENTS)
def test_text_order_is_time_order(one: datetime, other: datetime) -> None:
    """So that a database can compare texts."""
    assert (to_text(one) < to_text(other)) == (one.astimezone(UTC) < other.astimezone(UTC))


def test_the_form_always_has_six_digits() -> None:
    """A whole second is no shorter, and a year before 1000 keeps its four digits."""
    assert to_text(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2026-01-02T03:04:05.000000Z"
    assert to_text(datetime(33, 4, 3, tzinfo=UTC)) == "0033-04-03T00:00:00.000000Z"
    assert to_text(datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=2)))) == "2026-01-01T22:00:00.000000Z"


@pytest.mark.parametrize(
    "moment",
    [
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
    ],
)
def test_what_has_no_year_in_utc_is_refused(moment: datetime) -> None:
    """It is aware, and still no moment that the one form can tell."""
    with pytest.raises(InvalidValueError, match="before the year 1 or after 9999"):
        to_text(moment, field="expires_at")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02 03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.678+02:00", datetime(2026, 1, 2, 1, 4, 5, 678000, tzinfo=UTC)),
    ],
)
def test_other_iso_forms_are_read(text: str, expected: datetime) -> None:
    """Rows that other programs wrote: without a zone it is UTC."""
    assert from_text(text) == expected
    assert from_text(text).tzinfo is UTC


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00+10:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """The error shows the text."""
    with pytest.raises(InvalidValueError) as refused:
        from_text(text)
    assert refused.value.target == repr(text)


def test_a_naive_time_is_refused() -> None:
    """Its zone would be a guess; the error names the field."""
    with pytest.raises(InvalidValueError, match="no time zone") as refused:
        to_text(datetime(2026, 1, 2), field="started_at")  # noqa: DTZ001 - the test
    assert refused.value.target == "started_at"


def test_now_is_aware() -> None:
    """The default clock is in UTC."""
    assert utc_now().tzinfo is UTC
