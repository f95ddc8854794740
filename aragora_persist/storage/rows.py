"""What stands in a row, as the values of a record; the counterpart of ``checks``.

What is not what a store wrote is damage, and said so: a row that somebody edited must not become a wrong record.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aragora_persist.errors import DamagedError, InvalidValueError
from aragora_persist.times import from_text

if TYPE_CHECKING:
    from datetime import datetime

    from aragora_persist.storage.port import Value


def stored_time(value: Value, record: str, field: str) -> datetime:
    """Return the aware UTC datetime of a column; ``record`` names the row (``"user 4f…"``).

    Raises:
        DamagedError: it is no time.

    """
    try:
        return from_text(value)  # type: ignore[arg-type] # what is no text is caught
    except (InvalidValueError, TypeError) as error:
        raise DamagedError("read", record, f"its {field} is not a time", hint="correct the row") from error


def stored_time_or_none(value: Value, record: str, field: str) -> datetime | None:
    """Return the time of a column that may be NULL."""
    return None if value is None else stored_time(value, record, field)


def stored_object(value: Value, record: str, field: str) -> dict[str, Any]:
    """Return the dict of a JSON column; NULL is an empty one, as the documented defaults say.

    Raises:
        DamagedError: it is no JSON object.

    """
    if value is None or value == "{}":
        return {}
    try:
        found = json.loads(value)  # type: ignore[arg-type] # what is no text is caught
    except (ValueError, TypeError, RecursionError) as error:
        raise DamagedError("read", record, f"its {field} is not JSON", hint="correct the row") from error
    if not isinstance(found, dict):
        raise DamagedError("read", record, f"its {field} is not a JSON object", hint="correct the row")
    return found
