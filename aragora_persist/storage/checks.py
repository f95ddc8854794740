"""The rules for values from outside, one function a kind; each returns what is stored and names field and rule.

Pure. Every backend refuses the same: what one could store and another not is refused before either sees it. Leaves out:
the fields, which each store has its own of.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from aragora_persist import json_text
from aragora_persist.errors import InvalidValueError
from aragora_persist.times import to_text

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

LONGEST_ID = 255
LONGEST_NAME = 1_000
LONGEST_TEXT = 1_000_000
_WHOLE = 2**63 - 1
_Item = TypeVar("_Item")


def new_id() -> str:
    """Return a new id: 32 hex digits from the operating system's randomness."""
    return os.urandom(16).hex()


def text(operation: str, field: str, value: object, *, longest: int = LONGEST_TEXT, empty: bool = True) -> str:
    """Return a text of at most ``longest`` characters.

    Raises:
        InvalidValueError: it is no text, too long, empty where that is not allowed, or no database can store it.

    """
    if not isinstance(value, str):
        raise InvalidValueError(operation, field, f"is a {type(value).__name__}, not text")
    if len(value) > longest:
        raise InvalidValueError(operation, field, f"has {len(value):,} characters, at most {longest:,} are allowed")
    if not value and not empty:
        raise InvalidValueError(operation, field, "is empty")
    if problem := json_text.unstorable(value):
        raise InvalidValueError(operation, field, problem)
    return value


def plain(texts: Sequence[object]) -> bool:
    """Whether these are texts that no rule of any field can refuse, at a fraction of the time of asking each rule."""
    try:
        together = "\0".join(texts)  # type: ignore[arg-type] # what is no text is caught
    except TypeError:
        return False
    short = len(together) <= LONGEST_ID and together.isascii()
    return short and together.count("\0") == len(texts) - 1 and "" not in texts


def ident(operation: str, field: str, value: object) -> str:
    """Return an id or a key: a text that is not empty, of at most ``LONGEST_ID`` characters."""
    return text(operation, field, value, longest=LONGEST_ID, empty=False)


def fields(operation: str, given: Iterable[object], allowed: Collection[str], *, hint: str = "") -> None:
    """See that only these fields are given, where the caller's keywords are passed on as they came."""
    if unknown := [field for field in given if field not in allowed]:
        raise InvalidValueError(operation, ", ".join(sorted(map(str, unknown))), "cannot be given here", hint=hint)


def choice(operation: str, field: str, value: object, allowed: Collection[str]) -> str:
    """Return one of the allowed texts."""
    if not isinstance(value, str) or value not in allowed:
        raise InvalidValueError(operation, field, f"is not one of {', '.join(allowed)}")
    return value


def whole(operation: str, field: str, value: object, *, least: int = -_WHOLE - 1, most: int = _WHOLE) -> int:
    """Return a whole number in this range; by default what 64 bits can hold."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidValueError(operation, field, f"is not a whole number from {least} to {most}")
    return value


def number(operation: str, field: str, value: object, *, least: float = -math.inf, most: float = math.inf) -> float:
    """Return a finite number in this range."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidValueError(operation, field, f"is a {type(value).__name__}, not a number")
    try:
        as_float = float(value)
    except OverflowError:
        as_float = math.inf
    if not (math.isfinite(as_float) and least <= as_float <= most):
        raise InvalidValueError(operation, field, f"is not a number from {least} to {most}")
    return as_float


def flag(operation: str, field: str, value: object) -> int:
    """Return a truth value as the 0 or 1 that is stored."""
    if not isinstance(value, bool):
        raise InvalidValueError(operation, field, f"is a {type(value).__name__}, not a bool")
    return int(value)


def moment(operation: str, field: str, value: object) -> str:
    """Return an aware datetime in the one text form."""
    if not isinstance(value, datetime):
        raise InvalidValueError(operation, field, f"is a {type(value).__name__}, not a datetime")
    return to_text(value, field=field)


def several(operation: str, field: str, values: Iterable[_Item]) -> Iterable[_Item]:
    """Return what can be walked through, and is not one text, which would be taken letter by letter."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise InvalidValueError(operation, field, f"is a {type(values).__name__}, not several values")
    return values


def instance(operation: str, field: str, value: object, kind: type[_Item]) -> _Item:
    """Return what is of this kind."""
    if not isinstance(value, kind):
        raise InvalidValueError(operation, field, f"is a {type(value).__name__}, not a {kind.__name__}")
    return value


def json_object(operation: str, field: str, value: object, *, longest: int = LONGEST_TEXT) -> str:
    """Return a dict as JSON text of at most ``longest`` characters."""
    if not isinstance(value, dict):
        raise InvalidValueError(operation, field, f"is a {type(value).__name__}, not a dict")
    encoded = json_text.encode(value, operation=operation, field=field)
    if len(encoded) > longest:
        raise InvalidValueError(
            operation, field, f"has {len(encoded):,} characters as JSON, at most {longest:,} are allowed"
        )
    return encoded
