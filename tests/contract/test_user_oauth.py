"""The contract of UserStore's identities at OAuth providers, over every backend."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any

import pytest

from aragora_persist.errors import AccountInactiveError, ConflictError, InvalidValueError, NotFoundError, PersistError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aragora_persist.storage.user_store import UserStore
    from aragora_persist.storage.users.records import User
    from aragora_persist.testing import Clock

pytest_plugins = ("tests.contract.user_fixtures",)


def test_an_identity_opens_its_users_account(users: UserStore, user: User, clock: Clock) -> None:
    """It is told apart by provider and subject, to the letter; linking it again changes nothing."""
    linked = users.link_oauth(user.id, "google", "108-ü")
    assert (linked.provider, linked.subject, linked.user_id, linked.created_at) == (
        *("google", "108-ü", user.id),
        clock.now,
    )
    clock.advance(days=1)
    assert users.link_oauth(user.id, "google", "108-ü") == linked
    assert users.get_by_oauth("google", "108-ü") == user
    for provider, subject in (("github", "108-ü"), ("google", "108-Ü"), ("google", "1"), ("Google", "108-ü")):
        assert users.get_by_oauth(provider, subject) is None


def test_an_identity_belongs_to_one_user(users: UserStore, user: User) -> None:
    """Another user is refused, until the first one gives it up."""
    other = users.create("other@example.com", "a password")
    users.link_oauth(other.id, "google", "1")
    with pytest.raises(ConflictError, match="another user"):
        users.link_oauth(user.id, "google", "1")
    assert users.get_by_oauth("google", "1") == other
    users.unlink_oauth(other.id, "google", "1")
    users.link_oauth(user.id, "google", "1")
    assert users.get_by_oauth("google", "1") == user


def test_of_many_at_once_one_gets_an_identity(users: UserStore) -> None:
    """Eight users in as many threads: one link and seven conflicts."""
    accounts = [users.create(f"user{number}@example.com") for number in range(8)]
    outcomes: list[str] = []

    def link(user_id: str) -> None:
        try:
            users.link_oauth(user_id, "google", "1")
        except PersistError as error:
            outcomes.append(type(error).__name__)
        else:
            outcomes.append("linked")

    threads = [threading.Thread(target=link, args=(account.id,)) for account in accounts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["ConflictError"] * 7 + ["linked"]


def test_the_last_way_to_log_in_stays(users: UserStore, user: User) -> None:
    """Without a password, one identity must remain; with one, none need."""
    users.link_oauth(user.id, "google", "1")
    users.link_oauth(user.id, "github", "1")
    users.unlink_oauth(user.id, "google", "1")
    with pytest.raises(ConflictError, match="last way"):
        users.unlink_oauth(user.id, "github", "1")
    assert users.get_by_oauth("github", "1") == user
    users.set_password(user.id, "a password")
    users.unlink_oauth(user.id, "github", "1")
    assert users.get_by_oauth("github", "1") is None


def test_only_its_user_can_unlink_an_identity(users: UserStore, user: User) -> None:
    """Another user is told that it is none of theirs; it works on."""
    other = users.create("other@example.com", "a password")
    users.link_oauth(user.id, "google", "1")
    for user_id, subject in ((other.id, "1"), (user.id, "2"), ("unknown", "1")):
        with pytest.raises(NotFoundError):
            users.unlink_oauth(user_id, "google", subject)
    assert users.get_by_oauth("google", "1") == user


def test_a_switched_off_account_is_refused(users: UserStore, user: User) -> None:
    """By the error of the password login."""
    users.link_oauth(user.id, "google", "1")
    users.update(user.id, is_active=False)
    with pytest.raises(AccountInactiveError):
        users.get_by_oauth("google", "1")
    assert [identity.subject for identity in users.iter_oauth(user.id)] == ["1"]


def test_identities_are_listed_in_pages(users: UserStore, user: User) -> None:
    """By provider and subject, each one once; another user's never."""
    users.link_oauth(users.create("other@example.com").id, "google", "9")
    names = [("github", "2"), ("github", "3"), ("google", "1"), ("google", "2"), ("okta", "1")]
    for provider, subject in reversed(names):
        users.link_oauth(user.id, provider, subject)
    first = users.list_oauth(user.id, limit=3)
    second = users.list_oauth(user.id, limit=3, after=first.next)
    assert [(found.provider, found.subject) for found in first.items + second.items] == names
    assert (second.next, list(users.iter_oauth(user.id))) == (None, first.items + second.items)
    assert users.list_oauth("unknown").items == []


def test_refuses_what_is_no_identity(users: UserStore, user: User) -> None:
    """Everywhere, with the field's name; nothing is linked."""
    calls: tuple[Callable[[Any, Any], object], ...] = (
        lambda provider, subject: users.link_oauth(user.id, provider, subject),
        users.get_by_oauth,
        lambda provider, subject: users.unlink_oauth(user.id, provider, subject),
    )
    for call, wrong in itertools.product(calls, ("", "\0", "\udc80", "x" * 256, "x" * 10_000_000, None, 5)):
        for provider, subject, field in ((wrong, "1", "provider"), ("google", wrong, "subject")):
            with pytest.raises(InvalidValueError) as refused:
                call(provider, subject)
            assert refused.value.target == field
    with pytest.raises(NotFoundError):
        users.link_oauth("unknown", "google", "1")
    assert users.list_oauth(user.id).items == []
