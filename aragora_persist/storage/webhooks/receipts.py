"""What was received from others' webhooks: each event once, however often and by however many processes it comes in.

Leaves out: whether the sender may send (``signing.verify``), and what the event means.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from aragora_persist.storage import checks
from aragora_persist.storage.store import Store
from aragora_persist.times import to_text

if TYPE_CHECKING:
    from aragora_persist.storage.port import Transaction

WINDOW = timedelta(hours=24)
"""So long after it was first received an event is known."""

_BATCH = 1000


class WebhookReceipts(Store):
    """The receiving part of ``WebhookStore``."""

    database_name = "users"

    def receive(self, source: str, event_id: str, *, tx: Transaction | None = None) -> bool:
        """Note that an event came in, and tell whether it is the first time within ``WINDOW``.

        With ``tx``, the receipt stands or falls with what the caller makes of the event in the same transaction: an
        event whose handling fails is handled when it is sent again. ``source`` is whose ids these are: ``"stripe"``.

        Raises:
            InvalidValueError: a value is no id.

        """
        operation = "webhook.receive"
        key = checks.ident(operation, "source", source), checks.ident(operation, "event_id", event_id)
        now = self._clock()
        values = (*key, to_text(now), to_text(now - WINDOW))

        def work(writing: Transaction) -> bool:
            changed = writing.execute(
                "INSERT INTO webhook_receipts (source, event_id, received_at) VALUES (?, ?, ?)"
                " ON CONFLICT (source, event_id) DO UPDATE SET received_at = excluded.received_at"
                " WHERE webhook_receipts.received_at <= ?",
                values,
            )
            return changed == 1

        return self._write(operation, work, tx, context={"source": source, "event_id": event_id})

    def cleanup_receipts(self) -> int:
        """Remove the receipts that are older than ``WINDOW``, in batches, and return how many there were."""
        cutoff = to_text(self._clock() - WINDOW)

        def work(writing: Transaction) -> int:
            return writing.execute(
                "DELETE FROM webhook_receipts WHERE (source, event_id) IN"
                " (SELECT source, event_id FROM webhook_receipts WHERE received_at <= ? LIMIT ?)",
                (cutoff, _BATCH),
            )

        return self._in_batches("webhook.cleanup_receipts", work)
