"""Webhooks as their organizations know them: made, found, changed, switched off, deleted, with their secrets.

Every method takes the organization's id, and another one's webhook is not there. Secrets are encrypted at rest, and
given out once: when they are made. Leaves out: changing secrets (``sealing``), and deliveries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from aragora_persist.errors import ConflictError
from aragora_persist.storage import checks
from aragora_persist.storage.encryption import Keyring
from aragora_persist.storage.organizations.memberships import require_open
from aragora_persist.storage.pages import Page, from_cursor, page_limit, to_page, walk
from aragora_persist.storage.store import Store
from aragora_persist.storage.webhooks.records import (
    WEBHOOK_COLUMNS,
    IssuedWebhook,
    Webhook,
    found,
    missing,
    to_webhook,
)
from aragora_persist.storage.webhooks.rules import check_events, checked_ids
from aragora_persist.storage.webhooks.sealing import new_secret, seal
from aragora_persist.storage.webhooks.targets import parse_target
from aragora_persist.times import to_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Unpack

    from aragora_persist.storage.port import Transaction, Value

MOST_WEBHOOKS = 100
"""An organization has at most so many: an event goes to each of them, in the transaction that enqueues it."""

_BATCH = 500
_ONE = f"SELECT {WEBHOOK_COLUMNS} FROM webhooks WHERE org_id = ? AND id = ?"  # noqa: S608 - constants of this package


class WebhookChanges(TypedDict, total=False):
    """What can be changed of a webhook."""

    url: str
    events: Sequence[str]
    description: str


class WebhookConfigs(Store):
    """The part of ``WebhookStore`` that knows webhooks and their organizations."""

    database_name = "users"

    def create(
        self, org_id: str, url: str, events: Sequence[str], *, description: str = "", tx: Transaction | None = None
    ) -> IssuedWebhook:
        """Make a webhook of an organization and return it with its secret, which is not given out again.

        ``events`` are event types, prefixes such as ``debate.*``, or ``*``.

        Raises:
            InvalidValueError: a value breaks a rule, the URL may not be reached (``targets``), or no key encrypts.
            NotFoundError: there is no such organization.
            ConflictError: it is closed, or has ``MOST_WEBHOOKS`` already.

        """
        operation = "webhook.create"
        webhook_id, now, secret = checks.new_id(), self._now(), new_secret()
        columns: dict[str, Value] = {
            "id": webhook_id,
            "org_id": checks.ident(operation, "org_id", org_id),
            **self._columns(operation, {"url": url, "events": events, "description": description}),
            "secret": seal(Keyring.required(self._settings, operation), webhook_id, secret),
            "created_at": now,
            "updated_at": now,
        }
        marks = ", ".join("?" * len(columns))
        insert = f"INSERT INTO webhooks ({', '.join(columns)}) VALUES ({marks}) RETURNING {WEBHOOK_COLUMNS}"  # noqa: S608 - names of this package

        def work(writing: Transaction) -> Webhook:
            _refuse_one_more(writing, operation, org_id)
            return found(writing.one(insert, tuple(columns.values())), operation, webhook_id)

        return IssuedWebhook(
            self._write(operation, work, tx, context={"org_id": org_id, "webhook_id": webhook_id}), secret
        )

    def get(self, org_id: str, webhook_id: str) -> Webhook | None:
        """Return this webhook of this organization, or None."""
        ids = checked_ids("webhook.get", org_id, webhook_id)
        row = self._database.read_one("webhook.get", _ONE, ids, {"webhook_id": webhook_id})
        return None if row is None else to_webhook(row)

    def list_webhooks(self, org_id: str, *, limit: int = 100, after: str | None = None) -> Page[Webhook]:
        """Return an organization's webhooks, the oldest first; ``after`` is the ``next`` of the page before."""
        operation = "webhook.list_webhooks"
        checks.ident(operation, "org_id", org_id)
        key = ("", "") if after is None else from_cursor(operation, after, str, str)
        with self._database.read(operation, {"org_id": org_id}) as view:
            rows = view.all(
                f"SELECT {WEBHOOK_COLUMNS} FROM webhooks WHERE org_id = ? AND (created_at, id) > (?, ?)"  # noqa: S608 - ours
                " ORDER BY created_at, id LIMIT ?",
                (org_id, *key, page_limit(operation, limit) + 1),
            )
        return to_page(
            [to_webhook(row) for row in rows], limit, lambda webhook: (to_text(webhook.created_at), webhook.id)
        )

    def iter_webhooks(self, org_id: str) -> Iterator[Webhook]:
        """Yield an organization's webhooks, the oldest first."""
        return walk(lambda after: self.list_webhooks(org_id, after=after))

    def update(
        self, org_id: str, webhook_id: str, *, tx: Transaction | None = None, **changes: Unpack[WebhookChanges]
    ) -> Webhook:
        """Change the given fields and return the webhook; what waits for it goes to the new URL.

        Raises:
            NotFoundError: the organization has no such webhook.
            InvalidValueError: a value breaks a rule, or a field is not one of ``WebhookChanges``.

        """
        operation = "webhook.update"
        return self._set(operation, org_id, webhook_id, self._columns(operation, changes), tx)

    def activate(self, org_id: str, webhook_id: str, *, tx: Transaction | None = None) -> Webhook:
        """Let events be enqueued and sent again; what waited all the while is sent now.

        Raises:
            NotFoundError: the organization has no such webhook.

        """
        changes: dict[str, Value] = {"is_active": 1, "inactive_reason": "", "dead_in_a_row": 0}
        return self._set("webhook.activate", org_id, webhook_id, changes, tx)

    def deactivate(
        self, org_id: str, webhook_id: str, *, reason: str = "switched off", tx: Transaction | None = None
    ) -> Webhook:
        """Enqueue and send nothing more; what waits keeps waiting, what is being sent is not stopped.

        Raises:
            NotFoundError: the organization has no such webhook.

        """
        operation = "webhook.deactivate"
        reason = checks.text(operation, "reason", reason, longest=checks.LONGEST_NAME, empty=False)
        return self._set(operation, org_id, webhook_id, {"is_active": 0, "inactive_reason": reason}, tx)

    def delete(self, org_id: str, webhook_id: str, *, tx: Transaction | None = None) -> None:
        """Remove a webhook with its deliveries; doing it again raises.

        Without ``tx``, it is switched off first and its deliveries go in batches, so that nobody else's write waits
        behind all of them. When that is interrupted, deleting it again goes on.

        Raises:
            NotFoundError: the organization has no such webhook.

        """
        operation = "webhook.delete"
        ids, context = checked_ids(operation, org_id, webhook_id), {"webhook_id": webhook_id}
        if tx is None:
            self._set(operation, org_id, webhook_id, {"is_active": 0, "inactive_reason": "is being deleted"}, None)
            while self._write(operation, lambda writing: _delete_deliveries(writing, webhook_id), context=context):
                pass

        def work(writing: Transaction) -> None:
            if not writing.execute("DELETE FROM webhooks WHERE org_id = ? AND id = ?", ids):
                raise missing(operation, webhook_id)

        self._write(operation, work, tx, context=context)

    def _set(
        self, operation: str, org_id: str, webhook_id: str, changes: dict[str, Value], tx: Transaction | None
    ) -> Webhook:
        ids = checked_ids(operation, org_id, webhook_id)
        columns: dict[str, Value] = {**changes, "updated_at": self._now()}
        assignments = ", ".join(f"{column} = ?" for column in columns)
        update = (
            f"UPDATE webhooks SET {assignments} WHERE org_id = ? AND id = ?"  # noqa: S608 - names of this package
            f" RETURNING {WEBHOOK_COLUMNS}"
        )

        def work(writing: Transaction) -> Webhook:
            return found(writing.one(update, (*columns.values(), *ids)), operation, webhook_id)

        return self._write(operation, work, tx, context={"webhook_id": webhook_id})

    def _columns(self, operation: str, changes: WebhookChanges) -> dict[str, Value]:
        """Return these changes as they are stored."""
        values: dict[str, Any] = dict(changes)
        checks.fields(operation, values, WebhookChanges.__annotations__)
        if "url" in values:
            parse_target(operation, values["url"], self._settings.webhook_allowed_networks)
        if "events" in values:
            values["events"] = check_events(operation, values["events"])
        if "description" in values:
            checks.text(operation, "description", values["description"], longest=checks.LONGEST_NAME)
        return values


def _refuse_one_more(writing: Transaction, operation: str, org_id: str) -> None:
    require_open(writing, operation, org_id)
    row = writing.one("SELECT COUNT(*) FROM webhooks WHERE org_id = ?", (org_id,))
    if row is not None and int(row[0] or 0) >= MOST_WEBHOOKS:
        problem = f"has {MOST_WEBHOOKS} webhooks, which is the most"
        raise ConflictError(operation, org_id, problem, hint="delete one that is not needed")


def _delete_deliveries(writing: Transaction, webhook_id: str) -> int:
    return writing.execute(
        "DELETE FROM webhook_deliveries WHERE id IN (SELECT id FROM webhook_deliveries WHERE webhook_id = ? LIMIT ?)",
        (webhook_id, _BATCH),
    )
