"""Invitations into organizations: the part of OrganizationStore that issues, redeems and ends them.

An address has at most one open invitation into an organization. Leaves out: sending the mail; the token goes to the
caller once, and only its hash is stored.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from aragora_persist.errors import (
    AccessDeniedError,
    ConflictError,
    ExpiredError,
    NotFoundError,
    PersistError,
    RevokedError,
)
from aragora_persist.storage import checks
from aragora_persist.storage.bearer_tokens import new_token, token_hash
from aragora_persist.storage.organizations.memberships import Memberships, join, require_open, touch
from aragora_persist.storage.organizations.records import (
    GIVEN_ROLES,
    INVITATION_COLUMNS,
    Invitation,
    IssuedInvitation,
    Membership,
    to_invitation,
)
from aragora_persist.storage.pages import Page, from_cursor, page_limit, to_page, walk
from aragora_persist.storage.users.records import normal_email
from aragora_persist.storage.users.statements import no_such_user, require_user
from aragora_persist.times import to_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aragora_persist.storage.port import Reader, Row, Transaction

_INVITATIONS = f"SELECT {INVITATION_COLUMNS} FROM invitations"  # noqa: S608 - our constants
_BY_ID = f"{_INVITATIONS} WHERE org_id = ? AND id = ?"
_BY_TOKEN = f"{_INVITATIONS} WHERE token_hash = ?"
_OPEN = "accepted_at IS NULL AND revoked_at IS NULL"
_PENDING = f"""
    {_INVITATIONS} WHERE org_id = ? AND {_OPEN} AND expires_at > ? AND (created_at, id) > (?, ?)
    ORDER BY created_at, id LIMIT ?
"""
_INSERT = f"""
    INSERT INTO invitations (id, org_id, email, role, invited_by, token_hash, created_at, expires_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING {INVITATION_COLUMNS}
"""  # noqa: S608 - our constants
_END_EXPIRED = f"""
    UPDATE invitations SET revoked_at = ? WHERE org_id = ? AND email = ? AND {_OPEN} AND expires_at <= ?
"""  # noqa: S608 - our constants
_ACCEPT = f"""
    UPDATE invitations SET accepted_at = ?, accepted_by = ? WHERE id = ? AND {_OPEN} AND expires_at > ?
"""  # noqa: S608 - our constants
_REVOKE = f"""
    UPDATE invitations SET revoked_at = ? WHERE org_id = ? AND id = ? AND {_OPEN} RETURNING {INVITATION_COLUMNS}
"""  # noqa: S608 - our constants
_RENEW = f"""
    UPDATE invitations SET token_hash = ?, expires_at = ? WHERE org_id = ? AND id = ? AND {_OPEN}
    RETURNING {INVITATION_COLUMNS}
"""  # noqa: S608 - our constants
_OUTDATED = """
    DELETE FROM invitations WHERE id IN (SELECT id FROM invitations WHERE expires_at < ? ORDER BY expires_at LIMIT ?)
"""
_MOST_DAYS = 365
_LONGEST_KEEP_DAYS = 36_500
_BATCH = 500


class Invitations(Memberships):
    """The invitations into organizations."""

    def invite(
        self,
        org_id: str,
        email: str,
        role: str = "member",
        *,
        invited_by: str | None = None,
        expires_in_days: int = 7,
        tx: Transaction | None = None,
    ) -> IssuedInvitation:
        """Invite an address; the token is in the answer and is stored nowhere.

        Raises:
            NotFoundError: there is no such organization or inviter.
            ConflictError: a user of this address is a member, a pending invitation went there (``resend_invitation``),
                or the organization is closed.

        """
        operation = "organization.invite"
        org_id = checks.ident(operation, "org_id", org_id)
        email = normal_email(email, operation)
        role = checks.choice(operation, "role", role, GIVEN_ROLES)
        inviter = None if invited_by is None else checks.ident(operation, "invited_by", invited_by)
        now, expires_at = self._span(operation, expires_in_days)
        token, ident = new_token("inv_"), checks.new_id()

        def work(writing: Transaction) -> Invitation:
            require_open(writing, operation, org_id)
            touch(writing, operation, org_id, now)
            _refuse_invited(writing, operation, org_id, email, now)
            if inviter is not None:
                require_user(writing, operation, inviter)
            row = (ident, org_id, email, role, inviter, token_hash(token), now, expires_at)
            return _returned(writing.one(_INSERT, row), operation, ident)

        return IssuedInvitation(
            self._write(operation, work, tx, context={"org_id": org_id, "invitation_id": ident}), token
        )

    def get_invitation(self, org_id: str, invitation_id: str) -> Invitation | None:
        """Return this invitation of the organization, whatever became of it, or None."""
        operation = "organization.get_invitation"
        ids = _checked_ids(operation, org_id, invitation_id)
        row = self._database.read_one(operation, _BY_ID, ids, {"org_id": org_id, "invitation_id": invitation_id})
        return None if row is None else to_invitation(row)

    def get_invitation_by_token(self, token: str) -> Invitation | None:
        """Return the invitation that this token opens, whatever became of it, or None."""
        operation = "organization.get_invitation_by_token"
        hashed = token_hash(checks.text(operation, "token", token))
        row = self._database.read_one(operation, _BY_TOKEN, (hashed,))
        return None if row is None else to_invitation(row)

    def list_pending_invitations(self, org_id: str, *, limit: int = 100, after: str | None = None) -> Page[Invitation]:
        """Return what is neither accepted nor revoked nor expired, the oldest first."""
        operation = "organization.list_pending_invitations"
        org_id, size = checks.ident(operation, "org_id", org_id), page_limit(operation, limit)
        last = ("", "") if after is None else from_cursor(operation, after, str, str)
        with self._database.read(operation, {"org_id": org_id}) as view:
            rows = view.all(_PENDING, (org_id, self._now(), *last, size + 1))
        found = [to_invitation(row) for row in rows]
        return to_page(found, size, lambda invitation: (to_text(invitation.created_at), invitation.id))

    def iter_pending_invitations(self, org_id: str) -> Iterator[Invitation]:
        """Yield every pending invitation of an organization, in bounded memory."""
        return walk(lambda after: self.list_pending_invitations(org_id, limit=1000, after=after))

    def accept_invitation(self, token: str, user_id: str, *, tx: Transaction | None = None) -> Membership:
        """Make the user that was invited a member; of any number of attempts, one succeeds.

        Raises:
            NotFoundError: no invitation has this token (an earlier one, after ``resend_invitation``), or there is no
                such user.
            ExpiredError: its time is over.
            RevokedError: it was revoked.
            AccessDeniedError: the user has another email than was invited.
            ConflictError: it was accepted already, the user is a member, or the organization is closed.

        """
        operation = "organization.accept_invitation"
        hashed = token_hash(checks.text(operation, "token", token))
        user_id = checks.ident(operation, "user_id", user_id)
        now = self._now()

        def work(writing: Transaction) -> Membership:
            invitation = _returned(writing.one(_BY_TOKEN, (hashed,)), operation, "token")
            require_open(writing, operation, invitation.org_id)
            touch(writing, operation, invitation.org_id, now)
            user = writing.one("SELECT email FROM users WHERE id = ?", (user_id,))
            if user is None:
                raise no_such_user(operation, user_id)
            if writing.execute(_ACCEPT, (now, user_id, invitation.id, now)) == 0:
                raise _over(writing, operation, (invitation.org_id, invitation.id))
            if user != (invitation.email,):
                raise AccessDeniedError(operation, user_id, "has another email than was invited")
            return join(writing, operation, (invitation.org_id, user_id, invitation.role, now))

        return self._write(operation, work, tx, context={"user_id": user_id})

    def revoke_invitation(self, org_id: str, invitation_id: str, *, tx: Transaction | None = None) -> Invitation:
        """Take an invitation of the organization back, for good; again changes nothing.

        Raises:
            NotFoundError: the organization has no such invitation.
            ConflictError: it was accepted.

        """
        operation = "organization.revoke_invitation"
        ids = _checked_ids(operation, org_id, invitation_id)
        now = self._now()

        def work(writing: Transaction) -> Invitation:
            row = writing.one(_REVOKE, (now, *ids)) or writing.one(_BY_ID, ids)
            invitation = _returned(row, operation, invitation_id)
            if invitation.accepted_at is not None:
                raise _accepted(operation, invitation_id)
            return invitation

        return self._write(operation, work, tx, context={"org_id": org_id, "invitation_id": invitation_id})

    def resend_invitation(
        self, org_id: str, invitation_id: str, *, expires_in_days: int = 7, tx: Transaction | None = None
    ) -> IssuedInvitation:
        """Give an invitation of the organization a new token and a new time; the earlier token opens nothing any more.

        Raises:
            NotFoundError: the organization has no such invitation.
            ConflictError: it was accepted, or the organization is closed.
            RevokedError: it was revoked.

        """
        operation = "organization.resend_invitation"
        ids = _checked_ids(operation, org_id, invitation_id)
        now, expires_at = self._span(operation, expires_in_days)
        token = new_token("inv_")

        def work(writing: Transaction) -> Invitation:
            require_open(writing, operation, org_id)
            touch(writing, operation, org_id, now)
            row = writing.one(_RENEW, (token_hash(token), expires_at, *ids))
            if row is None:
                raise _over(writing, operation, ids)
            return to_invitation(row)

        return IssuedInvitation(
            self._write(operation, work, tx, context={"org_id": org_id, "invitation_id": invitation_id}), token
        )

    def cleanup_invitations(self, *, older_than_days: int = 30) -> int:
        """Delete invitations whose time was over so long ago, whatever became of them, and return how many.

        In batches, each its own transaction; it may be stopped and started again at any time.
        """
        operation = "organization.cleanup_invitations"
        days = checks.whole(operation, "older_than_days", older_than_days, least=0, most=_LONGEST_KEEP_DAYS)
        before = to_text(self._clock() - timedelta(days=days))
        return self._in_batches(operation, lambda writing: writing.execute(_OUTDATED, (before, _BATCH)))

    def _span(self, operation: str, days: int) -> tuple[str, str]:
        """Return now and the time so many days later, as they are stored."""
        checks.whole(operation, "expires_in_days", days, least=1, most=_MOST_DAYS)
        now = self._clock()
        return to_text(now), to_text(now + timedelta(days=days))


def _checked_ids(operation: str, org_id: str, invitation_id: str) -> tuple[str, str]:
    return checks.ident(operation, "org_id", org_id), checks.ident(operation, "invitation_id", invitation_id)


def _refuse_invited(writing: Transaction, operation: str, org_id: str, email: str, now: str) -> None:
    """Refuse an address that is a member's or has a pending invitation; one that has expired is ended."""
    member = "SELECT 1 FROM memberships JOIN users ON users.id = user_id WHERE memberships.org_id = ? AND email = ?"
    if writing.one(member, (org_id, email)) is not None:
        raise ConflictError(operation, "email", "is a member's already")
    writing.execute(_END_EXPIRED, (now, org_id, email, now))
    row = writing.one(f"SELECT id FROM invitations WHERE org_id = ? AND email = ? AND {_OPEN}", (org_id, email))  # noqa: S608 - ours
    if row is not None:
        raise ConflictError(
            operation, "email", "has a pending invitation", hint=f"resend_invitation sends {row[0]!s} again"
        )


def _returned(row: Row | None, operation: str, target: str) -> Invitation:
    if row is None:
        raise NotFoundError(operation, target, "there is no such invitation")
    return to_invitation(row)


def _accepted(operation: str, invitation_id: str) -> ConflictError:
    return ConflictError(operation, invitation_id, "was accepted already")


def _over(view: Reader, operation: str, ids: tuple[str, str]) -> PersistError:
    """Return the error of an invitation that is not open any more."""
    invitation = _returned(view.one(_BY_ID, ids), operation, ids[1])
    if invitation.accepted_at is not None:
        return _accepted(operation, invitation.id)
    if invitation.revoked_at is not None:
        return RevokedError(operation, invitation.id, "was revoked", hint="ask for a new invitation")
    return ExpiredError(
        operation, invitation.id, f"expired at {to_text(invitation.expires_at)}", hint="ask for a new invitation"
    )
