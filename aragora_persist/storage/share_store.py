"""Links to debates that can be handed on: private, for a team or public; counted, bounded in time, revoked for good.

Whoever manages links says whose they are, the owner's or the organization's: another's link is not there. Tokens are
made here and never chosen, so that nothing brings a revoked one back. Leaves out: the debates.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from aragora_persist.errors import AccessDeniedError, InvalidValueError, RevokedError
from aragora_persist.storage import checks
from aragora_persist.storage.bearer_tokens import new_token, token_hash
from aragora_persist.storage.organizations.memberships import require_open
from aragora_persist.storage.pages import Page, from_cursor, page_limit, to_page, walk
from aragora_persist.storage.sharing.links import (
    COLUMNS,
    NewShareLink,
    ShareLink,
    ShareLinkChanges,
    denied,
    ended,
    to_columns,
    to_link,
    unknown,
    whose,
)
from aragora_persist.storage.sharing.tokens import ShareTokens
from aragora_persist.storage.users.statements import require_user
from aragora_persist.times import to_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from typing import Unpack

    from aragora_persist.storage.port import Reader, Row, Transaction, Value

GRACE_DAYS = 30
"""For so long an expired or revoked link is still known as that; then it is deleted."""
_LONGEST_GRACE_DAYS = 36_500
_BATCH = 500

_LINKS = f"SELECT {COLUMNS} FROM share_links"  # noqa: S608 - our constants
_INSERT = f"""
    INSERT INTO share_links (id, token_hash, token_sealed, debate_id, owner_id, org_id, visibility, allow_comments,
        allow_forking, created_at, updated_at, expires_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING {COLUMNS}
"""  # noqa: S608 - our constants
_MEMBER = "SELECT 1 FROM memberships WHERE org_id = ? AND user_id = ?"
_VIEW = f"""
    UPDATE share_links SET view_count = view_count + 1, last_viewed_at = ? WHERE token_hash = ? RETURNING {COLUMNS}
"""  # noqa: S608 - our constants
_CLEAN = """
    DELETE FROM share_links WHERE id IN (SELECT id FROM share_links WHERE expires_at < ? OR revoked_at < ? LIMIT ?)
"""


class ShareLinkStore(ShareTokens):
    """The share links of one database. ``db_path`` None is ``aragora_users.db`` under ``NOMIC_DIR``."""

    database_name = "users"

    def create(
        self,
        debate_id: str,
        owner_id: str,
        *,
        org_id: str | None = None,
        visibility: str = "private",
        expires_at: datetime | None = None,
        allow_comments: bool = False,
        allow_forking: bool = False,
        tx: Transaction | None = None,
    ) -> NewShareLink:
        """Make a link to a debate; the token in the answer is what its address carries.

        Raises:
            NotFoundError: there is no such owner or organization.
            AccessDeniedError: the owner is not a member of the organization.
            ConflictError: the organization is closed.
            InvalidValueError: a link for a team has no organization, or it would have expired already.

        """
        operation = "share_link.create"
        debate_id = checks.ident(operation, "debate_id", debate_id)
        owner_id = checks.ident(operation, "owner_id", owner_id)
        org_id = None if org_id is None else checks.ident(operation, "org_id", org_id)
        columns = to_columns(
            operation,
            {
                "visibility": visibility,
                "allow_comments": allow_comments,
                "allow_forking": allow_forking,
                "expires_at": expires_at,
            },
        )
        now = self._now()
        _check_team(operation, visibility, org_id)
        _check_future(operation, columns["expires_at"], now)
        ident, token = checks.new_id(), new_token("shr_")
        flags = (columns["visibility"], columns["allow_comments"], columns["allow_forking"])
        row = (ident, token_hash(token), self._seal(ident, token), debate_id, owner_id, org_id, *flags, now, now)

        def work(writing: Transaction) -> ShareLink:
            _check_owner(writing, operation, owner_id, org_id)
            return _returned(writing.one(_INSERT, (*row, columns["expires_at"])), operation, ident)

        return NewShareLink(self._write(operation, work, tx, context={"link_id": ident, "owner_id": owner_id}), token)

    def get(self, link_id: str, *, owner_id: str | None = None, org_id: str | None = None) -> ShareLink | None:
        """Return this link of this owner, or of this organization, or None; one of the two must be said."""
        operation = "share_link.get"
        where, values = whose(operation, owner_id, org_id)
        link_id = checks.ident(operation, "link_id", link_id)
        row = self._database.read_one(
            operation, f"{_LINKS} WHERE id = ? AND {where}", (link_id, *values), {"link_id": link_id}
        )
        return None if row is None else to_link(row)

    def resolve(self, token: str, *, viewer_id: str | None = None, tx: Transaction | None = None) -> ShareLink:
        """Follow a link and count the view; ``viewer_id`` is the user who is logged in, None is nobody.

        Raises:
            NotFoundError: no link has this token.
            RevokedError: it was revoked.
            ExpiredError: its time is over.
            AccessDeniedError: it is not for this viewer.

        """
        operation = "share_link.resolve"
        hashed = token_hash(checks.text(operation, "token", token))
        viewer_id = None if viewer_id is None else checks.ident(operation, "viewer_id", viewer_id)
        now = self._clock()

        def follow(view: Reader, row: Row | None) -> ShareLink:
            link = _returned(row, operation, "token")
            problem = ended(operation, link, now)
            if problem is None:
                belongs = view.one(_MEMBER, (link.org_id, viewer_id)) is not None
                problem = denied(operation, link, viewer_id, in_organization=belongs)
            if problem is not None:
                raise problem
            return link

        # Guessed, expired and forbidden tokens are turned away by a read: they must not take the writer's time.
        if tx is None:
            with self._database.read(operation) as view:
                follow(view, view.one(f"{_LINKS} WHERE token_hash = ?", (hashed,)))
        # Counted first and looked at then: an error takes the count back.
        return self._write(operation, lambda writing: follow(writing, writing.one(_VIEW, (to_text(now), hashed))), tx)

    def update(
        self,
        link_id: str,
        *,
        owner_id: str | None = None,
        org_id: str | None = None,
        tx: Transaction | None = None,
        **changes: Unpack[ShareLinkChanges],
    ) -> ShareLink:
        """Change the given fields of this link of this owner or organization; an expired one can be given more time.

        Raises:
            NotFoundError: there is no such link of this owner or organization.
            RevokedError: it was revoked, which is final.
            InvalidValueError: a value breaks a rule, or a field is not one of ``ShareLinkChanges``.

        """
        operation = "share_link.update"
        where, values = whose(operation, owner_id, org_id)
        link_id = checks.ident(operation, "link_id", link_id)
        now = self._now()
        columns = to_columns(operation, changes)
        _check_future(operation, columns.get("expires_at"), now)
        columns["updated_at"] = now
        assignments = ", ".join(f"{column} = ?" for column in columns)
        sql = f"UPDATE share_links SET {assignments} WHERE id = ? RETURNING {COLUMNS}"  # noqa: S608 - our names

        def work(writing: Transaction) -> ShareLink:
            link = _returned(writing.one(f"{_LINKS} WHERE id = ? AND {where}", (link_id, *values)), operation, link_id)
            if link.revoked_at is not None:
                raise RevokedError(operation, link_id, "was revoked, for good", hint="make a new link")
            _check_team(operation, changes.get("visibility", link.visibility), link.org_id)
            return _returned(writing.one(sql, (*columns.values(), link_id)), operation, link_id)

        return self._write(operation, work, tx, context={"link_id": link_id})

    def revoke(
        self,
        link_id: str,
        *,
        owner_id: str | None = None,
        org_id: str | None = None,
        tx: Transaction | None = None,
    ) -> ShareLink:
        """End this link of this owner or organization, for good; again changes nothing.

        Raises:
            NotFoundError: there is no such link of this owner or organization.

        """
        operation = "share_link.revoke"
        where, values = whose(operation, owner_id, org_id)
        link_id = checks.ident(operation, "link_id", link_id)
        now = self._now()
        sql = f"""
            UPDATE share_links SET revoked_at = COALESCE(revoked_at, ?), updated_at = COALESCE(revoked_at, ?),
                token_sealed = NULL WHERE id = ? AND {where} RETURNING {COLUMNS}
        """  # noqa: S608 - our constants

        def work(writing: Transaction) -> ShareLink:
            return _returned(writing.one(sql, (now, now, link_id, *values)), operation, link_id)

        return self._write(operation, work, tx, context={"link_id": link_id})

    def list_links(
        self,
        *,
        owner_id: str | None = None,
        org_id: str | None = None,
        debate_id: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> Page[ShareLink]:
        """Return the links of an owner or an organization, or those to one debate among them, the oldest first."""
        operation = "share_link.list_links"
        where, values = whose(operation, owner_id, org_id)
        size = page_limit(operation, limit)
        last = ("", "") if after is None else from_cursor(operation, after, str, str)
        if debate_id is not None:
            where, values = f"{where} AND debate_id = ?", (*values, checks.ident(operation, "debate_id", debate_id))
        sql = f"{_LINKS} WHERE {where} AND (created_at, id) > (?, ?) ORDER BY created_at, id LIMIT ?"
        with self._database.read(operation, {"owner_id": owner_id, "org_id": org_id}) as view:
            rows = view.all(sql, (*values, *last, size + 1))
        return to_page([to_link(row) for row in rows], size, lambda link: (to_text(link.created_at), link.id))

    def iter_links(
        self, *, owner_id: str | None = None, org_id: str | None = None, debate_id: str | None = None
    ) -> Iterator[ShareLink]:
        """Yield every such link, in bounded memory."""
        return walk(
            lambda after: self.list_links(
                owner_id=owner_id, org_id=org_id, debate_id=debate_id, limit=1000, after=after
            )
        )

    def cleanup(self, *, older_than_days: int = GRACE_DAYS) -> int:
        """Delete links that expired or were revoked longer ago than this, and return how many.

        In batches, each its own transaction; it may be stopped and started again at any time.
        """
        operation = "share_link.cleanup"
        days = checks.whole(operation, "older_than_days", older_than_days, least=0, most=_LONGEST_GRACE_DAYS)
        before = to_text(self._clock() - timedelta(days=days))
        return self._in_batches(operation, lambda writing: writing.execute(_CLEAN, (before, before, _BATCH)))


def _check_team(operation: str, visibility: str, org_id: str | None) -> None:
    if visibility == "team" and org_id is None:
        raise InvalidValueError(operation, "visibility", "is 'team', and the link belongs to no organization")


def _check_future(operation: str, expires_at: Value, now: str) -> None:
    if expires_at is not None and str(expires_at) <= now:
        raise InvalidValueError(operation, "expires_at", "is not in the future", hint="revoke ends a link now")


def _check_owner(writing: Transaction, operation: str, owner_id: str, org_id: str | None) -> None:
    require_user(writing, operation, owner_id)
    if org_id is None:
        return
    require_open(writing, operation, org_id)
    if writing.one(_MEMBER, (org_id, owner_id)) is None:
        raise AccessDeniedError(operation, owner_id, "is not a member of the organization", hint="add_member first")


def _returned(row: Row | None, operation: str, target: str) -> ShareLink:
    if row is None:
        raise unknown(operation, target)
    return to_link(row)
