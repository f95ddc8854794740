"""The contract of UserStore: one suite over every backend."""

from __future__ import annotations

import itertools
import threading
import time
from datetime import UTC, timedelta, timezone
from typing import TYPE_CHECKING, Any

import argon2
import pytest

from aragora_persist.errors import (
    AccountInactiveError,
    AccountLockedError,
    ConflictError,
    DamagedError,
    InvalidValueError,
    NotFoundError,
    PersistError,
)
from aragora_persist.storage.sqlite.engine import open_engine
from aragora_persist.storage.user_store import UserStore
from aragora_persist.storage.users import passwords
from aragora_persist.storage.users.lockout import lock_after
from aragora_persist.testing import Clock

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from aragora_persist.storage.port import Backend
    from aragora_persist.storage.users.records import User, UserChanges
    from tests.contract.backends import OpenDatabase

pytest_plugins = ("tests.contract.backends",)

EMAIL = "user@example.com"
PASSWORD = "correct horse"
WRONG = "battery staple"


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the store."""
    return Clock()


@pytest.fixture
def store(open_database: OpenDatabase, clock: Clock) -> UserStore:
    """Return an empty store on each backend."""
    return UserStore(open_database("users"), clock=clock)


@pytest.fixture
def user(store: UserStore) -> User:
    """Return a user with a password."""
    return store.create(EMAIL, PASSWORD)


def engine_of(store: UserStore) -> Backend:
    """Return the store's database, to change rows behind its back."""
    return store.database


def fail(store: UserStore, times: int) -> None:
    """Try the wrong password so often."""
    for _ in range(times):
        assert store.authenticate(EMAIL, WRONG) is None


class TestCreate:
    """Making users."""

    def test_gives_a_whole_record(self, store: UserStore, clock: Clock) -> None:
        """Every field has its documented default, and the times are the clock's."""
        user = store.create(EMAIL)
        assert len(user.id) == 32
        assert {name: getattr(user, name) for name in type(user).__slots__ if name != "id"} == {
            "email": EMAIL,
            "name": "",
            "org_id": None,
            "role": "member",
            "created_at": clock.now,
            "updated_at": clock.now,
            "last_login_at": None,
            "is_active": True,
            "email_verified": False,
            "avatar_url": None,
            "preferences": {},
            "locked_until": None,
            "failed_login_count": 0,
            "lockout_reason": None,
            "last_activity_at": None,
            "last_debate_at": None,
            "token_version": 0,
            "mfa_enabled": False,
        }
        assert store.get(user.id) == user

    def test_keeps_every_field(self, store: UserStore) -> None:
        """What goes in comes out, types included."""
        preferences: dict[str, Any] = {"theme": "dark", "größe": [1, 2.5, None, True], "nested": {"'": '"\n'}}
        user = store.create(
            EMAIL,
            name="O'Neil ☕",
            is_active=False,
            email_verified=True,
            avatar_url="https://example.com/a.png",
            preferences=preferences,
        )
        assert store.get(user.id) == user
        assert (user.name, user.preferences) == ("O'Neil ☕", preferences)
        assert (user.is_active, user.email_verified, user.avatar_url) == (False, True, "https://example.com/a.png")

    @pytest.mark.parametrize("membership", [{"org_id": "org-1"}, {"role": "owner"}])
    def test_makes_nobody_a_member(self, store: UserStore, user: User, membership: Any) -> None:  # noqa: ANN401 - the test
        """What shows a membership is not set without one, and the error says by what it is."""
        calls: tuple[Callable[[], object], ...] = (
            lambda: store.create("second@example.com", **membership),
            lambda: store.update(user.id, **membership),
            lambda: store.update_many({user.id: membership}),
        )
        for call in calls:
            with pytest.raises(InvalidValueError, match="add_member"):
                call()
        assert list(store.iter_users()) == [user]

    @pytest.mark.parametrize("again", [EMAIL, " User@Example.COM ", "USER@EXAMPLE.COM\n"])
    def test_refuses_a_taken_email_however_written(self, store: UserStore, user: User, again: str) -> None:
        """The first user stays as it was, and there is no second."""
        with pytest.raises(ConflictError, match="taken") as refused:
            store.create(again, name="second")
        assert refused.value.target == "email"
        assert store.get_by_email(again) == user

    @pytest.mark.parametrize(
        "email",
        ["", "  ", "nobody", "@example.com", "a@", "a b@example.com", "a\x00@b.c", "\udc80@b.c", "a@" + "b" * 253],
    )
    def test_refuses_what_is_no_email(self, store: UserStore, email: str) -> None:
        """On creation an error, on look-up simply nobody."""
        with pytest.raises(InvalidValueError):
            store.create(email)
        assert store.get_by_email(email) is None

    @pytest.mark.parametrize(
        "profile",
        [
            {"preferences": {"a": float("nan")}},
            {"preferences": {"a": object()}},
            {"preferences": [1]},
            {"password_hash": "x"},
            {"failed_login_count": 0},
        ],
    )
    def test_refuses_wrong_fields(self, store: UserStore, profile: dict[str, Any]) -> None:
        """Preferences are JSON objects, and only the profile can be given; no user is made."""
        with pytest.raises(InvalidValueError):
            store.create(EMAIL, **profile)
        assert store.get_by_email(EMAIL) is None

    def test_refuses_preferences_that_are_nested_too_deeply(self, store: UserStore, user: User) -> None:
        """Like any others that are not JSON; what was stored stays."""
        nested: list[object] = []
        for _ in range(100_000):
            nested = [nested]
        with pytest.raises(InvalidValueError, match="nested too deeply"):
            store.update(user.id, preferences={"a": nested})
        assert store.get(user.id) == user

    def test_refuses_an_empty_password(self, store: UserStore) -> None:
        """No password login is None, not an empty password."""
        with pytest.raises(InvalidValueError, match="empty"):
            store.create(EMAIL, "")
        assert store.get_by_email(EMAIL) is None

    def test_of_many_at_once_one_wins(self, store: UserStore) -> None:
        """Eight threads with the same email make one user and seven conflicts."""
        outcomes: list[str] = []

        def work() -> None:
            try:
                store.create(EMAIL)
            except PersistError as error:
                outcomes.append(type(error).__name__)
            else:
                outcomes.append("made")

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["ConflictError"] * 7 + ["made"]


class TestFind:
    """Looking users up."""

    @pytest.mark.parametrize(
        ("written", "looked_up"),
        [
            ("User@Example.com", "uSER@eXAMPLE.COM"),
            (" user@example.com\n", "user@example.com"),
            ("Ju\u0308rgen@example.com", "j\u00fcrgen@example.com"),
            ("\u212bke@example.com", "a\u030ake@example.com"),
            ("ÉCOLE@example.com", "e\u0301cole@example.com"),
        ],
    )
    def test_an_email_has_one_form(self, store: UserStore, written: str, looked_up: str) -> None:
        """Case, outer spaces and the way that accents are composed make no difference, on writing or look-up."""
        user = store.create(written)
        assert store.get_by_email(looked_up) == user
        assert store.get_by_email(written) == user

    def test_finds_nobody(self, store: UserStore, user: User) -> None:
        """An unknown id or email is None; a pattern is no email."""
        assert store.get("unknown") is None
        assert store.get_by_email("other@example.com") is None
        assert store.get_by_email("%@example.com") is None
        assert store.get(user.id) is not None

    def test_a_record_cannot_be_changed_and_holds_no_hash(self, user: User) -> None:
        """It is frozen, and nothing of a password shows in it."""
        with pytest.raises(AttributeError):
            user.name = "other"  # type: ignore[misc]  # the test
        assert "argon2" not in repr(user)

    def test_a_row_of_plain_sql_may_hold_nulls(self, store: UserStore, user: User) -> None:
        """Where the documented schema allows them, they read as the defaults, and such a user can log in."""
        nulls = ("name", "role", "preferences", "failed_login_count")
        with engine_of(store).transaction("plain") as tx:
            tx.execute(f"UPDATE users SET {', '.join(f'{column} = NULL' for column in nulls)}")
        found = store.get(user.id)
        assert found is not None
        assert (found.name, found.role, found.preferences, found.failed_login_count) == ("", "member", {}, 0)
        assert store.authenticate(EMAIL, PASSWORD) is not None

    @pytest.mark.parametrize("text", [None, "yesterday", 5])
    def test_a_damaged_time_is_said(self, store: UserStore, user: User, text: str | int | None) -> None:
        """Stored data that is no time is not the caller's mistake."""
        with engine_of(store).transaction("damage") as tx:
            tx.execute("UPDATE users SET created_at = ?", (text,))
        with pytest.raises(DamagedError, match="time"):
            store.get(user.id)

    @pytest.mark.parametrize("text", ["{", "[1]", "", "[" * 100_000])
    def test_damaged_preferences_are_said(self, store: UserStore, user: User, text: str) -> None:
        """A row that was damaged from outside is an error, not an empty dict."""
        with engine_of(store).transaction("damage") as tx:
            tx.execute("UPDATE users SET preferences = ?", (text,))
        with pytest.raises(DamagedError, match="preferences"):
            store.get(user.id)


class TestUpdate:
    """Changing users."""

    def test_changes_what_is_given(self, store: UserStore, user: User, clock: Clock) -> None:
        """The given fields and the time of the update, and nothing else."""
        later = clock.advance(hours=1)
        changes: UserChanges = {"email": " New@Example.com", "name": "n", "is_active": False, "preferences": {"a": 1}}
        changed = store.update(user.id, **changes)
        assert changed == store.get(user.id) == store.get_by_email("new@example.com")
        assert (changed.email, changed.name, changed.is_active) == ("new@example.com", "n", False)
        assert (changed.preferences, changed.updated_at, changed.created_at) == ({"a": 1}, later, user.created_at)
        assert store.get_by_email(EMAIL) is None

    def test_may_keep_its_own_email(self, store: UserStore, user: User) -> None:
        """One's own email is not taken."""
        assert store.update(user.id, email=EMAIL.upper()).email == EMAIL

    def test_refuses_a_taken_email(self, store: UserStore, user: User) -> None:
        """Both users stay as they were."""
        other = store.create("other@example.com")
        with pytest.raises(ConflictError):
            store.update(other.id, email=EMAIL, name="changed")
        assert (store.get(other.id), store.get(user.id)) == (other, user)

    def test_refuses_unknown_users_and_fields(self, store: UserStore, user: User) -> None:
        """No row is made, and no column that is not the profile's is written."""
        with pytest.raises(NotFoundError):
            store.update("unknown", name="n")
        with pytest.raises(InvalidValueError, match="password_hash"):
            store.update(user.id, password_hash="x")  # type: ignore[call-arg]  # the test
        assert (store.get("unknown"), store.get(user.id)) == (None, user)

    def test_notes_activity(self, store: UserStore, user: User, clock: Clock) -> None:
        """Every activity sets one time, a debate both; it is no update of the profile."""
        first = clock.advance(minutes=1)
        assert store.record_activity(user.id, debate=True).last_debate_at == first
        second = clock.advance(minutes=1)
        noted = store.record_activity(user.id)
        assert (noted.last_activity_at, noted.last_debate_at, noted.updated_at) == (second, first, user.updated_at)
        with pytest.raises(NotFoundError):
            store.record_activity("unknown")

    def test_several_changes_are_one_transaction(self, store: UserStore, user: User) -> None:
        """With ``tx`` they become visible together, or not at all."""
        with pytest.raises(ConflictError), engine_of(store).transaction("both") as tx:
            store.update(user.id, name="changed", tx=tx)
            store.create("new@example.com", tx=tx)
            store.create(EMAIL, tx=tx)
        assert (store.get(user.id), store.get_by_email("new@example.com")) == (user, None)
        with engine_of(store).transaction("both") as tx:
            store.update(user.id, name="changed", tx=tx)
            made = store.create("new@example.com", tx=tx)
        assert store.get(made.id) == made

    def test_any_zone_of_the_clock_is_stored_as_utc(self, store: UserStore, clock: Clock) -> None:
        """A clock in another zone gives the same moment."""
        utc = clock.now
        clock.now = utc.astimezone(timezone(timedelta(hours=5, minutes=30)))
        created = store.create(EMAIL).created_at
        assert (created, created.tzinfo) == (utc, UTC)


class TestAuthenticate:
    """Passwords."""

    def test_the_right_password_logs_in(self, store: UserStore, user: User, clock: Clock) -> None:
        """The email may be written in any way; the login is noted."""
        later = clock.advance(hours=1)
        logged_in = store.authenticate(" USER@example.com", PASSWORD)
        assert logged_in == store.get(user.id)
        assert logged_in is not None
        assert logged_in.last_login_at == later

    @pytest.mark.parametrize("password", ["", WRONG, PASSWORD + " ", PASSWORD.upper(), "\udc80", "x" * 10_000])
    def test_a_wrong_password_does_not(self, store: UserStore, user: User, password: str) -> None:
        """It is counted, and nothing else changes."""
        assert store.authenticate(EMAIL, password) is None
        after = store.get(user.id)
        assert after is not None
        assert (after.failed_login_count, after.last_login_at, after.locked_until) == (1, None, None)

    @pytest.mark.parametrize("password", [None, 5, b"correct horse"])
    def test_what_is_no_text_is_no_password(self, store: UserStore, user: User, password: str) -> None:
        """It is the caller's mistake, for users and for nobody, and no failed attempt."""
        for email in (EMAIL, "unknown@example.com"):
            with pytest.raises(InvalidValueError) as refused:
                store.authenticate(email, password)
            assert refused.value.target == "password"
        assert store.get(user.id) == user

    def test_nobody_logs_in_as_nobody(self, store: UserStore) -> None:
        """Unknown and impossible emails are None, and make no rows."""
        assert store.authenticate("unknown@example.com", PASSWORD) is None
        assert store.authenticate("not an email", PASSWORD) is None
        assert store.get_by_email("unknown@example.com") is None

    @pytest.mark.parametrize("password", ["", PASSWORD])
    def test_without_a_password_there_is_no_password_login(self, store: UserStore, password: str) -> None:
        """An account of another kind of login takes no password at all, not even an empty one."""
        store.create(EMAIL)
        assert store.authenticate(EMAIL, password) is None

    def test_an_inactive_account_is_refused(self, store: UserStore, user: User) -> None:
        """By an error of its own with the right password; a wrong one does not learn that the account is there."""
        store.update(user.id, is_active=False)
        with pytest.raises(AccountInactiveError):
            store.authenticate(EMAIL, PASSWORD)
        assert store.authenticate(EMAIL, WRONG) is None
        after = store.get(user.id)
        assert after is not None
        assert (after.last_login_at, after.failed_login_count) == (None, 1)

    def test_a_new_password_replaces_the_old(self, store: UserStore, user: User) -> None:
        """It lifts a lock; None ends password logins."""
        fail(store, 5)
        changed = store.set_password(user.id, "new")
        assert (changed.failed_login_count, changed.locked_until, changed.lockout_reason) == (0, None, None)
        assert store.authenticate(EMAIL, PASSWORD) is None
        assert store.authenticate(EMAIL, "new") is not None
        store.set_password(user.id, None)
        assert store.authenticate(EMAIL, "new") is None
        with pytest.raises(NotFoundError):
            store.set_password("unknown", "new")

    def test_any_string_is_a_password(self, store: UserStore) -> None:
        """Even one that UTF-8 cannot hold; the error of an encoder would show it."""
        store.create(EMAIL, "pass\udc80\x00word ☕")
        assert store.authenticate(EMAIL, "pass\udc80\x00word ☕") is not None
        assert store.authenticate(EMAIL, "pass\udc80") is None

    def test_a_hash_of_other_costs_is_renewed(self, store: UserStore, user: User) -> None:
        """A login turns an outdated hash into one of today's costs; the password stays the same."""
        weak = argon2.PasswordHasher(memory_cost=1024, time_cost=1, parallelism=1).hash(PASSWORD)
        with engine_of(store).transaction("age") as tx:
            tx.execute("UPDATE users SET password_hash = ?", (weak,))
        fail(store, 1)
        assert self.hash_of(store) == weak
        assert store.authenticate(EMAIL, PASSWORD) is not None
        renewed = self.hash_of(store)
        assert renewed != weak
        assert not passwords.needs_rehash(renewed)
        assert store.authenticate(EMAIL, PASSWORD) is not None
        assert self.hash_of(store) == renewed
        assert store.get(user.id) is not None

    @pytest.mark.parametrize("attempt", [PASSWORD, WRONG])
    def test_renewing_a_hash_disturbs_no_other_login(self, store: UserStore, user: User, attempt: str) -> None:
        """An attempt that was checked against the outdated hash is checked again: it is let in, or counted."""
        times = itertools.count()

        def clock() -> datetime:
            if next(times) == 1:  # the first time is before the password is checked, this one is after it
                with engine_of(store).transaction("renew") as tx:
                    tx.execute("UPDATE users SET password_hash = ?", (passwords.hash_password(PASSWORD),))
            return user.created_at

        logged_in = UserStore(engine_of(store), clock=clock).authenticate(EMAIL, attempt)
        after = store.get(user.id)
        assert after is not None
        assert next(times) > 2
        assert (logged_in is not None, after.failed_login_count) == ((True, 0) if attempt == PASSWORD else (False, 1))

    def test_hashes_are_argon2id_and_never_twice_the_same(self, store: UserStore, user: User) -> None:
        """The salt is inside the hash, and the documented column for it stays empty."""
        first = self.hash_of(store)
        store.set_password(user.id, PASSWORD)
        assert first.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
        assert self.hash_of(store) != first
        with engine_of(store).read("look") as view:
            assert view.one("SELECT password_salt FROM users") == ("",)

    def test_a_damaged_hash_is_said(self, store: UserStore, user: User) -> None:
        """It is no wrong password: nothing is counted."""
        with engine_of(store).transaction("damage") as tx:
            tx.execute("UPDATE users SET password_hash = '$argon2id$damaged'")
        with pytest.raises(DamagedError) as refused:
            store.authenticate(EMAIL, PASSWORD)
        assert PASSWORD not in str(refused.value)
        assert store.get(user.id) == user

    def test_unknown_users_take_as_long_as_known_ones(self, store: UserStore, user: User) -> None:
        """Timing does not tell whether an account is there, or has a password: all spend the same time on a hash."""
        store.create("none@example.com")
        spent_s: dict[str, list[float]] = {EMAIL: [], "none@example.com": [], "unknown@example.com": []}
        for _ in range(4):
            for email, times in spent_s.items():
                start = time.thread_time()
                assert store.authenticate(email, WRONG) is None
                times.append(time.thread_time() - start)
        least = [min(times) for times in spent_s.values()]
        assert max(least) < 1.25 * min(least)
        assert not passwords.needs_rehash(passwords.NOBODYS_HASH)
        assert store.get(user.id) is not None

    def hash_of(self, store: UserStore) -> str:
        """Return the stored hash of the one user."""
        with engine_of(store).read("look") as view:
            row = view.one("SELECT password_hash FROM users")
        assert row is not None
        return str(row[0])


class TestLockout:
    """Failed logins."""

    @pytest.mark.parametrize(
        ("failures", "lock"),
        [
            (1, None),
            (4, None),
            (5, timedelta(minutes=15)),
            (9, timedelta(minutes=15)),
            (10, timedelta(hours=1)),
            (19, timedelta(hours=1)),
            (20, timedelta(hours=24)),
            (1000, timedelta(hours=24)),
        ],
    )
    def test_is_progressive(self, failures: int, lock: timedelta | None) -> None:
        """Five, ten and twenty failures are the steps."""
        assert lock_after(failures) == lock

    def test_the_fifth_failure_locks_for_a_quarter_of_an_hour(self, store: UserStore, user: User, clock: Clock) -> None:
        """Even the right password is refused, and is not counted; afterwards it logs in, and all is forgotten."""
        fail(store, 5)
        locked = store.get(user.id)
        assert locked is not None
        assert locked.locked_until == clock.now + timedelta(minutes=15)
        assert locked.lockout_reason == "5 failed logins in a row"
        clock.advance(minutes=15, microseconds=-1)
        for password in (PASSWORD, WRONG):
            with pytest.raises(AccountLockedError, match="locked until"):
                store.authenticate(EMAIL, password)
        assert store.get(user.id) == locked
        clock.advance(microseconds=1)
        after = store.authenticate(EMAIL, PASSWORD)
        assert after is not None
        assert (after.failed_login_count, after.locked_until, after.lockout_reason) == (0, None, None)

    @pytest.mark.parametrize(("before", "minutes"), [(5, 15), (8, 15), (9, 60), (18, 60), (19, 24 * 60), (99, 24 * 60)])
    def test_goes_on_where_it_was_after_a_lock(
        self, store: UserStore, user: User, clock: Clock, before: int, minutes: int
    ) -> None:
        """When a lock has passed, the next failure locks again, for longer from the tenth and the twentieth on."""
        with engine_of(store).transaction("fail") as tx:
            tx.execute("UPDATE users SET failed_login_count = ?, locked_until = created_at", (before,))
        clock.advance(seconds=1)
        fail(store, 1)
        locked = store.get(user.id)
        assert locked is not None
        assert (locked.failed_login_count, locked.locked_until) == (before + 1, clock.now + timedelta(minutes=minutes))

    def test_counts_every_one_of_many_at_once(self, store: UserStore, user: User) -> None:
        """Four threads with wrong passwords are four failures."""
        threads = [threading.Thread(target=store.authenticate, args=(EMAIL, WRONG)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        after = store.get(user.id)
        assert after is not None
        assert after.failed_login_count == 4

    def test_a_damaged_lock_is_said(self, store: UserStore, user: User) -> None:
        """Neither is the account open because of it, nor is it the caller's mistake."""
        with engine_of(store).transaction("damage") as tx:
            tx.execute("UPDATE users SET locked_until = 'for ever'")
        with pytest.raises(DamagedError, match="locked_until"):
            store.authenticate(EMAIL, PASSWORD)
        assert store.unlock(user.id) == user

    def test_is_each_users_own(self, store: UserStore, user: User) -> None:
        """One locked account locks no other."""
        store.create("other@example.com", PASSWORD)
        fail(store, 5)
        assert store.authenticate("other@example.com", PASSWORD) is not None
        assert store.get(user.id) is not None


def test_a_store_is_its_file(tmp_path: Path) -> None:
    """What one store wrote, the next one of the same path reads; the documented default path is the registry's."""
    with UserStore(db_path=str(tmp_path / "users.db")) as first:
        user = first.create(EMAIL)
        with UserStore(db_path=tmp_path / "users.db") as second:
            assert second.get_by_email(EMAIL) == user
    with UserStore(tmp_path / "users.db") as third, open_engine(tmp_path / "users.db", "users") as engine:
        assert third.get(user.id) == user
        with engine.read("look") as view:
            assert view.one("SELECT created_at FROM users") == (user.created_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),)
