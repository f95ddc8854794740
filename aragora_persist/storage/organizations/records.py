"""The records of organizations, their members and invitations, and the rules for their fields. Pure: no database.

Leaves out: what an organization used (``usage``).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict, cast

from aragora_persist.errors import InvalidValueError
from aragora_persist.storage import checks
from aragora_persist.storage.rows import stored_object, stored_time, stored_time_or_none

if TYPE_CHECKING:
    from datetime import datetime

    from aragora_persist.storage.port import Row, Value

TIERS = ("free", "starter", "professional", "enterprise")
ROLES = ("owner", "admin", "member", "viewer")
"""What a member can be; each organization has one owner, and may have many of the others."""
GIVEN_ROLES = ROLES[1:]
"""What a member can be made; ownership is transferred."""

COLUMNS = (
    "id, name, slug, tier, owner_id, stripe_customer_id, stripe_subscription_id, created_at, updated_at, settings, "
    "closed_at"
)
MEMBER_COLUMNS = "org_id, user_id, role, joined_at"
INVITATION_COLUMNS = "id, org_id, email, role, invited_by, created_at, expires_at, accepted_at, accepted_by, revoked_at"

_LONGEST_SLUG = 63  # a label of a host name (RFC 1035), which a slug may become
_NOT_IN_SLUGS = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Organization:
    """One organization. Times are aware UTC; ``closed_at`` None is an open one."""

    id: str
    name: str
    slug: str
    tier: str
    owner_id: str | None
    stripe_customer_id: str | None
    stripe_subscription_id: str | None
    created_at: datetime
    updated_at: datetime
    settings: dict[str, Any]
    closed_at: datetime | None


class OrganizationChanges(TypedDict, total=False):
    """What of an organization can be changed."""

    name: str
    slug: str
    tier: str
    settings: dict[str, Any]
    stripe_customer_id: str | None
    stripe_subscription_id: str | None


@dataclass(frozen=True, slots=True)
class Membership:
    """One user in one organization."""

    org_id: str
    user_id: str
    role: str
    joined_at: datetime


@dataclass(frozen=True, slots=True)
class Invitation:
    """One invitation; pending while it is neither accepted nor revoked nor expired."""

    id: str
    org_id: str
    email: str
    role: str
    invited_by: str | None
    created_at: datetime
    expires_at: datetime
    accepted_at: datetime | None
    accepted_by: str | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class IssuedInvitation:
    """An invitation with its token, which is to be seen here and never again."""

    invitation: Invitation
    token: str = field(repr=False)


def slug_of(text: str) -> str:
    """Return the one form of a slug: a to z, 0 to 9 and single hyphens inside, at most 63; '' if nothing is left.

    Letters lose their accents and case; each run of other characters is a hyphen.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return _NOT_IN_SLUGS.sub("-", plain).strip("-")[:_LONGEST_SLUG].rstrip("-")


def checked_slug(operation: str, slug: str) -> str:
    """Return the one form of a slug that was given.

    Raises:
        InvalidValueError: nothing is left of it.

    """
    normal = slug_of(checks.text(operation, "slug", slug, longest=checks.LONGEST_NAME))
    if not normal:
        raise InvalidValueError(operation, "slug", "has no letter of a to z and no digit")
    return normal


def checked_name(operation: str, name: str) -> str:
    """Return a name that is not blank."""
    if not checks.text(operation, "name", name, longest=checks.LONGEST_NAME).strip():
        raise InvalidValueError(operation, "name", "is blank")
    return name


def to_columns(operation: str, changes: OrganizationChanges) -> dict[str, Value]:
    """Return the columns and stored values of these changes.

    Raises:
        InvalidValueError: a field is not one of ``OrganizationChanges``, or its value breaks a rule.

    """
    columns: dict[str, Value] = {}
    for name, value in changes.items():
        match name:
            case "name":
                columns[name] = checked_name(operation, changes["name"])
            case "slug":
                columns[name] = checked_slug(operation, changes["slug"])
            case "tier":
                columns[name] = checks.choice(operation, name, value, TIERS)
            case "settings":
                columns[name] = checks.json_object(operation, name, value)
            case "stripe_customer_id" | "stripe_subscription_id":
                columns[name] = None if value is None else checks.ident(operation, name, value)
            case _:
                raise InvalidValueError(operation, name, "cannot be given here")
    return columns


def to_organization(row: Row) -> Organization:
    """Return the record of a row of ``COLUMNS``; a NULL that the documented schema allows is its column's default."""
    ident, name, slug, tier, owner_id, customer, subscription, created, updated, settings, closed = cast(
        "tuple[str, str, str, str | None, str | None, str | None, str | None, str, str, str | None, str | None]", row
    )
    record = f"organization {ident}"
    return Organization(
        ident,
        name,
        slug,
        tier or "free",
        owner_id,
        customer,
        subscription,
        stored_time(created, record, "created_at"),
        stored_time(updated, record, "updated_at"),
        stored_object(settings, record, "settings"),
        stored_time_or_none(closed, record, "closed_at"),
    )


def to_membership(row: Row) -> Membership:
    """Return the record of a row of ``MEMBER_COLUMNS``."""
    org_id, user_id, role, joined = cast("tuple[str, str, str, str]", row)
    return Membership(org_id, user_id, role, stored_time(joined, f"member {user_id} of {org_id}", "joined_at"))


def to_invitation(row: Row) -> Invitation:
    """Return the record of a row of ``INVITATION_COLUMNS``."""
    ident, org_id, email, role, invited_by, created, expires, accepted, accepted_by, revoked = cast(
        "tuple[str, str, str, str, str | None, str, str, str | None, str | None, str | None]", row
    )
    record = f"invitation {ident}"
    return Invitation(
        ident,
        org_id,
        email,
        role,
        invited_by,
        stored_time(created, record, "created_at"),
        stored_time(expires, record, "expires_at"),
        stored_time_or_none(accepted, record, "accepted_at"),
        accepted_by,
        stored_time_or_none(revoked, record, "revoked_at"),
    )
