"""UserStore under whatever is thrown at it: any text and value, and any sequence of calls against a plain model."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from aragora_persist.errors import (
    AccountInactiveError,
    ConflictError,
    InvalidValueError,
    NotFoundError,
    PersistError,
)
from aragora_persist.storage.users.records import normal_email

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from aragora_persist.storage.user_store import UserStore
    from aragora_persist.storage.users.records import User
    from aragora_persist.testing import Clock

pytest_plugins = ("tests.contract.user_fixtures",)

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=30)
ANY_NAME = st.text(st.characters(categories=["L", "N", "M", "P"]), min_size=1, max_size=20)
ANY_EMAIL = st.builds("{}@{}".format, ANY_NAME, ANY_NAME) | st.builds("{}@{}".format, ANY_TEXT, ANY_TEXT)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)
ANY_PROFILE = st.fixed_dictionaries(
    {},
    optional={
        "name": ANY_TEXT,
        "is_active": st.booleans(),
        "email_verified": st.booleans(),
        "avatar_url": st.none() | ANY_TEXT,
        "preferences": st.dictionaries(ANY_TEXT, ANY_JSON, max_size=3),
    },
)
SAME_DATABASE = settings(max_examples=40)


@given(ANY_EMAIL)
def test_an_email_has_one_form(email: str) -> None:
    """Bringing it into that form again changes nothing; what has none is refused."""
    try:
        normal = normal_email(email)
    except InvalidValueError:
        return
    assert normal_email(normal) == normal
    assert normal_email(f" {email}\n") == normal


@pytest.mark.parametrize(
    "email", ["a" * 10_000_000, " " * 10_000_000 + "a@b.c", "@" * 10_000_000, "é" * 10_000_000, None, 5, b"a@b.c"]
)
def test_what_cannot_be_an_email_is_refused_at_once(email: str) -> None:
    """Before anything is made of it."""
    with pytest.raises(InvalidValueError) as refused:
        normal_email(email)
    assert refused.value.target == "email"
    assert len(str(refused.value)) < 200


def test_any_user_is_refused_or_stored_exactly(users: UserStore) -> None:
    """On creation and on change alike; what is refused changes nothing."""

    @SAME_DATABASE
    @given(email=ANY_EMAIL, made=ANY_PROFILE, changed=ANY_PROFILE)
    def stored(email: str, made: dict[str, Any], changed: dict[str, Any]) -> None:
        before = list(users.iter_users())
        try:
            user = users.create(email, **made)
        except PersistError:
            assert list(users.iter_users()) == before
            return
        assert user == users.get(user.id) == users.get_by_email(email)
        assert {field: getattr(user, field) for field in made} == made
        try:
            after = users.update(user.id, **changed)
        except PersistError:
            assert users.get(user.id) == user
        else:
            assert after == users.get(user.id)
            assert {field: getattr(after, field) for field in changed} == changed

    stored()
    assert all(user.email == normal_email(user.email) for user in users.iter_users())


def test_any_text_is_answered_or_refused(users: UserStore, user: User) -> None:
    """Wherever a text goes in, what comes out is an answer or an error of ours, and no user changes."""
    users.set_password(user.id, "a password")
    before = list(users.iter_users())
    methods: list[Callable[[str, str], object]] = [
        lambda one, _: users.get(one),
        lambda one, _: users.get_by_email(one),
        lambda one, _: users.get_by_api_key("ara_" + one),
        users.get_by_oauth,
        lambda one, two: users.get_many([one, two]),
        lambda one, two: users.list_users(org_id=one, after=two),
        lambda one, two: users.update(one, name=two),
        lambda one, two: users.merge_preferences(one, {two: two}),
        lambda one, _: users.delete(one),
        lambda one, _: users.unlock(one),
        lambda one, _: users.revoke_sessions(one),
        lambda one, _: users.set_password(one, None),
        lambda one, _: users.verify_email(one),
        lambda one, two: users.create_api_key(one, name=two),
        lambda one, two: users.list_api_keys(one, after=two),
        users.revoke_api_key,
        lambda one, two: users.link_oauth("unknown", one, two),
        lambda one, two: users.list_oauth(one, after=two),
        lambda one, two: users.unlink_oauth(user.id, one, two),
        users.set_mfa_secret,
        lambda one, _: users.mfa_secret(one),
        users.use_backup_code,
        lambda one, _: users.backup_codes_left(one),
    ]

    @SAME_DATABASE
    @given(method=st.sampled_from(methods), one=ANY_TEXT, two=ANY_TEXT)
    def answered(method: Callable[[str, str], object], one: str, two: str) -> None:
        with suppress(PersistError):
            method(one, two)

    answered()
    assert list(users.iter_users()) == before


class Account:
    """What the model knows of a user."""

    def __init__(self, email: str) -> None:
        self.email = email
        self.is_active = True
        self.preferences: dict[str, int] = {}
        self.token_version = 0
        self.keys: dict[str, Key] = {}
        self.identities: set[str] = set()


class Key:
    """What the model knows of an API key."""

    def __init__(self, text: str, expires_at: datetime) -> None:
        self.text = text
        self.expires_at = expires_at
        self.revoked_at: datetime | None = None


NUMBER = st.integers(0, 3)


class AccountsMachine(RuleBasedStateMachine):
    """Users with their keys, identities, preferences and sessions, while time passes."""

    users: UserStore
    clock: Clock

    def __init__(self) -> None:
        super().__init__()
        with self.users.database.transaction() as tx:
            tx.execute("DELETE FROM users")
        self.accounts: dict[str, Account] = {}
        self.gone: list[str] = []

    def some(self, number: int) -> str:
        """Return the id of a user, or now and then of none."""
        known = [*self.accounts]
        return "unknown" if number == 3 or not known else known[number % len(known)]

    def refused(self, user_id: str, call: Callable[[], object]) -> bool:
        """Make a call that is refused when there is no such user, and say whether that was so."""
        if user_id in self.accounts:
            return False
        with pytest.raises(NotFoundError):
            call()
        return True

    @rule(number=NUMBER)
    def create(self, number: int) -> None:
        """Make a user, if the email is free."""
        email = f"user{number}@example.com"
        if any(account.email == email for account in self.accounts.values()):
            with pytest.raises(ConflictError):
                self.users.create(email.upper())
        else:
            self.accounts[self.users.create(email.upper()).id] = Account(email)

    @rule(who=NUMBER, number=NUMBER, active=st.booleans())
    def change(self, who: int, number: int, active: bool) -> None:  # noqa: FBT001 - hypothesis passes it by name
        """Change email and state together, or neither."""
        user_id, email = self.some(who), f"user{number}@example.com"
        if self.refused(user_id, lambda: self.users.update(user_id, name="x")):
            return
        holders = [ident for ident, account in self.accounts.items() if account.email == email]
        if holders not in ([], [user_id]):
            with pytest.raises(ConflictError):
                self.users.update_many({user_id: {"is_active": active, "email": email}})
            return
        self.users.update_many({user_id: {"is_active": active, "email": email}})
        self.accounts[user_id].email = email
        self.accounts[user_id].is_active = active

    @rule(who=NUMBER)
    def delete(self, who: int) -> None:
        """Delete a user; the keys work no longer."""
        user_id = self.some(who)
        if not self.refused(user_id, lambda: self.users.delete(user_id)):
            self.users.delete(user_id)
            self.gone += [key.text for key in self.accounts.pop(user_id).keys.values()]

    @rule(who=NUMBER, name=st.sampled_from("ab"), value=st.integers(0, 3) | st.none())
    def prefer(self, who: int, name: str, value: int | None) -> None:
        """Set a preference, or take it out."""
        user_id = self.some(who)
        if self.refused(user_id, lambda: self.users.merge_preferences(user_id, {})):
            return
        if value is None:
            self.users.merge_preferences(user_id, {}, remove=[name])
            self.accounts[user_id].preferences.pop(name, None)
        else:
            self.users.merge_preferences(user_id, {name: value})
            self.accounts[user_id].preferences[name] = value

    @rule(who=NUMBER)
    def log_out(self, who: int) -> None:
        """End all sessions."""
        user_id = self.some(who)
        if not self.refused(user_id, lambda: self.users.revoke_sessions(user_id)):
            self.accounts[user_id].token_version += 1
            assert self.users.revoke_sessions(user_id) == self.accounts[user_id].token_version

    @rule(who=NUMBER, hours=st.integers(1, 48))
    def add_key(self, who: int, hours: int) -> None:
        """Make an API key."""
        user_id, end = self.some(who), self.clock.now + timedelta(hours=hours)
        if not self.refused(user_id, lambda: self.users.create_api_key(user_id)):
            made = self.users.create_api_key(user_id, expires_at=end)
            self.accounts[user_id].keys[made.record.id] = Key(made.key.reveal(), end)

    @rule(who=NUMBER, number=NUMBER)
    def revoke_key(self, who: int, number: int) -> None:
        """Revoke a key, by its own user or by another."""
        user_id = self.some(who)
        keys = [key_id for account in self.accounts.values() for key_id in account.keys] or ["unknown"]
        key_id = keys[number % len(keys)]
        mine = self.accounts[user_id].keys.get(key_id) if user_id in self.accounts else None
        if mine is None:
            with pytest.raises(NotFoundError):
                self.users.revoke_api_key(user_id, key_id)
        else:
            mine.revoked_at = mine.revoked_at or self.clock.now
            assert self.users.revoke_api_key(user_id, key_id).revoked_at == mine.revoked_at

    @rule(who=NUMBER, subject=st.sampled_from("xy"))
    def link(self, who: int, subject: str) -> None:
        """Link an identity, if it is free."""
        user_id = self.some(who)
        if self.refused(user_id, lambda: self.users.link_oauth(user_id, "google", subject)):
            return
        if any(subject in account.identities for ident, account in self.accounts.items() if ident != user_id):
            with pytest.raises(ConflictError):
                self.users.link_oauth(user_id, "google", subject)
        else:
            self.users.link_oauth(user_id, "google", subject)
            self.accounts[user_id].identities.add(subject)

    @rule(who=NUMBER, subject=st.sampled_from("xy"))
    def unlink(self, who: int, subject: str) -> None:
        """Unlink an identity, if it is the user's and not the last one."""
        user_id = self.some(who)
        mine: set[str] = self.accounts[user_id].identities if user_id in self.accounts else set()
        if subject not in mine or len(mine) == 1:
            with pytest.raises(ConflictError if subject in mine else NotFoundError):
                self.users.unlink_oauth(user_id, "google", subject)
        else:
            self.users.unlink_oauth(user_id, "google", subject)
            mine.remove(subject)

    @rule(hours=st.integers(1, 24))
    def wait(self, hours: int) -> None:
        """Let time pass."""
        self.clock.advance(hours=hours)

    @invariant()
    def agrees(self) -> None:
        """Every user is the model's, and found by whatever the model says."""
        found = {user.id: user for user in self.users.iter_users()}
        assert found == self.users.get_many([*self.accounts, "unknown"])
        assert set(found) == set(self.accounts)
        for user_id, account in self.accounts.items():
            user = found[user_id]
            assert (user.email, user.is_active) == (account.email, account.is_active)
            assert (user.preferences, user.token_version) == (account.preferences, account.token_version)
            assert {one.subject for one in self.users.iter_oauth(user_id)} == account.identities
            assert {one.id: one.revoked_at for one in self.users.iter_api_keys(user_id)} == {
                key_id: key.revoked_at for key_id, key in account.keys.items()
            }
            assert self.users.get_by_email(account.email) == user
            for subject in account.identities:
                self.opens(user, partial(self.users.get_by_oauth, "google", subject))
            for key in account.keys.values():
                if key.revoked_at is None and key.expires_at > self.clock.now:
                    self.opens(user, partial(self.users.get_by_api_key, key.text))
                else:
                    assert self.users.get_by_api_key(key.text) is None
        assert [self.users.get_by_api_key(key) for key in self.gone] == [None] * len(self.gone)

    def opens(self, user: User, call: Callable[[], User | None]) -> None:
        """Check that a credential opens the user's account, unless that is switched off."""
        if user.is_active:
            assert call() == user
        else:
            with pytest.raises(AccountInactiveError):
                call()


def test_any_sequence_of_calls_does_what_a_plain_model_does(users: UserStore, clock: Clock) -> None:
    """Each user and each credential is at every moment what the model says."""
    began = clock.now
    machine = type("Machine", (AccountsMachine,), {"users": users, "clock": clock})
    run_state_machine_as_test(machine, settings=settings(max_examples=30, stateful_step_count=30))
    assert clock.now > began
