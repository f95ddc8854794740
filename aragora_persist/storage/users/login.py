"""Logging in with a password, what failures do, and ending sessions.

Passwords are checked outside of transactions: that takes tens of milliseconds, and the writer is everybody's. Leaves
out: setting passwords, other ways to log in, and the sessions themselves.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from aragora_persist.errors import AccountInactiveError, AccountLockedError, InvalidValueError
from aragora_persist.storage import checks
from aragora_persist.storage.rows import stored_time
from aragora_persist.storage.store import Store
from aragora_persist.storage.users import passwords
from aragora_persist.storage.users.lockout import lock_after
from aragora_persist.storage.users.records import User, normal_email
from aragora_persist.storage.users.statements import UNLOCKED, no_such_user, set_columns
from aragora_persist.times import to_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from aragora_persist.storage.port import Transaction, Value

_CREDENTIALS = "SELECT id, password_hash, locked_until FROM users WHERE email = ?"


class UserLogin(Store):
    """The part of ``UserStore`` for logging in."""

    database_name = "users"

    def authenticate(self, email: str, password: str) -> User | None:
        """Return the user with this email and password; None when there is none, which takes the same time.

        A success forgets the failures and renews a hash of outdated costs; failures lock (``lockout``). Where the
        user's ``mfa_enabled`` is set, the password alone is not enough: what follows is the caller's to check. It takes
        no ``tx``: a failure must count, whatever becomes of its caller.

        Raises:
            AccountLockedError: too many failures; even the right password is refused, and none is checked.
            AccountInactiveError: the password is right, but the account is switched off.

        """
        operation = "user.authenticate"
        try:
            normal = normal_email(email)
        except InvalidValueError:
            normal = ""
        while (row := self._database.read_one(operation, _CREDENTIALS, (normal,))) is not None:
            user_id, checked = str(row[0]), str(row[1])
            _refuse_locked(operation, user_id, row[2], self._clock())
            renewed = _renewed(checked, password)
            work = partial(
                _attempted, operation=operation, user_id=user_id, hashes=(checked, renewed), now=self._clock()
            )
            attempt = self._write(operation, work, context={"user_id": user_id})
            if attempt.is_decided:
                return attempt.user
        passwords.matches("", password)
        return None

    def record_login(self, user_id: str, *, tx: Transaction | None = None) -> User:
        """Note that the user has logged in now in another way than by ``authenticate``.

        Raises:
            NotFoundError: there is no such user.

        """
        return self._change("user.record_login", user_id, {"last_login_at": self._now()}, tx)

    def record_activity(self, user_id: str, *, debate: bool = False, tx: Transaction | None = None) -> User:
        """Note that the user did something now, and whether it was a debate.

        Raises:
            NotFoundError: there is no such user.

        """
        operation = "user.record_activity"
        checks.flag(operation, "debate", debate)
        columns = ("last_activity_at", "last_debate_at") if debate else ("last_activity_at",)
        return self._change(operation, user_id, dict.fromkeys(columns, self._now()), tx)

    def unlock(self, user_id: str, *, tx: Transaction | None = None) -> User:
        """Lift a lock and forget the failures.

        Raises:
            NotFoundError: there is no such user.

        """
        return self._change("user.unlock", user_id, UNLOCKED, tx)

    def revoke_sessions(self, user_id: str, *, tx: Transaction | None = None) -> int:
        """Log the user out everywhere: return the ``token_version`` that new sessions carry, and older ones do not.

        Raises:
            NotFoundError: there is no such user.

        """
        operation = "user.revoke_sessions"
        checks.ident(operation, "user_id", user_id)

        def work(tx: Transaction) -> int:
            row = tx.one(
                "UPDATE users SET token_version = token_version + 1 WHERE id = ? RETURNING token_version", (user_id,)
            )
            if row is None:
                raise no_such_user(operation, user_id)
            return int(str(row[0]))

        return self._write(operation, work, tx, context={"user_id": user_id})

    def _change(self, operation: str, user_id: str, columns: Mapping[str, Value], tx: Transaction | None) -> User:
        checks.ident(operation, "user_id", user_id)
        return self._write(
            operation, lambda tx: set_columns(tx, operation, user_id, columns), tx, context={"user_id": user_id}
        )


class _Attempt(NamedTuple):
    """What became of an attempt; undecided is one against a hash that is not the user's any more."""

    is_decided: bool
    user: User | None


def _renewed(password_hash: str, password: str) -> str | None:
    """Return the hash that stands after this attempt, or None for a wrong password."""
    if not passwords.matches(password_hash, password):
        return None
    return passwords.hash_password(password) if passwords.needs_rehash(password_hash) else password_hash


def _attempted(
    tx: Transaction, *, operation: str, user_id: str, hashes: tuple[str, str | None], now: datetime
) -> _Attempt:
    """Write the outcome of an attempt; ``hashes`` are the checked one and what ``_renewed`` made of it.

    Others may have tried meanwhile: what holds is what stands when the writer's turn comes. Where one of them has
    renewed the hash, this attempt is neither right nor wrong yet.
    """
    checked, renewed = hashes
    row = tx.one(
        "SELECT password_hash, locked_until, is_active, failed_login_count FROM users WHERE id = ?", (user_id,)
    )
    if row is None or row[0] != checked:
        return _Attempt(is_decided=False, user=None)
    _, locked_until, active, failures = row
    _refuse_locked(operation, user_id, locked_until, now)
    if renewed is None:
        set_columns(tx, operation, user_id, _failure(int(str(failures or 0)) + 1, now))
        return _Attempt(is_decided=True, user=None)
    if active != 1:
        raise AccountInactiveError(operation, f"user {user_id}", "is switched off")
    columns = {"last_login_at": to_text(now), "password_hash": renewed, **UNLOCKED}
    return _Attempt(is_decided=True, user=set_columns(tx, operation, user_id, columns))


def _refuse_locked(operation: str, user_id: str, locked_until: Value, now: datetime) -> None:
    user = f"user {user_id}"
    if locked_until is not None and stored_time(locked_until, user, "locked_until") > now:
        problem = f"is locked until {locked_until!s}"
        raise AccountLockedError(operation, user, problem, hint="wait, set a new password, or call unlock")


def _failure(failures: int, now: datetime) -> dict[str, Value]:
    """Return what a failed attempt changes, when it is this many in a row."""
    duration = lock_after(failures)
    if duration is None:
        return {"failed_login_count": failures}
    return {
        "failed_login_count": failures,
        "locked_until": to_text(now + duration),
        "lockout_reason": f"{failures} failed logins in a row",
    }
