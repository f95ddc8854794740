"""The statements on the table of users that the parts of ``UserStore`` share.

Each runs inside a transaction of its caller. Leaves out: looking users up otherwise than by id, and all other tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist.errors import ConflictError, NotFoundError
from aragora_persist.storage.users.records import COLUMNS, User, from_row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aragora_persist.storage.port import Row, Transaction, Value

UNLOCKED: Mapping[str, Value] = {"failed_login_count": 0, "locked_until": None, "lockout_reason": None}
"""What lifting a lock sets."""

QUALIFIED = ", ".join(f"users.{column}" for column in COLUMNS.split(", "))
"""``COLUMNS`` for a join."""


def set_columns(tx: Transaction, operation: str, user_id: str, columns: Mapping[str, Value]) -> User:
    """Set these columns of a user and return the user.

    Raises:
        NotFoundError: there is no such user.
        ConflictError: the email is another user's.

    """
    columns = _with_email(tx, operation, user_id, columns)
    assignments = ", ".join(f"{column} = ?" for column in columns)
    update = f"UPDATE users SET {assignments} WHERE id = ? RETURNING {COLUMNS}"  # noqa: S608 - names of this package
    return to_user(tx.one(update, (*columns.values(), user_id)), operation, user_id)


def require_user(tx: Transaction, operation: str, user_id: str) -> None:
    """Return when there is this user.

    Raises:
        NotFoundError: there is none.

    """
    if tx.one("SELECT 1 FROM users WHERE id = ?", (user_id,)) is None:
        raise no_such_user(operation, user_id)


def to_user(row: Row | None, operation: str, user_id: str) -> User:
    """Return the user of a row that a statement gave back, if it found one.

    Raises:
        NotFoundError: it did not.

    """
    if row is None:
        raise no_such_user(operation, user_id)
    return from_row(row)


def no_such_user(operation: str, user_id: str) -> NotFoundError:
    """Return the error that says that there is no such user."""
    return NotFoundError(operation, user_id, "there is no such user")


def _with_email(tx: Transaction, operation: str, user_id: str, columns: Mapping[str, Value]) -> Mapping[str, Value]:
    """Return the columns with what follows from a new email: nobody has verified it yet."""
    if "email" not in columns:
        return columns
    holder = tx.one("SELECT id FROM users WHERE email = ?", (columns["email"],))
    if holder is None:
        return {"email_verified": 0, **columns}
    if holder[0] != user_id:
        raise ConflictError(operation, "email", "is taken")
    return columns
