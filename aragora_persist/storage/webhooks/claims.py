"""Which deliveries a worker gets: statements inside one transaction.

Webhooks take turns, from a place in the order of their ids that each claim chooses by chance: a million deliveries that
wait for one webhook hold up nobody else's. A claim costs a step in an index for each webhook that something waits for,
however many deliveries that is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aragora_persist.storage.webhooks.outcomes import bury
from aragora_persist.storage.webhooks.records import UNREPORTED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aragora_persist.storage.port import Row, Transaction

MOST_IN_FLIGHT = 2
"""So many deliveries of one webhook are under way at once."""

_LOST_BATCH = 100
_LAST = "g"  # behind every id: those are hex digits


class Claim(NamedTuple):
    """Who claims: its token, the id that its turn starts behind, its time and the claim's end."""

    token: str
    start: str
    now: str
    until: str


# Recursion, because DISTINCT would walk over every waiting delivery: this is one step in the index for each webhook.
_WEBHOOKS = """
WITH RECURSIVE waiting (webhook_id) AS (
    SELECT MIN(webhook_id) FROM webhook_deliveries WHERE due_at IS NOT NULL AND webhook_id > ? AND webhook_id <= ?
    UNION ALL
    SELECT (
        SELECT MIN(later.webhook_id) FROM webhook_deliveries AS later
        WHERE later.due_at IS NOT NULL AND later.webhook_id > waiting.webhook_id AND later.webhook_id <= ?
    )
    FROM waiting WHERE waiting.webhook_id IS NOT NULL
)
SELECT webhook_id, in_flight FROM (
    SELECT webhook_id, (
        SELECT COUNT(*) FROM webhook_deliveries AS claimed
        WHERE claimed.webhook_id = waiting.webhook_id AND claimed.claim IS NOT NULL AND claimed.due_at > ?
    ) AS in_flight
    FROM waiting
    WHERE EXISTS (
        SELECT 1 FROM webhook_deliveries AS due WHERE due.webhook_id = waiting.webhook_id AND due.due_at <= ?
    )
    AND (SELECT is_active FROM webhooks WHERE webhooks.id = waiting.webhook_id) = 1
) AS ready
WHERE in_flight < ? LIMIT ?
"""

_DUE = """
SELECT id FROM webhook_deliveries
WHERE webhook_id = ? AND due_at <= ? AND attempts_left > 0 ORDER BY due_at LIMIT ?
"""

_CLAIM = """
UPDATE webhook_deliveries SET claim = ?, due_at = ?, attempts = attempts + 1, attempts_left = attempts_left - 1
WHERE id = ?
"""

_CLAIMED = """
SELECT webhook_deliveries.id, webhook_id, url, event_type, body, attempts, attempts_left, secret,
    CASE WHEN previous_secret_until > ? THEN previous_secret END
FROM webhook_deliveries JOIN webhooks ON webhooks.id = webhook_id WHERE webhook_deliveries.id = ?
"""


def claim_deliveries(writing: Transaction, claim: Claim, limit: int) -> list[Row]:
    """Claim up to so many deliveries that are due, and return what is needed to send each."""
    _bury_lost(writing, claim.now)
    claimed: list[Row] = []
    for webhook_id, in_flight in _webhooks_in_turn(writing, claim, limit):
        room = min(MOST_IN_FLIGHT - in_flight, limit - len(claimed))
        for (delivery_id,) in writing.all(_DUE, (webhook_id, claim.now, room)):
            writing.execute(_CLAIM, (claim.token, claim.until, delivery_id))
            for row in writing.all(_CLAIMED, (claim.now, delivery_id)):
                claimed.append(row)
                writing.execute(
                    "INSERT INTO webhook_attempts (delivery_id, number, attempted_at, error) VALUES (?, ?, ?, ?)",
                    (delivery_id, row[5], claim.now, UNREPORTED),
                )
        if len(claimed) == limit:
            break
    return claimed


def _webhooks_in_turn(writing: Transaction, claim: Claim, limit: int) -> Iterator[tuple[str, int]]:
    """Yield webhooks for which something is due, each with how many of its deliveries are under way."""
    for start, end in ((claim.start, _LAST), ("", claim.start)):
        for row in writing.all(_WEBHOOKS, (start, end, end, claim.now, claim.now, MOST_IN_FLIGHT, limit)):
            yield str(row[0]), int(row[1] or 0)


def _bury_lost(writing: Transaction, now: str) -> None:
    """Give up the deliveries whose last worker did not come back."""
    lost = writing.all(
        "SELECT id, webhook_id FROM webhook_deliveries"
        " WHERE claim IS NOT NULL AND due_at <= ? AND attempts_left = 0 LIMIT ?",
        (now, _LOST_BATCH),
    )
    for delivery_id, webhook_id in lost:
        bury(writing, str(delivery_id), str(webhook_id), reason=UNREPORTED, now=now)
