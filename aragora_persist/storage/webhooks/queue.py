"""What is to be sent to webhooks: enqueued, claimed by workers, and told how it ended.

A delivery is sent at least once, and by one worker at a time: whoever claims it has it until the claim ends, and a
worker that is killed gives it back by not doing anything. Of one webhook at most ``MOST_IN_FLIGHT`` are under way at
once, so that one that hangs does not take all workers. They are begun in the order in which they are due; a retry comes
after newer ones, so that no order of arrival is promised.

Claims and outcomes survive a crash of the process, not a loss of power: that costs a delivery that comes twice. Leaves
out: the network (``sender``).
"""

from __future__ import annotations

import json
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, cast

from aragora_persist.errors import AccessDeniedError, DamagedError, InvalidValueError
from aragora_persist.settings import Durability
from aragora_persist.storage import checks
from aragora_persist.storage.encryption import Keyring
from aragora_persist.storage.store import Store
from aragora_persist.storage.webhooks.claims import Claim, claim_deliveries
from aragora_persist.storage.webhooks.outcomes import Outcome, note_failure, note_success
from aragora_persist.storage.webhooks.records import (
    ERRORS,
    ClaimedDelivery,
    stored_events,
)
from aragora_persist.storage.webhooks.rules import check_event_type, checked_span, matches
from aragora_persist.storage.webhooks.schedule import MOST_ATTEMPTS, delay_after
from aragora_persist.storage.webhooks.sealing import unseal
from aragora_persist.times import to_text

if TYPE_CHECKING:
    from typing import Any

    from aragora_persist.storage.port import Row, Transaction

LEASE = timedelta(seconds=120)
LONGEST_BODY = 256 * 1024
"""In bytes, as they are sent."""

_MOST_CLAIMED = 1000
_LONGEST_LEASE_S = 86_400.0


class WebhookQueue(Store):
    """The sending part of ``WebhookStore``."""

    database_name = "users"

    def enqueue(
        self,
        org_id: str,
        event_type: str,
        payload: dict[str, Any],
        *,
        event_key: str | None = None,
        tx: Transaction | None = None,
    ) -> list[str]:
        """Let an event be sent to each active webhook of the organization that subscribes to it.

        Returns the ids of the deliveries, one a webhook. With an ``event_key``, a webhook gets the event of that key
        once, however often it is enqueued: a repetition returns no ids, and the first payload stays. With ``tx``, the
        event is sent if the caller's transaction commits, and never otherwise. What is sent is the JSON text of an
        object with ``id``, ``type``, ``created_at`` and the payload as ``data``.

        Raises:
            InvalidValueError: a value breaks a rule; the body would have more than ``LONGEST_BODY`` bytes.

        """
        operation = "webhook.enqueue"
        checks.ident(operation, "org_id", org_id)
        if event_key is not None:
            checks.ident(operation, "event_key", event_key)
        now = self._now()
        body = _body(operation, check_event_type(operation, event_type), payload, now)

        def work(writing: Transaction) -> list[str]:
            rows = writing.all("SELECT id, events FROM webhooks WHERE org_id = ? AND is_active = 1", (org_id,))
            fitting = [str(row[0]) for row in rows if matches(stored_events(row[1], str(row[0])), event_type)]
            added = [
                writing.one(
                    "INSERT INTO webhook_deliveries"
                    " (id, webhook_id, event_type, event_key, body, state, created_at, due_at, attempts_left)"
                    " VALUES (?, ?, ?, ?, ?, 'waiting', ?, ?, ?)"
                    " ON CONFLICT (webhook_id, event_key) DO NOTHING RETURNING id",
                    (checks.new_id(), webhook_id, event_type, event_key, body, now, now, MOST_ATTEMPTS),
                )
                for webhook_id in fitting
            ]
            return [str(row[0]) for row in added if row is not None]

        return self._write(operation, work, tx, context={"org_id": org_id, "event_type": event_type})

    def claim_due(
        self, limit: int = 10, *, lease: timedelta = LEASE, tx: Transaction | None = None
    ) -> list[ClaimedDelivery]:
        """Claim deliveries that are due, of whichever organizations, and return them for this worker to send.

        Each is to be told ``succeeded`` or ``failed`` before the ``lease`` ends; after that another worker may claim
        it. Claiming is the attempt: one that its worker does not report is used up, and after the last one the delivery
        is dead. Inactive webhooks are passed over. A delivery whose secret cannot be decrypted fails at once.

        Raises:
            InvalidValueError: a value breaks a rule, or no keys are configured.

        """
        operation = "webhook.claim_due"
        checks.whole(operation, "limit", limit, least=1, most=_MOST_CLAIMED)
        checked_span(operation, "lease", lease, least_s=1, most_s=_LONGEST_LEASE_S)
        keyring = Keyring.required(self._settings, operation)
        while True:  # until something can be sent: what cannot be decrypted must not look like the end of the queue
            now = self._clock()
            claim = Claim(checks.new_id(), start=checks.new_id(), now=to_text(now), until=to_text(now + lease))
            work = partial(claim_deliveries, claim=claim, limit=limit)
            rows = self._write(operation, work, tx, durability=Durability.COMMITTED)
            deliveries = [_to_claimed(row, claim, keyring) for row in rows]
            for delivery in deliveries:
                if not delivery.secrets:
                    self.failed(delivery, error="secret", tx=tx)
            usable = [delivery for delivery in deliveries if delivery.secrets]
            if usable or not deliveries:
                return usable

    def succeeded(
        self, delivery: ClaimedDelivery, *, status: int, duration_ms: float, tx: Transaction | None = None
    ) -> bool:
        """Note that the receiver has taken it; False when the claim has ended meanwhile, and nothing was noted.

        Raises:
            InvalidValueError: a value breaks a rule.

        """
        operation = "webhook.succeeded"
        _check_claimed(operation, delivery)
        outcome = Outcome(
            "", checks.whole(operation, "status", status, least=100, most=999), _duration(operation, duration_ms)
        )
        now = self._now()
        return self._write(
            operation,
            lambda writing: note_success(writing, delivery, outcome, now),
            tx,
            durability=Durability.COMMITTED,
            context={"delivery_id": delivery.id},
        )

    def failed(
        self,
        delivery: ClaimedDelivery,
        *,
        error: str,
        status: int | None = None,
        duration_ms: float = 0.0,
        tx: Transaction | None = None,
    ) -> bool:
        """Note that it did not work; False when the claim has ended meanwhile, and nothing was noted.

        It is tried again after a while (``schedule``); after its last attempt it is dead. So it is at once where the
        receiver answers 410 Gone, which switches the webhook off, as do ``DEAD_IN_A_ROW`` dead ones without a success.

        Raises:
            InvalidValueError: a value breaks a rule; ``error`` is one of ``records.ERRORS``.

        """
        operation = "webhook.failed"
        _check_claimed(operation, delivery)
        outcome = Outcome(
            checks.choice(operation, "error", error, ERRORS),
            None if status is None else checks.whole(operation, "status", status, least=100, most=999),
            _duration(operation, duration_ms),
        )
        now = self._clock()
        due = to_text(now + delay_after(delivery.attempts_left)) if delivery.attempts_left else None
        return self._write(
            operation,
            lambda writing: note_failure(writing, delivery, outcome, now=to_text(now), due=due),
            tx,
            durability=Durability.COMMITTED,
            context={"delivery_id": delivery.id},
        )


def _body(operation: str, event_type: str, payload: dict[str, Any], now: str) -> str:
    """Return the JSON text that is sent; every webhook of one event gets the same."""
    data = checks.json_object(operation, "payload", payload, longest=LONGEST_BODY)
    head = json.dumps({"id": checks.new_id(), "type": event_type, "created_at": now}, separators=(",", ":"))
    body = f'{head[:-1]},"data":{data}}}'
    if (size := len(body.encode())) > LONGEST_BODY:
        problem = f"makes a body of {size:,} bytes, at most {LONGEST_BODY:,} are sent"
        raise InvalidValueError(operation, "payload", problem, hint="send an id, and let the receiver ask for the rest")
    return body


def _check_claimed(operation: str, value: object) -> None:
    if not isinstance(value, ClaimedDelivery):
        raise InvalidValueError(operation, "delivery", f"is a {type(value).__name__}, not what claim_due returned")


def _duration(operation: str, value: object) -> float:
    return checks.number(operation, "duration_ms", value, least=0)


def _to_claimed(row: Row, claim: Claim, keyring: Keyring) -> ClaimedDelivery:
    """Return the record of a claimed row; without secrets when one of them cannot be decrypted."""
    values = cast("tuple[str, str, str, str, str, int, int, str, str | None]", row)
    (ident, webhook_id, url, event_type, body, attempt, left, *sealed) = values
    try:
        secrets = tuple(unseal(keyring, webhook_id, str(stored)) for stored in sealed if stored is not None)
    except (AccessDeniedError, DamagedError):
        secrets = ()
    return ClaimedDelivery(ident, webhook_id, url, event_type, body, secrets, attempt, left, claim.token)
