"""Single values of a stack's configuration, each by its rule. Pure. Leaves out: which there are (``settings``)."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, TypeVar

from aragora_persist.errors import InvalidValueError
from infra.naming import PROJECT

if TYPE_CHECKING:
    from collections.abc import Mapping

_Structure = TypeVar("_Structure", list[Any], dict[str, Any])

OPERATION = "read configuration"


def invalid(key: str, problem: str, example: object) -> InvalidValueError:
    """Return the error for a setting that breaks its rule, with a command that mends it."""
    return InvalidValueError(OPERATION, f"{PROJECT}:{key}", problem, hint=f"scripts/up STACK --config {key}={example}")


def whole(given: Mapping[str, object], key: str, *, least: int, most: int | None = None) -> int:
    """Return a whole number, which may be given as text.

    Raises:
        InvalidValueError: it is none, or not within its bounds.

    """
    text = str(given.get(key))
    value = int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else None
    if value is None or value < least or (most is not None and value > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise invalid(key, f"{text!r} is not a whole number {bounds}", least)
    return value


def one_of(given: Mapping[str, object], key: str, first: str, second: str) -> str:
    """Return a choice between two.

    Raises:
        InvalidValueError: it is neither.

    """
    text = str(given.get(key))
    if text not in {first, second}:
        raise invalid(key, f"{text!r} is neither {first!r} nor {second!r}", first)
    return text


def yes(given: Mapping[str, object], key: str) -> bool:
    """Return whether a switch is on.

    Raises:
        InvalidValueError: it is neither on nor off.

    """
    return one_of({key: str(given.get(key)).lower()}, key, "true", "false") == "true"


def text_or_empty(given: Mapping[str, object], key: str) -> str:
    """Return a text, '' where there is none."""
    return str(given.get(key) or "").strip()


def structure(given: Mapping[str, object], key: str, kind: type[_Structure]) -> _Structure | None:
    """Return a list or a mapping, which may be given as JSON, '' for an empty one; None where it is none."""
    value = given.get(key)
    if isinstance(value, str):
        try:
            value = json.loads(value) if value else kind()
        except ValueError:
            return None
    return value if isinstance(value, kind) else None


def texts(given: Mapping[str, object], key: str, rule: re.Pattern[str], example: str) -> tuple[str, ...]:
    """Return a list of texts, which may be given as JSON.

    Raises:
        InvalidValueError: it is none, or one of them breaks the rule.

    """
    value = structure(given, key, list)
    if value is None:
        raise invalid(key, "is not a list", example)
    for number, each in enumerate(value, start=1):
        if not rule.fullmatch(str(each)):
            # Not shown: it may be a secret that was put into the wrong place.
            raise invalid(key, f"number {number} is not such as {example}", example)
    return tuple(map(str, value))
