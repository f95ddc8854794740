"""The lines of a catalog: one JSON object each, with its own checksum, written in one way alone.

A line that was changed in whatever bit is none. Leaves out: what the objects mean (``catalog``).
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def to_line(record: Mapping[str, object]) -> bytes:
    """Return the line of a record, with its newline."""
    return _written(record, _checksum(record)) + b"\n"


def parse(line: bytes) -> dict[str, Any] | None:
    """Return the record of a line without its newline, or None when the line is not what was written."""
    try:
        record = json.loads(line)
        if not isinstance(record, dict) or record.pop("checksum", None) != (checksum := _checksum(record)):
            return None
    except (ValueError, RecursionError):
        return None
    # Whitespace and escapes can be written in several ways: only ours is what was written.
    return record if _written(record, checksum) == line else None


def split(data: bytes) -> tuple[list[bytes], bytes]:
    """Return the lines that end in a newline, and what comes after the last one."""
    *lines, rest = data.split(b"\n")
    return lines, rest


def is_torn(rest: bytes) -> bool:
    """Say whether what comes after the last newline is the beginning of a line, as a crash leaves it.

    A whole one is none, also where its newline is missing or was changed to something else.
    """
    return rest != b"" and parse(rest) is None and parse(rest[:-1]) is None


def _checksum(record: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def _written(record: Mapping[str, object], checksum: str) -> bytes:
    return json.dumps({**record, "checksum": checksum}, ensure_ascii=True).encode()
