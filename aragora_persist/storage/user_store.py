"""User accounts: made, found, changed, listed and deleted.

Its other parts are modules of their own: logging in (``users.login``), passwords and tokens for emails
(``users.password_changes``), API keys (``users.api_keys``), identities at OAuth providers (``users.oauth``) and
multi-factor authentication (``users.mfa``). Leaves out: organizations and who belongs to them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING

from aragora_persist.errors import ConflictError, InvalidValueError
from aragora_persist.storage import checks, pages
from aragora_persist.storage.rows import stored_object
from aragora_persist.storage.users.api_keys import UserApiKeys
from aragora_persist.storage.users.login import UserLogin
from aragora_persist.storage.users.mfa import UserMfa
from aragora_persist.storage.users.oauth import UserOAuth
from aragora_persist.storage.users.password_changes import UserPasswords
from aragora_persist.storage.users.passwords import hash_password
from aragora_persist.storage.users.records import (
    COLUMNS,
    User,
    UserChanges,
    UserProfile,
    from_row,
    normal_email,
    preferences_text,
    to_columns,
)
from aragora_persist.storage.users.statements import no_such_user, set_columns

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from typing import Any, Unpack

    from aragora_persist.storage.pages import Page
    from aragora_persist.storage.port import Row, Transaction, Value

_SELECT = f"SELECT {COLUMNS} FROM users"  # noqa: S608 - constants of this package
_BY_ID = f"{_SELECT} WHERE id = ?"
_BY_EMAIL = f"{_SELECT} WHERE email = ?"
_MOST_IDS = 512


class UserStore(UserLogin, UserPasswords, UserApiKeys, UserOAuth, UserMfa):
    """The users of one database. ``db_path`` None is ``aragora_users.db`` under ``NOMIC_DIR``.

    Methods that write take a transaction of the same database as ``tx``; without one, each is its own.
    """

    def create(
        self, email: str, password: str | None = None, *, tx: Transaction | None = None, **profile: Unpack[UserProfile]
    ) -> User:
        """Make a user and return it. Without a password, the account takes no password login.

        Raises:
            ConflictError: the email is taken, however it is written.
            InvalidValueError: the email or the password is none, or a field of the profile breaks a rule.

        """
        operation = "user.create"
        columns = to_columns(operation, {**profile, "email": email})
        now = self._now()
        user_id = checks.new_id()
        columns |= {
            "id": user_id,
            "password_hash": "" if password is None else hash_password(password),
            "password_salt": "",  # argon2 keeps its salt inside the hash
            "created_at": now,
            "updated_at": now,
        }
        marks = ", ".join("?" * len(columns))
        insert = (
            f"INSERT INTO users ({', '.join(columns)}) VALUES ({marks}) "  # noqa: S608 - names of this package
            f"ON CONFLICT (email) DO NOTHING RETURNING {COLUMNS}"
        )

        def work(tx: Transaction) -> User:
            row = tx.one(insert, tuple(columns.values()))
            if row is None:
                raise ConflictError(operation, "email", "is taken")
            return from_row(row)

        return self._write(operation, work, tx, context={"user_id": user_id})

    def get(self, user_id: str) -> User | None:
        """Return the user of this id, or None."""
        checks.ident("user.get", "user_id", user_id)
        row = self._database.read_one("user.get", _BY_ID, (user_id,), {"user_id": user_id})
        return None if row is None else from_row(row)

    def get_by_email(self, email: str) -> User | None:
        """Return the user of this email, however it is written, or None; what cannot be an email is nobody's."""
        try:
            normal = normal_email(email)
        except InvalidValueError:
            return None
        row = self._database.read_one("user.get_by_email", _BY_EMAIL, (normal,))
        return None if row is None else from_row(row)

    def get_many(self, user_ids: Iterable[str]) -> dict[str, User]:
        """Return those of these users that there are, by id; any number of ids, all as of one moment."""
        operation = "user.get_many"
        given = checks.several(operation, "user_ids", user_ids)
        wanted = iter(dict.fromkeys(checks.ident(operation, "user_id", user_id) for user_id in given))
        found: dict[str, User] = {}
        with self._database.read(operation) as view:
            while part := tuple(islice(wanted, _MOST_IDS)):
                # A power of two, filled up with the last one: few different statements, which stay prepared.
                size = 1 << (len(part) - 1).bit_length()
                marks = ", ".join("?" * size)
                rows = view.all(f"{_SELECT} WHERE id IN ({marks})", part + part[-1:] * (size - len(part)))
                found |= {user.id: user for user in map(from_row, rows)}
        return found

    def list_users(
        self, *, org_id: str | None = None, active: bool | None = None, limit: int = 100, after: str | None = None
    ) -> Page[User]:
        """Return a page of the users, the oldest account first; of one ``org_id``, or of one state, if asked.

        ``OrganizationStore.list_members`` has those too for whom it is not their primary organization.

        Raises:
            InvalidValueError: the limit is out of range, or ``after`` is not the ``next`` of a page.

        """
        operation = "user.list_users"
        where: dict[str, tuple[Value, ...]] = {}
        if org_id is not None:
            where["org_id = ?"] = (checks.ident(operation, "org_id", org_id),)
        if active is not None:
            where["is_active = ?"] = (checks.flag(operation, "active", active),)
        if after is not None:
            where["(created_at, id) > (?, ?)"] = pages.from_cursor(operation, after, str, str)
        limit = pages.page_limit(operation, limit)
        condition = f" WHERE {' AND '.join(where)}" if where else ""
        parameters = [value for values in where.values() for value in values]
        with self._database.read(operation, {"org_id": org_id}) as view:
            rows = view.all(f"{_SELECT}{condition} ORDER BY created_at, id LIMIT ?", (*parameters, limit + 1))
        page = pages.to_page(rows, limit, _list_key)
        return pages.Page([from_row(row) for row in page.items], page.next)

    def iter_users(self, *, org_id: str | None = None, active: bool | None = None) -> Iterator[User]:
        """Yield the users, the oldest account first, in bounded memory."""
        yield from pages.walk(
            lambda after: self.list_users(org_id=org_id, active=active, limit=pages.LARGEST_PAGE, after=after)
        )

    def update(self, user_id: str, *, tx: Transaction | None = None, **changes: Unpack[UserChanges]) -> User:
        """Change the given fields and return the user. A new email is not verified, unless it is said to be.

        Raises:
            NotFoundError: there is no such user.
            ConflictError: the new email is taken.
            InvalidValueError: a value breaks a rule, or a field is not one of ``UserChanges``.

        """
        operation = "user.update"
        columns = {**to_columns(operation, changes), "updated_at": self._now()}
        checks.ident(operation, "user_id", user_id)
        context = {"user_id": user_id}
        return self._write(operation, lambda tx: set_columns(tx, operation, user_id, columns), tx, context=context)

    def update_many(self, changes: Mapping[str, UserChanges], *, tx: Transaction | None = None) -> dict[str, User]:
        """Change several users by id, in this order and by the rules of ``update``: all of them, or on an error none.

        Raises:
            NotFoundError, ConflictError, InvalidValueError: as ``update``, for the first one that cannot be changed.

        """
        operation = "user.update_many"
        if not isinstance(changes, Mapping):
            raise InvalidValueError(operation, "changes", f"is a {type(changes).__name__}, not a dict")
        now = self._now()
        columns = {
            checks.ident(operation, "user_id", user_id): {**to_columns(operation, fields), "updated_at": now}
            for user_id, fields in changes.items()
        }

        def work(tx: Transaction) -> dict[str, User]:
            return {user_id: set_columns(tx, operation, user_id, fields) for user_id, fields in columns.items()}

        return self._write(operation, work, tx)

    def merge_preferences(
        self, user_id: str, changes: dict[str, Any], *, remove: Collection[str] = (), tx: Transaction | None = None
    ) -> User:
        """Set these preferences, take out those that ``remove`` names, and keep all others, whoever changes them.

        Raises:
            NotFoundError: there is no such user.
            InvalidValueError: a value is not JSON, or all of them together are too long.

        """
        operation = "user.merge_preferences"
        checks.ident(operation, "user_id", user_id)
        given: dict[str, Any] = json.loads(preferences_text(operation, changes))  # keys that are texts, as in the rest
        removed = frozenset(
            checks.text(operation, "remove", key) for key in checks.several(operation, "remove", remove)
        )
        now = self._now()

        def work(tx: Transaction) -> User:
            row = tx.one("SELECT preferences FROM users WHERE id = ?", (user_id,))
            if row is None:
                raise no_such_user(operation, user_id)
            merged = stored_object(row[0], f"user {user_id}", "preferences") | given
            kept = {key: value for key, value in merged.items() if key not in removed}
            columns = {"preferences": preferences_text(operation, kept), "updated_at": now}
            return set_columns(tx, operation, user_id, columns)

        return self._write(operation, work, tx, context={"user_id": user_id})

    def delete(self, user_id: str, *, tx: Transaction | None = None) -> None:
        """Delete a user and what is the user's: API keys, identities, memberships, share links. What was logged stays.

        Invitations that went to the user's email are deleted too, whatever became of them.

        Raises:
            NotFoundError: there is no such user.
            ConflictError: the user owns an organization, which the error names.

        """
        operation = "user.delete"
        checks.ident(operation, "user_id", user_id)

        def work(tx: Transaction) -> None:
            owned = tx.one("SELECT slug FROM organizations WHERE owner_id = ? ORDER BY slug LIMIT 1", (user_id,))
            if owned is not None:
                problem = f"owns the organization {owned[0]!s}"
                raise ConflictError(operation, f"user {user_id}", problem, hint="transfer its ownership first")
            row = tx.one("DELETE FROM users WHERE id = ? RETURNING email", (user_id,))
            if row is None:
                raise no_such_user(operation, user_id)
            tx.execute("DELETE FROM invitations WHERE email = ?", row)

        self._write(operation, work, tx, context={"user_id": user_id})


def _list_key(row: Row) -> tuple[str, str]:
    created_at, user_id = row[5], row[0]
    return str(created_at), str(user_id)
