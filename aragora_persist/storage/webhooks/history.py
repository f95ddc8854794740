"""What became of deliveries: listed with their attempts, sent again after they had died, and cleaned up.

Leaves out: sending.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from aragora_persist.errors import ConflictError, NotFoundError
from aragora_persist.storage import checks
from aragora_persist.storage.pages import Page, from_cursor, page_limit, to_page, walk
from aragora_persist.storage.store import Store
from aragora_persist.storage.webhooks.records import (
    DELIVERY_COLUMNS,
    STATES,
    Attempt,
    Delivery,
    missing,
    to_attempt,
    to_delivery,
)
from aragora_persist.storage.webhooks.rules import checked_ids
from aragora_persist.storage.webhooks.schedule import MOST_ATTEMPTS
from aragora_persist.times import to_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aragora_persist.storage.port import Reader, Transaction

KEEP_DAYS = 30
"""How long what was sent or is dead is kept."""

_BATCH = 500
_BEHIND_ALL = ("9999-12-31T23:59:59.999999Z", "g")  # every time, every id: those are hex digits
_OF_ORG = "webhook_id IN (SELECT webhooks.id FROM webhooks WHERE org_id = ?)"


class WebhookHistory(Store):
    """The part of ``WebhookStore`` that looks back."""

    database_name = "users"

    def get_delivery(self, org_id: str, delivery_id: str) -> Delivery | None:
        """Return this delivery of this organization, or None."""
        operation = "webhook.get_delivery"
        ids = _checked(operation, org_id, delivery_id)
        with self._database.read(operation, {"delivery_id": delivery_id}) as view:
            row = view.one(
                f"SELECT {DELIVERY_COLUMNS} FROM webhook_deliveries WHERE {_OF_ORG} AND id = ?",  # noqa: S608 - constants
                ids,
            )
        return None if row is None else to_delivery(row)

    def list_deliveries(
        self, org_id: str, webhook_id: str, *, state: str | None = None, limit: int = 100, after: str | None = None
    ) -> Page[Delivery]:
        """Return the deliveries of a webhook, the newest first; of one ``state``, such as ``"dead"``, or of all.

        Raises:
            NotFoundError: the organization has no such webhook.

        """
        operation = "webhook.list_deliveries"
        ids = checked_ids(operation, org_id, webhook_id)
        size = page_limit(operation, limit)
        states = () if state is None else (checks.choice(operation, "state", state, STATES),)
        key = _BEHIND_ALL if after is None else from_cursor(operation, after, str, str)
        chosen = "state = ? AND" if states else ""
        with self._database.read(operation, {"webhook_id": webhook_id}) as view:
            _require(view, operation, *ids)
            rows = view.all(
                f"SELECT {DELIVERY_COLUMNS} FROM webhook_deliveries WHERE webhook_id = ? AND {chosen}"  # noqa: S608 - constants
                " (created_at, id) < (?, ?) ORDER BY created_at DESC, id DESC LIMIT ?",
                (webhook_id, *states, *key, size + 1),
            )
        return to_page(
            [to_delivery(row) for row in rows], limit, lambda delivery: (to_text(delivery.created_at), delivery.id)
        )

    def iter_deliveries(self, org_id: str, webhook_id: str, *, state: str | None = None) -> Iterator[Delivery]:
        """Yield the deliveries of a webhook, the newest first; of one ``state`` or of all.

        Raises:
            NotFoundError: the organization has no such webhook.

        """
        return walk(lambda after: self.list_deliveries(org_id, webhook_id, state=state, after=after))

    def list_attempts(
        self, org_id: str, delivery_id: str, *, limit: int = 100, after: str | None = None
    ) -> Page[Attempt]:
        """Return the attempts of a delivery, the first one first, those of before a redrive too.

        Raises:
            NotFoundError: the organization has no such delivery.

        """
        operation = "webhook.list_attempts"
        ids = _checked(operation, org_id, delivery_id)
        size = page_limit(operation, limit)
        (number,) = (0,) if after is None else from_cursor(operation, after, int)
        with self._database.read(operation, {"delivery_id": delivery_id}) as view:
            if view.one(f"SELECT 1 FROM webhook_deliveries WHERE {_OF_ORG} AND id = ?", ids) is None:  # noqa: S608 - a constant
                raise _no_delivery(operation, delivery_id)
            rows = view.all(
                "SELECT number, attempted_at, status, error, duration_ms FROM webhook_attempts"
                " WHERE delivery_id = ? AND number > ? ORDER BY number LIMIT ?",
                (delivery_id, number, size + 1),
            )
        return to_page([to_attempt(row) for row in rows], limit, lambda attempt: (attempt.number,))

    def iter_attempts(self, org_id: str, delivery_id: str) -> Iterator[Attempt]:
        """Yield every attempt of a delivery, the first one first.

        Raises:
            NotFoundError: the organization has no such delivery.

        """
        return walk(lambda after: self.list_attempts(org_id, delivery_id, after=after))

    def redrive(self, org_id: str, delivery_id: str, *, tx: Transaction | None = None) -> Delivery:
        """Let a dead delivery be sent again, now and with all attempts anew, under its old id.

        Raises:
            NotFoundError: the organization has no such delivery.
            ConflictError: it is not dead.

        """
        operation = "webhook.redrive"
        ids = _checked(operation, org_id, delivery_id)
        now = self._now()

        def work(writing: Transaction) -> Delivery:
            row = writing.one(
                f"{_REDRIVE} {_OF_ORG} AND id = ? AND state = 'dead' RETURNING {DELIVERY_COLUMNS}",
                (now, MOST_ATTEMPTS, *ids),
            )
            if row is not None:
                return to_delivery(row)
            known = writing.one(f"SELECT state FROM webhook_deliveries WHERE {_OF_ORG} AND id = ?", ids)  # noqa: S608 - a constant
            if known is None:
                raise _no_delivery(operation, delivery_id)
            raise ConflictError(operation, delivery_id, f"is {known[0]!s}, not dead")

        return self._write(operation, work, tx, context={"delivery_id": delivery_id})

    def redrive_all(self, org_id: str, webhook_id: str, *, tx: Transaction | None = None) -> int:
        """Let all deliveries of a webhook that are dead now be sent again, and return how many there were.

        In batches, each its own write unless there is a ``tx``. When it is interrupted, doing it again goes on.

        Raises:
            NotFoundError: the organization has no such webhook.

        """
        operation = "webhook.redrive_all"
        ids = checked_ids(operation, org_id, webhook_id)
        now = self._now()

        def work(writing: Transaction) -> int:
            _require(writing, operation, *ids)
            return writing.execute(
                f"{_REDRIVE} id IN {_DEAD}",
                (now, MOST_ATTEMPTS, webhook_id, now, _BATCH),
            )

        return self._in_batches(operation, work, tx, context={"webhook_id": webhook_id})

    def cleanup_deliveries(self, *, older_than_days: int = KEEP_DAYS) -> int:
        """Remove what was sent or died longer ago than this, with its attempts, in batches; return how many.

        What still waits stays, however old it is.
        """
        operation = "webhook.cleanup_deliveries"
        days = checks.whole(operation, "older_than_days", older_than_days, least=0, most=_LONGEST_KEEP_DAYS)
        cutoff = to_text(self._clock() - timedelta(days=days))

        def work(writing: Transaction) -> int:
            return writing.execute(
                "DELETE FROM webhook_deliveries WHERE id IN"
                " (SELECT old.id FROM webhook_deliveries AS old WHERE old.finished_at <= ? LIMIT ?)",
                (cutoff, _BATCH),
            )

        return self._in_batches(operation, work)


_LONGEST_KEEP_DAYS = 36_500
_REDRIVE = (
    "UPDATE webhook_deliveries SET state = 'waiting', due_at = ?, attempts_left = ?, finished_at = NULL, reason = ''"
    " WHERE"
)
_DEAD = (
    "(SELECT dead.id FROM webhook_deliveries AS dead"
    " WHERE dead.webhook_id = ? AND dead.state = 'dead' AND dead.finished_at <= ? LIMIT ?)"
)


def _checked(operation: str, org_id: object, delivery_id: object) -> tuple[str, str]:
    return checks.ident(operation, "org_id", org_id), checks.ident(operation, "delivery_id", delivery_id)


def _require(view: Reader, operation: str, org_id: str, webhook_id: str) -> None:
    if view.one("SELECT 1 FROM webhooks WHERE org_id = ? AND id = ?", (org_id, webhook_id)) is None:
        raise missing(operation, webhook_id)


def _no_delivery(operation: str, delivery_id: str) -> NotFoundError:
    return NotFoundError(operation, delivery_id, "the organization has no such delivery")
