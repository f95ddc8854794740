"""Erasing a person from the log: the values and their salts go, what the tree commits to stays.

An entry of the log names the positions whose fields were erased, signed where a key is configured. Without it, fields
that are gone are an attack. It does not name the person. Leaves out: the person's account (``UserStore``).
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from aragora_persist.storage.audit import tree
from aragora_persist.storage.audit.append import append, read_state
from aragora_persist.storage.audit.entries import NewEntry, draft_own
from aragora_persist.storage.audit.leaf import (
    COLUMNS,
    ERASURE,
    OWN_ACTIONS,
    AuditRow,
    actor_hash,
    has_subject,
    has_subject_group,
    subject_hash,
)
from aragora_persist.times import from_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aragora_persist.storage.audit.signing import SigningKey
    from aragora_persist.storage.port import Transaction

OPERATION = "audit.erase_person"
AT_ONCE = 1_000
"""How many entries one transaction erases: some tens of milliseconds."""

_BY_PERSON = f"SELECT {COLUMNS} FROM audit_log WHERE user_id = ? ORDER BY id LIMIT ?"  # noqa: S608 - constants
_UPON_PERSON = f"""
    SELECT {COLUMNS} FROM audit_log
    WHERE resource_type = 'user' AND resource_id = ? AND (user_id IS NULL OR user_id <> ?) ORDER BY id LIMIT ?
"""  # noqa: S608 - as above
_ERASE_ACTOR = (
    "UPDATE audit_log SET user_id = NULL, ip_address = NULL, user_agent = NULL, actor_salt = NULL, actor_hash = ?,"
    " erased_at = ? WHERE id = ?"
)
_ERASE_SUBJECT = (
    "UPDATE audit_log SET resource_id = NULL, details = '{}', subject_salt = NULL, subject_hash = ?, erased_at = ?"
    " WHERE id = ?"
)
_ERASE_DETAILS = "UPDATE audit_log SET details = '{}' WHERE id = ?"


def erase_some(tx: Transaction, user_id: str, ordered_by: str | None, now: str, key: SigningKey | None) -> int:
    """Erase some of the entries that name a person, and return how many; 0 when there are none any more."""
    acted = [AuditRow(*row) for row in tx.all(_BY_PERSON, (user_id, AT_ONCE))]
    # Whoever acts upon a person stays; what was done, and to whom, is the person's.
    upon = [AuditRow(*row) for row in tx.all(_UPON_PERSON, (user_id, user_id, AT_ONCE))]
    tx.execute_many(_ERASE_ACTOR, [(_kept(row, actor_hash(row)), now, row.id) for row in acted])
    tx.execute_many(_ERASE_DETAILS, [(row.id,) for row in acted if not has_subject_group(row)])
    # The log's own statements say nothing of a person but who ordered them, and verification needs them.
    subjects = [row for row in acted + upon if has_subject(row) and row.action not in OWN_ACTIONS]
    tx.execute_many(_ERASE_SUBJECT, [(_kept(row, subject_hash(row)), now, row.id) for row in subjects])
    if acted or upon:
        state = read_state(tx)
        statement: dict[str, Any] = {
            "actor": _spans(acted),
            "subject": _spans(subjects),
            "root": tree.fold(tree.split(state.edge)).hex(),  # of the log so far: it is no statement about another one
        }
        if key is not None:
            statement = key.sign("erasure", now, statement)
        new = NewEntry(ERASURE, user_id=ordered_by, details=statement)
        append(tx, OPERATION, [draft_own(OPERATION, new, from_text(now))])
    return len(acted) + len(upon)


def _kept(row: AuditRow, committed: bytes) -> bytes | None:
    """Return what stays of a group; of a row that plain SQL wrote, nothing: its values never had a salt."""
    return None if row.position is None else committed


def _spans(rows: Sequence[AuditRow]) -> list[list[int]]:
    """Return the positions of rows as pairs of the first and the last of each unbroken run."""
    positions = sorted(row.position for row in rows if isinstance(row.position, int))
    runs = groupby(enumerate(positions), lambda numbered: numbered[1] - numbered[0])
    spans = []
    for _, run in runs:
        members = [position for _, position in run]
        spans.append([members[0], members[-1]])
    return spans
