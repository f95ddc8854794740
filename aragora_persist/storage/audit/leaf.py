"""What a leaf of the tree commits to: every column of its row, the personal ones through salted hashes. Pure.

Personal is who acted (``user_id``, ``ip_address``, ``user_agent``) with the ``details``: one group. Where the resource
is a user, ``resource_id`` and ``details`` are a group of their own, so that either person can be erased without the
other. The leaf holds the hash of each group under a salt that stands beside the row. Erasing a group deletes values and
salt and keeps the hash: the leaf can still be computed, and nobody can find the values by trying. A group without any
value has neither salt nor hash.

The bytes that are hashed are for ever: heads kept elsewhere and leaves of years ago depend on them.
"""

from __future__ import annotations

import os
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from aragora_persist.storage.audit import tree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aragora_persist.storage.port import Value

SALT_BYTES = 16
PERSON = "user"
"""The resource type whose ``resource_id`` names a person."""
RETENTION = "audit.retention"
ERASURE = "audit.erasure"
OWN_ACTIONS = (RETENTION, ERASURE)
"""Actions of the log itself; verification needs their details, which therefore go with nobody."""
_NO_HASH = bytes(32)
_SALTS_AT_ONCE = 64
_spare_salts: list[bytes] = []
os.register_at_fork(after_in_child=_spare_salts.clear)  # or parent and child would give the same

COLUMNS = (
    "id, timestamp, user_id, org_id, action, resource_type, resource_id, details, ip_address, user_agent, event_key, "
    "erased_at, position, nodes, actor_salt, actor_hash, subject_salt, subject_hash"
)
"""The columns of ``audit_log``, in the order of ``AuditRow``."""


class AuditRow(NamedTuple):
    """One row of ``audit_log`` as it is stored, whoever wrote it: nothing in it is checked."""

    id: Value
    timestamp: Value
    user_id: Value
    org_id: Value
    action: Value
    resource_type: Value
    resource_id: Value
    details: Value
    ip_address: Value
    user_agent: Value
    event_key: Value = None
    erased_at: Value = None
    position: Value = None
    nodes: Value = None
    actor_salt: Value = None
    actor_hash: Value = None
    subject_salt: Value = None
    subject_hash: Value = None


def has_subject_group(row: AuditRow) -> bool:
    """Whether details and resource are a group of their own."""
    return row.resource_type == PERSON or row.action in OWN_ACTIONS


def has_actor(row: AuditRow) -> bool:
    """Whether there are values in the group of who acted."""
    return (
        row.user_id is not None
        or row.ip_address is not None
        or row.user_agent is not None
        or (row.details != "{}" and not has_subject_group(row))
    )


def has_subject(row: AuditRow) -> bool:
    """Whether there are values in the group of what was acted upon."""
    return has_subject_group(row) and (row.details != "{}" or row.resource_id is not None)


def salted(row: AuditRow) -> AuditRow:
    """Return a new row with salts for the groups that it has values in."""
    actor_salt = _new_salt() if has_actor(row) else None
    subject_salt = _new_salt() if has_subject(row) else None
    return AuditRow._make((*row[:14], actor_salt, None, subject_salt, None))


def _new_salt() -> bytes:
    """Return a salt that was never given before.

    Asking the operating system lets another thread go on, and with many of them the wait for the interpreter is longer
    than all else that a leaf costs: so it is asked for many at a time.
    """
    try:
        return _spare_salts.pop()
    except IndexError:
        random = os.urandom(_SALTS_AT_ONCE * SALT_BYTES)
        _spare_salts.extend(random[start : start + SALT_BYTES] for start in range(SALT_BYTES, len(random), SALT_BYTES))
        return random[:SALT_BYTES]


def actor_hash(row: AuditRow) -> bytes:
    """Return the hash that stands for who acted: the kept one once that was erased, zeros where there is nothing."""
    salt = row.actor_salt
    if salt is None and not has_actor(row):
        return row.actor_hash if isinstance(row.actor_hash, bytes) else _NO_HASH
    details = None if has_subject_group(row) else row.details
    return _group_hash(salt, (row.user_id, row.ip_address, row.user_agent, details))


def subject_hash(row: AuditRow) -> bytes:
    """Return the hash that stands for what was acted upon, as ``actor_hash``."""
    salt = row.subject_salt
    if salt is None and not has_subject(row):
        return row.subject_hash if isinstance(row.subject_hash, bytes) else _NO_HASH
    return _group_hash(salt, (row.resource_id, row.details))


def content_of(row: AuditRow) -> bytes:
    """Return what the leaf says of a row, wherever in the log it is."""
    resource_id = None if has_subject_group(row) else row.resource_id
    plain = (row.timestamp, row.org_id, row.action, row.resource_type, resource_id, row.event_key)
    return actor_hash(row) + subject_hash(row) + _encoded(plain)


def leaf_of(ident: Value, position: Value, content: bytes) -> bytes:
    """Return the hash of the leaf of a row.

    Any change of any column changes it, but of ``nodes`` and ``erased_at``: those two say nothing of the event, and are
    verified against the tree and the entry about the erasure.
    """
    return tree.leaf_hash(f"{ident!r} {position!r} ".encode() + content)


def _group_hash(salt: Value, values: tuple[Value, ...]) -> bytes:
    usual = type(salt) is bytes and len(salt) == SALT_BYTES
    return sha256((b"\x02" + salt if usual else b"\x03" + _encoded((salt,))) + _encoded(values)).digest()  # type: ignore[operator] # it is bytes


def _encoded(values: Sequence[Value]) -> bytes:
    """Return values one after the other, so that no two rows have the same encoding.

    What the log writes is text without NUL, which therefore separates. For anything else, which only others have
    written, kind and length precede each value.
    """
    try:
        text = "\0".join(["" if value is None else "t" + value for value in values])  # type: ignore[operator] # caught
    except TypeError:
        text = ""
    if text.count("\0") != len(values) - 1:
        text = "\1" + "".join(f"{type(value).__name__} {len(repr(value))} {value!r}" for value in values)
    return text.encode()
