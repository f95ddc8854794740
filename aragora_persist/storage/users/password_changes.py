"""Passwords that are set, and tokens that are sent to an email: to verify it, or to set a forgotten password.

A token (``bearer_tokens``) works once, until it expires, and only while its user has the email that it was made for.
Leaves out: sending it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from aragora_persist.settings import Secret
from aragora_persist.storage import checks
from aragora_persist.storage.bearer_tokens import new_token, token_hash
from aragora_persist.storage.store import Store
from aragora_persist.storage.users.passwords import hash_password
from aragora_persist.storage.users.statements import UNLOCKED, no_such_user, set_columns
from aragora_persist.times import to_text

if TYPE_CHECKING:
    from aragora_persist.storage.port import Transaction
    from aragora_persist.storage.users.records import User

LIFETIMES = {"verify_email": timedelta(hours=24), "reset_password": timedelta(hours=1)}
"""How long a token of each purpose works."""


class UserPasswords(Store):
    """The part of ``UserStore`` for passwords and what proves an email."""

    database_name = "users"

    def set_password(self, user_id: str, password: str | None, *, tx: Transaction | None = None) -> User:
        """Set a new password, lift a lock and end all sessions; None ends password logins.

        Raises:
            NotFoundError: there is no such user.
            InvalidValueError: the password is empty or too long.

        """
        operation = "user.set_password"
        checks.ident(operation, "user_id", user_id)
        password_hash = "" if password is None else hash_password(password)
        now = self._now()
        return self._write(
            operation,
            lambda tx: _set_password(tx, operation, user_id, password_hash, now),
            tx,
            context={"user_id": user_id},
        )

    def new_verification_token(self, user_id: str, *, tx: Transaction | None = None) -> Secret:
        """Return a token for ``verify_email``, to be sent to the user's email; an older one works no longer.

        Raises:
            NotFoundError: there is no such user.

        """
        return self._new_token("user.new_verification_token", user_id, "verify_email", tx)

    def verify_email(self, token: str, *, tx: Transaction | None = None) -> User | None:
        """Note that the email is its user's, and return the user; None when the token is not good, or no longer."""
        operation = "user.verify_email"
        hashed, now = _checked_hash(operation, token), self._now()

        def work(tx: Transaction) -> User | None:
            user_id = _redeem(tx, "verify_email", hashed, now)
            if user_id is None:
                return None
            return set_columns(tx, operation, user_id, {"email_verified": 1, "updated_at": now})

        return self._write(operation, work, tx)

    def new_reset_token(self, user_id: str, *, tx: Transaction | None = None) -> Secret:
        """Return a token for ``reset_password``, to be sent to the user's email; an older one works no longer.

        Raises:
            NotFoundError: there is no such user.

        """
        return self._new_token("user.new_reset_token", user_id, "reset_password", tx)

    def reset_password(self, token: str, password: str, *, tx: Transaction | None = None) -> User | None:
        """Set a new password as ``set_password`` does, and return the user; None when the token is not good.

        Raises:
            InvalidValueError: the password is empty or too long; the token stays good.

        """
        operation = "user.reset_password"
        hashed, password_hash, now = _checked_hash(operation, token), hash_password(password), self._now()

        def work(tx: Transaction) -> User | None:
            user_id = _redeem(tx, "reset_password", hashed, now)
            return None if user_id is None else _set_password(tx, operation, user_id, password_hash, now)

        return self._write(operation, work, tx)

    def _new_token(self, operation: str, user_id: str, purpose: str, tx: Transaction | None) -> Secret:
        checks.ident(operation, "user_id", user_id)
        token = new_token("acc_")
        expires_at = to_text(self._clock() + LIFETIMES[purpose])

        def work(tx: Transaction) -> None:
            made = tx.execute(
                "INSERT INTO account_tokens (user_id, purpose, token_hash, email, expires_at) "
                "SELECT id, ?, ?, email, ? FROM users WHERE id = ? ON CONFLICT (user_id, purpose) DO UPDATE SET "
                "token_hash = excluded.token_hash, email = excluded.email, expires_at = excluded.expires_at",
                (purpose, token_hash(token), expires_at, user_id),
            )
            if not made:
                raise no_such_user(operation, user_id)

        self._write(operation, work, tx, context={"user_id": user_id})
        return Secret(token)


def _set_password(tx: Transaction, operation: str, user_id: str, password_hash: str, now: str) -> User:
    # Who knew the old password may hold sessions and a token for a new one.
    tx.execute("UPDATE users SET token_version = token_version + 1 WHERE id = ?", (user_id,))
    tx.execute("DELETE FROM account_tokens WHERE user_id = ? AND purpose = 'reset_password'", (user_id,))
    return set_columns(tx, operation, user_id, {"password_hash": password_hash, "updated_at": now, **UNLOCKED})


def _redeem(tx: Transaction, purpose: str, hashed: str, now: str) -> str | None:
    """Use a token up and return whose it is, if it is good."""
    row = tx.one(
        "DELETE FROM account_tokens WHERE token_hash = ? AND purpose = ? AND expires_at > ? "
        "AND email = (SELECT email FROM users WHERE users.id = account_tokens.user_id) RETURNING user_id",
        (hashed, purpose, now),
    )
    return None if row is None else str(row[0])


def _checked_hash(operation: str, token: object) -> str:
    return token_hash(checks.text(operation, "token", token, longest=checks.LONGEST_ID))
