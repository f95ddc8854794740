"""What a leaf of the tree commits to: every column of its row, the personal ones through salted hashes. Pure.

Personal are, as one group, who acted (``user_id``, ``ip_address``, ``user_agent``), and as another, upon what
(``details``, and ``resource_id`` where the resource is a user). The leaf holds the hash of each group under a salt of
its own that stands beside the row. Erasing a group deletes values and salt and keeps the hash: the leaf can still be
computed, and nobody can find the values by trying. A group without any value has neither salt nor hash.

The bytes that are hashed are for ever: heads kept elsewhere and leaves of years ago depend on them.
"""

from __future__ import annotations

import os
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from aragora_persist.storage.audit import tree

if TYPE_CHECKING:
    from aragora_persist.storage.port import Value

SALT_BYTES = 16
PERSON = "user"
"""The resource type whose ``resource_id`` names a person."""

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


def new_salts(row: AuditRow) -> tuple[bytes | None, bytes | None]:
    """Return new salts for the two groups of a row; None where a group has no value to hide."""
    random = os.urandom(2 * SALT_BYTES)
    return (
        random[:SALT_BYTES] if has_actor(row) else None,
        random[SALT_BYTES:] if has_subject(row) else None,
    )


def has_actor(row: AuditRow) -> bool:
    """Whether the row says who acted."""
    return row.user_id is not None or row.ip_address is not None or row.user_agent is not None


def has_subject(row: AuditRow) -> bool:
    """Whether the row has details, or names a person as its resource."""
    return row.details != "{}" or (row.resource_type == PERSON and row.resource_id is not None)


def actor_hash(row: AuditRow) -> bytes:
    """Return the hash that stands for who acted: the kept one once that was erased, b'' where nobody is named."""
    return _group_hash(row.actor_salt, row.actor_hash, (row.user_id, row.ip_address, row.user_agent), has_actor(row))


def subject_hash(row: AuditRow) -> bytes:
    """Return the hash that stands for details and resource, as ``actor_hash``."""
    resource_id = row.resource_id if row.resource_type == PERSON else None
    return _group_hash(row.subject_salt, row.subject_hash, (resource_id, row.details), has_subject(row))


def leaf_of(row: AuditRow) -> bytes:
    """Return the hash of a row's leaf; any change of any column but ``nodes`` and ``erased_at`` changes it.

    (Those two say nothing of the event, and are verified against the tree and the entry of the erasure.)
    """
    resource_id = None if row.resource_type == PERSON else row.resource_id
    plain = (row.id, row.position, row.timestamp, row.org_id, row.action, row.resource_type, resource_id, row.event_key)
    return tree.leaf_hash(_encoded((*plain, actor_hash(row), subject_hash(row))))


def _group_hash(salt: Value, kept: Value, values: tuple[Value, ...], has_values: bool) -> bytes:  # noqa: FBT001 - private
    if salt is not None or has_values:
        return sha256(b"\x02" + _encoded((salt, *values))).digest()
    return kept if isinstance(kept, bytes) else b""


def _encoded(values: tuple[Value, ...]) -> bytes:
    """Return values one after the other, each with its kind and length, so that no two rows have the same encoding."""
    return "".join([_part(value) for value in values]).encode()


def _part(value: Value) -> str:
    if value is None:
        return "-"
    if isinstance(value, bytes):
        value, kind = value.hex(), "b"
    elif isinstance(value, str):
        kind = "t"
    else:
        value, kind = repr(value), "n"
    return f"{kind}{len(value)}:{value}"
