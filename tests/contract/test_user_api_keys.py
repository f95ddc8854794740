"""The contract of UserStore's API keys, over every backend."""

from __future__ import annotations

import hashlib
import threading
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from aragora_persist.errors import AccountInactiveError, InvalidValueError, NotFoundError

if TYPE_CHECKING:
    from aragora_persist.storage.user_store import UserStore
    from aragora_persist.storage.users.records import User
    from aragora_persist.testing import Clock

pytest_plugins = ("tests.contract.user_fixtures",)


def stored(users: UserStore) -> list[tuple[object, ...]]:
    """Return all that the database holds of keys."""
    with users.database.read("look") as view:
        return list(view.all("SELECT * FROM api_keys"))


def test_a_key_opens_its_users_account(users: UserStore, user: User, clock: Clock) -> None:
    """It has the documented form and a year to live, shows itself nowhere, and is stored as a hash."""
    made = users.create_api_key(user.id, name="ci ☕")
    key = made.key.reveal()
    assert (key[:4], len(key)) == ("ara_", 47)
    record = made.record
    assert (record.user_id, record.name, record.prefix) == (user.id, "ci ☕", key[:12])
    assert (record.created_at, record.expires_at) == (clock.now, clock.now + timedelta(days=365))
    assert (record.last_used_at, record.revoked_at) == (None, None)
    assert users.get_by_api_key(key) == user
    assert key not in repr(made)
    assert hashlib.sha256(key.encode()).hexdigest() in stored(users)[0]
    assert key not in str(stored(users))


def test_what_is_no_key_is_nobodys(users: UserStore, user: User) -> None:
    """Whatever is passed; the key that there is goes on working."""
    made = users.create_api_key(user.id)
    texts = ("", "ara_", "ara_" + "A" * 43, "x" * 47, "ara_" + "x" * 10_000_000, "ara_\0", "ara_\udc80")
    values: tuple[Any, ...] = (*texts, None, 5)
    assert [users.get_by_api_key(value) for value in values] == [None] * len(values)
    assert users.get_by_api_key(made.key.reveal().swapcase()) is None
    assert users.get_by_api_key(made.key.reveal()) == user


def test_a_key_ends_at_its_time(users: UserStore, user: User, clock: Clock) -> None:
    """To the microsecond; it stays on the list."""
    made = users.create_api_key(user.id, expires_at=clock.now + timedelta(minutes=1))
    clock.advance(minutes=1, microseconds=-1)
    assert users.get_by_api_key(made.key.reveal()) == user
    clock.advance(microseconds=1)
    assert users.get_by_api_key(made.key.reveal()) is None
    assert [key.id for key in users.iter_api_keys(user.id)] == [made.record.id]


def test_a_revoked_key_stays_revoked(users: UserStore, user: User, clock: Clock) -> None:
    """Revoking it again changes nothing; the user's other keys work on."""
    first, second = users.create_api_key(user.id), users.create_api_key(user.id)
    revoked = users.revoke_api_key(user.id, first.record.id)
    assert revoked.revoked_at == clock.now
    clock.advance(days=1)
    assert users.revoke_api_key(user.id, first.record.id) == revoked
    assert users.get_by_api_key(first.key.reveal()) is None
    assert users.get_by_api_key(second.key.reveal()) == user


def test_only_its_user_can_revoke_a_key(users: UserStore, user: User) -> None:
    """Another user, or an id of nothing, is refused, and the key works on."""
    other = users.create("other@example.com")
    made = users.create_api_key(user.id)
    for user_id, key_id in ((other.id, made.record.id), (user.id, "unknown"), ("unknown", made.record.id)):
        with pytest.raises(NotFoundError):
            users.revoke_api_key(user_id, key_id)
    assert users.get_by_api_key(made.key.reveal()) == user


def test_a_key_of_a_switched_off_account_is_refused(users: UserStore, user: User) -> None:
    """By the error of the password login; switched on again, it works again."""
    key = users.create_api_key(user.id).key.reveal()
    users.update(user.id, is_active=False)
    with pytest.raises(AccountInactiveError):
        users.get_by_api_key(key)
    switched_on = users.update(user.id, is_active=True)
    assert users.get_by_api_key(key) == switched_on


def test_a_use_is_noted_at_most_every_quarter_of_an_hour(users: UserStore, user: User, clock: Clock) -> None:
    """The first one at once; what comes soon after it writes nothing."""
    key = users.create_api_key(user.id).key.reveal()
    first = clock.now
    for minutes, noted in ((0, first), (14, first), (1, first + timedelta(minutes=15))):
        clock.advance(minutes=minutes)
        assert users.get_by_api_key(key) == user
        assert next(users.iter_api_keys(user.id)).last_used_at == noted


def test_a_key_is_accepted_where_its_use_cannot_be_noted(users: UserStore, user: User) -> None:
    """A look-up in a block that writes is answered; the next one notes the use."""
    key = users.create_api_key(user.id).key.reveal()
    if users.database.target != ":memory:":  # there is one connection, and the block has it
        with users.database.transaction():
            assert users.get_by_api_key(key) == user
    assert users.get_by_api_key(key) == user
    assert next(users.iter_api_keys(user.id)).last_used_at is not None


def test_many_threads_use_one_key(users: UserStore, user: User) -> None:
    """Each of them gets its user, and the use is noted."""
    key = users.create_api_key(user.id).key.reveal()
    found: list[User | None] = []
    threads = [threading.Thread(target=lambda: found.append(users.get_by_api_key(key))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [user] * 8
    assert next(users.iter_api_keys(user.id)).last_used_at is not None


def test_keys_are_listed_in_pages(users: UserStore, user: User, clock: Clock) -> None:
    """The oldest first, each one once, those of one moment too; another user's never."""
    users.create_api_key(users.create("other@example.com").id)
    made = []
    for number in range(5):
        made.append(users.create_api_key(user.id, name=str(number)).record)
        clock.advance(seconds=number % 2)
    first = users.list_api_keys(user.id, limit=2)
    second = users.list_api_keys(user.id, limit=2, after=first.next)
    third = users.list_api_keys(user.id, limit=2, after=second.next)
    listed = first.items + second.items + third.items
    assert [key.id for key in listed] == [key.id for key in sorted(made, key=lambda key: (key.created_at, key.id))]
    assert (third.next, list(users.iter_api_keys(user.id))) == (None, listed)
    assert users.list_api_keys("unknown").items == []


def test_refuses_wrong_fields(users: UserStore, user: User) -> None:
    """With the field's name; no key is made."""
    wrong: dict[str, tuple[Any, ...]] = {
        "name": ("x" * 1_001, "\0", "\udc80", 5, None),
        "expires_at": (datetime(2030, 1, 1), "2030-01-01"),  # noqa: DTZ001 - what is refused
    }
    for field, values in wrong.items():
        for value in values:
            with pytest.raises(InvalidValueError) as refused:
                users.create_api_key(user.id, **{field: value})
            assert refused.value.target == field
    assert stored(users) == []


def test_refuses_an_end_that_has_been(users: UserStore, user: User, clock: Clock) -> None:
    """A key that never works would be a mistake."""
    with pytest.raises(InvalidValueError, match="future"):
        users.create_api_key(user.id, expires_at=clock.now)
    assert stored(users) == []


def test_nobody_has_no_keys(users: UserStore) -> None:
    """An unknown user gets none."""
    with pytest.raises(NotFoundError):
        users.create_api_key("unknown")
    assert stored(users) == []


def test_a_key_is_made_with_all_else_or_not_at_all(users: UserStore) -> None:
    """In a transaction that fails, neither user nor key stays."""
    with pytest.raises(NotFoundError), users.database.transaction() as tx:
        made = users.create("new@example.com", tx=tx)
        users.create_api_key(made.id, tx=tx)
        users.create_api_key("unknown", tx=tx)
    assert (stored(users), users.get_by_email("new@example.com")) == ([], None)
