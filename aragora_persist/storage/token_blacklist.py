"""The token blacklist: tokens that were revoked before their own expiry.

A token is known by its ``jti`` (RFC 7519, 4.1.7) until it expires, from when on nobody accepts it anyway. Leaves out:
the tokens themselves, and whether their signatures are right.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from aragora_persist.errors import InvalidValueError
from aragora_persist.storage import checks
from aragora_persist.storage.pages import Page, from_cursor, page_limit, to_page, walk
from aragora_persist.storage.rows import stored_time
from aragora_persist.storage.store import Store
from aragora_persist.times import to_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from aragora_persist.storage.port import Row, Transaction, Value

_BATCH = 1_000
_COLUMNS = "jti, user_id, reason, expires_at, revoked_at"
_ONE = f"SELECT {_COLUMNS} FROM token_blacklist WHERE jti = ?"  # noqa: S608 - constants of this module
_EXPIRY = "SELECT expires_at FROM token_blacklist WHERE jti = ?"
# A revocation is never refused and never shortened: the later expiry stands, and what was not said before is filled in.
_REVOKE = f"""
    INSERT INTO token_blacklist ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (jti) DO UPDATE SET
        user_id = COALESCE(token_blacklist.user_id, excluded.user_id),
        reason = COALESCE(token_blacklist.reason, excluded.reason),
        expires_at = CASE WHEN excluded.expires_at > token_blacklist.expires_at
            THEN excluded.expires_at ELSE token_blacklist.expires_at END
"""  # noqa: S608 - as above
_OF_USER = f"""
    SELECT {_COLUMNS} FROM token_blacklist WHERE user_id = ? AND expires_at > ? AND (revoked_at, jti) > (?, ?)
    ORDER BY revoked_at, jti LIMIT ?
"""  # noqa: S608 - as above
_DELETE_EXPIRED = """
    DELETE FROM token_blacklist
    WHERE jti IN (SELECT jti FROM token_blacklist WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)
"""


@dataclass(frozen=True, slots=True)
class RevokedToken:
    """One revoked token. Times are aware UTC; from ``expires_at`` on it is no longer on the list."""

    jti: str
    user_id: str | None
    reason: str | None
    expires_at: datetime
    revoked_at: datetime


class TokenBlacklist(Store):
    """The revoked tokens of one database. ``db_path`` None is ``aragora_tokens.db`` under ``NOMIC_DIR``."""

    database_name = "tokens"

    def revoke(
        self,
        jti: str,
        expires_at: datetime,
        *,
        user_id: str | None = None,
        reason: str | None = None,
        tx: Transaction | None = None,
    ) -> None:
        """Put a token on the list until ``expires_at``, its own expiry.

        Revoking again changes nothing but this: a later expiry takes the place of an earlier one, and a user or reason
        that was not known before is filled in.

        Raises:
            InvalidValueError: a value breaks a rule.

        """
        self._revoke("token.revoke", [(jti, expires_at)], user_id, reason, tx)

    def revoke_many(
        self,
        tokens: Iterable[tuple[str, datetime]],
        *,
        user_id: str | None = None,
        reason: str | None = None,
        tx: Transaction | None = None,
    ) -> None:
        """Put these tokens (``jti``, ``expires_at``) on the list: all of them, or none when one is refused.

        Raises:
            InvalidValueError: a value breaks a rule.

        """
        self._revoke("token.revoke_many", tokens, user_id, reason, tx)

    def is_revoked(self, jti: str) -> bool:
        """Tell whether this token is on the list.

        Raises:
            InvalidValueError: ``jti`` cannot be one: whoever asks must refuse such a token, and not take it for good.

        """
        checks.ident("token.is_revoked", "jti", jti)
        row = self._database.read_one("token.is_revoked", _EXPIRY, (jti,))
        return row is not None and stored_time(row[0], f"token {jti}", "expires_at") > self._clock()

    def __contains__(self, jti: str) -> bool:
        return self.is_revoked(jti)

    def get(self, jti: str) -> RevokedToken | None:
        """Return what is known of a token on the list, or None."""
        checks.ident("token.get", "jti", jti)
        row = self._database.read_one("token.get", _ONE, (jti,))
        return None if row is None or cast("str", row[3]) <= self._now() else _from_row(row)

    def list_by_user(self, user_id: str, *, limit: int = 100, after: str | None = None) -> Page[RevokedToken]:
        """Return the tokens of a user that are on the list, the first revoked first."""
        operation = "token.list_by_user"
        checks.ident(operation, "user_id", user_id)
        page_limit(operation, limit)
        start = ("", "") if after is None else from_cursor(operation, after, str, str)
        with self._database.read(operation, {"user_id": user_id}) as view:
            rows = view.all(_OF_USER, (user_id, self._now(), *start, limit + 1))
        return to_page([_from_row(row) for row in rows], limit, lambda token: (to_text(token.revoked_at), token.jti))

    def iter_by_user(self, user_id: str) -> Iterator[RevokedToken]:
        """Yield what ``list_by_user`` lists, in bounded memory."""
        return walk(lambda after: self.list_by_user(user_id, limit=1000, after=after))

    def cleanup(self) -> int:
        """Delete the tokens that have expired, and return how many there were.

        In batches, each its own transaction; it may be stopped and started again at any time.
        """
        now = self._now()
        return self._in_batches("token.cleanup", lambda tx: tx.execute(_DELETE_EXPIRED, (now, _BATCH)))

    def _revoke(
        self,
        operation: str,
        tokens: Iterable[tuple[str, datetime]],
        user_id: str | None,
        reason: str | None,
        tx: Transaction | None,
    ) -> None:
        rest: tuple[Value, ...] = (
            None if user_id is None else checks.ident(operation, "user_id", user_id),
            None if reason is None else checks.text(operation, "reason", reason, longest=checks.LONGEST_NAME),
        )
        now = self._now()
        rows = [
            (checks.ident(operation, "jti", jti), *rest, checks.moment(operation, "expires_at", expires_at), now)
            for jti, expires_at in _pairs(operation, tokens)
        ]
        # In one order everywhere: two callers with the same tokens must not wait for each other.
        rows.sort(key=lambda row: cast("str", row[0]))
        self._write(operation, partial(_insert, rows), tx)


def _pairs(operation: str, tokens: Iterable[Any]) -> Iterator[tuple[str, datetime]]:
    for pair in checks.several(operation, "tokens", tokens):
        if not isinstance(pair, tuple | list) or len(pair) != 2:  # noqa: PLR2004 - what a pair is
            raise InvalidValueError(operation, "tokens", "has what is no pair of jti and expires_at")
        yield pair[0], pair[1]


def _insert(rows: list[tuple[Value, ...]], tx: Transaction) -> None:
    tx.execute_many(_REVOKE, rows)


def _from_row(row: Row) -> RevokedToken:
    jti, user_id, reason, expires_at, revoked_at = row
    record = f"token {jti!s}"
    return RevokedToken(
        cast("str", jti),
        cast("str | None", user_id),
        cast("str | None", reason),
        stored_time(expires_at, record, "expires_at"),
        stored_time(revoked_at, record, "revoked_at"),
    )
