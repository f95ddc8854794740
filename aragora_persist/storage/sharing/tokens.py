"""The tokens of share links at rest: encrypted beside their hashes, shown to owners again, kept under the newest key.

A token is bound to its link: copied into another row it does not decrypt. Without a configured key only the hash is
kept, and the token is shown once.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from aragora_persist.errors import AccessDeniedError, DamagedError, NotFoundError, RevokedError
from aragora_persist.storage import checks
from aragora_persist.storage.encryption import Keyring, Rotation
from aragora_persist.storage.sharing.links import unknown, whose
from aragora_persist.storage.store import Store

if TYPE_CHECKING:
    from aragora_persist.storage.port import Transaction

_BATCH = 500
_ROTATE = "share_link.rotate_encryption"
_SEALED = """
    SELECT id, token_sealed FROM share_links WHERE id > ? AND token_sealed IS NOT NULL ORDER BY id LIMIT ?
"""


class ShareTokens(Store):
    """The part of ``ShareLinkStore`` that keeps tokens."""

    database_name = "users"

    def reveal_token(self, link_id: str, *, owner_id: str | None = None, org_id: str | None = None) -> str:
        """Return the token of a link again, to show its address to whom it belongs.

        Raises:
            NotFoundError: there is no such link of this owner or organization, or its token was not kept, because no
                key was configured when it was made.
            RevokedError: it was revoked.
            InvalidValueError: no key is configured.
            AccessDeniedError: the key that it is under is not in the file.

        """
        operation = "share_link.reveal_token"
        where, values = whose(operation, owner_id, org_id)
        link_id = checks.ident(operation, "link_id", link_id)
        keyring = Keyring.required(self._settings, operation)
        sql = f"SELECT token_sealed, revoked_at FROM share_links WHERE id = ? AND {where}"  # noqa: S608 - our constants
        row = self._database.read_one(operation, sql, (link_id, *values), {"link_id": link_id})
        if row is None:
            raise unknown(operation, link_id)
        sealed, revoked_at = row
        if revoked_at is not None:
            raise RevokedError(operation, link_id, "was revoked", hint="make a new link")
        if sealed is None:
            problem = "its token was not kept: no key was configured when it was made"
            raise NotFoundError(operation, link_id, problem, hint="make a new link")
        return keyring.decrypt(str(sealed), bound_to=_bound_to(link_id)).decode()

    def rotate_encryption(self) -> Rotation:
        """Encrypt what is under an older key under the first one, and tell what was found.

        In batches, each its own write; safe to repeat, and beside everything else that writes. The ``unreadable`` are
        ids of links.

        Raises:
            InvalidValueError: no keys are configured.

        """
        keyring = Keyring.required(self._settings, _ROTATE)
        renewed = current = 0
        unreadable: list[str] = []
        last = ""
        while batch := self._sealed_after(last):
            last = batch[-1][0]
            changes = []
            for link_id, stored in batch:
                if keyring.is_current(stored):
                    current += 1
                    continue
                try:
                    token = keyring.decrypt(stored, bound_to=_bound_to(link_id))
                except (AccessDeniedError, DamagedError):
                    unreadable.append(link_id)
                else:
                    changes.append((keyring.encrypt(token, bound_to=_bound_to(link_id)), link_id, stored))
            renewed += self._write(_ROTATE, partial(_replace, changes=changes)) if changes else 0
        return Rotation(renewed, current, tuple(unreadable))

    def _seal(self, link_id: str, token: str) -> str | None:
        """Return what is stored of a new token beside its hash; None without a key."""
        keyring = Keyring.from_settings(self._settings)
        return None if keyring is None else keyring.encrypt(token.encode(), bound_to=_bound_to(link_id))

    def _sealed_after(self, link_id: str) -> list[tuple[str, str]]:
        with self._database.read(_ROTATE) as view:
            return [(str(ident), str(sealed)) for ident, sealed in view.all(_SEALED, (link_id, _BATCH))]


def _bound_to(link_id: str) -> str:
    return f"share_link:{link_id}:token"


def _replace(writing: Transaction, *, changes: list[tuple[str, str, str]]) -> int:
    """Store what was encrypted anew where it was not revoked meanwhile, and return how many there were."""
    return writing.execute_many("UPDATE share_links SET token_sealed = ? WHERE id = ? AND token_sealed = ?", changes)
