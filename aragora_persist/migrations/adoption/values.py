"""A value of another program's column, in the one form that ours has. Pure; what kind a column is, ``columns`` says.

Leaves out: values that need more than themselves (``secrets``).
"""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from aragora_persist import json_text
from aragora_persist.errors import InvalidValueError
from aragora_persist.migrations.adoption.columns import Kind
from aragora_persist.storage.organizations.records import slug_of
from aragora_persist.storage.users.records import normal_email
from aragora_persist.times import from_text, to_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from aragora_persist.storage.port import Value

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_SECOND = 253_402_300_800
"""The year 10000; a number of seconds beyond it is one of milliseconds."""
_JULIAN_DAYS = range(2_400_000, 2_500_000)
"""Of the years 1858 to 2132, as SQLite's julianday() gives them; in seconds since the epoch, all of one January."""
_EPOCH_TEXT = re.compile(r"\d{9,14}(?:\.\d+)?")
_NAMED_UTC = re.compile(r"\s*(?:UTC|GMT)$", re.IGNORECASE)
_WHOLE = re.compile(r"[+-]?\d{1,19}")
_TRUE = frozenset(("1", "true", "t", "yes", "y", "on"))
_FALSE = frozenset(("0", "false", "f", "no", "n", "off"))
_SIXTY_FOUR_BITS = 2**63


class UnfitError(Exception):
    """A value that no form of ours is the same as; the text says what it is not, and never what it is."""


def convert(kind: Kind, value: Value) -> Value:
    """Return a value in the form in which our stores write it; None stays None.

    Raises:
        UnfitError: it has none.

    """
    return None if value is None else _CONVERSIONS[kind](value)


def to_time(value: Value) -> str:
    """Return a time in the one text form.

    Text is ISO 8601 or SQLite's, with or without a time of day or a zone: what has none is UTC. A number, or text of
    one, is seconds since the epoch, or milliseconds where seconds would be after the year 9999.
    """
    if isinstance(value, str):
        text = _NAMED_UTC.sub("", value.strip())
        if not _EPOCH_TEXT.fullmatch(text):
            try:
                return to_text(from_text(text))
            except InvalidValueError as error:
                raise UnfitError("is not a time") from error
        value = float(text)
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise UnfitError("is not a time")
    if int(value) in _JULIAN_DAYS:
        raise UnfitError("is a Julian day, which is not told from seconds since the epoch")
    seconds = value / 1000 if value >= _LAST_SECOND else value
    try:
        return to_text(_EPOCH + timedelta(seconds=seconds))
    except OverflowError as error:
        raise UnfitError("is not a time") from error


def to_plain_text(value: Value) -> str:
    """Return a text; a number is its digits, as SQLite writes them into a text column."""
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError as error:
            raise UnfitError("is not text") from error
    text = str(value)
    if problem := json_text.unstorable(text):
        raise UnfitError(problem)
    return text


def _email(value: Value) -> str:
    try:
        return normal_email(to_plain_text(value))
    except InvalidValueError as error:
        raise UnfitError(error.problem) from error


def _slug(value: Value) -> str:
    slug = slug_of(to_plain_text(value))
    if not slug:
        raise UnfitError("has no letter of a to z and no digit")
    return slug


def _flag(value: Value) -> int:
    text = str(int(value) if isinstance(value, float) and value.is_integer() else value).strip().lower()
    if text in _TRUE:
        return 1
    if text in _FALSE:
        return 0
    raise UnfitError("is neither true nor false")


def _object(value: Value) -> str:
    text = to_plain_text(value)
    if not text.strip():
        return "{}"
    found = parsed(text)
    if found is None:
        return "{}"
    if not isinstance(found, dict):
        raise UnfitError("is not a JSON object")
    try:
        json_text.encode(found, operation="adopt", field="it")
    except InvalidValueError as error:
        raise UnfitError(f"is a JSON object of which a part {error.problem}") from error
    return text


def _scores(value: Value) -> str:
    text = _object(value)
    if not all(isinstance(score, int | float) for score in json.loads(text).values()):
        raise UnfitError("holds a score that is not a number")
    return text


def parsed(text: str) -> object:
    """Return what a JSON text holds."""
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnfitError("is not JSON") from error
    return found


def _integer(value: Value) -> int:
    if (isinstance(value, float) and value.is_integer()) or (
        isinstance(value, str) and _WHOLE.fullmatch(value.strip())
    ):
        value = int(value)
    if not isinstance(value, int) or not -_SIXTY_FOUR_BITS <= value < _SIXTY_FOUR_BITS:
        raise UnfitError("is not a whole number")
    return value


def _real(value: Value) -> float:
    try:
        number = float(value)  # type: ignore[arg-type] # what is none is caught
    except (TypeError, ValueError) as error:
        raise UnfitError("is not a number") from error
    if isinstance(value, bytes) or not math.isfinite(number):
        raise UnfitError("is not a number")
    return number


def _unchanged(value: Value) -> Value:
    return value


_CONVERSIONS: dict[Kind, Callable[[Value], Value]] = {
    Kind.TIME: to_time,
    Kind.EMAIL: _email,
    Kind.SLUG: _slug,
    Kind.FLAG: _flag,
    Kind.OBJECT: _object,
    Kind.SCORES: _scores,
    Kind.TEXT: to_plain_text,
    Kind.INTEGER: _integer,
    Kind.REAL: _real,
    Kind.RAW: _unchanged,
}
