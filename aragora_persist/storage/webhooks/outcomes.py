"""What becomes of a delivery and its webhook after an attempt: statements inside one transaction."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from aragora_persist.storage.webhooks.schedule import DEAD_IN_A_ROW

if TYPE_CHECKING:
    from aragora_persist.storage.port import Transaction, Value
    from aragora_persist.storage.webhooks.records import ClaimedDelivery


class Outcome(NamedTuple):
    """How an attempt ended; the error is '' for a success, the status None without an answer."""

    error: str
    status: int | None
    duration_ms: float


def note_success(writing: Transaction, delivery: ClaimedDelivery, outcome: Outcome, now: str) -> bool:
    """Note a success where the claim still holds, and tell whether it does."""
    if not writing.execute(
        "UPDATE webhook_deliveries SET state = 'sent', due_at = NULL, claim = NULL, finished_at = ?"
        " WHERE id = ? AND claim = ?",
        (now, delivery.id, delivery.claim),
    ):
        return False
    _note_attempt(writing, delivery, outcome)
    writing.execute(
        "UPDATE webhooks SET success_count = success_count + 1, dead_in_a_row = 0, last_attempt_at = ?,"
        " last_success_at = ?, last_status = ?, last_error = '' WHERE id = ?",
        (now, now, outcome.status, delivery.webhook_id),
    )
    return True


def note_failure(
    writing: Transaction, delivery: ClaimedDelivery, outcome: Outcome, *, now: str, due: str | None
) -> bool:
    """Note a failure where the claim still holds, and tell whether it does; ``due`` None was the last attempt."""
    if not writing.execute(
        "UPDATE webhook_deliveries SET due_at = COALESCE(?, due_at), claim = NULL WHERE id = ? AND claim = ?",
        (due, delivery.id, delivery.claim),
    ):
        return False
    _note_attempt(writing, delivery, outcome)
    writing.execute(
        "UPDATE webhooks SET failure_count = failure_count + 1, last_attempt_at = ?, last_status = ?, last_error = ?"
        " WHERE id = ?",
        (now, outcome.status, outcome.error, delivery.webhook_id),
    )
    is_gone = outcome.status == HTTPStatus.GONE
    if due is None or is_gone:
        reason = outcome.error if outcome.status is None else f"{outcome.error} {outcome.status}"
        bury(writing, delivery.id, delivery.webhook_id, reason=reason, now=now)
    if is_gone:
        _switch_off(writing, delivery.webhook_id, "its receiver answered 410 Gone")
    return True


def bury(writing: Transaction, delivery_id: str, webhook_id: str, *, reason: str, now: str) -> None:
    """Make a waiting delivery a dead one, and switch its webhook off when there were many in a row."""
    if not writing.execute(
        "UPDATE webhook_deliveries SET state = 'dead', due_at = NULL, claim = NULL, finished_at = ?, reason = ?"
        " WHERE id = ? AND state = 'waiting'",
        (now, reason, delivery_id),
    ):
        return
    row = writing.one(
        "UPDATE webhooks SET dead_in_a_row = dead_in_a_row + 1 WHERE id = ? RETURNING dead_in_a_row", (webhook_id,)
    )
    if row is not None and int(row[0] or 0) >= DEAD_IN_A_ROW:
        _switch_off(writing, webhook_id, f"{DEAD_IN_A_ROW} deliveries in a row came to nothing")


def _switch_off(writing: Transaction, webhook_id: str, reason: str) -> None:
    values: tuple[Value, ...] = (reason, webhook_id)
    writing.execute("UPDATE webhooks SET is_active = 0, inactive_reason = ? WHERE id = ? AND is_active = 1", values)


def _note_attempt(writing: Transaction, delivery: ClaimedDelivery, outcome: Outcome) -> None:
    writing.execute(
        "UPDATE webhook_attempts SET status = ?, error = ?, duration_ms = ? WHERE delivery_id = ? AND number = ?",
        (outcome.status, outcome.error, outcome.duration_ms, delivery.id, delivery.attempt),
    )
