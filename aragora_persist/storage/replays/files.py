"""Trace files on their way out of the replay store and into it, an event at a time.

Leaves out: transactions (``writing``), and the text of a file (``trace_text``, ``trace_files``).
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, BinaryIO

from aragora_persist import json_text
from aragora_persist.errors import ConflictError, InvalidValueError
from aragora_persist.storage import checks
from aragora_persist.storage.replays.reading import EVENTS_AT_ONCE, require, whole
from aragora_persist.storage.replays.records import to_event_row
from aragora_persist.storage.replays.trace import TraceEvent, header_of, require_checksum
from aragora_persist.storage.replays.trace_fields import READING
from aragora_persist.storage.replays.trace_files import EVENTS, read_trace
from aragora_persist.storage.replays.trace_text import EventHash, event_text, head_text, tail_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aragora_persist.storage.replays.reading import Fetch
    from aragora_persist.storage.replays.records import EventRow


def export_to(fetch: Fetch, operation: str, trace_id: str, file: BinaryIO) -> None:
    """Write a replay as a file, whose end is missing when it turned out not to be what was saved."""
    found = require(fetch, operation, trace_id)
    hashed = EventHash()
    file.write(head_text(found.header).encode())
    for event in whole(fetch, trace_id, found, hashed, operation):
        line = event_text(event.document)
        file.write((f",\n{line}" if hashed.events > 1 else line).encode())
    file.write(tail_text(hashed.checksum).encode())


def check(operation: str, file: BinaryIO, *, accept_bad_checksum: bool) -> tuple[dict[str, Any], EventHash]:
    """Read a file from its beginning, and return its header and the hash over its events.

    Raises:
        InvalidValueError: it is not a trace, or a part of it is too long.
        DamagedError: the checksum is not that of the events, and ``accept_bad_checksum`` is off.

    """
    header: dict[str, Any] = {}
    header_size = 0
    hashed = EventHash()
    for name, value in _read(operation, file):
        if name == EVENTS:
            _to_row(operation, value, hashed.events)
            hashed.add(value)
        else:
            header_size += len(name) + len(json_text.encode(value, operation=READING, field=name))
            if header_size > checks.LONGEST_TEXT:  # told before more of it is held than could be stored
                raise InvalidValueError(operation, "header", f"has more than {checks.LONGEST_TEXT:,} characters")
            header[name] = value
    said = header.pop("checksum", None)
    header_of(header)
    if not accept_bad_checksum:
        require_checksum(said, hashed.checksum)
    return header, hashed


def batches(operation: str, file: BinaryIO, checked: EventHash) -> Iterator[tuple[int, list[EventRow]]]:
    """Read a checked file again, and yield its events in batches, each with the place of its first one.

    Raises:
        ConflictError: the events turned out not to be those that were checked.

    """
    position, rows, hashed = 0, list[Any](), EventHash()
    for name, value in _read(operation, file):
        if name == EVENTS:
            rows.append(_to_row(operation, value, position + len(rows)))
            hashed.add(value)
            if len(rows) == EVENTS_AT_ONCE:
                yield position, rows
                position, rows = position + len(rows), []
    if rows:
        yield position, rows
    if hashed.checksum != checked.checksum:
        hint = "delete the replay that it began, and import the file again"
        raise ConflictError(operation, "the file", "was changed while it was read", hint=hint)


def _read(operation: str, file: BinaryIO) -> Iterator[tuple[str, Any]]:
    try:
        file.seek(0)
    except (OSError, io.UnsupportedOperation) as error:
        hint = "write what a pipe gives into a file first"
        raise InvalidValueError(operation, "the file", "cannot be read twice", hint=hint) from error
    return read_trace(file)


def _to_row(operation: str, document: Any, place: int) -> EventRow:  # noqa: ANN401 - whatever a file holds
    where = f"events[{place}]"
    return to_event_row(operation, TraceEvent.from_document(document, where), where)
