"""The record of a user, and the rules for its fields. Pure: no database, no clock.

The password's hash is not part of the record: what is not there cannot be logged or sent.
"""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, cast

from aragora_persist.errors import DamagedError, InvalidValueError
from aragora_persist.times import from_text

if TYPE_CHECKING:
    from datetime import datetime

    from aragora_persist.storage.port import Row, Value

_LONGEST_EMAIL = 254  # RFC 5321, 4.5.3.1.3: a path of 256 octets with its two brackets

COLUMNS = (
    "id, email, name, org_id, role, created_at, updated_at, last_login_at, is_active, email_verified, avatar_url, "
    "preferences, locked_until, failed_login_count, lockout_reason, last_activity_at, last_debate_at"
)
"""What ``from_row`` takes, in this order."""


@dataclass(frozen=True, slots=True)
class User:
    """One user account. Times are aware UTC."""

    id: str
    email: str
    name: str
    org_id: str | None
    role: str
    created_at: datetime
    updated_at: datetime
    last_login_at: datetime | None
    is_active: bool
    email_verified: bool
    avatar_url: str | None
    preferences: dict[str, Any]
    locked_until: datetime | None
    failed_login_count: int
    lockout_reason: str | None
    last_activity_at: datetime | None
    last_debate_at: datetime | None


class UserProfile(TypedDict, total=False):
    """What a user can be made with, besides email and password."""

    name: str
    org_id: str | None
    role: str
    is_active: bool
    email_verified: bool
    avatar_url: str | None
    preferences: dict[str, Any]


class UserChanges(UserProfile, total=False):
    """What can be changed of a user."""

    email: str


_CHANGEABLE = frozenset(("email", *UserProfile.__annotations__))


def from_row(row: Row) -> User:
    """Return the record of a row of ``COLUMNS``; a NULL that the documented schema allows is its column's default.

    Raises:
        DamagedError: the stored preferences are not a JSON object, or a time is none.

    """
    values = cast(
        "tuple[str, str, str | None, str | None, str | None, str, str, str | None, int, int, str | None, "
        "str | None, str | None, int | None, str | None, str | None, str | None]",
        row,
    )
    (ident, email, name, org_id, role, created, updated, login, active, verified, avatar) = values[:11]
    (preferences, locked, failures, reason, activity, debate) = values[11:]
    try:
        return User(
            ident,
            email,
            name or "",
            org_id,
            role or "member",
            from_text(created),
            from_text(updated),
            None if login is None else from_text(login),
            bool(active),
            bool(verified),
            avatar,
            {} if preferences is None or preferences == "{}" else _object(preferences, ident),
            None if locked is None else from_text(locked),
            failures or 0,
            reason,
            None if activity is None else from_text(activity),
            None if debate is None else from_text(debate),
        )
    except (InvalidValueError, TypeError) as error:
        raise DamagedError("read user", ident, "a time of its row is not one", hint="correct the row") from error


def normal_email(email: str) -> str:
    """Return the one form of an email, for writing and looking up alike: stripped, NFC, lower case.

    Raises:
        InvalidValueError: it cannot be an email.

    """
    normal = unicodedata.normalize("NFC", unicodedata.normalize("NFC", email.strip()).lower())
    local, at, domain = normal.rpartition("@")
    if not (local and at and domain) or len(normal.encode("utf-8", "replace")) > _LONGEST_EMAIL:
        raise InvalidValueError("user", "email", "is not of the form name@domain of at most 254 bytes")
    if " " in normal or not normal.isprintable():
        raise InvalidValueError("user", "email", "has spaces or invisible characters inside")
    return normal


def to_columns(operation: str, changes: UserChanges) -> dict[str, Value]:
    """Return the columns and stored values of these changes.

    Raises:
        InvalidValueError: a field is not one of ``UserChanges``, or its value breaks a rule.

    """
    unknown = changes.keys() - _CHANGEABLE
    if unknown:
        raise InvalidValueError(operation, ", ".join(sorted(unknown)), "cannot be set here")
    columns: dict[str, Any] = dict(changes)
    if "email" in changes:
        columns["email"] = normal_email(changes["email"])
    if "preferences" in changes:
        columns["preferences"] = _to_json(changes["preferences"])
    return columns


def _to_json(preferences: dict[str, Any]) -> str:
    if not isinstance(preferences, dict):
        raise InvalidValueError("user", "preferences", "is not a dict")
    try:
        return json.dumps(preferences, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidValueError("user", "preferences", f"is not JSON: {error}") from error


def _object(text: str, ident: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise DamagedError("read user", ident, "preferences is not JSON") from error
    if not isinstance(value, dict):
        raise DamagedError("read user", ident, "preferences is not a JSON object")
    return value
