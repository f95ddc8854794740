"""The text of a trace: what its checksums are made of, and the form of its file, piece by piece.

Pure. Leaves out: reading a file, and what a valid trace is.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


class EventHash:
    """The SHA-256 over a trace's events, fed one by one: however long the trace is, one event of it is held."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256(b"[")
        self.events = 0

    def add(self, document: dict[str, Any]) -> None:
        """Take the next event: as sorted JSON, non-ASCII escaped."""
        self._hash.update(((", " if self.events else "") + canonical(document)).encode())
        self.events += 1

    @property
    def checksum(self) -> str:
        """The format's checksum: the first 16 hex digits over what was added so far."""
        return self._ended()[:16]

    def digest(self, header: dict[str, Any]) -> str:
        """Return the SHA-256 of the header and what was added so far."""
        return hashlib.sha256(f"{canonical(header)}\n{self._ended()}".encode()).hexdigest()

    def _ended(self) -> str:
        ended = self._hash.copy()
        ended.update(b"]")
        return ended.hexdigest()


def canonical(document: dict[str, Any]) -> str:
    """Return an object as the JSON text that checksums are made of."""
    return json.dumps(document, sort_keys=True)


def hash_of(events: Iterable[dict[str, Any]]) -> EventHash:
    """Return the hash over these events."""
    hashed = EventHash()
    for event in events:
        hashed.add(event)
    return hashed


def head_text(header: dict[str, Any]) -> str:
    """Return how a file begins: the header, and the bracket before the first event."""
    fields = [f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in header.items()]
    return "{\n" + ",\n".join([*fields, '"events": [\n'])


def event_text(document: dict[str, Any]) -> str:
    """Return an event's line; all but the last end with a comma."""
    return json.dumps(document, ensure_ascii=False)


def tail_text(checksum: str) -> str:
    """Return how a file ends."""
    return f'\n],\n"checksum": "{checksum}"\n}}\n'
