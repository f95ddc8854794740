"""How an organization goes: what is its own in batches, so that nobody else's write waits long, and itself at the end.

It is closed first. So nothing new comes meanwhile, and where the process ends in between, deleting it again goes on.
Leaves out: closing it for good with all that it has (``organization_store``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist.errors import ConflictError
from aragora_persist.storage.organizations.memberships import settle, touch

if TYPE_CHECKING:
    from aragora_persist.storage.port import Transaction

_BATCH = 500
_CLOSE = "UPDATE organizations SET closed_at = COALESCE(closed_at, ?) WHERE id = ?"
_SWITCH_OFF = """
    UPDATE webhooks SET is_active = 0, inactive_reason = 'its organization is being deleted', updated_at = ?
    WHERE org_id = ?
"""
_OF_ITS_OWN = (
    """
    DELETE FROM webhook_deliveries WHERE id IN (
        SELECT webhook_deliveries.id FROM webhooks
        JOIN webhook_deliveries ON webhook_deliveries.webhook_id = webhooks.id WHERE webhooks.org_id = ? LIMIT ?
    )
    """,
    "DELETE FROM share_links WHERE id IN (SELECT id FROM share_links WHERE org_id = ? LIMIT ?)",
    "DELETE FROM invitations WHERE id IN (SELECT id FROM invitations WHERE org_id = ? LIMIT ?)",
)


def prepare(writing: Transaction, operation: str, org_id: str, now: str) -> None:
    """Close the organization and switch its webhooks off, unless it has to be kept.

    Raises:
        NotFoundError: there is no such organization.
        ConflictError: it has usage.

    """
    touch(writing, operation, org_id, now)
    for table in ("usage_events", "usage_monthly"):
        if writing.one(f"SELECT 1 FROM {table} WHERE org_id = ? LIMIT 1", (org_id,)) is not None:  # noqa: S608 - ours
            raise ConflictError(operation, org_id, "has usage", hint="close_organization keeps it")
    writing.execute(_CLOSE, (now, org_id))
    writing.execute(_SWITCH_OFF, (now, org_id))


def clear_some(writing: Transaction, org_id: str) -> int:
    """Delete so much of what is the organization's own, and return how much it was; 0 when nothing is left."""
    return next((count for sql in _OF_ITS_OWN if (count := writing.execute(sql, (org_id, _BATCH)))), 0)


def remove(writing: Transaction, operation: str, org_id: str, now: str) -> None:
    """Delete the organization, with its memberships and whatever else is left of its own.

    Raises:
        NotFoundError: somebody else has done so.

    """
    touch(writing, operation, org_id, now)
    members = writing.all("SELECT user_id FROM memberships WHERE org_id = ?", (org_id,))
    writing.execute("DELETE FROM memberships WHERE org_id = ?", (org_id,))
    settle(writing, [str(user_id) for (user_id,) in members], now)
    writing.execute("DELETE FROM organizations WHERE id = ?", (org_id,))
