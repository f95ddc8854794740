"""Organizations: made, found, changed, closed and deleted; with their members and invitations, and what they used.

Leaves out: recording usage (``usage_store``), and who may do what, which a service decides from ``get_member``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist.errors import ConflictError
from aragora_persist.storage import checks
from aragora_persist.storage.organizations.deletion import clear_some, prepare, remove
from aragora_persist.storage.organizations.invitations import Invitations
from aragora_persist.storage.organizations.memberships import join, no_such_organization
from aragora_persist.storage.organizations.records import (
    COLUMNS,
    TIERS,
    Organization,
    OrganizationChanges,
    checked_name,
    checked_slug,
    slug_of,
    to_columns,
    to_organization,
)
from aragora_persist.storage.pages import Page, from_cursor, page_limit, to_page, walk
from aragora_persist.storage.usage import UsageSummary, checked_month, summarize
from aragora_persist.storage.users.statements import require_user

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Unpack

    from aragora_persist.storage.port import Context, Row, Transaction, Value

_ORGANIZATIONS = f"SELECT {COLUMNS} FROM organizations"  # noqa: S608 - our constants
_INSERT = f"""
    INSERT INTO organizations (id, name, slug, tier, owner_id, created_at, updated_at, settings)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING {COLUMNS}
"""  # noqa: S608 - our constants


class OrganizationStore(Invitations):
    """The organizations of one database. ``db_path`` None is ``aragora_users.db`` under ``NOMIC_DIR``.

    Methods that write take a transaction of the same database as ``tx``; without one, each is its own.
    """

    database_name = "users"

    def create(
        self,
        name: str,
        owner_id: str,
        *,
        slug: str | None = None,
        tier: str = "free",
        settings: dict[str, Any] | None = None,
        tx: Transaction | None = None,
    ) -> Organization:
        """Make an organization with its owner as its first member, and return it.

        The slug is brought into its one form (``slug_of``). Without one it is made of the name; where that is taken, it
        gets six more characters.

        Raises:
            NotFoundError: there is no such owner.
            ConflictError: the slug that was given is taken.

        """
        operation = "organization.create"
        name = checked_name(operation, name)
        owner_id = checks.ident(operation, "owner_id", owner_id)
        tier = checks.choice(operation, "tier", tier, TIERS)
        settings_text = checks.json_object(operation, "settings", {} if settings is None else settings)
        wanted = (slug_of(name) or "organization") if slug is None else checked_slug(operation, slug)
        ident, now = checks.new_id(), self._now()

        def work(writing: Transaction) -> Organization:
            free = wanted
            if _taken(writing, "slug", wanted, ident):
                if slug is not None:
                    raise ConflictError(operation, "slug", "is taken")
                free = f"{wanted[:56].rstrip('-')}-{ident[:6]}"
            require_user(writing, operation, owner_id)
            row = writing.one(_INSERT, (ident, name, free, tier, owner_id, now, now, settings_text))
            join(writing, operation, (ident, owner_id, "owner", now))
            return _returned(row, operation, ident)

        return self._write(operation, work, tx, context={"org_id": ident, "owner_id": owner_id})

    def get(self, org_id: str) -> Organization | None:
        """Return the organization of this id, or None."""
        org_id = checks.ident("organization.get", "org_id", org_id)
        return self._find("organization.get", "id", org_id, {"org_id": org_id})

    def get_by_slug(self, slug: str) -> Organization | None:
        """Return the organization of this slug, in any form that ``slug_of`` makes it of, or None."""
        operation = "organization.get_by_slug"
        return self._find(operation, "slug", slug_of(checks.text(operation, "slug", slug)))

    def get_by_stripe_customer(self, stripe_customer_id: str) -> Organization | None:
        """Return the organization that is this customer at Stripe, or None."""
        operation = "organization.get_by_stripe_customer"
        checked = checks.ident(operation, "stripe_customer_id", stripe_customer_id)
        return self._find(operation, "stripe_customer_id", checked)

    def list_organizations(
        self, *, tier: str | None = None, owner_id: str | None = None, limit: int = 100, after: str | None = None
    ) -> Page[Organization]:
        """Return organizations in the order of their slugs: all, or those of a tier, of an owner, or of both."""
        operation = "organization.list_organizations"
        size = page_limit(operation, limit)
        wheres: list[tuple[str, Value]] = [("slug > ?", "" if after is None else from_cursor(operation, after, str)[0])]
        if tier is not None:
            wheres.append(("tier = ?", checks.choice(operation, "tier", tier, TIERS)))
        if owner_id is not None:
            wheres.append(("owner_id = ?", checks.ident(operation, "owner_id", owner_id)))
        sql = f"{_ORGANIZATIONS} WHERE {' AND '.join(where for where, _ in wheres)} ORDER BY slug LIMIT ?"
        with self._database.read(operation, {"tier": tier, "owner_id": owner_id}) as view:
            rows = view.all(sql, (*(value for _, value in wheres), size + 1))
        return to_page([to_organization(row) for row in rows], size, lambda organization: (organization.slug,))

    def iter_organizations(self, *, tier: str | None = None, owner_id: str | None = None) -> Iterator[Organization]:
        """Yield every such organization, in bounded memory."""
        return walk(lambda after: self.list_organizations(tier=tier, owner_id=owner_id, limit=1000, after=after))

    def update(
        self, org_id: str, *, tx: Transaction | None = None, **changes: Unpack[OrganizationChanges]
    ) -> Organization:
        """Change the given fields and return the organization; one that is closed can be changed, too.

        Raises:
            NotFoundError: there is no such organization.
            ConflictError: another one has this slug or is this customer of Stripe.
            InvalidValueError: a value breaks a rule, or a field is not one of ``OrganizationChanges``.

        """
        operation = "organization.update"
        org_id = checks.ident(operation, "org_id", org_id)
        columns = to_columns(operation, changes) | {"updated_at": self._now()}
        assignments = ", ".join(f"{column} = ?" for column in columns)
        sql = f"UPDATE organizations SET {assignments} WHERE id = ? RETURNING {COLUMNS}"  # noqa: S608 - our names

        def work(writing: Transaction) -> Organization:
            for column in ("slug", "stripe_customer_id"):
                if (value := columns.get(column)) is not None and _taken(writing, column, value, org_id):
                    raise ConflictError(operation, column, "is another organization's")
            return _returned(writing.one(sql, (*columns.values(), org_id)), operation, org_id)

        return self._write(operation, work, tx, context={"org_id": org_id})

    def get_usage_summary(self, org_id: str, month: str | None = None) -> UsageSummary:
        """Return what the organization used in a month (``"2026-01"``, UTC; None is the present one), exactly as now.

        Raises:
            NotFoundError: there is no such organization.

        """
        operation = "organization.get_usage_summary"
        org_id = checks.ident(operation, "org_id", org_id)
        month = checked_month(operation, self._now()[:7] if month is None else month)
        with self._database.read(operation, {"org_id": org_id, "month": month}) as view:
            return summarize(view, operation, org_id, month)

    def close_organization(self, org_id: str, *, tx: Transaction | None = None) -> Organization:
        """Close an organization: it takes no new members, invitations, share links or usage, and keeps what it has.

        Closing it again changes nothing.

        Raises:
            NotFoundError: there is no such organization.

        """
        return self._set_closed("organization.close_organization", org_id, tx, close=True)

    def reopen_organization(self, org_id: str, *, tx: Transaction | None = None) -> Organization:
        """Open a closed organization again; one that is open stays so.

        Raises:
            NotFoundError: there is no such organization.

        """
        return self._set_closed("organization.reopen_organization", org_id, tx, close=False)

    def delete(self, org_id: str, *, tx: Transaction | None = None) -> None:
        """Delete an organization that never used anything, with its memberships, invitations, share links and webhooks.

        Without ``tx``, it is closed first and what is its own goes in batches, so that nobody else's write waits behind
        all of it. When that is interrupted, the organization is closed; deleting it again goes on.

        Raises:
            NotFoundError: there is no such organization.
            ConflictError: it has usage.

        """
        operation = "organization.delete"
        org_id = checks.ident(operation, "org_id", org_id)
        now, context = self._now(), {"org_id": org_id}
        self._write(operation, lambda writing: prepare(writing, operation, org_id, now), tx, context=context)
        self._in_batches(operation, lambda writing: clear_some(writing, org_id), tx, context=context)
        self._write(operation, lambda writing: remove(writing, operation, org_id, now), tx, context=context)

    def _find(self, operation: str, column: str, value: str, context: Context | None = None) -> Organization | None:
        row = self._database.read_one(operation, f"{_ORGANIZATIONS} WHERE {column} = ?", (value,), context)
        return None if row is None else to_organization(row)

    def _set_closed(self, operation: str, org_id: str, tx: Transaction | None, *, close: bool) -> Organization:
        org_id = checks.ident(operation, "org_id", org_id)
        now = self._now()
        sql = f"UPDATE organizations SET closed_at = ?, updated_at = ? WHERE id = ? RETURNING {COLUMNS}"  # noqa: S608 - ours

        def work(writing: Transaction) -> Organization:
            found = _returned(writing.one(f"{_ORGANIZATIONS} WHERE id = ?", (org_id,)), operation, org_id)
            if (found.closed_at is not None) == close:
                return found
            return _returned(writing.one(sql, (now if close else None, now, org_id)), operation, org_id)

        return self._write(operation, work, tx, context={"org_id": org_id})


def _taken(writing: Transaction, column: str, value: Value, but: str) -> bool:
    sql = f"SELECT 1 FROM organizations WHERE {column} = ? AND id <> ?"  # noqa: S608 - names of this module
    return writing.one(sql, (value, but)) is not None


def _returned(row: Row | None, operation: str, org_id: str) -> Organization:
    if row is None:
        raise no_such_organization(operation, org_id)
    return to_organization(row)
