"""API keys of users: ``ara_`` and 32 random bytes, shown once and stored as a hash.

Its SHA-256 is enough (``bearer_tokens``), and a slow hash would cost every request what a login costs once. A look-up
goes by the whole hash through an index: how long it takes says nothing about any key. Leaves out: what a key may do,
which is the service's to say.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from aragora_persist.errors import AccountInactiveError, InvalidValueError, NotFoundError, PersistError
from aragora_persist.records import dataclass
from aragora_persist.settings import Secret
from aragora_persist.storage import checks, pages
from aragora_persist.storage.bearer_tokens import new_token, token_hash
from aragora_persist.storage.rows import stored_time, stored_time_or_none
from aragora_persist.storage.store import Store
from aragora_persist.storage.users.records import User, from_row
from aragora_persist.storage.users.statements import QUALIFIED, require_user
from aragora_persist.times import to_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aragora_persist.storage.pages import Page
    from aragora_persist.storage.port import Row, Transaction

LIFETIME = timedelta(days=365)
"""How long a key works that was made without an end."""
_HEAD = "ara_"
_PREFIX_CHARACTERS = 12
_LONGEST_KEY = 255
_USE_NOTED_EVERY = timedelta(minutes=15)
_COLUMNS = "id, user_id, name, prefix, created_at, expires_at, last_used_at, revoked_at"
_BY_HASH = (
    f"SELECT {QUALIFIED}, api_keys.id, api_keys.last_used_at "  # noqa: S608 - constants of this package
    "FROM api_keys JOIN users ON users.id = api_keys.user_id "
    "WHERE api_keys.key_hash = ? AND api_keys.revoked_at IS NULL AND api_keys.expires_at > ?"
)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of an API key; the key itself is not."""

    id: str
    user_id: str
    name: str
    prefix: str
    """The first characters of the key, for people to tell keys apart."""
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    """To a quarter of an hour: not every request is a write."""
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key that was just made: the only time that it can be shown."""

    key: Secret
    record: ApiKey


class UserApiKeys(Store):
    """The part of ``UserStore`` for API keys."""

    database_name = "users"

    def create_api_key(
        self, user_id: str, *, name: str = "", expires_at: datetime | None = None, tx: Transaction | None = None
    ) -> NewApiKey:
        """Make a key for a user; without an end it works for 365 days.

        Raises:
            NotFoundError: there is no such user.
            InvalidValueError: the name is too long, or the end is not in the future.

        """
        operation = "user.create_api_key"
        checks.ident(operation, "user_id", user_id)
        checks.text(operation, "name", name, longest=checks.LONGEST_NAME)
        present = self._clock()
        now, end = to_text(present), checks.moment(operation, "expires_at", expires_at or present + LIFETIME)
        if end <= now:
            raise InvalidValueError(operation, "expires_at", "is not in the future")
        key = new_token(_HEAD)
        insert = (
            "INSERT INTO api_keys (id, user_id, name, prefix, key_hash, created_at, expires_at) "  # noqa: S608 - ours
            f"VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING {_COLUMNS}"
        )
        values = (checks.new_id(), user_id, name, key[:_PREFIX_CHARACTERS], token_hash(key), now, end)

        def work(tx: Transaction) -> ApiKey:
            require_user(tx, operation, user_id)
            return _to_key(tx.one(insert, values), operation, user_id, "")

        return NewApiKey(Secret(key), self._write(operation, work, tx, context={"user_id": user_id}))

    def get_by_api_key(self, key: str) -> User | None:
        """Return the user whose key this is; None when it is nobody's, expired or revoked. The use is noted.

        A lock after failed logins does not stop a key: who guesses passwords must not be able to.

        Raises:
            AccountInactiveError: the key is right, but the account is switched off.

        """
        operation = "user.get_by_api_key"
        if not _can_be_key(key):
            return None
        now = self._clock()
        row = self._database.read_one(operation, _BY_HASH, (token_hash(key), to_text(now)))
        if row is None:
            return None
        user, key_id, used = from_row(row[:-2]), str(row[-2]), row[-1]
        if not user.is_active:
            raise AccountInactiveError(operation, f"user {user.id}", "is switched off")
        if used is None or str(used) <= to_text(now - _USE_NOTED_EVERY):
            self._note_use(key_id, now)
        return user

    def list_api_keys(self, user_id: str, *, limit: int = 100, after: str | None = None) -> Page[ApiKey]:
        """Return a page of a user's keys, the oldest first, with those that work no longer; an unknown user has none.

        Raises:
            InvalidValueError: the limit is out of range, or ``after`` is not the ``next`` of a page.

        """
        operation = "user.list_api_keys"
        checks.ident(operation, "user_id", user_id)
        limit = pages.page_limit(operation, limit)
        begin = ("", "") if after is None else pages.from_cursor(operation, after, str, str)
        with self._database.read(operation, {"user_id": user_id}) as view:
            rows = view.all(
                f"SELECT {_COLUMNS} FROM api_keys WHERE user_id = ? AND (created_at, id) > (?, ?) "  # noqa: S608 - ours
                "ORDER BY created_at, id LIMIT ?",
                (user_id, *begin, limit + 1),
            )
        return pages.to_page([_from_row(row) for row in rows], limit, lambda key: (to_text(key.created_at), key.id))

    def iter_api_keys(self, user_id: str) -> Iterator[ApiKey]:
        """Yield a user's keys, the oldest first, in bounded memory."""
        yield from pages.walk(lambda after: self.list_api_keys(user_id, limit=pages.LARGEST_PAGE, after=after))

    def revoke_api_key(self, user_id: str, key_id: str, *, tx: Transaction | None = None) -> ApiKey:
        """End a key of this user for good; one that was ended already stays as it is.

        Raises:
            NotFoundError: this user has no such key.

        """
        operation = "user.revoke_api_key"
        checks.ident(operation, "user_id", user_id)
        checks.ident(operation, "key_id", key_id)
        update = (
            "UPDATE api_keys SET revoked_at = COALESCE(revoked_at, ?) "  # noqa: S608 - constants of this package
            f"WHERE id = ? AND user_id = ? RETURNING {_COLUMNS}"
        )
        values = (self._now(), key_id, user_id)
        return self._write(
            operation,
            lambda tx: _to_key(tx.one(update, values), operation, user_id, key_id),
            tx,
            context={"user_id": user_id, "key_id": key_id},
        )

    def _note_use(self, key_id: str, now: datetime) -> None:
        values = (to_text(now), key_id, to_text(now - _USE_NOTED_EVERY))

        def work(tx: Transaction) -> None:
            tx.execute(
                "UPDATE api_keys SET last_used_at = ? WHERE id = ? AND (last_used_at IS NULL OR last_used_at <= ?)",
                values,
            )

        # Whose key it is, is known: that must not fail because a note of it has to wait, is made in a block that writes
        # already, or cannot be written at all.
        with suppress(PersistError):
            self._write("user.note_api_key_use", work, context={"key_id": key_id})


def _can_be_key(key: object) -> bool:
    return isinstance(key, str) and key.startswith(_HEAD) and len(key) <= _LONGEST_KEY


def _to_key(row: Row | None, operation: str, user_id: str, key_id: str) -> ApiKey:
    if row is None:
        raise NotFoundError(operation, f"API key {key_id}", f"is not one of user {user_id}")
    return _from_row(row)


def _from_row(row: Row) -> ApiKey:
    ident, user_id, name, prefix, created, expires, used, revoked = row
    record = f"API key {ident!s}"
    return ApiKey(
        str(ident),
        str(user_id),
        str(name),
        str(prefix),
        stored_time(created, record, "created_at"),
        stored_time(expires, record, "expires_at"),
        stored_time_or_none(used, record, "last_used_at"),
        stored_time_or_none(revoked, record, "revoked_at"),
    )
