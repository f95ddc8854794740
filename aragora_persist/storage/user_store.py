"""User accounts: made, found, changed and authenticated.

Leaves out: organizations, API keys, OAuth, sessions and MFA. Passwords are hashed outside of transactions: a hash takes
tens of milliseconds, and the writer is everybody's.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import TYPE_CHECKING

from aragora_persist.errors import (
    AccountInactiveError,
    AccountLockedError,
    ConflictError,
    InvalidValueError,
    NotFoundError,
)
from aragora_persist.storage import passwords
from aragora_persist.storage.lockout import lock_after
from aragora_persist.storage.store import Store
from aragora_persist.storage.users import COLUMNS, User, UserChanges, UserProfile, from_row, normal_email, to_columns
from aragora_persist.times import from_text, to_text

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from datetime import datetime
    from typing import Unpack

    from aragora_persist.storage.port import Row, Transaction, Value

_BY_ID = f"SELECT {COLUMNS} FROM users WHERE id = ?"  # noqa: S608 - constants of this package
_BY_EMAIL = f"SELECT {COLUMNS} FROM users WHERE email = ?"  # noqa: S608 - as above


class UserStore(Store):
    """The users of one database. ``db_path`` None is ``aragora_users.db`` under ``NOMIC_DIR``.

    Methods that write take a transaction of the same database as ``tx``; without one, each is its own.
    """

    database_name = "users"

    def create(
        self, email: str, password: str | None = None, *, tx: Transaction | None = None, **profile: Unpack[UserProfile]
    ) -> User:
        """Make a user and return it. Without a password, the account takes no password login.

        Raises:
            ConflictError: the email is taken, however it is written.
            InvalidValueError: the email is none, the password is empty, or a field is not one of ``UserProfile``.

        """
        operation = "user.create"
        columns = to_columns(operation, {**profile, "email": email})
        now = to_text(self._clock())
        columns |= {
            "id": os.urandom(16).hex(),
            "password_hash": "" if password is None else _hashed(password),
            "password_salt": "",  # argon2 keeps its salt inside the hash
            "created_at": now,
            "updated_at": now,
        }
        marks = ", ".join("?" * len(columns))
        insert = f"INSERT INTO users ({', '.join(columns)}) VALUES ({marks}) RETURNING {COLUMNS}"  # noqa: S608 - ours
        with self._writing(operation, tx) as writing:
            _refuse_taken(writing, operation, columns["email"])
            return _returned(writing.one(insert, tuple(columns.values())), operation, "the new user")

    def get(self, user_id: str) -> User | None:
        """Return the user of this id, or None."""
        with self._database.read("user.get") as view:
            row = view.one(_BY_ID, (user_id,))
        return None if row is None else from_row(row)

    def get_by_email(self, email: str) -> User | None:
        """Return the user of this email, however it is written, or None; what cannot be an email is nobody's."""
        try:
            normal = normal_email(email)
        except InvalidValueError:
            return None
        with self._database.read("user.get_by_email") as view:
            row = view.one(_BY_EMAIL, (normal,))
        return None if row is None else from_row(row)

    def update(self, user_id: str, *, tx: Transaction | None = None, **changes: Unpack[UserChanges]) -> User:
        """Change the given fields and return the user.

        Raises:
            NotFoundError: there is no such user.
            ConflictError: the new email is taken.
            InvalidValueError: a value breaks a rule, or a field is not one of ``UserChanges``.

        """
        columns = to_columns("user.update", changes)
        with self._writing("user.update", tx) as writing:
            if "email" in columns:
                _refuse_taken(writing, "user.update", columns["email"], but=user_id)
            return _set(writing, "user.update", user_id, updated_at=to_text(self._clock()), **columns)

    def set_password(self, user_id: str, password: str | None, *, tx: Transaction | None = None) -> User:
        """Set a new password and lift a lock; None ends password logins.

        Raises:
            NotFoundError: there is no such user.
            InvalidValueError: the password is empty.

        """
        password_hash = "" if password is None else _hashed(password)
        with self._writing("user.set_password", tx) as writing:
            now = to_text(self._clock())
            return _set(writing, "user.set_password", user_id, updated_at=now, password_hash=password_hash, **_UNLOCKED)

    def record_activity(self, user_id: str, *, debate: bool = False, tx: Transaction | None = None) -> User:
        """Note that the user did something now, and whether it was a debate.

        Raises:
            NotFoundError: there is no such user.

        """
        now = to_text(self._clock())
        changes = {"last_activity_at": now, "last_debate_at": now} if debate else {"last_activity_at": now}
        with self._writing("user.record_activity", tx) as writing:
            return _set(writing, "user.record_activity", user_id, **changes)

    def authenticate(self, email: str, password: str) -> User | None:
        """Return the user with this email and password; None when there is none, which takes the same time.

        A success forgets the failures and renews a hash of outdated costs; failures lock (``lockout``).

        Raises:
            AccountLockedError: too many failures; even the right password is refused, and none is checked.
            AccountInactiveError: the password is right, but the account is switched off.

        """
        try:
            normal = normal_email(email)
        except InvalidValueError:
            normal = ""
        with self._database.read("user.authenticate") as view:
            row = view.one("SELECT id, password_hash, locked_until FROM users WHERE email = ?", (normal,))
        if row is None:
            passwords.matches("", password)
            return None
        user_id, password_hash = str(row[0]), str(row[1])
        self._refuse_locked(normal, row[2])
        right = passwords.matches(password_hash, password)
        renewed = (
            passwords.hash_password(password) if right and passwords.needs_rehash(password_hash) else password_hash
        )
        return self._attempted(user_id, password_hash, renewed if right else None)

    def _attempted(self, user_id: str, checked: str, renewed: str | None) -> User | None:
        """Write the outcome of an attempt against the hash ``checked``; ``renewed`` None is a failure.

        Others may have tried meanwhile: what holds is what stands when the writer's turn comes.
        """
        operation = "user.authenticate"
        with self._database.transaction(operation) as writing:
            row = writing.one(
                "SELECT email, password_hash, locked_until, is_active, failed_login_count FROM users WHERE id = ?",
                (user_id,),
            )
            if row is None or row[1] != checked:
                return None  # deleted, or its password changed, since it was checked
            email, _, locked_until, active, failures = row
            self._refuse_locked(email, locked_until)
            now = self._clock()
            if renewed is None:
                _set(writing, operation, user_id, **_failure(int(failures or 0) + 1, now))
                return None
            if not active:
                raise AccountInactiveError(operation, email, "is switched off")
            return _set(writing, operation, user_id, last_login_at=to_text(now), password_hash=renewed, **_UNLOCKED)

    def _refuse_locked(self, email: Value, locked_until: Value) -> None:
        if locked_until is not None and from_text(str(locked_until)) > self._clock():
            raise AccountLockedError(
                "user.authenticate", email, f"is locked until {locked_until!s}", hint="wait, or set a new password"
            )

    def _writing(self, operation: str, tx: Transaction | None) -> AbstractContextManager[Transaction]:
        return self._database.transaction(operation) if tx is None else nullcontext(tx)


_UNLOCKED: dict[str, Value] = {"failed_login_count": 0, "locked_until": None, "lockout_reason": None}


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


def _refuse_taken(writing: Transaction, operation: str, email: Value, but: str = "") -> None:
    if writing.one("SELECT 1 FROM users WHERE email = ? AND id <> ?", (email, but)) is not None:
        raise ConflictError(operation, "email", "is taken")


def _set(writing: Transaction, operation: str, user_id: str, **columns: Value) -> User:
    assignments = ", ".join(f"{column} = ?" for column in columns)
    update = f"UPDATE users SET {assignments} WHERE id = ? RETURNING {COLUMNS}"  # noqa: S608 - names of this package
    return _returned(writing.one(update, (*columns.values(), user_id)), operation, user_id)


def _returned(row: Row | None, operation: str, target: str) -> User:
    if row is None:
        raise NotFoundError(operation, target, "there is no such user")
    return from_row(row)


def _hashed(password: str) -> str:
    if not password:
        raise InvalidValueError("user", "password", "is empty")
    return passwords.hash_password(password)
