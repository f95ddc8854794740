"""Who belongs to which organization, and as what: the part of OrganizationStore that changes members.

``memberships`` is the truth. ``users.org_id`` and ``users.role`` are a copy of one of a user's memberships, the primary
one: every change here corrects them in the same transaction (``settle``). Leaves out: invitations, and who may do what;
a service asks ``get_member`` for that.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aragora_persist.errors import ConflictError, NotFoundError
from aragora_persist.storage import checks
from aragora_persist.storage.organizations.records import GIVEN_ROLES, MEMBER_COLUMNS, Membership, to_membership
from aragora_persist.storage.pages import Page, from_cursor, page_limit, to_page, walk
from aragora_persist.storage.store import Store
from aragora_persist.storage.users.statements import require_user

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aragora_persist.storage.port import Reader, Transaction

_MEMBERS = f"SELECT {MEMBER_COLUMNS} FROM memberships"  # noqa: S608 - our constants
_ONE = f"{_MEMBERS} WHERE org_id = ? AND user_id = ?"
_OF_ORGANIZATION = f"{_MEMBERS} WHERE org_id = ? AND user_id > ? ORDER BY user_id LIMIT ?"
_OF_USER = f"{_MEMBERS} WHERE user_id = ? AND org_id > ? ORDER BY org_id LIMIT ?"
_JOIN = f"""
    INSERT INTO memberships ({MEMBER_COLUMNS}) VALUES (?, ?, ?, ?) ON CONFLICT (org_id, user_id) DO NOTHING
"""  # noqa: S608 - our constants

# The primary organization stays while its user is a member; then it is the one that was joined first; then none.
_SETTLE_PRIMARY = """
    UPDATE users SET updated_at = ?, org_id = (
        SELECT org_id FROM memberships WHERE user_id = users.id ORDER BY joined_at, org_id LIMIT 1
    ) WHERE id = ? AND NOT EXISTS (
        SELECT 1 FROM memberships WHERE user_id = users.id AND memberships.org_id = users.org_id
    )
"""
_SETTLE_ROLE = """
    UPDATE users SET updated_at = ?, role = COALESCE(
        (SELECT role FROM memberships WHERE user_id = users.id AND memberships.org_id = users.org_id), 'member'
    ) WHERE id = ?
"""


class Memberships(Store):
    """The members of organizations."""

    def add_member(
        self, org_id: str, user_id: str, role: str = "member", *, tx: Transaction | None = None
    ) -> Membership:
        """Make a user a member; their first organization becomes their primary one.

        Raises:
            NotFoundError: there is no such organization or user.
            ConflictError: the user is a member already, or the organization is closed.

        """
        operation = "organization.add_member"
        org_id, user_id = _checked(operation, org_id, user_id)
        role = checks.choice(operation, "role", role, GIVEN_ROLES)
        now = self._now()

        def work(writing: Transaction) -> Membership:
            require_open(writing, operation, org_id)
            touch(writing, operation, org_id, now)
            return join(writing, operation, (org_id, user_id, role, now))

        return self._write(operation, work, tx, context={"org_id": org_id, "user_id": user_id})

    def get_member(self, org_id: str, user_id: str) -> Membership | None:
        """Return a user's membership in an organization, or None."""
        checked = _checked("organization.get_member", org_id, user_id)
        row = self._database.read_one("organization.get_member", _ONE, checked, {"org_id": org_id, "user_id": user_id})
        return None if row is None else to_membership(row)

    def list_members(self, org_id: str, *, limit: int = 100, after: str | None = None) -> Page[Membership]:
        """Return members of an organization in the order of their user ids; there are none where it is unknown."""
        operation = "organization.list_members"
        size = page_limit(operation, limit)
        last = "" if after is None else from_cursor(operation, after, str)[0]
        with self._database.read(operation, {"org_id": org_id}) as view:
            rows = view.all(_OF_ORGANIZATION, (checks.ident(operation, "org_id", org_id), last, size + 1))
        return to_page([to_membership(row) for row in rows], size, lambda member: (member.user_id,))

    def iter_members(self, org_id: str) -> Iterator[Membership]:
        """Yield every member of an organization, in bounded memory."""
        return walk(lambda after: self.list_members(org_id, limit=1000, after=after))

    def list_memberships(self, user_id: str, *, limit: int = 100, after: str | None = None) -> Page[Membership]:
        """Return what a user is a member of, in the order of the organizations' ids."""
        operation = "organization.list_memberships"
        size = page_limit(operation, limit)
        last = "" if after is None else from_cursor(operation, after, str)[0]
        with self._database.read(operation, {"user_id": user_id}) as view:
            rows = view.all(_OF_USER, (checks.ident(operation, "user_id", user_id), last, size + 1))
        return to_page([to_membership(row) for row in rows], size, lambda member: (member.org_id,))

    def iter_memberships(self, user_id: str) -> Iterator[Membership]:
        """Yield every membership of a user, in bounded memory."""
        return walk(lambda after: self.list_memberships(user_id, limit=1000, after=after))

    def change_role(self, org_id: str, user_id: str, role: str, *, tx: Transaction | None = None) -> Membership:
        """Make a member an admin, a member or a viewer.

        Raises:
            NotFoundError: there is no such organization, or the user is not a member.
            ConflictError: the member is the owner: ``transfer_ownership`` comes first.

        """
        operation = "organization.change_role"
        org_id, user_id = _checked(operation, org_id, user_id)
        role = checks.choice(operation, "role", role, GIVEN_ROLES)
        now = self._now()

        def work(writing: Transaction) -> Membership:
            touch(writing, operation, org_id, now)
            member = _member(writing, operation, org_id, user_id)
            _refuse_owner(member, operation)
            return _set_role(writing, member, role, now)

        return self._write(operation, work, tx, context={"org_id": org_id, "user_id": user_id})

    def remove_member(self, org_id: str, user_id: str, *, tx: Transaction | None = None) -> None:
        """End a membership. Where it was the primary one, the organization that was joined first of the rest is.

        Raises:
            NotFoundError: there is no such organization, or the user is not a member.
            ConflictError: the member is the owner: ``transfer_ownership`` comes first.

        """
        operation = "organization.remove_member"
        org_id, user_id = _checked(operation, org_id, user_id)
        now = self._now()

        def work(writing: Transaction) -> None:
            touch(writing, operation, org_id, now)
            _refuse_owner(_member(writing, operation, org_id, user_id), operation)
            writing.execute("DELETE FROM memberships WHERE org_id = ? AND user_id = ?", (org_id, user_id))
            settle(writing, [user_id], now)

        self._write(operation, work, tx, context={"org_id": org_id, "user_id": user_id})

    def set_primary(self, user_id: str, org_id: str, *, tx: Transaction | None = None) -> Membership:
        """Make one of a user's organizations the primary one, which ``users.org_id`` and ``users.role`` show.

        Raises:
            NotFoundError: the user is not a member of it.

        """
        operation = "organization.set_primary"
        org_id, user_id = _checked(operation, org_id, user_id)
        now = self._now()

        def work(writing: Transaction) -> Membership:
            member = _member(writing, operation, org_id, user_id)
            writing.execute("UPDATE users SET org_id = ? WHERE id = ?", (org_id, user_id))
            settle(writing, [user_id], now)
            return member

        return self._write(operation, work, tx, context={"org_id": org_id, "user_id": user_id})

    def transfer_ownership(self, org_id: str, new_owner_id: str, *, tx: Transaction | None = None) -> Membership:
        """Make a member the owner and the previous owner an admin, at once; the owner again changes nothing.

        Raises:
            NotFoundError: there is no such organization, or the user is not a member.

        """
        operation = "organization.transfer_ownership"
        org_id, new_owner_id = _checked(operation, org_id, new_owner_id)
        now = self._now()

        def work(writing: Transaction) -> Membership:
            touch(writing, operation, org_id, now)
            member = _member(writing, operation, org_id, new_owner_id)
            previous = writing.one(f"{_MEMBERS} WHERE org_id = ? AND role = 'owner'", (org_id,))
            if previous is not None:
                _set_role(writing, to_membership(previous), "admin", now)
            writing.execute("UPDATE organizations SET owner_id = ? WHERE id = ?", (new_owner_id, org_id))
            return _set_role(writing, member, "owner", now)

        return self._write(operation, work, tx, context={"org_id": org_id, "user_id": new_owner_id})


def touch(writing: Transaction, operation: str, org_id: str, now: str) -> None:
    """Note a change of an organization's members or invitations.

    Raises:
        NotFoundError: there is no such organization.

    """
    if writing.execute("UPDATE organizations SET updated_at = ? WHERE id = ?", (now, org_id)) == 0:
        raise no_such_organization(operation, org_id)


def require_open(view: Reader, operation: str, org_id: str) -> None:
    """Refuse what a closed organization does not take.

    Raises:
        NotFoundError: there is no such organization.
        ConflictError: it is closed.

    """
    row = view.one("SELECT closed_at FROM organizations WHERE id = ?", (org_id,))
    if row is None:
        raise no_such_organization(operation, org_id)
    if row[0] is not None:
        raise ConflictError(operation, org_id, "this organization is closed", hint="reopen_organization opens it again")


def join(writing: Transaction, operation: str, member: tuple[str, str, str, str]) -> Membership:
    """Add a row of ``MEMBER_COLUMNS`` and settle its user.

    Raises:
        NotFoundError: there is no such user.
        ConflictError: the user is a member already.

    """
    _, user_id, _, joined_at = member
    require_user(writing, operation, user_id)
    if writing.execute(_JOIN, member) == 0:
        raise ConflictError(operation, user_id, "is a member already")
    settle(writing, [user_id], joined_at)
    return to_membership(member)


def settle(writing: Transaction, user_ids: Iterable[str], now: str) -> None:
    """Make ``org_id`` and ``role`` of these users agree with their memberships."""
    parameters = [(now, user_id) for user_id in user_ids]
    writing.execute_many(_SETTLE_PRIMARY, parameters)
    writing.execute_many(_SETTLE_ROLE, parameters)


def no_such_organization(operation: str, org_id: str) -> NotFoundError:
    """Return the error that says that there is no such organization."""
    return NotFoundError(operation, org_id, "there is no such organization")


def _checked(operation: str, org_id: str, user_id: str) -> tuple[str, str]:
    return checks.ident(operation, "org_id", org_id), checks.ident(operation, "user_id", user_id)


def _member(writing: Transaction, operation: str, org_id: str, user_id: str) -> Membership:
    row = writing.one(_ONE, (org_id, user_id))
    if row is None:
        raise NotFoundError(operation, user_id, "is not a member of this organization")
    return to_membership(row)


def _refuse_owner(member: Membership, operation: str) -> None:
    if member.role == "owner":
        raise ConflictError(
            operation, member.user_id, "is the owner", hint="transfer_ownership to another member first"
        )


def _set_role(writing: Transaction, member: Membership, role: str, now: str) -> Membership:
    writing.execute(
        "UPDATE memberships SET role = ? WHERE org_id = ? AND user_id = ?", (role, member.org_id, member.user_id)
    )
    settle(writing, [member.user_id], now)
    return replace(member, role=role)
