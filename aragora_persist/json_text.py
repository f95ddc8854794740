"""JSON text that every database of the tier can store.

Stricter than JSON: no NaN or infinity, no NUL character and no lone surrogate, because PostgreSQL refuses them, and a
record that only the last station refuses is lost to its sender. Leaves out: schemas; callers know their own shapes.
"""

from __future__ import annotations

import json
import math
import re
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from aragora_persist.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Callable

scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined] # see below
"""Read the value that begins at a place of a text, and return it with its end: the C part of ``loads`` alone."""
_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_SUSPICIOUS = re.compile(r"\\u0000|[\ud800-\udfff]")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
DEEPEST = 200
"""So many levels can be read from any depth of calls: what only just could be written there would seem damaged here."""
_TEXTS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
_LEVELS = {"[": 1, "{": 1, "]": -1, "}": -1}


def encode(value: object, *, operation: str, field: str) -> str:
    """Return ``value`` as compact JSON text, object keys in their own order.

    Raises:
        InvalidValueError: something in it cannot be stored; ``target`` is its path below ``field``.

    """
    try:
        text = _to_json(value)
    except RecursionError as error:
        raise InvalidValueError(operation, field, "is nested too deeply") from error
    except (ValueError, TypeError) as error:
        path, problem = _find_unstorable(value, field) or (field, f"is not JSON: {error}")
        raise InvalidValueError(operation, path, problem) from error
    if text.count("{") + text.count("[") > DEEPEST and _depth(text) > DEEPEST:
        raise InvalidValueError(operation, field, f"is nested too deeply: more than {DEEPEST} levels")
    # The search may hit an escaped backslash before "u0000"; only then is every string looked at.
    if _SUSPICIOUS.search(text) and (found := _find_unstorable(value, field)):
        raise InvalidValueError(operation, *found)
    return text


def decode(text: str) -> dict[str, object]:
    """Return the object that ``encode`` wrote.

    Raises:
        ValueError: the text is not a JSON object.

    """
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("it is no object")  # noqa: TRY004 - one kind of error for text that is not what was written
    return value


def _depth(text: str) -> int:
    """Return how many levels a JSON text has."""
    changes = (_LEVELS.get(sign, 0) for sign in _TEXTS.sub("", text))
    return max(accumulate(changes))


def _find_unstorable(value: object, path: str) -> tuple[str, str] | None:
    """Return path and problem of the first part that cannot be stored, depth first and without recursion."""
    open_parts: list[tuple[str, object]] = [(path, value)]
    seen: set[int] = set()
    while open_parts:
        path, part = open_parts.pop()
        if problem := _problem(part):
            return path, problem
        if isinstance(part, dict | list | tuple):
            if id(part) in seen:
                continue
            seen.add(id(part))
            items = part.items() if isinstance(part, dict) else enumerate(part)
            children = [
                (f"{path}.{key}" if isinstance(part, dict) else f"{path}[{key}]", child) for key, child in items
            ]
            keys = [(f"{path} (a key)", key) for key in part] if isinstance(part, dict) else []
            open_parts.extend(reversed(keys + children))
    return None


def unstorable(text: str) -> str | None:
    """Return what keeps a text from being stored, or None."""
    if "\0" in text:
        return "holds a NUL character, which PostgreSQL cannot store"
    if _LONE_SURROGATE.search(text):
        return "holds a lone surrogate, which is not text"
    return None


def _problem(part: object) -> str | None:
    """Return what keeps one part from being stored."""
    if isinstance(part, str):
        return unstorable(part)
    if isinstance(part, float):
        return None if math.isfinite(part) else f"is {part}, which JSON does not have"
    if part is None or isinstance(part, bool | int | dict | list | tuple):
        return None
    return f"is a {type(part).__name__}, which JSON does not have"
