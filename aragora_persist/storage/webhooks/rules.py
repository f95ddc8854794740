"""The rules for what webhooks are given from outside, besides their URL (``targets``). Pure."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING

from aragora_persist.errors import InvalidValueError
from aragora_persist.storage import checks

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_PATTERNS = 100
_TYPE = re.compile(r"[A-Za-z0-9_.-]{1,100}", re.ASCII)
_PATTERN = re.compile(r"[A-Za-z0-9_.-]{1,100}\*?|\*", re.ASCII)


def check_event_type(operation: str, value: object) -> str:
    """Return the type of an event: 1 to 100 letters, digits, ``_``, ``.`` and ``-``, such as ``debate.ended``.

    Raises:
        InvalidValueError: it is none.

    """
    if not isinstance(value, str) or not _TYPE.fullmatch(value):
        raise InvalidValueError(operation, "event_type", "is not 1 to 100 letters, digits, '_', '.' and '-'")
    return value


def check_events(operation: str, value: object) -> str:
    """Return what a webhook subscribes to as it is stored: event types, ``*`` for all, ``debate.*`` for a prefix.

    Raises:
        InvalidValueError: there is none, there are too many, or one is no pattern.

    """
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= MOST_PATTERNS:
        raise InvalidValueError(operation, "events", f"is not a list of 1 to {MOST_PATTERNS} event types")
    if not all(isinstance(pattern, str) and _PATTERN.fullmatch(pattern) for pattern in value):
        raise InvalidValueError(
            operation, "events", "holds what is no event type", hint="such as 'debate.ended', 'debate.*' or '*'"
        )
    return json.dumps(list(dict.fromkeys(value)))


def matches(events: Iterable[str], event_type: str) -> bool:
    """Tell whether one of the patterns covers this type."""
    return any(
        event_type.startswith(pattern[:-1]) if pattern.endswith("*") else event_type == pattern for pattern in events
    )


def checked_ids(operation: str, org_id: object, webhook_id: object) -> tuple[str, str]:
    """Return both as values that every database can be asked for."""
    return checks.ident(operation, "org_id", org_id), checks.ident(operation, "webhook_id", webhook_id)


def checked_span(operation: str, field: str, value: object, *, least_s: float, most_s: float) -> timedelta:
    """Return a length of time within these bounds, in seconds."""
    if not isinstance(value, timedelta):
        raise InvalidValueError(operation, field, f"is a {type(value).__name__}, not a timedelta")
    if not least_s <= value.total_seconds() <= most_s:
        raise InvalidValueError(operation, field, f"is not from {least_s:,.0f} to {most_s:,.0f} seconds")
    return value
