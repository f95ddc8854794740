"""The contract of UserStore's lists, batches, preferences, sessions and deletion, over every backend."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any

import pytest

from aragora_persist.errors import ConflictError, InvalidValueError, MisuseError, NotFoundError
from aragora_persist.storage.audit_store import AuditStore
from aragora_persist.storage.organization_store import OrganizationStore
from aragora_persist.storage.share_store import ShareLinkStore
from aragora_persist.testing import temporary_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aragora_persist.storage.user_store import UserStore
    from aragora_persist.storage.users.records import User, UserChanges
    from aragora_persist.testing import Clock

pytest_plugins = ("tests.contract.user_fixtures",)


@pytest.fixture
def many(users: UserStore, clock: Clock) -> list[User]:
    """Return seven users: two a moment, every third one in an organization, every second one switched off."""
    made = []
    for number in range(7):
        made.append(users.create(f"user{number}@example.com", is_active=number % 2 == 0))
        clock.advance(seconds=number % 2)
    with users.database.transaction() as tx:
        tx.execute_many("UPDATE users SET org_id = 'org-1' WHERE id = ?", [(user.id,) for user in made[::3]])
    found = users.get_many(user.id for user in made)
    return sorted(found.values(), key=lambda user: (user.created_at, user.id))


class TestList:
    """Users in pages, and as a stream."""

    @pytest.mark.parametrize(
        ("asked", "chosen"),
        [
            ({}, lambda _: True),
            ({"org_id": "org-1"}, lambda user: user.org_id == "org-1"),
            ({"active": False}, lambda user: not user.is_active),
            ({"org_id": "org-1", "active": True}, lambda user: user.org_id == "org-1" and user.is_active),
            ({"org_id": "unknown"}, lambda _: False),
        ],
    )
    def test_gives_each_one_once(
        self, users: UserStore, many: list[User], asked: dict[str, Any], chosen: Callable[[User], bool]
    ) -> None:
        """The oldest first, whatever the pages' size."""
        expected = [user for user in many if chosen(user)]
        assert list(users.iter_users(**asked)) == expected
        for limit in (1, 2, 7, 1000):
            listed, after = [], None
            for _ in range(10):
                page = users.list_users(**asked, limit=limit, after=after)
                listed += page.items
                if (after := page.next) is None:
                    break
            assert (listed, after) == (expected, None)

    def test_shifts_nothing_when_users_come_and_go(self, users: UserStore, many: list[User], clock: Clock) -> None:
        """The next page begins after the last one's end; its cursor shows no email."""
        page = users.list_users(limit=3)
        users.delete(many[0].id)
        clock.advance(seconds=1)
        newest = users.create("new@example.com")
        assert list(users.list_users(after=page.next).items) == [*many[3:], newest]
        assert "@" not in str(page.next)

    def test_holds_nothing_while_the_caller_works(self, users: UserStore, many: list[User]) -> None:
        """Each user can be changed in the loop."""
        for user in users.iter_users():
            users.update(user.id, name="seen")
        assert [user.name for user in users.iter_users()] == ["seen"] * len(many)

    def test_refuses_what_is_no_page(self, users: UserStore) -> None:
        """With the argument's name."""
        wrong: dict[str, tuple[Any, ...]] = {
            "limit": (0, -1, 1001, True, 1.5, "1", 2**70),
            "after": ("x", "", "WzFd", "WyJhIl0=", 5, "é", "W" * 100_000),
            "org_id": ("", "\0", 5),
            "active": (1, "yes"),
        }
        for field, values in wrong.items():
            for value in values:
                with pytest.raises(InvalidValueError) as refused:
                    users.list_users(**{field: value})
                assert refused.value.target == field


class TestBatches:
    """Many users at once."""

    def test_finds_any_number(self, users: UserStore, many: list[User]) -> None:
        """By id, each one once, and only those that there are; more than one statement can take."""
        everybody = {user.id: user for user in many}
        assert users.get_many(everybody) == everybody
        assert users.get_many([]) == {}
        for size in range(1, 7):
            ids = [user.id for user in many[:size]]
            assert users.get_many(itertools.chain(ids, ids, ["unknown"])) == {ident: everybody[ident] for ident in ids}
        assert users.get_many([f"unknown{number}" for number in range(2_000)] + list(everybody)) == everybody

    def test_refuses_what_is_no_id(self, users: UserStore) -> None:
        """One text would be looked up letter by letter."""
        wrong: tuple[Any, ...] = ("one text", [""], ["\0"], [None], ["x" * 256], None, 5, b"ids")
        for ids in wrong:
            with pytest.raises(InvalidValueError):
                users.get_many(ids)
        assert users.get_many(["unknown"]) == {}

    def test_changes_all(self, users: UserStore, many: list[User], clock: Clock) -> None:
        """By the rules of a single update."""
        now = clock.advance(hours=1)
        changed = users.update_many(
            {many[0].id: {"name": "a", "is_active": False}, many[1].id: {"email": " New@Example.com"}}
        )
        assert changed == users.get_many([many[0].id, many[1].id])
        first, second = changed.values()
        assert (first.name, first.is_active, first.updated_at) == ("a", False, now)
        assert (second.email, second.updated_at, users.update_many({})) == ("new@example.com", now, {})

    @pytest.mark.parametrize(
        ("wrong", "error"),
        [
            ({"email": "user2@example.com"}, ConflictError),
            ({"email": "none"}, InvalidValueError),
            ({"password_hash": "x"}, InvalidValueError),
            ({"mfa_secret": "x"}, InvalidValueError),
            ({"org_id": "org-1"}, InvalidValueError),
            ({"role": "owner"}, InvalidValueError),
            ("name", InvalidValueError),
            (None, InvalidValueError),
            ({5: "x"}, InvalidValueError),
        ],
    )
    def test_changes_all_or_none(self, users: UserStore, wrong: UserChanges, error: type[Exception]) -> None:
        """What one change breaks keeps all others out; so does an unknown user."""
        first, _ = users.create("user1@example.com"), users.create("user2@example.com")
        before = list(users.iter_users())
        third = users.create("user3@example.com")
        with pytest.raises(InvalidValueError):
            users.update_many([first.id])  # type: ignore[arg-type] # the test
        for key in (third.id, "unknown"):
            with pytest.raises((error, NotFoundError)):
                users.update_many({first.id: {"name": "changed"}, key: wrong})
        users.delete(third.id)
        assert list(users.iter_users()) == before


class TestPreferences:
    """Single preferences."""

    def test_are_merged(self, users: UserStore, user: User, clock: Clock) -> None:
        """The given ones are set, the named ones go, all others stay; null is a value."""
        users.update(user.id, preferences={"a": 1, "b": {"c": 2}, "d": 3})
        later = clock.advance(hours=1)
        merged = users.merge_preferences(user.id, {"b": {"e": None}, "f": None}, remove=["d", "unknown"])
        assert merged == users.get(user.id)
        assert (merged.preferences, merged.updated_at) == ({"a": 1, "b": {"e": None}, "f": None}, later)

    def test_no_change_is_lost(self, users: UserStore, user: User) -> None:
        """Eight threads that set one each set all eight."""
        threads = [
            threading.Thread(target=users.merge_preferences, args=(user.id, {str(number): number}))
            for number in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        after = users.get(user.id)
        assert after is not None
        assert after.preferences == {str(number): number for number in range(8)}

    def test_refuses_what_is_no_json(self, users: UserStore, user: User) -> None:
        """As an update does; what was stored stays."""
        no_json = ({"a": float("nan")}, {"a": object()}, {"a": "\0"}, {"\udc80": 1}, {"a": "x" * 70_000}, [1], None)
        calls: tuple[Callable[[Any], object], ...] = (
            lambda wrong: users.merge_preferences(user.id, wrong),
            lambda wrong: users.update(user.id, preferences=wrong),
        )
        for call, wrong in itertools.product(calls, no_json):
            with pytest.raises(InvalidValueError, match="preferences"):
                call(wrong)
        assert users.get(user.id) == user

    def test_stay_within_their_limit(self, users: UserStore, user: User) -> None:
        """All together, too: they are read with every look-up."""
        first = users.merge_preferences(user.id, {"a": "x" * 40_000})
        with pytest.raises(InvalidValueError, match="preferences"):
            users.merge_preferences(user.id, {"b": "x" * 40_000})
        assert users.get(user.id) == first
        with pytest.raises(NotFoundError):
            users.merge_preferences("unknown", {})

    @pytest.mark.parametrize("wrong", ["a", b"a", 5, None, [5], [["a"]]])
    def test_refuses_to_remove_what_is_no_list_of_keys(self, users: UserStore, user: User, wrong: Any) -> None:  # noqa: ANN401 - the test
        """One text would be taken letter by letter."""
        before = users.update(user.id, preferences={"a": 1})
        with pytest.raises(InvalidValueError) as refused:
            users.merge_preferences(user.id, {"b": 2}, remove=wrong)
        assert (refused.value.target, users.get(user.id)) == ("remove", before)

    def test_a_key_is_a_text(self, users: UserStore, user: User) -> None:
        """As JSON has it: a number as key is the text of it, and not a second one beside it."""
        users.merge_preferences(user.id, {"1": "a"})
        assert users.merge_preferences(user.id, {1: "b"}).preferences == {"1": "b"}  # type: ignore[dict-item] # the test


class TestSessions:
    """Logins of all kinds, and their end."""

    def test_every_session_ends_at_once(self, users: UserStore, user: User) -> None:
        """Each time, new sessions carry a higher version; eight at once are eight."""
        threads = [threading.Thread(target=users.revoke_sessions, args=(user.id,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert users.revoke_sessions(user.id) == 9
        after = users.get(user.id)
        assert after is not None
        assert after.token_version == 9

    def test_a_lock_can_be_lifted(self, users: UserStore) -> None:
        """By who knows that the failures were no guessing."""
        made = users.create("locked@example.com", "right")
        for _ in range(5):
            users.authenticate(made.email, "wrong")
        lifted = users.unlock(made.id)
        assert (lifted.failed_login_count, lifted.locked_until, lifted.lockout_reason) == (0, None, None)
        assert users.authenticate(made.email, "right") is not None

    def test_a_login_elsewhere_is_noted(self, users: UserStore, user: User, clock: Clock) -> None:
        """With its time, and nothing else."""
        later = clock.advance(hours=1)
        noted = users.record_login(user.id)
        assert (noted.last_login_at, noted.updated_at) == (later, user.updated_at)

    def test_unknown_users_are_said(self, users: UserStore) -> None:
        """By every method that changes one; ids that cannot be are refused."""
        calls: list[Callable[[str], object]] = [
            users.unlock,
            users.record_login,
            users.record_activity,
            users.revoke_sessions,
            users.delete,
            users.update,
            lambda user_id: users.set_password(user_id, None),
        ]
        for call in calls:
            with pytest.raises(NotFoundError):
                call("unknown")
            for wrong in ("", "\0", "\udc80", "x" * 256, None, 5):
                with pytest.raises(InvalidValueError) as refused:
                    call(wrong)  # type: ignore[arg-type] # the test
                assert refused.value.target == "user_id"
        assert list(users.iter_users()) == []


class TestDelete:
    """The end of an account."""

    def test_leaves_nothing_orphaned(self, users: UserStore, user: User) -> None:
        """No row of any table refers to the user any more, but for what was logged; everybody else's rows stay."""
        organizations, shares = OrganizationStore(users.database), ShareLinkStore(users.database)
        audit = AuditStore(users.database)
        other = users.create("other@example.com")
        organization = organizations.create("Team", other.id)
        for one in (user, other):
            users.link_oauth(one.id, "google", one.id)
            users.create_api_key(one.id)
            users.set_mfa_secret(one.id, "secret")
            users.new_backup_codes(one.id)
            users.new_reset_token(one.id)
            shares.create("debate", one.id)
            audit.log("user.deleted", user_id=one.id, details={"email": one.email})
        organizations.add_member(organization.id, user.id)
        elsewhere = organizations.create("Elsewhere", other.id)
        organizations.invite(elsewhere.id, user.email, invited_by=other.id)
        before = self.rows_of(users, other.id)
        assert before.pop("invitations") == 1
        users.delete(user.id)
        assert users.get(user.id) is None
        assert self.rows_of(users, user.id) == {"audit_log": 1}
        assert self.rows_of(users, user.email) == {"audit_log": 1}
        assert self.rows_of(users, other.id) == before
        assert {"users", "api_keys", "oauth_identities", "mfa_backup_codes", "account_tokens"} < set(before)
        assert audit.erase_person(user.id) == 1
        assert self.rows_of(users, user.id) == self.rows_of(users, user.email) == {}
        assert audit.verify().ok
        assert users.create(user.email).id != user.id

    def test_an_owner_is_refused(self, users: UserStore, user: User) -> None:
        """Until the ownership is another's; the error names the organization."""
        organizations = OrganizationStore(users.database)
        heir = users.create("heir@example.com")
        organization = organizations.create("My Team", user.id)
        organizations.add_member(organization.id, heir.id)
        users.create_api_key(user.id)
        before = self.rows_of(users, user.id)
        with pytest.raises(ConflictError, match="my-team"):
            users.delete(user.id)
        assert self.rows_of(users, user.id) == before
        organizations.transfer_ownership(organization.id, heir.id)
        users.delete(user.id)
        assert self.rows_of(users, user.id) == {}

    def rows_of(self, users: UserStore, value: str) -> dict[str, int]:
        """Return in how many rows of each table the value stands, alone or inside of another."""
        found: dict[str, int] = {}
        with users.database.read("look") as view:
            for table in _TABLES:
                count = sum(value in str(row) for row in view.all(f"SELECT * FROM {table}"))
                if count:
                    found[table] = count
        return found


def _tables() -> Iterator[str]:
    """Yield every table of the database."""
    with temporary_database("users", in_memory=True) as database, database.read("look") as view:
        for row in view.all("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"):
            yield str(row[0])


_TABLES = tuple(_tables())


def test_a_transaction_of_another_database_is_refused(users: UserStore, user: User) -> None:
    """By every part; nothing is written in either."""
    with temporary_database("users", in_memory=True) as elsewhere, elsewhere.transaction() as tx:
        calls: tuple[Callable[[], object], ...] = (
            lambda: users.update(user.id, name="changed", tx=tx),
            lambda: users.create("new@example.com", tx=tx),
            lambda: users.set_mfa_secret(user.id, "secret", tx=tx),
        )
        for call in calls:
            with pytest.raises(MisuseError):
                call()
    assert list(users.iter_users()) == [user]
