"""The records of webhooks and their deliveries, as rows hold them. Pure: no database, no clock.

URLs and bodies do not show in a ``repr``: both may hold what only the webhook's owner should see.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from aragora_persist.errors import DamagedError, NotFoundError
from aragora_persist.storage.rows import stored_time, stored_time_or_none

if TYPE_CHECKING:
    from datetime import datetime

    from aragora_persist.settings import Secret
    from aragora_persist.storage.port import Row, Value

WEBHOOK_COLUMNS = (
    "id, org_id, url, events, description, is_active, inactive_reason, created_at, updated_at, previous_secret_until, "
    "success_count, failure_count, dead_in_a_row, last_attempt_at, last_success_at, last_status, last_error"
)
"""What ``to_webhook`` takes, in this order."""

DELIVERY_COLUMNS = (
    "id, webhook_id, event_type, event_key, body, state, created_at, due_at, "
    "attempts, attempts_left, finished_at, reason"
)
"""What ``to_delivery`` takes, in this order."""

STATES = ("waiting", "sent", "dead")


@dataclass(frozen=True, slots=True)
class Webhook:
    """One webhook of an organization. Times are aware UTC.

    ``failure_count`` counts attempts, not deliveries. ``previous_secret_until`` is when a secret that was rotated away
    stops to sign. ``inactive_reason`` is '' while it is active.
    """

    id: str
    org_id: str
    url: str = field(repr=False)
    events: tuple[str, ...]
    description: str
    is_active: bool
    inactive_reason: str
    created_at: datetime
    updated_at: datetime
    previous_secret_until: datetime | None
    success_count: int
    failure_count: int
    dead_in_a_row: int
    last_attempt_at: datetime | None
    last_success_at: datetime | None
    last_status: int | None
    last_error: str


@dataclass(frozen=True, slots=True)
class IssuedWebhook:
    """A webhook with a secret that was just made: the only time that it is given out."""

    webhook: Webhook
    secret: Secret


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one webhook.

    ``state`` is one of ``STATES``. ``due_at`` is when it is tried next, or until when a worker has it. ``body`` is the
    JSON text that is sent. ``reason`` says of a dead one what its last attempt came to.
    """

    id: str
    webhook_id: str
    event_type: str
    event_key: str | None
    body: str = field(repr=False)
    state: str
    created_at: datetime
    due_at: datetime | None
    attempts: int
    attempts_left: int
    finished_at: datetime | None
    reason: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to deliver.

    ``error`` is '' for a success, else one of ``ERRORS`` or ``UNREPORTED``; ``status`` None is no answer.
    """

    number: int
    attempted_at: datetime
    status: int | None
    error: str
    duration_ms: float | None


UNREPORTED = "unreported"
"""The error of an attempt whose worker has not told how it ended: it is under way, or was killed."""

ERRORS = (
    "status",  # the answer is no success
    "redirect",  # the answer names another place, which is not followed
    "answer",  # what came is no HTTP
    "timeout",
    "unreachable",  # the name is not known, or nobody accepts the connection, or it broke
    "tls",  # the certificate is not good, or TLS broke
    "target",  # the name leads to an address that may not be reached
    "secret",  # the webhook's secret cannot be decrypted
)
"""What an attempt can come to grief on."""


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A delivery that this worker, and nobody else, sends now. ``secrets`` sign it: more than one during a rotation."""

    id: str
    webhook_id: str
    url: str = field(repr=False)
    event_type: str
    body: str = field(repr=False)
    secrets: tuple[Secret, ...]
    attempt: int
    attempts_left: int
    claim: str


def stored_events(value: Value, webhook_id: str) -> tuple[str, ...]:
    """Return the patterns of a row.

    Raises:
        DamagedError: they are not what ``check_events`` made.

    """
    try:
        found = json.loads(str(value))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(pattern, str) for pattern in found):
        raise DamagedError("read", f"webhook {webhook_id}", "its events are not a list of texts", hint="update them")
    return tuple(found)


def to_webhook(row: Row) -> Webhook:
    """Return the record of a row of ``WEBHOOK_COLUMNS``.

    Raises:
        DamagedError: something in it is not what was stored.

    """
    values = cast(
        "tuple[str, str, str, str, str, int, str, str, str, str | None, int, int, int, str | None, str | None, "
        "int | None, str]",
        row,
    )
    (ident, org_id, url, events, description, active, reason, created, updated, until) = values[:10]
    (successes, failures, dead, attempt, success, status, error) = values[10:]
    name = f"webhook {ident}"
    return Webhook(
        ident,
        org_id,
        url,
        stored_events(events, ident),
        description,
        bool(active),
        reason,
        stored_time(created, name, "created_at"),
        stored_time(updated, name, "updated_at"),
        stored_time_or_none(until, name, "previous_secret_until"),
        successes,
        failures,
        dead,
        stored_time_or_none(attempt, name, "last_attempt_at"),
        stored_time_or_none(success, name, "last_success_at"),
        status,
        error,
    )


def to_delivery(row: Row) -> Delivery:
    """Return the record of a row of ``DELIVERY_COLUMNS``.

    Raises:
        DamagedError: something in it is not what was stored.

    """
    values = cast(
        "tuple[str, str, str, str | None, str, str, str, str | None, int, int, str | None, str]",
        row,
    )
    (ident, webhook_id, event_type, event_key, body, state, created, due, attempts, left, finished, reason) = values
    name = f"delivery {ident}"
    return Delivery(
        ident,
        webhook_id,
        event_type,
        event_key,
        body,
        state,
        stored_time(created, name, "created_at"),
        stored_time_or_none(due, name, "due_at"),
        attempts,
        left,
        stored_time_or_none(finished, name, "finished_at"),
        reason,
    )


def to_attempt(row: Row) -> Attempt:
    """Return the record of a row of number, attempted_at, status, error and duration_ms."""
    number, at, status, error, duration_ms = cast("tuple[int, str, int | None, str, float | None]", row)
    return Attempt(number, stored_time(at, f"attempt {number}", "attempted_at"), status, error, duration_ms)


def found(row: Row | None, operation: str, webhook_id: str) -> Webhook:
    """Return the webhook of a row.

    Raises:
        NotFoundError: there is no row: its organization has no such webhook.

    """
    if row is None:
        raise missing(operation, webhook_id)
    return to_webhook(row)


def missing(operation: str, webhook_id: str) -> NotFoundError:
    """Return the error for a webhook that is not there, or that is another organization's: nobody learns which."""
    return NotFoundError(operation, webhook_id, "the organization has no such webhook")
