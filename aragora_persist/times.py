"""The one form of time in every database: UTC text ``YYYY-MM-DDTHH:MM:SS.ffffffZ``.

Always six digits and a ``Z``, so that text order is time order. Leaves out: time zones other than UTC, which are
converted on the way in.
"""

from __future__ import annotations

from datetime import UTC, datetime

from aragora_persist.errors import InvalidValueError


def utc_now() -> datetime:
    """Return the present as an aware UTC datetime."""
    return datetime.now(UTC)


def to_text(moment: datetime, *, field: str = "timestamp") -> str:
    """Return ``moment`` in the one text form.

    Raises:
        InvalidValueError: ``moment`` is naive, so that its zone would be a guess, or in UTC it has no year from 1 to
            9999.

    """
    if moment.tzinfo is UTC:  # the usual case, sooner done
        return moment.isoformat("T", "microseconds")[: -len("+00:00")] + "Z"
    if moment.utcoffset() is None:
        raise InvalidValueError(
            "time", field, "has no time zone", hint="pass an aware datetime, such as datetime.now(UTC)"
        )
    try:
        in_utc = moment.astimezone(UTC)
    except OverflowError as error:
        raise InvalidValueError("time", field, "is in UTC before the year 1 or after 9999") from error
    return in_utc.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def from_text(text: str) -> datetime:
    """Return the aware UTC datetime of a text in the one form (or in any ISO 8601 form; without a zone it is UTC).

    Raises:
        InvalidValueError: the text is not a time.

    """
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is UTC:  # the one form: the usual case, a third faster so
            return moment
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:  # the latter: in UTC it is before the year 1, or after 9999
        raise InvalidValueError("time", repr(text), "is not an ISO 8601 time") from error
