"""Multi-factor authentication: the secret that is shared with a user's device, encrypted, and backup codes, hashed.

A secret must be given back to check a device's codes, so it is encrypted, bound to its user (``encryption``), and never
stored otherwise. Backup codes are 80 random bits, of which the store keeps SHA-256 with the user's id: too many to try.
Leaves out: checking the codes of a device, which needs no database.
"""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING

from aragora_persist.errors import AccessDeniedError, ConflictError, DamagedError
from aragora_persist.settings import Secret
from aragora_persist.storage import checks
from aragora_persist.storage.bearer_tokens import token_hash
from aragora_persist.storage.store import Store
from aragora_persist.storage.users.statements import no_such_user, require_user, set_columns

if TYPE_CHECKING:
    from aragora_persist.storage.encryption import Keyring, Rotation
    from aragora_persist.storage.port import Transaction, Value
    from aragora_persist.storage.users.records import User

BACKUP_CODES = 10
_CODE_BYTES = 10
_LONGEST_SECRET = 1_000
_ROTATED_AT_ONCE = 200


class UserMfa(Store):
    """The part of ``UserStore`` for multi-factor authentication."""

    database_name = "users"

    def set_mfa_secret(self, user_id: str, secret: str, *, tx: Transaction | None = None) -> User:
        """Store the secret of a user's device, encrypted; it counts once ``enable_mfa`` says that the device has it.

        Raises:
            NotFoundError: there is no such user.
            ConflictError: it is enabled already: a device in use is not replaced by a mere write.
            InvalidValueError: no key is configured, or the secret is empty or too long.

        """
        operation = "user.set_mfa_secret"
        checks.ident(operation, "user_id", user_id)
        checks.text(operation, "secret", secret, longest=_LONGEST_SECRET, empty=False)
        stored = self._keyring(operation).encrypt(secret.encode(), bound_to=bound_to(user_id))
        columns = {"mfa_secret": stored, "updated_at": self._now()}

        def work(tx: Transaction) -> User:
            _refuse_enabled(tx, operation, user_id)
            return set_columns(tx, operation, user_id, columns)

        return self._write(operation, work, tx, context={"user_id": user_id})

    def mfa_secret(self, user_id: str) -> Secret | None:
        """Return the secret of the user's device, or None when there is no such user or secret.

        Raises:
            InvalidValueError: no key is configured.
            AccessDeniedError: the key that it is under is not in the file.
            DamagedError: what is stored is not what was.

        """
        operation = "user.mfa_secret"
        checks.ident(operation, "user_id", user_id)
        row = self._database.read_one(
            operation, "SELECT mfa_secret FROM users WHERE id = ?", (user_id,), {"user_id": user_id}
        )
        if row is None or row[0] is None:
            return None
        return Secret(self._keyring(operation).decrypt(str(row[0]), bound_to=bound_to(user_id)).decode())

    def enable_mfa(self, user_id: str, secret: str, *, tx: Transaction | None = None) -> User:
        """Ask for more than a password from now on; to be called once a code of the device was right.

        ``secret`` is what the code was checked with: one that was set since then, which nobody has checked, is not
        enabled, for it would lock the user out or let somebody else in.

        Raises:
            NotFoundError: there is no such user.
            ConflictError: there is no secret to check codes with, or it is another one by now.
            InvalidValueError: no key is configured, or the secret is empty or too long.

        """
        operation = "user.enable_mfa"
        checks.ident(operation, "user_id", user_id)
        checks.text(operation, "secret", secret, longest=_LONGEST_SECRET, empty=False)
        keyring = self._keyring(operation)
        columns: dict[str, Value] = {"mfa_enabled": 1, "updated_at": self._now()}

        def work(tx: Transaction) -> User:
            row = tx.one("SELECT mfa_secret FROM users WHERE id = ?", (user_id,))
            if row is None:
                raise no_such_user(operation, user_id)
            if row[0] is None:
                raise ConflictError(operation, f"user {user_id}", "has no secret", hint="call set_mfa_secret first")
            if keyring.decrypt(str(row[0]), bound_to=bound_to(user_id)) != secret.encode():
                raise ConflictError(
                    operation, f"user {user_id}", "has another secret by now", hint="check a code again"
                )
            return set_columns(tx, operation, user_id, columns)

        return self._write(operation, work, tx, context={"user_id": user_id})

    def disable_mfa(self, user_id: str, *, tx: Transaction | None = None) -> User:
        """Ask for a password alone again, and forget the secret and the backup codes.

        Raises:
            NotFoundError: there is no such user.

        """
        operation = "user.disable_mfa"
        checks.ident(operation, "user_id", user_id)
        columns: dict[str, Value] = {"mfa_enabled": 0, "mfa_secret": None, "updated_at": self._now()}

        def work(tx: Transaction) -> User:
            tx.execute("DELETE FROM mfa_backup_codes WHERE user_id = ?", (user_id,))
            return set_columns(tx, operation, user_id, columns)

        return self._write(operation, work, tx, context={"user_id": user_id})

    def new_backup_codes(self, user_id: str, *, tx: Transaction | None = None) -> list[str]:
        """Return ten new codes, each good for one login without the device; older ones work no longer.

        Raises:
            NotFoundError: there is no such user.

        """
        operation = "user.new_backup_codes"
        checks.ident(operation, "user_id", user_id)
        codes = [_new_code() for _ in range(BACKUP_CODES)]
        rows = [(user_id, _hash(user_id, code)) for code in codes]

        def work(tx: Transaction) -> None:
            require_user(tx, operation, user_id)
            tx.execute("DELETE FROM mfa_backup_codes WHERE user_id = ?", (user_id,))
            tx.execute_many("INSERT INTO mfa_backup_codes (user_id, code_hash) VALUES (?, ?)", rows)

        self._write(operation, work, tx, context={"user_id": user_id})
        return codes

    def use_backup_code(self, user_id: str, code: str, *, tx: Transaction | None = None) -> bool:
        """Use a code up; False when it is none of this user's, or was used. Case, spaces and dashes do not count."""
        operation = "user.use_backup_code"
        checks.ident(operation, "user_id", user_id)
        checks.text(operation, "code", code, longest=checks.LONGEST_ID)
        values = (user_id, _hash(user_id, code))
        delete = "DELETE FROM mfa_backup_codes WHERE user_id = ? AND code_hash = ?"
        return self._write(operation, lambda tx: tx.execute(delete, values) == 1, tx, context={"user_id": user_id})

    def backup_codes_left(self, user_id: str) -> int:
        """Return how many codes the user has left."""
        operation = "user.backup_codes_left"
        checks.ident(operation, "user_id", user_id)
        row = self._database.read_one(
            operation, "SELECT COUNT(*) FROM mfa_backup_codes WHERE user_id = ?", (user_id,), {"user_id": user_id}
        )
        return 0 if row is None else int(str(row[0]))

    def rotate_encryption(self) -> Rotation:
        """Encrypt every secret anew that is not under the first key of the file, a batch at a time.

        It may be stopped at any point and called again, and runs beside everything else. When it finds nothing
        unreadable, the other keys can be taken out of the file.

        Raises:
            InvalidValueError: no key is configured.

        """
        from aragora_persist.storage.encryption import Rotation  # noqa: PLC0415 - see _keyring

        keyring = self._keyring("user.rotate_encryption")
        renewed, current, unreadable, begin = 0, 0, [], ""
        while rows := self._secrets_after(begin):
            begin = rows[-1][0]
            anew: list[tuple[str, str, str]] = []
            for user_id, stored in rows:
                if keyring.is_current(stored):
                    current += 1
                    continue
                try:
                    secret = keyring.decrypt(stored, bound_to=bound_to(user_id))
                except (AccessDeniedError, DamagedError):
                    unreadable.append(user_id)
                else:
                    anew.append((keyring.encrypt(secret, bound_to=bound_to(user_id)), user_id, stored))
            renewed += self._replace_secrets(anew)
        return Rotation(renewed, current, tuple(unreadable))

    def _keyring(self, operation: str) -> Keyring:
        """Return the keys as they are now; what encrypts loads with the first secret."""
        from aragora_persist.storage.encryption import Keyring  # noqa: PLC0415 - as said

        return Keyring.required(self._settings, operation)

    def _secrets_after(self, user_id: str) -> list[tuple[str, str]]:
        with self._database.read("user.rotate_encryption") as view:
            rows = view.all(
                "SELECT id, mfa_secret FROM users WHERE mfa_secret IS NOT NULL AND id > ? ORDER BY id LIMIT ?",
                (user_id, _ROTATED_AT_ONCE),
            )
        return [(str(ident), str(stored)) for ident, stored in rows]

    def _replace_secrets(self, anew: list[tuple[str, str, str]]) -> int:
        # A secret that was set meanwhile is under the first key, and stays.
        update = "UPDATE users SET mfa_secret = ? WHERE id = ? AND mfa_secret = ?"
        return self._write("user.rotate_encryption", lambda tx: tx.execute_many(update, anew)) if anew else 0


def _refuse_enabled(tx: Transaction, operation: str, user_id: str) -> None:
    row = tx.one("SELECT mfa_enabled FROM users WHERE id = ?", (user_id,))
    if row is None:
        raise no_such_user(operation, user_id)
    if row[0] == 1:
        problem = "has multi-factor authentication enabled"
        raise ConflictError(operation, f"user {user_id}", problem, hint="call disable_mfa first")


def bound_to(user_id: str) -> str:
    """Return what a user's secret is encrypted for."""
    return f"user:{user_id}:mfa"


def _new_code() -> str:
    text = base64.b32encode(os.urandom(_CODE_BYTES)).decode().lower()
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))


def _hash(user_id: str, code: str) -> str:
    plain = "".join(code.split()).replace("-", "").lower()
    return token_hash(f"{user_id}:{plain}")
