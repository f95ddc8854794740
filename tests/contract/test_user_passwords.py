"""The contract of UserStore's passwords and of the tokens for its emails, over every backend."""

from __future__ import annotations

import itertools
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from aragora_persist.errors import InvalidValueError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aragora_persist.settings import Secret
    from aragora_persist.storage.user_store import UserStore
    from aragora_persist.storage.users.records import User
    from aragora_persist.testing import Clock

pytest_plugins = ("tests.contract.user_fixtures",)


def tokens(users: UserStore) -> list[tuple[object, ...]]:
    """Return all that the database holds of tokens."""
    with users.database.read("look") as view:
        return list(view.all("SELECT * FROM account_tokens"))


def test_a_new_password_ends_every_session(users: UserStore, user: User) -> None:
    """Who knew the old one may hold some, and a token for a new one too."""
    token = users.new_reset_token(user.id)
    changed = users.set_password(user.id, "new")
    assert changed.token_version == user.token_version + 1
    assert users.reset_password(token.reveal(), "attacker's") is None
    assert users.authenticate(user.email, "new") is not None


def test_refuses_what_is_no_password(users: UserStore, user: User) -> None:
    """Everywhere, with the field's name and without the password; nothing changes."""
    calls: tuple[Callable[[Any], object], ...] = (
        lambda password: users.set_password(user.id, password),
        lambda password: users.create("new@example.com", password),
        lambda password: users.reset_password("token", password),
    )
    for call, password in itertools.product(calls, ("", "x" * 4_097, "é" * 2_049, "x" * 10_000_000, 5)):
        with pytest.raises(InvalidValueError) as refused:
            call(password)
        assert refused.value.target == "password"
        assert len(str(refused.value)) < 200
    assert list(users.iter_users()) == [user]


def test_a_token_verifies_an_email_once(users: UserStore, user: User) -> None:
    """It shows itself nowhere, and is stored as a hash until it is used."""
    token = users.new_verification_token(user.id)
    assert token.reveal() not in repr(token) + str(tokens(users))
    verified = users.verify_email(token.reveal())
    assert verified is not None
    assert (verified.id, verified.email_verified) == (user.id, True)
    assert (users.verify_email(token.reveal()), tokens(users)) == (None, [])
    assert users.get(user.id) == verified


def test_a_token_sets_a_forgotten_password_once(users: UserStore, user: User) -> None:
    """It lifts a lock and ends all sessions, as a new password does."""
    users.set_password(user.id, "forgotten")
    for _ in range(5):
        users.authenticate(user.email, "wrong")
    before = users.get(user.id)
    token = users.new_reset_token(user.id).reveal()
    after = users.reset_password(token, "remembered")
    assert before is not None
    assert after is not None
    assert (before.failed_login_count, before.locked_until is None) == (5, False)
    assert (after.failed_login_count, after.locked_until, after.token_version) == (0, None, before.token_version + 1)
    assert users.reset_password(token, "again") is None
    assert users.authenticate(user.email, "remembered") is not None


def test_a_token_has_one_purpose(users: UserStore, user: User) -> None:
    """One that verifies an email sets no password, and the other way round; both stay good."""
    verifies, resets = users.new_verification_token(user.id), users.new_reset_token(user.id)
    assert users.verify_email(resets.reveal()) is None
    assert users.reset_password(verifies.reveal(), "new") is None
    assert users.verify_email(verifies.reveal()) is not None
    assert users.reset_password(resets.reveal(), "new") is not None


@pytest.mark.parametrize(("kind", "lifetime"), [("verify", timedelta(hours=24)), ("reset", timedelta(hours=1))])
def test_a_token_ends_at_its_time(users: UserStore, user: User, clock: Clock, kind: str, lifetime: timedelta) -> None:
    """To the microsecond; a new one takes its place at once."""

    def new() -> Secret:
        return users.new_verification_token(user.id) if kind == "verify" else users.new_reset_token(user.id)

    def use(token: Secret) -> User | None:
        return users.verify_email(token.reveal()) if kind == "verify" else users.reset_password(token.reveal(), "new")

    first = new()
    clock.now += lifetime
    assert use(first) is None
    second = new()
    clock.now += lifetime - timedelta(microseconds=1)
    third = new()
    assert use(second) is None
    clock.now += lifetime - timedelta(microseconds=1)
    assert use(third) is not None


def test_a_token_is_for_the_email_that_it_was_sent_to(users: UserStore, user: User) -> None:
    """Who got it there has not proved the new one; the new email is not verified, unless that is said."""
    verifies, resets = users.new_verification_token(user.id), users.new_reset_token(user.id)
    users.update(user.id, email="new@example.com")
    assert users.verify_email(verifies.reveal()) is None
    assert users.reset_password(resets.reveal(), "new") is None
    users.verify_email(users.new_verification_token(user.id).reveal())
    assert users.update(user.id, email=" NEW@example.com").email_verified
    assert not users.update(user.id, email="third@example.com").email_verified
    assert users.update(user.id, email="fourth@example.com", email_verified=True).email_verified


def test_of_many_at_once_one_uses_a_token(users: UserStore, user: User) -> None:
    """Eight threads with the same token: one gets its user."""
    token = users.new_verification_token(user.id).reveal()
    found: list[User | None] = []
    threads = [threading.Thread(target=lambda: found.append(users.verify_email(token))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.id for each in found if each is not None] == [user.id]
    assert len(found) == 8


def test_refuses_what_is_no_token(users: UserStore, user: User) -> None:
    """With the field's name; what could be one is nobody's, and unknown users are said."""
    calls: tuple[Callable[[Any], object], ...] = (users.verify_email, lambda token: users.reset_password(token, "new"))
    for call, wrong in itertools.product(calls, ("\0", "\udc80", "x" * 256, "x" * 10_000_000, None, 5)):
        with pytest.raises(InvalidValueError) as refused:
            call(wrong)
        assert refused.value.target == "token"
    assert users.verify_email("") is None
    for make in (users.new_verification_token, users.new_reset_token):
        with pytest.raises(NotFoundError):
            make("unknown")
    assert (tokens(users), users.get(user.id)) == ([], user)
