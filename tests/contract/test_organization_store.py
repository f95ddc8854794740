"""The contract of OrganizationStore: one suite over every backend."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from aragora_persist.errors import (
    AccessDeniedError,
    ConflictError,
    ExpiredError,
    InvalidValueError,
    MisuseError,
    NotFoundError,
    PersistError,
    RevokedError,
)
from aragora_persist.storage.organization_store import OrganizationStore
from aragora_persist.storage.organizations.records import GIVEN_ROLES, TIERS, Organization, slug_of
from aragora_persist.storage.usage_store import UsageStore
from aragora_persist.storage.user_store import UserStore
from aragora_persist.testing import Clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from aragora_persist.storage.organizations.records import IssuedInvitation
    from aragora_persist.storage.port import Backend
    from aragora_persist.storage.users.records import User

pytest_plugins = ("tests.contract.backends",)

THREADS = 8
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=30) | st.sampled_from(["x" * 1_000, "x" * 1_001])


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the stores."""
    return Clock()


@pytest.fixture
def database(open_database: Callable[[str], Backend]) -> Backend:
    """Return an empty database of users on each backend."""
    return open_database("users")


@pytest.fixture
def users(database: Backend, clock: Clock) -> UserStore:
    """Return the users' store of the same database."""
    return UserStore(database, clock=clock)


@pytest.fixture
def store(database: Backend, clock: Clock) -> OrganizationStore:
    """Return an empty store on each backend."""
    return OrganizationStore(database, clock=clock)


@pytest.fixture
def owner(users: UserStore) -> User:
    """Return the user who owns the organization."""
    return users.create("owner@example.com")


@pytest.fixture
def acme(store: OrganizationStore, owner: User) -> Organization:
    """Return an organization."""
    return store.create("Acme", owner.id)


def at_once(work: Callable[[int], object]) -> list[object]:
    """Run the work in several threads, and return what came of each: a result, or the class of an error."""
    outcomes: list[object] = []

    def run(number: int) -> None:
        try:
            outcomes.append(work(number))
        except PersistError as error:
            outcomes.append(type(error))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == THREADS
    return outcomes


def place_of(users: UserStore, user_id: str) -> tuple[str | None, str]:
    """Return what the user's own columns say."""
    user = users.get(user_id)
    assert user is not None
    return user.org_id, user.role


def roles(store: OrganizationStore, org_id: str) -> dict[str, str]:
    """Return the roles of all members."""
    return {member.user_id: member.role for member in store.iter_members(org_id)}


class TestOrganizations:
    """Making, finding and changing."""

    def test_gives_a_whole_record(self, store: OrganizationStore, owner: User, clock: Clock, users: UserStore) -> None:
        """Every field has its documented default; the owner is a member, and the organization their primary one."""
        made = store.create("Acme Inc.", owner.id)

        assert made == Organization(
            made.id, "Acme Inc.", "acme-inc", "free", owner.id, None, None, clock.now, clock.now, {}, None
        )
        assert store.get(made.id) == store.get_by_slug("acme-inc") == store.get_by_slug(" ACME inc") == made
        assert roles(store, made.id) == {owner.id: "owner"}
        assert place_of(users, owner.id) == (made.id, "owner")

    def test_keeps_every_field(self, store: OrganizationStore, owner: User) -> None:
        """What goes in comes out."""
        made = store.create("Größe & Söhne ☕", owner.id, slug="Über uns", tier="enterprise", settings={"a": [1, None]})

        assert (made.name, made.slug, made.tier, made.settings) == (
            "Größe & Söhne ☕",
            "uber-uns",
            "enterprise",
            {"a": [1, None]},
        )
        assert store.get(made.id) == made

    def test_a_derived_slug_gives_way_and_a_given_one_does_not(
        self, store: OrganizationStore, acme: Organization, owner: User
    ) -> None:
        """The second of a name gets a slug of its own; who asks for a taken one is told, and nothing is made."""
        second = store.create("ACME", owner.id)

        assert second.slug.startswith("acme-")
        with pytest.raises(ConflictError, match="taken"):
            store.create("Other", owner.id, slug="acme")
        assert [found.id for found in store.iter_organizations()] == [acme.id, second.id]

    def test_needs_an_owner_who_exists(self, store: OrganizationStore) -> None:
        """Without one, nothing is made."""
        with pytest.raises(NotFoundError, match="user"):
            store.create("Acme", "nobody")
        assert store.get_by_slug("acme") is None

    def test_refuses_bad_input(self, store: OrganizationStore, owner: User) -> None:
        """The error names the field, and nothing is made."""
        bad: list[dict[str, Any]] = [
            {"name": " "},
            {"name": "a\0"},
            {"name": "x" * 1_001},
            {"tier": "gold"},
            {"slug": "東京"},
            {"slug": ""},
            {"settings": {"a": float("nan")}},
            {"settings": []},
            {"owner_id": ""},
        ]
        for values in bad:
            with pytest.raises(InvalidValueError) as refused:
                store.create(**{"name": "Acme", "owner_id": owner.id} | values)
            assert refused.value.target.startswith(next(iter(values)))
        assert list(store.iter_organizations()) == []

    def test_changes_what_is_given(self, store: OrganizationStore, acme: Organization, clock: Clock) -> None:
        """The given fields and the time of the change; Stripe's customer finds the organization."""
        later = clock.advance(hours=1)
        changed = store.update(
            acme.id, name="New", slug="New Name", tier="starter", settings={"a": 1}, stripe_customer_id="cus_1"
        )

        assert (changed.name, changed.slug, changed.tier, changed.settings) == ("New", "new-name", "starter", {"a": 1})
        assert (changed.updated_at, changed.created_at) == (later, acme.created_at)
        assert store.get_by_stripe_customer("cus_1") == store.get_by_slug("new-name") == changed
        assert (store.get_by_slug("acme"), store.get_by_stripe_customer("cus_2")) == (None, None)

    def test_refuses_what_another_has(self, store: OrganizationStore, acme: Organization, owner: User) -> None:
        """Slug and customer are one organization's; both organizations stay as they were."""
        store.update(acme.id, stripe_customer_id="cus_1")
        other = store.create("Other", owner.id)
        for change in ({"slug": "ACME"}, {"stripe_customer_id": "cus_1"}):
            with pytest.raises(ConflictError, match="another"):
                store.update(other.id, name="changed", **change)  # type: ignore[arg-type] # one field each
        assert store.get(other.id) == other
        assert store.update(acme.id, slug="acme", stripe_customer_id="cus_1").slug == "acme"

    def test_refuses_unknown_ones_and_fields(self, store: OrganizationStore, acme: Organization) -> None:
        """A change of nothing makes nothing, and the owner changes by a transfer only."""
        with pytest.raises(NotFoundError):
            store.update("unknown", name="n")
        with pytest.raises(InvalidValueError, match="owner_id"):
            store.update(acme.id, owner_id="x")  # type: ignore[call-arg] # the test
        assert (store.get("unknown"), store.get(acme.id)) == (None, acme)

    def test_lists_by_tier_and_owner(self, store: OrganizationStore, users: UserStore, owner: User) -> None:
        """In the order of slugs, in pages that leave out and repeat nothing."""
        other = users.create("other@example.com")
        for number in range(7):
            store.create(f"Org {number}", owner.id if number % 2 else other.id, tier=TIERS[number % 2])

        assert [found.slug for found in store.iter_organizations(tier="starter")] == ["org-1", "org-3", "org-5"]
        assert [found.slug for found in store.iter_organizations(owner_id=other.id)] == [
            f"org-{n}" for n in (0, 2, 4, 6)
        ]
        assert list(store.iter_organizations(tier="free", owner_id=owner.id)) == []
        first = store.list_organizations(limit=4)
        rest = store.list_organizations(limit=4, after=first.next)
        assert [found.slug for found in first.items + rest.items] == [f"org-{number}" for number in range(7)]
        assert rest.next is None

    def test_several_changes_are_one_transaction(
        self, store: OrganizationStore, database: Backend, owner: User, users: UserStore
    ) -> None:
        """With ``tx`` they become visible together, or not at all; a transaction of another database is refused."""
        with pytest.raises(ConflictError), database.transaction() as tx:
            made = store.create("Acme", owner.id, tx=tx)
            store.add_member(made.id, owner.id, tx=tx)
        assert list(store.iter_organizations()) == []
        assert place_of(users, owner.id) == (None, "member")
        with database.transaction() as tx:
            guest = users.create("guest@example.com", tx=tx)
            made = store.create("Acme", owner.id, tx=tx)
            store.add_member(made.id, guest.id, "viewer", tx=tx)
        assert roles(store, made.id) == {owner.id: "owner", guest.id: "viewer"}
        with (
            OrganizationStore(":memory:") as elsewhere,
            elsewhere.database.transaction() as tx,
            pytest.raises(MisuseError),
        ):
            store.create("Acme", owner.id, tx=tx)


class TestMembers:
    """Who belongs where, and as what."""

    def test_a_user_can_be_in_several(
        self, store: OrganizationStore, users: UserStore, acme: Organization, clock: Clock
    ) -> None:
        """The first one is primary, until another is chosen; the user's columns show the role there."""
        user = users.create("user@example.com")
        added = store.add_member(acme.id, user.id, "admin")
        clock.advance(hours=1)
        second = store.create("Second", user.id)

        assert store.get_member(acme.id, user.id) == added
        assert [member.org_id for member in store.iter_memberships(user.id)] == sorted([acme.id, second.id])
        assert place_of(users, user.id) == (acme.id, "admin")
        store.set_primary(user.id, second.id)
        assert place_of(users, user.id) == (second.id, "owner")
        store.change_role(acme.id, user.id, "viewer")
        assert place_of(users, user.id) == (second.id, "owner")
        store.set_primary(user.id, acme.id)
        assert place_of(users, user.id) == (acme.id, "viewer")
        store.remove_member(acme.id, user.id)
        assert place_of(users, user.id) == (second.id, "owner")

    def test_the_next_primary_is_the_one_that_was_joined_first(
        self, store: OrganizationStore, users: UserStore, owner: User, clock: Clock
    ) -> None:
        """Leaving one after the other, in the order of joining."""
        user = users.create("user@example.com")
        joined = [store.create(f"Org {number}", owner.id).id for number in range(5)]
        for org in joined:
            store.add_member(org, user.id)
            clock.advance(seconds=1)
        for org in joined:
            assert place_of(users, user.id) == (org, "member")
            store.remove_member(org, user.id)
        assert place_of(users, user.id) == (None, "member")

    def test_removing_the_only_membership_leaves_none(
        self, store: OrganizationStore, users: UserStore, acme: Organization
    ) -> None:
        """Then the user's columns name no organization, and the role is the documented default."""
        user = users.create("user@example.com")
        store.add_member(acme.id, user.id, "admin")
        store.remove_member(acme.id, user.id)

        assert place_of(users, user.id) == (None, "member")
        assert store.get_member(acme.id, user.id) is None
        with pytest.raises(NotFoundError):
            store.remove_member(acme.id, user.id)
        with pytest.raises(NotFoundError):
            store.set_primary(user.id, acme.id)

    def test_what_the_columns_said_before_is_corrected(
        self, store: OrganizationStore, users: UserStore, acme: Organization, database: Backend
    ) -> None:
        """A copy that was written from elsewhere gives way with the next change of the user's memberships."""
        user = users.create("user@example.com")
        with database.transaction() as tx:
            tx.execute("UPDATE users SET org_id = 'nowhere', role = 'owner' WHERE id = ?", (user.id,))
        store.add_member(acme.id, user.id)

        assert place_of(users, user.id) == (acme.id, "member")

    def test_roles_are_given_from_a_list(self, store: OrganizationStore, users: UserStore, acme: Organization) -> None:
        """Nobody becomes an owner but by a transfer."""
        user, other = users.create("user@example.com"), users.create("other@example.com")
        store.add_member(acme.id, user.id)
        for role in ("owner", "", "root"):
            with pytest.raises(InvalidValueError, match="role"):
                store.add_member(acme.id, other.id, role)
            with pytest.raises(InvalidValueError, match="role"):
                store.change_role(acme.id, user.id, role)
        assert roles(store, acme.id) == {str(acme.owner_id): "owner", user.id: "member"}

    def test_refuses_who_is_not_there_or_there_already(
        self, store: OrganizationStore, users: UserStore, acme: Organization, owner: User
    ) -> None:
        """Each with its own leaf; the members stay as they were."""
        user = users.create("user@example.com")
        with pytest.raises(NotFoundError, match="organization"):
            store.add_member("unknown", user.id)
        with pytest.raises(NotFoundError, match="user"):
            store.add_member(acme.id, "unknown")
        with pytest.raises(ConflictError, match="already"):
            store.add_member(acme.id, owner.id)
        with pytest.raises(NotFoundError, match="not a member"):
            store.change_role(acme.id, user.id, "admin")
        assert roles(store, acme.id) == {owner.id: "owner"}

    def test_the_owner_stays(self, store: OrganizationStore, acme: Organization, owner: User) -> None:
        """Neither removed nor given another role, however it is tried."""
        with pytest.raises(ConflictError, match="owner"):
            store.remove_member(acme.id, owner.id)
        for role in GIVEN_ROLES:
            with pytest.raises(ConflictError, match="owner"):
                store.change_role(acme.id, owner.id, role)
        assert roles(store, acme.id) == {owner.id: "owner"}

    def test_ownership_goes_over_at_once(
        self, store: OrganizationStore, users: UserStore, acme: Organization, owner: User
    ) -> None:
        """To a member only; the previous owner is an admin and may go; again changes nothing."""
        heir = users.create("heir@example.com")
        with pytest.raises(NotFoundError, match="not a member"):
            store.transfer_ownership(acme.id, heir.id)
        assert roles(store, acme.id) == {owner.id: "owner"}
        store.add_member(acme.id, heir.id, "viewer")
        for _ in range(2):
            assert store.transfer_ownership(acme.id, heir.id).role == "owner"
            assert roles(store, acme.id) == {owner.id: "admin", heir.id: "owner"}
            found = store.get(acme.id)
            assert found is not None
            assert found.owner_id == heir.id
        assert place_of(users, heir.id) == (acme.id, "owner")
        assert place_of(users, owner.id) == (acme.id, "admin")
        store.remove_member(acme.id, owner.id)
        assert roles(store, acme.id) == {heir.id: "owner"}

    def test_of_many_transfers_at_once_each_leaves_one_owner(
        self, store: OrganizationStore, users: UserStore, acme: Organization
    ) -> None:
        """Whoever comes last is the owner, in the members and in the organization."""
        heirs = [users.create(f"{number}@example.com").id for number in range(THREADS)]
        for heir in heirs:
            store.add_member(acme.id, heir)
        at_once(lambda number: store.transfer_ownership(acme.id, heirs[number]))

        owners = [user_id for user_id, role in roles(store, acme.id).items() if role == "owner"]
        found = store.get(acme.id)
        assert found is not None
        assert owners == [found.owner_id]

    def test_of_many_who_add_the_same_user_one_does(
        self, store: OrganizationStore, users: UserStore, acme: Organization
    ) -> None:
        """The others are told."""
        user = users.create("user@example.com")
        outcomes = at_once(lambda _: store.add_member(acme.id, user.id))
        assert sorted(outcome is ConflictError for outcome in outcomes) == [False] + [True] * (THREADS - 1)

    def test_lists_members_in_pages(self, store: OrganizationStore, users: UserStore, acme: Organization) -> None:
        """In bounded pages that leave nobody out."""
        for number in range(5):
            store.add_member(acme.id, users.create(f"{number}@example.com").id)
        page, seen = store.list_members(acme.id, limit=4), 0
        seen += len(page.items)
        page = store.list_members(acme.id, limit=4, after=page.next)
        assert (seen, len(page.items), page.next) == (4, 2, None)
        assert len(roles(store, acme.id)) == 6
        with pytest.raises(InvalidValueError, match="cursor"):
            store.list_members(acme.id, after="x")


class TestInvitations:
    """Issuing, redeeming and ending."""

    @pytest.fixture
    def issued(self, store: OrganizationStore, acme: Organization, owner: User) -> IssuedInvitation:
        """Return an invitation of an address in another form."""
        return store.invite(acme.id, " Guest@Example.COM", "admin", invited_by=owner.id)

    @pytest.fixture
    def guest(self, users: UserStore) -> User:
        """Return the user who is invited."""
        return users.create("guest@example.com")

    def test_is_accepted_once(
        self, store: OrganizationStore, acme: Organization, issued: IssuedInvitation, guest: User, users: UserStore
    ) -> None:
        """It makes a member of the role, and is then known as accepted, whoever tries."""
        assert store.get_invitation_by_token(issued.token) == issued.invitation
        member = store.accept_invitation(issued.token, guest.id)

        assert (member.org_id, member.role, roles(store, acme.id)[guest.id]) == (acme.id, "admin", "admin")
        assert place_of(users, guest.id) == (acme.id, "admin")
        with pytest.raises(ConflictError, match="accepted"):
            store.accept_invitation(issued.token, guest.id)
        found = store.get_invitation(acme.id, issued.invitation.id)
        assert found is not None
        assert (found.accepted_by, found.accepted_at) == (guest.id, member.joined_at)
        assert store.list_pending_invitations(acme.id).items == []

    def test_the_token_is_stored_nowhere(
        self, store: OrganizationStore, issued: IssuedInvitation, database: Backend
    ) -> None:
        """Not in the row, and not in what a log would show of the answer."""
        with database.read("look") as view:
            rows = view.all("SELECT * FROM invitations")
        assert issued.token.startswith("inv_")
        assert issued.token not in repr(rows) + repr(issued)
        assert store.get_invitation_by_token(issued.token + "x") is None

    def test_of_many_acceptances_at_once_one_counts(
        self, store: OrganizationStore, acme: Organization, issued: IssuedInvitation, guest: User
    ) -> None:
        """One membership and seven conflicts."""
        outcomes = at_once(lambda _: store.accept_invitation(issued.token, guest.id).user_id)
        assert sorted(map(repr, outcomes)) == sorted([repr(guest.id)] + [repr(ConflictError)] * (THREADS - 1))
        assert len(roles(store, acme.id)) == 2

    def test_is_for_the_address_that_was_invited(
        self, store: OrganizationStore, acme: Organization, issued: IssuedInvitation, users: UserStore, guest: User
    ) -> None:
        """Another user is refused, and it stays good for the right one."""
        other = users.create("other@example.com")
        with pytest.raises(AccessDeniedError):
            store.accept_invitation(issued.token, other.id)
        with pytest.raises(NotFoundError, match="user"):
            store.accept_invitation(issued.token, "nobody")
        assert len(roles(store, acme.id)) == 1
        assert store.accept_invitation(issued.token, guest.id).user_id == guest.id

    def test_expires_at_its_moment(
        self, store: OrganizationStore, acme: Organization, issued: IssuedInvitation, guest: User, clock: Clock
    ) -> None:
        """From then on it is not pending, and its address can be invited again."""
        clock.now = issued.invitation.expires_at - timedelta(microseconds=1)
        assert store.list_pending_invitations(acme.id).items == [issued.invitation]
        for passed in (timedelta(microseconds=1), timedelta(days=9)):
            clock.now += passed
            with pytest.raises(ExpiredError):
                store.accept_invitation(issued.token, guest.id)
            assert store.list_pending_invitations(acme.id).items == []
        again = store.invite(acme.id, guest.email)
        assert list(store.iter_pending_invitations(acme.id)) == [again.invitation]
        assert store.accept_invitation(again.token, guest.id).role == "member"

    def test_a_revoked_one_stays_so(
        self, store: OrganizationStore, acme: Organization, issued: IssuedInvitation, guest: User, clock: Clock
    ) -> None:
        """It cannot be accepted or sent again; revoking again keeps the first time."""
        revoked = store.revoke_invitation(acme.id, issued.invitation.id)
        clock.advance(hours=1)
        assert store.revoke_invitation(acme.id, issued.invitation.id) == revoked
        with pytest.raises(RevokedError):
            store.accept_invitation(issued.token, guest.id)
        with pytest.raises(RevokedError):
            store.resend_invitation(acme.id, issued.invitation.id)
        assert store.get_invitation(acme.id, issued.invitation.id) == revoked
        assert len(roles(store, acme.id)) == 1

    def test_an_accepted_one_is_over(
        self, store: OrganizationStore, acme: Organization, issued: IssuedInvitation, guest: User
    ) -> None:
        """It is neither revoked nor sent again."""
        store.accept_invitation(issued.token, guest.id)
        for attempt in (store.revoke_invitation, store.resend_invitation):
            with pytest.raises(ConflictError, match="accepted"):
                attempt(acme.id, issued.invitation.id)
        assert len(roles(store, acme.id)) == 2

    def test_another_organization_s_is_not_there(
        self, store: OrganizationStore, acme: Organization, issued: IssuedInvitation, users: UserStore
    ) -> None:
        """For reading, sending again and revoking; it stays as it was."""
        other = store.create("Other", users.create("other@example.com").id)
        assert store.get_invitation(other.id, issued.invitation.id) is None
        for attempt in (store.revoke_invitation, store.resend_invitation):
            with pytest.raises(NotFoundError):
                attempt(other.id, issued.invitation.id)
        assert store.list_pending_invitations(other.id).items == []
        assert store.list_pending_invitations(acme.id).items == [issued.invitation]

    def test_sent_again_it_has_a_new_token_and_time(
        self, store: OrganizationStore, acme: Organization, issued: IssuedInvitation, guest: User, clock: Clock
    ) -> None:
        """Even an expired one; the earlier token opens nothing."""
        clock.advance(days=8)
        again = store.resend_invitation(acme.id, issued.invitation.id, expires_in_days=2)

        assert again.invitation.expires_at == clock.now + timedelta(days=2)
        assert again.invitation.id == issued.invitation.id
        with pytest.raises(NotFoundError):
            store.accept_invitation(issued.token, guest.id)
        assert store.accept_invitation(again.token, guest.id).role == "admin"

    def test_an_address_is_invited_once_at_a_time(
        self, store: OrganizationStore, acme: Organization, issued: IssuedInvitation, owner: User
    ) -> None:
        """The error leads to sending it again; members are not invited."""
        with pytest.raises(ConflictError, match=f"resend_invitation.*{issued.invitation.id}"):
            store.invite(acme.id, "guest@example.com")
        with pytest.raises(ConflictError, match="member"):
            store.invite(acme.id, owner.email.upper())
        assert len(list(store.iter_pending_invitations(acme.id))) == 1

    def test_refuses_bad_input(self, store: OrganizationStore, acme: Organization) -> None:
        """Nothing is stored."""
        bad: list[dict[str, Any]] = [
            {"email": "nobody"},
            {"email": 5},
            {"role": "owner"},
            {"expires_in_days": 0},
            {"expires_in_days": 366},
            {"expires_in_days": True},
        ]
        for values in bad:
            with pytest.raises(InvalidValueError):
                store.invite(acme.id, **{"email": "a@example.com"} | values)
        with pytest.raises(NotFoundError, match="user"):
            store.invite(acme.id, "a@example.com", invited_by="nobody")
        with pytest.raises(NotFoundError, match="organization"):
            store.invite("unknown", "a@example.com")
        assert store.list_pending_invitations(acme.id).items == []

    def test_old_ones_are_cleaned_up_in_batches(
        self, store: OrganizationStore, acme: Organization, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever became of them, once their time was over for long enough; the others stay."""
        monkeypatch.setattr("aragora_persist.storage.organizations.invitations._BATCH", 2)
        old = [store.invite(acme.id, f"{number}@example.com", expires_in_days=1).invitation for number in range(5)]
        store.revoke_invitation(acme.id, old[0].id)
        young = store.invite(acme.id, "young@example.com", expires_in_days=20).invitation
        clock.advance(days=11)
        assert store.cleanup_invitations(older_than_days=10) == 0
        clock.advance(microseconds=1)
        assert store.cleanup_invitations(older_than_days=10) == 5
        assert store.cleanup_invitations(older_than_days=10) == 0
        assert store.get_invitation(acme.id, old[1].id) is None
        assert store.get_invitation(acme.id, young.id) == young


class TestEnd:
    """Closing and deleting."""

    def test_a_closed_one_takes_nothing_new(
        self, store: OrganizationStore, users: UserStore, acme: Organization, clock: Clock
    ) -> None:
        """No member, no invitation, no acceptance, no usage; reopened, all of it again."""
        guest = users.create("guest@example.com")
        usage = UsageStore(store.database, clock=clock)
        issued = store.invite(acme.id, guest.email)
        closed = store.close_organization(acme.id)
        clock.advance(hours=1)

        assert closed.closed_at == closed.updated_at
        assert store.close_organization(acme.id) == closed
        attempts: list[Callable[[], object]] = [
            lambda: store.add_member(acme.id, guest.id),
            lambda: store.invite(acme.id, "new@example.com"),
            lambda: store.resend_invitation(acme.id, issued.invitation.id),
            lambda: store.accept_invitation(issued.token, guest.id),
            lambda: usage.record(acme.id, "debate"),
        ]
        for attempt in attempts:
            with pytest.raises(ConflictError, match="closed"):
                attempt()
        assert len(roles(store, acme.id)) == 1
        assert store.reopen_organization(acme.id).closed_at is None
        for attempt in attempts[1:2] + attempts[3:]:
            attempt()
        assert len(roles(store, acme.id)) == 2
        assert store.get_usage_summary(acme.id).counts == {"debate": 1}

    def test_a_closed_one_can_be_put_in_order(
        self, store: OrganizationStore, users: UserStore, acme: Organization
    ) -> None:
        """Members go, ownership goes over, the settings of its payments change."""
        guest = users.create("guest@example.com")
        store.add_member(acme.id, guest.id)
        store.close_organization(acme.id)
        store.transfer_ownership(acme.id, guest.id)
        store.update(acme.id, stripe_subscription_id=None)
        assert roles(store, acme.id)[guest.id] == "owner"

    def test_is_deleted_with_all_that_is_its_own(
        self, store: OrganizationStore, users: UserStore, acme: Organization, owner: User, database: Backend
    ) -> None:
        """Memberships and invitations go; the users stay, in the next organization that they are in."""
        other = store.create("Other", owner.id)
        store.invite(acme.id, "guest@example.com")
        store.delete(acme.id)

        assert (store.get(acme.id), roles(store, acme.id)) == (None, {})
        assert place_of(users, owner.id) == (other.id, "owner")
        with database.read("count") as view:
            assert view.one("SELECT COUNT(*) FROM invitations") == (0,)
        with pytest.raises(NotFoundError):
            store.delete(acme.id)

    def test_with_usage_it_is_not_deleted(
        self, store: OrganizationStore, acme: Organization, owner: User, clock: Clock
    ) -> None:
        """Neither before nor after its usage was aggregated and pruned; members and usage stay."""
        usage = UsageStore(store.database, clock=clock)
        usage.record(acme.id, "debate", 3)
        with pytest.raises(ConflictError, match="usage"):
            store.delete(acme.id)
        month = clock.now.strftime("%Y-%m")
        clock.advance(days=100)
        assert (usage.aggregate(), usage.cleanup()) == (1, 1)
        with pytest.raises(ConflictError, match="close_organization"):
            store.delete(acme.id)
        assert roles(store, acme.id) == {owner.id: "owner"}
        assert store.get_usage_summary(acme.id, month) == usage.summary(acme.id, month)
        assert store.get_usage_summary(acme.id, month).counts == {"debate": 3}

    def test_a_deleted_user_is_no_member_and_an_owner_is_not_deleted(
        self, store: OrganizationStore, users: UserStore, acme: Organization, owner: User
    ) -> None:
        """Memberships and what a user was invited by go with the user; ownership goes over first."""
        guest = users.create("guest@example.com")
        issued = store.invite(acme.id, guest.email, invited_by=owner.id)
        store.accept_invitation(issued.token, guest.id)
        with pytest.raises(ConflictError):
            users.delete(owner.id)
        assert roles(store, acme.id) == {owner.id: "owner", guest.id: "member"}
        users.delete(guest.id)
        assert roles(store, acme.id) == {owner.id: "owner"}
        assert store.get_invitation(acme.id, issued.invitation.id) is None

    def test_unknown_ones_are_said(self, store: OrganizationStore) -> None:
        """Whatever is asked of them."""
        for attempt in (store.close_organization, store.reopen_organization, store.delete, store.get_usage_summary):
            with pytest.raises(NotFoundError, match="organization"):
                attempt("unknown")


def test_any_text_is_refused_or_comes_back(store: OrganizationStore, users: UserStore) -> None:
    """A name, settings and Stripe's ids of any characters are stored exactly, or refused with a typed error."""
    owner = users.create("owner@example.com")

    @settings(max_examples=40)
    @given(name=ANY_TEXT, slug=st.none() | ANY_TEXT, key=ANY_TEXT, customer=st.none() | ANY_TEXT, tier=ANY_TEXT)
    def check(name: str, slug: str | None, key: str, customer: str | None, tier: str) -> None:
        try:
            made = store.create(name, owner.id, slug=slug, settings={key: [name]})
        except (InvalidValueError, ConflictError):
            return
        assert store.get(made.id) == made
        assert (made.name, made.settings) == (name, {key: [name]})
        assert made.slug == slug_of(made.slug)
        try:
            changed = store.update(made.id, stripe_customer_id=customer)
        except (InvalidValueError, ConflictError):
            assert store.get(made.id) == made
        else:
            assert changed.stripe_customer_id == customer
        with pytest.raises(InvalidValueError):
            store.update(made.id, tier=f"{tier}?")

    check()


def test_a_slug_is_a_label_of_a_host_name() -> None:
    """It has 63 characters at most, the last of which is no hyphen."""
    assert (slug_of("a" * 64), slug_of("a" * 62 + " b")) == ("a" * 63, "a" * 62)


@given(st.text(max_size=200))
@settings(max_examples=200)
def test_a_slug_has_one_form(text: str) -> None:
    """Making it again changes nothing, and nothing but a to z, 0 to 9 and single hyphens inside is in it."""
    slug = slug_of(text)
    assert slug_of(slug) == slug
    assert len(slug) <= 63
    assert all(part.isascii() and part.isalnum() and part == part.lower() for part in slug.split("-") if slug)


class MembersMachine(RuleBasedStateMachine):
    """Members against a model: who is in which organization, as what, since when, and which is primary."""

    store: OrganizationStore
    users: UserStore
    clock: Clock

    def __init__(self) -> None:
        super().__init__()
        with self.store.database.transaction() as tx:
            for table in ("memberships", "organizations", "users"):
                tx.execute(f"DELETE FROM {table}")
        self.people = [self.users.create(f"{number}@example.com").id for number in range(3)]
        self.members: dict[str, dict[str, tuple[str, datetime]]] = {}
        self.primary: dict[str, str | None] = dict.fromkeys(self.people)

    def settle(self, user_id: str) -> None:
        """Choose the primary organization as the rule says."""
        mine = {org: members[user_id] for org, members in self.members.items() if user_id in members}
        if self.primary[user_id] not in mine:
            self.primary[user_id] = min(mine, key=lambda org: (mine[org][1], org), default=None)

    def org(self, number: int) -> str:
        """Return one of the organizations, or the id of none."""
        known = sorted(self.members)
        return known[number % len(known)] if known else "unknown"

    @rule(person=st.integers(0, 2))
    def make(self, person: int) -> None:
        """Make an organization."""
        if len(self.members) < 3:
            self.clock.advance(seconds=1)
            made = self.store.create("Org", self.people[person])
            self.members[made.id] = {self.people[person]: ("owner", self.clock.now)}
            self.settle(self.people[person])

    @rule(number=st.integers(0, 2), person=st.integers(0, 2), role=st.sampled_from(GIVEN_ROLES))
    def add(self, number: int, person: int, role: str) -> None:
        """Add a member."""
        org, user = self.org(number), self.people[person]
        if org not in self.members or user in self.members[org]:
            with pytest.raises((NotFoundError, ConflictError)):
                self.store.add_member(org, user, role)
            return
        self.store.add_member(org, user, role)
        self.members[org][user] = (role, self.clock.now)
        self.settle(user)

    @rule(number=st.integers(0, 2), person=st.integers(0, 2), role=st.sampled_from((None, *GIVEN_ROLES)))
    def change(self, number: int, person: int, role: str | None) -> None:
        """Change a role, or remove the member."""
        org, user = self.org(number), self.people[person]
        present = self.members.get(org, {}).get(user)
        if present is None or present[0] == "owner":
            with pytest.raises((NotFoundError, ConflictError)):
                self.store.remove_member(org, user) if role is None else self.store.change_role(org, user, role)
        elif role is None:
            self.store.remove_member(org, user)
            del self.members[org][user]
        else:
            self.store.change_role(org, user, role)
            self.members[org][user] = (role, present[1])
        self.settle(user)

    @rule(number=st.integers(0, 2), person=st.integers(0, 2))
    def transfer(self, number: int, person: int) -> None:
        """Transfer ownership."""
        org, user = self.org(number), self.people[person]
        members = self.members.get(org, {})
        if user not in members:
            with pytest.raises(NotFoundError):
                self.store.transfer_ownership(org, user)
            return
        self.store.transfer_ownership(org, user)
        for other, (role, joined) in list(members.items()):
            members[other] = ("owner" if other == user else "admin" if role == "owner" else role, joined)

    @precondition(lambda self: self.members)
    @rule(number=st.integers(0, 2))
    def end(self, number: int) -> None:
        """Delete an organization."""
        org = self.org(number)
        self.store.delete(org)
        for user in self.members.pop(org):
            self.settle(user)

    @rule(number=st.integers(0, 2), person=st.integers(0, 2))
    def choose(self, number: int, person: int) -> None:
        """Choose the primary organization."""
        org, user = self.org(number), self.people[person]
        if user in self.members.get(org, {}):
            self.store.set_primary(user, org)
            self.primary[user] = org
        else:
            with pytest.raises(NotFoundError):
                self.store.set_primary(user, org)

    @invariant()
    def agrees(self) -> None:
        """Members, roles, owners and the users' columns are the model's."""
        for org, members in self.members.items():
            assert roles(self.store, org) == {user: role for user, (role, _) in members.items()}
            found = self.store.get(org)
            assert found is not None
            assert members[str(found.owner_id)][0] == "owner"
        for user in self.people:
            primary = self.primary[user]
            assert place_of(self.users, user) == (primary, self.members[primary][user][0] if primary else "member")


def test_members_agree_with_a_model(store: OrganizationStore, users: UserStore, clock: Clock) -> None:
    """Whatever is done in whatever order: one owner each, and the users' columns show the primary membership."""
    machine = type("Machine", (MembersMachine,), {"store": store, "users": users, "clock": clock})
    run_state_machine_as_test(machine, settings=settings(max_examples=10, stateful_step_count=25))
    assert clock.now >= datetime(2026, 1, 2, tzinfo=UTC)
