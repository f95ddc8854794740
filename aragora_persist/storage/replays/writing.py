"""What the replay store does inside of a transaction: a replay saved or begun, its events appended, its end written.

Each function checks and changes in one transaction, and holds the replay's row first, so that two recorders of one
replay wait for each other on every backend. Leaves out: what is costly and can be done before, such as checksums.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from aragora_persist import json_text
from aragora_persist.errors import ConflictError
from aragora_persist.storage.replays import marks
from aragora_persist.storage.replays.records import SUMMARY, damaged, to_summary, unknown
from aragora_persist.storage.replays.trace_text import canonical

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aragora_persist.storage.port import Row, Transaction, Value
    from aragora_persist.storage.replays.records import EventRow, ReplaySummary

ENDING = ("completed_at", "final_result")
"""The fields of a header that the end of a recording sets."""

_IDS_AT_ONCE = 500
_HOLD = (
    "UPDATE replays SET event_count = event_count WHERE trace_id = ?"
    " RETURNING event_count, is_recording, header, digest, saved_at"
)
_BODIES = "SELECT body FROM replay_events WHERE trace_id = ? AND position >= ? AND position < ? ORDER BY position"
_INSERT_EVENT = (
    "INSERT INTO replay_events (trace_id, position, event_id, event_type, occurred_at, round_num, agent, body)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_CLOSE = (
    "UPDATE replays SET is_recording = 0, completed_at = ?, header = ?, checksum = ?, digest = ? WHERE trace_id = ?"
)
_SUMMARY = f"SELECT {SUMMARY} FROM replays WHERE trace_id = ?"  # noqa: S608 - a constant


class Held(NamedTuple):
    """A replay whose row this transaction holds."""

    event_count: int
    is_recording: bool
    header: dict[str, Any]
    digest: str
    saved_at: str


class Ending(NamedTuple):
    """What the end of a recording writes; made of the first ``events`` events of the one that began at ``saved_at``."""

    completed_at: Value
    header: dict[str, Any]
    events: int
    checksum: str
    digest: str
    saved_at: str


def begun(header: dict[str, Any]) -> dict[str, Any]:
    """Return a header as it was when its recording began."""
    return {name: value for name, value in header.items() if name not in ENDING}


def hold(tx: Transaction, operation: str, trace_id: str) -> Held:
    """Return what is stored of a replay, which nobody else changes until the transaction ends.

    Raises:
        NotFoundError: there is no such replay.
        DamagedError: its header is not readable.

    """
    row = tx.one(_HOLD, (trace_id,))
    if row is None:
        raise unknown(operation, trace_id)
    try:
        return Held(int(row[0] or 0), bool(row[1]), json_text.decode(str(row[2])), str(row[3]), str(row[4]))
    except (ValueError, RecursionError) as error:
        raise damaged(operation, trace_id) from error


def save(tx: Transaction, columns: dict[str, Value], events: Sequence[EventRow]) -> bool:
    """Store a whole replay, and return whether it is new."""
    if _insert(tx, {**columns, "event_count": 0, "is_recording": 0}):
        _insert_events(tx, str(columns["trace_id"]), 0, events)
        return True
    trace_id = str(columns["trace_id"])
    held = hold(tx, "replay.save", trace_id)
    if held.is_recording:
        raise ConflictError("replay.save", trace_id, "is still being recorded", hint="finish it, or delete it")
    if held.digest != columns["digest"]:
        raise another("replay.save", trace_id)
    return False


def begin(tx: Transaction, columns: dict[str, Value], header: dict[str, Any]) -> bool:
    """Store a replay without events that is to be recorded, and return whether it is new."""
    nothing_yet: dict[str, Value] = {"event_count": 0, "is_recording": 1, "checksum": "", "digest": ""}
    if _insert(tx, {**columns, **nothing_yet}):
        return True
    trace_id = str(columns["trace_id"])
    held = hold(tx, "replay.begin", trace_id)
    if canonical(begun(held.header)) != canonical(header):
        raise another("replay.begin", trace_id)
    return False


def append(tx: Transaction, trace_id: str, events: Sequence[EventRow], position: int | None) -> int:
    """Store those of the events that are not there yet behind all others, and return how many they are."""
    operation = "replay.append_events"
    held = hold(tx, operation, trace_id)
    places = _places(tx, trace_id, events)
    known = [places[event.event_id] for event in events if event.event_id in places]
    new = events[len(known) :]
    if any(event.event_id in places for event in new) or known != sorted(known):
        raise ConflictError(operation, trace_id, "has some of these events in another order")
    _require_place(trace_id, held.event_count, known, new, position)
    if not new:
        return 0
    if not held.is_recording:
        raise ConflictError(operation, trace_id, "is finished, and takes no more events")
    _insert_events(tx, trace_id, held.event_count, new)
    return len(new)


def place(tx: Transaction, trace_id: str, position: int, events: Sequence[EventRow]) -> None:
    """Store a batch of a file at its place; what an earlier import has stored of it already must be the same."""
    operation = "replay.import_from"
    held = hold(tx, operation, trace_id)
    stored = tx.all(_BODIES, (trace_id, position, position + len(events)))
    same = all(_same(str(body), event.body) for (body,), event in zip(stored, events, strict=False))
    if not same or held.event_count < position or not (held.is_recording or len(stored) == len(events)):
        raise another(operation, trace_id)
    _insert_events(tx, trace_id, held.event_count, events[len(stored) :])


def close(tx: Transaction, operation: str, trace_id: str, ending: Ending) -> ReplaySummary | None:
    """Write the end of a recording, or return None when it has got more events than the ending was made of.

    Raises:
        ConflictError: it is finished with another end, or was deleted and begun anew since its events were read.

    """
    held = hold(tx, operation, trace_id)
    if held.saved_at != ending.saved_at:
        problem = "was deleted meanwhile, and begun anew"
        raise ConflictError(operation, trace_id, problem, hint="give each recording a trace_id of its own")
    if held.is_recording and held.event_count != ending.events:
        return None
    if held.is_recording:
        header = json_text.encode(ending.header, operation=operation, field="header")
        tx.execute(_CLOSE, (ending.completed_at, header, ending.checksum, ending.digest, trace_id))
    elif held.digest != ending.digest:
        raise ConflictError(operation, trace_id, "is finished already, with another end")
    row = tx.one(_SUMMARY, (trace_id,))
    if row is None:
        raise unknown(operation, trace_id)
    return to_summary(row)


def delete(tx: Transaction, trace_id: str) -> None:
    """Delete a replay with its events."""
    if not tx.execute("DELETE FROM replays WHERE trace_id = ?", (trace_id,)):
        raise unknown("replay.delete", trace_id)


def _insert(tx: Transaction, columns: dict[str, Value]) -> bool:
    places = ", ".join("?" * len(columns))
    insert = f"INSERT INTO replays ({', '.join(columns)}) VALUES ({places}) ON CONFLICT (trace_id) DO NOTHING"  # noqa: S608 - names of this module
    return tx.execute(insert, tuple(columns.values())) == 1


def _insert_events(tx: Transaction, trace_id: str, position: int, events: Sequence[EventRow]) -> None:
    rows: list[Row] = [(trace_id, place, *event) for place, event in enumerate(events, position)]
    tx.execute_many(_INSERT_EVENT, rows)
    tx.execute("UPDATE replays SET event_count = ? WHERE trace_id = ?", (position + len(events), trace_id))
    marks.add(tx, trace_id, position, position + len(events))


def _places(tx: Transaction, trace_id: str, events: Sequence[EventRow]) -> dict[str, int]:
    """Return where those of the events stand that are stored already, with the same content."""
    places: dict[str, int] = {}
    for start in range(0, len(events), _IDS_AT_ONCE):
        some = {event.event_id: event for event in events[start : start + _IDS_AT_ONCE]}
        ids = ", ".join("?" * len(some))
        known = f"SELECT event_id, position, body FROM replay_events WHERE trace_id = ? AND event_id IN ({ids})"  # noqa: S608 - question marks only
        for event_id, position, body in tx.all(known, (trace_id, *some)):
            if not _same(str(body), some[str(event_id)].body):
                problem = f"has another event under the id {event_id!r}"
                raise ConflictError("replay.append_events", trace_id, problem, hint="give each event an id of its own")
            places[str(event_id)] = int(position or 0)
    return places


def _same(stored: str, given: str) -> bool:
    return stored == given or canonical(json_text.decode(stored)) == canonical(json_text.decode(given))


def _require_place(
    trace_id: str, count: int, known: Sequence[int], new: Sequence[EventRow], position: int | None
) -> None:
    """Refuse a batch that is said to begin at a place where it does not, such as behind events that are missing."""
    if position is None:
        return
    wanted = range(position, position + len(known) + len(new))
    stands = [*known, *range(count, count + len(new))]
    if stands != list(wanted):
        found = f"{stands[0]}" if stands else "nowhere"
        problem = f"has {count} events, and these begin at {found}, not at {position}"
        raise ConflictError(
            "replay.append_events", trace_id, problem, hint="append what is missing, or read what another one appended"
        )


def another(operation: str, trace_id: str) -> ConflictError:
    """Return the error for a replay whose id is taken by another one."""
    hint = "give the new one its own trace_id"
    return ConflictError(operation, trace_id, "is stored with another content", hint=hint)
