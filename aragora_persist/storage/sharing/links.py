"""The record of a share link, and who may follow it. Pure: no database, no clock.

A token is looked up by its hash, so that who reads the database or a backup of it can follow no link. But owners are
shown their links again: where an encryption key is configured, the token is stored encrypted beside its hash. Without a
key it is shown once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypedDict, cast

from aragora_persist.errors import AccessDeniedError, ExpiredError, InvalidValueError, NotFoundError, RevokedError
from aragora_persist.storage import checks
from aragora_persist.storage.rows import stored_time, stored_time_or_none

if TYPE_CHECKING:
    from datetime import datetime

    from aragora_persist.errors import PersistError
    from aragora_persist.storage.port import Row, Value

VISIBILITIES = ("private", "team", "public")
"""Who may follow a link besides having its token: its owner, the members of its organization, anybody."""

COLUMNS = (
    "id, debate_id, owner_id, org_id, visibility, allow_comments, allow_forking, created_at, updated_at, expires_at, "
    "revoked_at, view_count, last_viewed_at"
)
_OF_OWNER = """owner_id = ? AND (org_id IS NULL OR EXISTS (
    SELECT 1 FROM memberships WHERE memberships.org_id = share_links.org_id AND user_id = owner_id))"""


@dataclass(frozen=True, slots=True)
class ShareLink:
    """One share link, without its token. ``expires_at`` None: it does not expire; ``revoked_at`` None: it was not."""

    id: str
    debate_id: str
    owner_id: str
    org_id: str | None
    visibility: str
    allow_comments: bool
    allow_forking: bool
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    view_count: int
    last_viewed_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewShareLink:
    """A share link that was just made, with the token that goes into its address."""

    link: ShareLink
    token: str = field(repr=False)


class ShareLinkChanges(TypedDict, total=False):
    """What of a share link can be changed."""

    visibility: str
    expires_at: datetime | None
    allow_comments: bool
    allow_forking: bool


def to_columns(operation: str, changes: ShareLinkChanges) -> dict[str, Value]:
    """Return the columns and stored values of these changes.

    Raises:
        InvalidValueError: a field is not one of ``ShareLinkChanges``, or its value breaks a rule.

    """
    columns: dict[str, Value] = {}
    for name, value in changes.items():
        match name:
            case "visibility":
                columns[name] = checks.choice(operation, name, value, VISIBILITIES)
            case "expires_at":
                columns[name] = None if value is None else checks.moment(operation, name, value)
            case "allow_comments" | "allow_forking":
                columns[name] = checks.flag(operation, name, value)
            case _:
                raise InvalidValueError(operation, name, "cannot be given here")
    return columns


def ended(operation: str, link: ShareLink, now: datetime) -> PersistError | None:
    """Return why nobody may follow this link any more, or None."""
    if link.revoked_at is not None:
        return RevokedError(operation, link.id, "was revoked", hint="ask its owner for a new link")
    if link.expires_at is not None and link.expires_at <= now:
        return ExpiredError(operation, link.id, "has expired", hint="ask its owner for a new link")
    return None


def denied(operation: str, link: ShareLink, viewer_id: str | None, *, in_organization: bool) -> PersistError | None:
    """Return why this viewer may not follow the link, or None; ``in_organization``: the viewer is a member of its own.

    Who left the organization follows no private link of theirs there either.
    """
    if link.visibility == "public":
        return None
    belongs = link.org_id is None or in_organization
    if link.visibility == "team" and belongs:
        return None
    if link.visibility == "private" and belongs and viewer_id == link.owner_id:
        return None
    whose = "its owner" if link.visibility == "private" else "members of its organization"
    return AccessDeniedError(operation, link.id, f"is for {whose} only", hint="log in as somebody who may follow it")


def to_link(row: Row) -> ShareLink:
    """Return the record of a row of ``COLUMNS``."""
    (
        ident,
        debate_id,
        owner_id,
        org_id,
        visibility,
        comments,
        forking,
        created,
        updated,
        expires,
        revoked,
        views,
        seen,
    ) = cast("tuple[str, str, str, str | None, str, int, int, str, str, str | None, str | None, int, str | None]", row)
    record = f"share link {ident}"
    return ShareLink(
        ident,
        debate_id,
        owner_id,
        org_id,
        visibility,
        bool(comments),
        bool(forking),
        stored_time(created, record, "created_at"),
        stored_time(updated, record, "updated_at"),
        stored_time_or_none(expires, record, "expires_at"),
        stored_time_or_none(revoked, record, "revoked_at"),
        views,
        stored_time_or_none(seen, record, "last_viewed_at"),
    )


def whose(operation: str, owner_id: str | None, org_id: str | None) -> tuple[str, tuple[str, ...]]:
    """Return the condition of links of this owner, or of this organization, or of both, and its parameters.

    Who left an organization manages their links there no longer.

    Raises:
        InvalidValueError: neither is said: nobody is shown everybody's links.

    """
    wheres, values = [], []
    if owner_id is not None:
        wheres.append(_OF_OWNER)
        values.append(checks.ident(operation, "owner_id", owner_id))
    if org_id is not None:
        wheres.append("org_id = ?")
        values.append(checks.ident(operation, "org_id", org_id))
    if not wheres:
        raise InvalidValueError(
            operation, "owner_id", "is not given, and no org_id either", hint="say whose link it is"
        )
    return " AND ".join(wheres), tuple(values)


def unknown(operation: str, target: str) -> NotFoundError:
    """Return the error of a link that is not there, or not there for whoever asks."""
    return NotFoundError(operation, target, "there is no such share link")
