"""The record of a user, and the rules for its fields. Pure: no database, no clock.

What a secret is made of (the password's hash, the secret of multi-factor authentication) is not part of the record:
what is not there cannot be logged or sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict, cast

from aragora_persist import json_text
from aragora_persist.errors import DamagedError, InvalidValueError
from aragora_persist.records import builder, dataclass
from aragora_persist.storage import checks
from aragora_persist.storage.rows import stored_object
from aragora_persist.times import from_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from aragora_persist.storage.port import Row, Value

_LONGEST_EMAIL = 254  # RFC 5321, 4.5.3.1.3: a path of 256 octets with its two brackets
_LONGEST_URL = 2_048
_LONGEST_PREFERENCES = 64 * 1024
"""As JSON: they are read with every look-up of their user."""


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
    token_version: int
    """What a session carries; one that carries another is over (``UserStore.revoke_sessions``)."""
    mfa_enabled: bool
    """Whether a password alone is not enough to log in."""


COLUMNS = ", ".join(User.__annotations__)
"""What ``from_row`` takes, in this order."""


class UserProfile(TypedDict, total=False):
    """What a user can be made with, besides email and password.

    ``org_id`` and ``role`` show a membership (``OrganizationStore.add_member``), and are not set otherwise.
    """

    name: str
    is_active: bool
    email_verified: bool
    avatar_url: str | None
    preferences: dict[str, Any]


class UserChanges(UserProfile, total=False):
    """What can be changed of a user."""

    email: str


_user = builder(User)
_time = cast("Callable[[Value], datetime]", from_text)  # what is no text is caught
_MEMBERSHIP = "OrganizationStore sets them: add_member, change_role, set_primary"
_NO_EMAIL = f"is not of the form name@domain of at most {_LONGEST_EMAIL} bytes"


def from_row(row: Row) -> User:
    """Return the record of a row of ``COLUMNS``; a NULL that the documented schema allows is its column's default.

    Raises:
        DamagedError: the stored preferences are not a JSON object, or a time is none.

    """
    # fmt: off
    (
        ident, email, name, org_id, role, created, updated, login, active, verified, avatar, preferences,
        locked, failures, reason, activity, debate, version, mfa,
    ) = row
    # fmt: on
    try:
        return _user(
            ident,
            email,
            name or "",
            org_id,
            role or "member",
            _time(created),
            _time(updated),
            None if login is None else _time(login),
            active == 1,
            verified == 1,
            avatar,
            _preferences(preferences, ident),
            None if locked is None else _time(locked),
            failures or 0,
            reason,
            None if activity is None else _time(activity),
            None if debate is None else _time(debate),
            version,
            mfa == 1,
        )
    except (InvalidValueError, TypeError) as error:
        raise DamagedError("read", f"user {ident!s}", "a time of its row is not one", hint="correct the row") from error


def normal_email(email: object, operation: str = "user") -> str:
    """Return the one form of an email, for writing and looking up alike: stripped, NFC, lower case.

    Raises:
        InvalidValueError: it cannot be an email.

    """
    if not isinstance(email, str) or len(email) > checks.LONGEST_NAME:
        raise InvalidValueError(operation, "email", _NO_EMAIL)
    normal = email.strip().lower() if email.isascii() else _composed(_composed(email.strip()).lower())
    local, at, domain = normal.rpartition("@")
    if not (local and at and domain) or len(normal.encode("utf-8", "replace")) > _LONGEST_EMAIL:
        raise InvalidValueError(operation, "email", _NO_EMAIL)
    if " " in normal or not normal.isprintable():
        raise InvalidValueError(operation, "email", "has spaces or invisible characters inside")
    return normal


def to_columns(operation: str, changes: Mapping[str, object]) -> dict[str, Value]:
    """Return the columns and stored values of these ``UserChanges``, each of which is checked.

    Raises:
        InvalidValueError: a field is not one of ``UserChanges``, or its value breaks a rule.

    """
    if not isinstance(changes, Mapping):
        raise InvalidValueError(operation, "changes", f"are a {type(changes).__name__}, not a dict")
    checks.fields(operation, changes, _RULES, hint=_MEMBERSHIP if {"org_id", "role"} & set(changes) else "")
    return {field: _RULES[field](operation, field, value) for field, value in changes.items()}


def preferences_text(operation: str, preferences: object) -> str:
    """Return the preferences as they are stored.

    Raises:
        InvalidValueError: they are no dict, no JSON, or too long.

    """
    return checks.json_object(operation, "preferences", preferences, longest=_LONGEST_PREFERENCES)


def _preferences(stored: Value, ident: Value) -> dict[str, Any]:
    if stored is None or stored == "{}":
        return {}
    try:
        found, end = json_text.scan(stored, 0)  # type: ignore[arg-type] # what is no text is caught; at a quarter of the time
        if isinstance(found, dict) and end == len(cast("str", stored)):
            return found
    except (StopIteration, ValueError, TypeError, RecursionError):
        pass  # the slow way accepts more, and says what is wrong
    return stored_object(stored, f"user {ident!s}", "preferences")


def _composed(text: str) -> str:
    import unicodedata  # noqa: PLC0415 - a megabyte, and most emails are ASCII

    return unicodedata.normalize("NFC", text)


def _email(operation: str, _: str, value: object) -> str:
    return normal_email(value, operation)


def _name(operation: str, field: str, value: object) -> str:
    return checks.text(operation, field, value, longest=checks.LONGEST_NAME)


def _avatar_url(operation: str, field: str, value: object) -> str | None:
    return None if value is None else checks.text(operation, field, value, longest=_LONGEST_URL)


_RULES: dict[str, Callable[[str, str, object], Value]] = {
    "email": _email,
    "name": _name,
    "is_active": checks.flag,
    "email_verified": checks.flag,
    "avatar_url": _avatar_url,
    "preferences": lambda operation, _, value: preferences_text(operation, value),
}
