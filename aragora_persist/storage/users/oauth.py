"""Identities of users at OAuth providers: which account a login elsewhere opens.

An identity is the provider's name and the subject that it vouches for; it belongs to one user at a time. Leaves out:
speaking with the provider, and its tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist.errors import AccountInactiveError, ConflictError, NotFoundError
from aragora_persist.records import dataclass
from aragora_persist.storage import checks, pages
from aragora_persist.storage.rows import stored_time
from aragora_persist.storage.store import Store
from aragora_persist.storage.users.records import User, from_row
from aragora_persist.storage.users.statements import QUALIFIED, require_user

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from aragora_persist.storage.pages import Page
    from aragora_persist.storage.port import Row, Transaction

_LONGEST_PROVIDER = 64
_COLUMNS = "provider, subject, user_id, created_at"
_BY_IDENTITY = (
    f"SELECT {QUALIFIED} FROM oauth_identities "  # noqa: S608 - constants of this package
    "JOIN users ON users.id = oauth_identities.user_id "
    "WHERE oauth_identities.provider = ? AND oauth_identities.subject = ?"
)
_ANY_WAY = (
    "SELECT 1 FROM users WHERE id = ? AND (password_hash <> '' OR EXISTS ("
    "SELECT 1 FROM oauth_identities WHERE user_id = users.id))"
)


@dataclass(frozen=True, slots=True)
class OAuthIdentity:
    """One identity at a provider, and whose it is."""

    provider: str
    subject: str
    user_id: str
    created_at: datetime


class UserOAuth(Store):
    """The part of ``UserStore`` for logins elsewhere."""

    database_name = "users"

    def link_oauth(self, user_id: str, provider: str, subject: str, *, tx: Transaction | None = None) -> OAuthIdentity:
        """Let this identity open the user's account; one that does already stays as it is.

        Raises:
            NotFoundError: there is no such user.
            ConflictError: the identity is another user's.

        """
        operation = "user.link_oauth"
        checks.ident(operation, "user_id", user_id)
        identity = _checked(operation, provider, subject)
        now = self._now()

        def work(tx: Transaction) -> OAuthIdentity:
            require_user(tx, operation, user_id)
            tx.execute(
                "INSERT INTO oauth_identities (provider, subject, user_id, created_at) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (provider, subject) DO NOTHING",
                (*identity, user_id, now),
            )
            row = tx.one(
                f"SELECT {_COLUMNS} FROM oauth_identities WHERE provider = ? AND subject = ?",  # noqa: S608 - ours
                identity,
            )
            if row is None or row[2] != user_id:
                raise ConflictError(operation, f"identity at {provider}", "belongs to another user")
            return _from_row(row)

        return self._write(operation, work, tx, context={"user_id": user_id})

    def get_by_oauth(self, provider: str, subject: str) -> User | None:
        """Return the user whose account this identity opens, or None.

        Raises:
            AccountInactiveError: there is one, but the account is switched off.

        """
        operation = "user.get_by_oauth"
        identity = _checked(operation, provider, subject)
        row = self._database.read_one(operation, _BY_IDENTITY, identity)
        if row is None:
            return None
        user = from_row(row)
        if not user.is_active:
            raise AccountInactiveError(operation, f"user {user.id}", "is switched off")
        return user

    def list_oauth(self, user_id: str, *, limit: int = 100, after: str | None = None) -> Page[OAuthIdentity]:
        """Return a page of a user's identities, by provider and subject; an unknown user has none.

        Raises:
            InvalidValueError: the limit is out of range, or ``after`` is not the ``next`` of a page.

        """
        operation = "user.list_oauth"
        checks.ident(operation, "user_id", user_id)
        limit = pages.page_limit(operation, limit)
        begin = ("", "") if after is None else pages.from_cursor(operation, after, str, str)
        with self._database.read(operation, {"user_id": user_id}) as view:
            rows = view.all(
                f"SELECT {_COLUMNS} FROM oauth_identities "  # noqa: S608 - constants of this package
                "WHERE user_id = ? AND (provider, subject) > (?, ?) ORDER BY provider, subject LIMIT ?",
                (user_id, *begin, limit + 1),
            )
        return pages.to_page([_from_row(row) for row in rows], limit, lambda found: (found.provider, found.subject))

    def iter_oauth(self, user_id: str) -> Iterator[OAuthIdentity]:
        """Yield a user's identities, in bounded memory."""
        yield from pages.walk(lambda after: self.list_oauth(user_id, limit=pages.LARGEST_PAGE, after=after))

    def unlink_oauth(self, user_id: str, provider: str, subject: str, *, tx: Transaction | None = None) -> None:
        """Let this identity open the user's account no longer.

        Raises:
            NotFoundError: it is not one of this user's.
            ConflictError: it is the last way to log in: there is no password and no other identity.

        """
        operation = "user.unlink_oauth"
        checks.ident(operation, "user_id", user_id)
        identity = _checked(operation, provider, subject)

        def work(tx: Transaction) -> None:
            if not tx.execute(
                "DELETE FROM oauth_identities WHERE user_id = ? AND provider = ? AND subject = ?", (user_id, *identity)
            ):
                raise NotFoundError(operation, f"identity at {provider}", f"is not one of user {user_id}")
            if tx.one(_ANY_WAY, (user_id,)) is None:
                problem = f"is the last way for user {user_id} to log in"
                raise ConflictError(operation, f"identity at {provider}", problem, hint="set a password first")

        self._write(operation, work, tx, context={"user_id": user_id})


def _checked(operation: str, provider: object, subject: object) -> tuple[str, str]:
    return (
        checks.text(operation, "provider", provider, longest=_LONGEST_PROVIDER, empty=False),
        checks.ident(operation, "subject", subject),
    )


def _from_row(row: Row) -> OAuthIdentity:
    provider, subject, user_id, created_at = row
    record = f"identity of user {user_id!s}"
    return OAuthIdentity(str(provider), str(subject), str(user_id), stored_time(created_at, record, "created_at"))
