"""The secrets of webhooks: made, changed with an overlap, and encrypted anew under another key.

A secret is bound to its webhook: copied into another row it does not decrypt. Leaves out: signing with them.
"""

from __future__ import annotations

import secrets as randomness
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from aragora_persist.errors import AccessDeniedError, DamagedError
from aragora_persist.settings import Secret
from aragora_persist.storage.encryption import Keyring, Rotation
from aragora_persist.storage.store import Store
from aragora_persist.storage.webhooks.records import WEBHOOK_COLUMNS, IssuedWebhook, Webhook, found
from aragora_persist.storage.webhooks.rules import checked_ids, checked_span
from aragora_persist.times import to_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aragora_persist.storage.port import Transaction

OVERLAP = timedelta(hours=24)
_LONGEST_OVERLAP_S = 30 * 86_400.0
_BATCH = 500


class WebhookSecrets(Store):
    """The part of ``WebhookStore`` that changes secrets."""

    database_name = "users"

    def rotate_secret(
        self, org_id: str, webhook_id: str, *, overlap: timedelta = OVERLAP, tx: Transaction | None = None
    ) -> IssuedWebhook:
        """Make a new secret and return it, once; for the time of ``overlap`` the one before signs too.

        An older one that still signed stops at once. An overlap of zero ends the old secret now: after a leak.

        Raises:
            NotFoundError: the organization has no such webhook.
            InvalidValueError: the overlap is below zero or above 30 days, or no key encrypts.

        """
        operation = "webhook.rotate_secret"
        ids = checked_ids(operation, org_id, webhook_id)
        checked_span(operation, "overlap", overlap, least_s=0, most_s=_LONGEST_OVERLAP_S)
        secret, now = new_secret(), self._clock()
        sealed = seal(Keyring.required(self._settings, operation), webhook_id, secret)
        values = (to_text(now + overlap), sealed, to_text(now), *ids)

        def work(writing: Transaction) -> Webhook:
            return found(writing.one(_CHANGE, values), operation, webhook_id)

        return IssuedWebhook(self._write(operation, work, tx, context={"webhook_id": webhook_id}), secret)

    def rotate_encryption(self) -> Rotation:
        """Encrypt what is under an older key under the first one, of all organizations, and tell what was found.

        In batches, each its own write; safe to repeat, and beside everything else that writes. The ``unreadable`` are
        ids of webhooks.

        Raises:
            InvalidValueError: no keys are configured.

        """
        keyring = Keyring.required(self._settings, _ROTATE)
        renewed = current = 0
        unreadable: dict[str, None] = {}
        for batch in self._sealed_batches():
            changes: list[tuple[str, str, str]] = []
            for webhook_id, stored in batch:
                if keyring.is_current(stored):
                    current += 1
                    continue
                try:
                    changes.append((seal(keyring, webhook_id, unseal(keyring, webhook_id, stored)), webhook_id, stored))
                except (AccessDeniedError, DamagedError):
                    unreadable[webhook_id] = None
            if changes:
                renewed += self._write(_ROTATE, partial(_replace, changes=changes))
        return Rotation(renewed, current, tuple(unreadable))

    def _sealed_batches(self) -> Iterator[list[tuple[str, str]]]:
        """Yield webhook ids with each of their encrypted secrets, so many webhooks at a time."""
        last = ""
        while True:
            with self._database.read(_ROTATE) as view:
                rows = view.all(
                    "SELECT id, secret, previous_secret FROM webhooks WHERE id > ? ORDER BY id LIMIT ?", (last, _BATCH)
                )
            if not rows:
                return
            last = str(rows[-1][0])
            yield [(str(row[0]), str(stored)) for row in rows for stored in row[1:] if stored is not None]


_ROTATE = "webhook.rotate_encryption"
_CHANGE = (
    "UPDATE webhooks SET previous_secret = secret, previous_secret_until = ?, secret = ?, updated_at = ?"  # noqa: S608 - a constant
    f" WHERE org_id = ? AND id = ? RETURNING {WEBHOOK_COLUMNS}"
)


def new_secret() -> Secret:
    """Return a new secret: ``whsec_`` and 32 bytes of the operating system's randomness."""
    return Secret(f"whsec_{randomness.token_urlsafe(32)}")


def seal(keyring: Keyring, webhook_id: str, secret: Secret) -> str:
    """Return the text to store for the secret of this webhook."""
    return keyring.encrypt(secret.reveal().encode(), bound_to=f"webhook:{webhook_id}:secret")


def unseal(keyring: Keyring, webhook_id: str, stored: str) -> Secret:
    """Return the secret of this webhook.

    Raises:
        AccessDeniedError: the key that it is under is not in the file.
        DamagedError: it was changed, or is another webhook's.

    """
    return Secret(keyring.decrypt(stored, bound_to=f"webhook:{webhook_id}:secret").decode())


def _replace(writing: Transaction, *, changes: list[tuple[str, str, str]]) -> int:
    """Store what was encrypted anew where nobody has changed it meanwhile, and return how many there were."""
    return sum(
        writing.execute(f"UPDATE webhooks SET {column} = ? WHERE id = ? AND {column} = ?", change)  # noqa: S608 - constants
        for change in changes
        for column in ("secret", "previous_secret")
    )
