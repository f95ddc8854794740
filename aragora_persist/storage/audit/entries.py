"""The records of the audit log, and the rules for their fields. Pure: no database, no clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from aragora_persist import json_text
from aragora_persist.errors import InvalidValueError
from aragora_persist.records import builder
from aragora_persist.storage import checks
from aragora_persist.storage.audit.leaf import OWN_ACTIONS, AuditRow, content_of, salted
from aragora_persist.storage.rows import stored_object, stored_time, stored_time_or_none
from aragora_persist.times import to_text

if TYPE_CHECKING:
    from datetime import datetime

    from aragora_persist.storage.port import Row

_LONGEST = {"resource_id": checks.LONGEST_NAME, "ip_address": 255, "user_agent": 10_000}
_CLOCKS_DIFFER = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class NewEntry:
    """One entry that is to be logged; ``timestamp`` None is the present."""

    action: str
    user_id: str | None = None
    org_id: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    ip_address: str | None = None
    user_agent: str | None = None
    timestamp: datetime | None = None
    event_key: str | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One entry of the audit log.

    ``erased_at`` is when its personal fields were erased by policy; those are then None, and ``details`` is empty.
    """

    id: int
    timestamp: datetime
    user_id: str | None
    org_id: str | None
    action: str
    resource_type: str | None
    resource_id: str | None
    details: dict[str, Any]
    ip_address: str | None
    user_agent: str | None
    event_key: str | None
    erased_at: datetime | None


new_entry = builder(NewEntry)
_entry = builder(AuditEntry)


class Draft(NamedTuple):
    """An entry that was checked; ``row`` has everything but its place in the log, and ``content`` is for its leaf."""

    row: AuditRow
    content: bytes
    timestamp: datetime
    details: dict[str, Any]

    def entry(self, ident: int) -> AuditEntry:
        """Return the record, as it will be read back."""
        row: tuple[Any, ...] = self.row
        return _entry(ident, self.timestamp, *row[2:7], self.details, *row[8:11], None)

    def stored(self, ident: int, position: int, nodes: bytes) -> Row:
        """Return the values of ``leaf.COLUMNS``.

        A plain tuple: sqlite3 takes the values of another kind of sequence one by one, for half as much again.
        """
        return (ident, *self.row[1:12], position, nodes, *self.row[14:])


def draft(operation: str, new: NewEntry, now: datetime) -> Draft:
    """Return what is stored of an entry.

    Raises:
        InvalidValueError: a field breaks a rule; ``target`` names it.

    """
    if new.action in OWN_ACTIONS:
        raise InvalidValueError(operation, "action", f"{new.action!r} is the log's own")
    return draft_own(operation, new, now)


def draft_own(operation: str, new: NewEntry, now: datetime) -> Draft:
    """As ``draft``, for the actions that only the log itself may take too."""
    timestamp = now if new.timestamp is None else new.timestamp
    stored_timestamp = checks.moment(operation, "timestamp", timestamp)
    if new.timestamp is not None and stored_timestamp > to_text(now + _CLOCKS_DIFFER):
        # An entry of the future would keep all that follow it from ever being old enough to be removed.
        raise InvalidValueError(operation, "timestamp", "lies in the future")
    encoded, details = _details(operation, new.details)
    before = (new.user_id, new.org_id, new.action, new.resource_type, new.resource_id)
    behind = (new.ip_address, new.user_agent, new.event_key)
    if not checks.plain([text for text in before + behind if text is not None] + [new.action]):
        _check_texts(operation, new)
    row = salted(AuditRow(None, stored_timestamp, *before, encoded, *behind))
    return Draft(row, content_of(row), stored_time(stored_timestamp, "new entry", "timestamp"), details)


def entry_of(row: Row) -> AuditEntry:
    """Return the record of a row of ``leaf.COLUMNS``.

    Raises:
        DamagedError: a time is none, or the details are no JSON object.

    """
    stored = cast("tuple[Any, ...]", row)
    ident, timestamp, user_id, org_id, action, resource_type, resource_id, details, address, agent, key, erased = (
        stored[:12]
    )
    name = f"audit entry {ident}"
    return _entry(
        ident,
        stored_time(timestamp, name, "timestamp"),
        user_id,
        org_id,
        action,
        resource_type,
        resource_id,
        stored_object(details, name, "details"),
        address,
        agent,
        key,
        stored_time_or_none(erased, name, "erased_at"),
    )


def row_of(entry: AuditEntry) -> AuditRow:
    """Return the stored values of a record; the inverse of ``entry_of``, without what only the log knows."""
    return AuditRow(
        entry.id,
        to_text(entry.timestamp),
        entry.user_id,
        entry.org_id,
        entry.action,
        entry.resource_type,
        entry.resource_id,
        json_text.encode(entry.details, operation="audit.check_inclusion", field="details"),
        entry.ip_address,
        entry.user_agent,
        entry.event_key,
        None if entry.erased_at is None else to_text(entry.erased_at),
    )


def _check_texts(operation: str, new: NewEntry) -> None:
    checks.ident(operation, "action", new.action)
    for name in ("user_id", "org_id", "resource_type", "event_key"):
        if getattr(new, name) is not None:
            checks.ident(operation, name, getattr(new, name))
    for name, longest in _LONGEST.items():
        if getattr(new, name) is not None:
            checks.text(operation, name, getattr(new, name), longest=longest)


def _details(operation: str, details: dict[str, Any] | None) -> tuple[str, dict[str, Any]]:
    """Return details as stored, and as they will be read back; the two must be the same for inclusion proofs."""
    if details is None or details == {}:
        return "{}", {}
    encoded = checks.json_object(operation, "details", details)
    read_back: dict[str, Any] = json_text.scan(encoded, 0)[0]
    if read_back != details and json_text.encode(read_back, operation=operation, field="details") != encoded:
        raise InvalidValueError(operation, "details", "has keys that are not told apart as text, such as 1 and '1'")
    return encoded, read_back
