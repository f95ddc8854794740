"""Single values of a stack's configuration, each by its rule. Pure. Leaves out: which there are (``settings``)."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from aragora_persist.errors import InvalidValueError
from infra.naming import PROJECT

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def yes(given: Mapping[str, object], key: str) -> bool:
    """Return whether a switch is on.

    Raises:
        InvalidValueError: it is neither on nor off.

    """
    text = str(given.get(key)).lower()
    if text not in {"true", "false"}:
        raise invalid(key, f"{text!r} is neither true nor false", "true")
    return text == "true"


def text_or_none(given: Mapping[str, object], key: str) -> str:
    """Return a text, '' where there is none."""
    return str(given.get(key) or "").strip()


def texts(given: Mapping[str, object], key: str, rule: re.Pattern[str], example: str) -> tuple[str, ...]:
    """Return a list of texts, which may be given as JSON.

    Raises:
        InvalidValueError: it is none, or one of them breaks the rule.

    """
    value = given.get(key)
    if isinstance(value, str):
        try:
            value = json.loads(value or "[]")
        except ValueError:
            value = None
    if not isinstance(value, list):
        raise invalid(key, "is not a list", example)
    for number, each in enumerate(value, start=1):
        if not rule.fullmatch(str(each)):
            # Not shown: it may be a secret that was put into the wrong place.
            raise invalid(key, f"number {number} is not such as {example}", example)
    return tuple(map(str, value))
