"""The contract of ShareLinkStore: one suite over every backend."""

from __future__ import annotations

import base64
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from aragora_persist.errors import (
    AccessDeniedError,
    ConflictError,
    DamagedError,
    ExpiredError,
    InvalidValueError,
    NotFoundError,
    PersistError,
    RevokedError,
)
from aragora_persist.settings import Settings
from aragora_persist.storage.encryption import Rotation
from aragora_persist.storage.organization_store import OrganizationStore
from aragora_persist.storage.share_store import ShareLinkStore
from aragora_persist.storage.sharing.links import VISIBILITIES, NewShareLink, ShareLink
from aragora_persist.storage.user_store import UserStore
from aragora_persist.testing import Clock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aragora_persist.storage.port import Backend

pytest_plugins = ("tests.contract.backends",)

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=30) | st.sampled_from(["x" * 255, "x" * 256])
HOUR = timedelta(hours=1)
THREADS = 8


class World:
    """Two organizations with their people, and a store for links with an encryption key."""

    def __init__(self, database: Backend, folder: Path) -> None:
        self.clock = Clock()
        self.database = database
        self.key_file = folder / "keys"
        self.set_keys(1)
        users, self.organizations = UserStore(database), OrganizationStore(database, clock=self.clock)
        self.owner, self.mate, self.stranger = (users.create(f"{who}@example.com").id for who in ("a", "b", "c"))
        self.org = self.organizations.create("Acme", self.owner).id
        self.organizations.add_member(self.org, self.mate)
        self.other = self.organizations.create("Other", self.stranger).id
        self.users = users
        self.links = self.store({"ARAGORA_ENCRYPTION_KEY_FILE": str(self.key_file)})

    def store(self, environ: dict[str, str]) -> ShareLinkStore:
        """Return a store with these settings."""
        return ShareLinkStore(self.database, settings=Settings.from_env(environ), clock=self.clock)

    def set_keys(self, *numbers: int) -> None:
        """Write the key file, the first key first."""
        self.key_file.write_text("\n".join(base64.b64encode(bytes([number] * 32)).decode() for number in numbers))
        self.key_file.chmod(0o600)

    def make(self, visibility: str = "private", **values: Any) -> NewShareLink:  # noqa: ANN401 - what create takes
        """Make a link of the owner in the organization."""
        return self.links.create("debate", self.owner, **{"org_id": self.org, "visibility": visibility} | values)


@pytest.fixture
def world(open_database: Callable[[str], Backend], tmp_path: Path) -> World:
    """Return the world on each backend."""
    return World(open_database("users"), tmp_path)


class TestLinks:
    """Making, finding and changing."""

    def test_gives_a_whole_record(self, world: World) -> None:
        """Private, without rights and without an end, unless said otherwise."""
        made = world.links.create("debate", world.owner)
        now = world.clock.now

        assert made.link == ShareLink(
            id=made.link.id,
            debate_id="debate",
            owner_id=world.owner,
            org_id=None,
            visibility="private",
            allow_comments=False,
            allow_forking=False,
            created_at=now,
            updated_at=now,
            expires_at=None,
            revoked_at=None,
            view_count=0,
            last_viewed_at=None,
        )
        assert world.links.get(made.link.id, owner_id=world.owner) == made.link
        every = world.make("team", expires_at=now + HOUR, allow_comments=True, allow_forking=True).link
        assert (every.visibility, every.allow_comments, every.allow_forking) == ("team", True, True)
        assert (every.org_id, every.expires_at) == (world.org, now + HOUR)
        assert world.links.get(every.id, org_id=world.org) == every

    def test_refuses_who_may_not(self, world: World) -> None:
        """Strangers, unknown ones, closed organizations; nothing is made."""
        with pytest.raises(AccessDeniedError):
            world.links.create("debate", world.stranger, org_id=world.org)
        with pytest.raises(NotFoundError, match="user"):
            world.links.create("debate", "nobody")
        with pytest.raises(NotFoundError, match="organization"):
            world.links.create("debate", world.owner, org_id="unknown")
        world.organizations.close_organization(world.org)
        with pytest.raises(ConflictError, match="closed"):
            world.make()
        assert list(world.links.iter_links(org_id=world.org)) == []

    def test_refuses_bad_input(self, world: World) -> None:
        """On making as on changing, where it can be changed; what is stored stays."""
        link = world.links.create("debate", world.owner).link
        bad: list[tuple[dict[str, Any], str]] = [
            ({"visibility": "secret"}, "visibility"),
            ({"visibility": "team", "org_id": None}, "visibility"),
            ({"allow_comments": 1}, "allow_comments"),
            ({"allow_forking": None}, "allow_forking"),
            ({"expires_at": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)}, "expires_at"),
            ({"expires_at": datetime(2099, 1, 1)}, "expires_at"),  # noqa: DTZ001 - naive, as the test needs it
            ({"org_id": ""}, "org_id"),
        ]
        for values, field in bad:
            with pytest.raises(InvalidValueError) as refused:
                world.make(**values)
            assert refused.value.target == field
            with pytest.raises(InvalidValueError):
                world.links.update(link.id, **{"owner_id": world.owner} | values)
        assert list(world.links.iter_links(owner_id=world.owner)) == [link]

    def test_changes_what_is_given(self, world: World) -> None:
        """The given fields and the time of the change; the token stays good."""
        made = world.make()
        later = world.clock.advance(hours=1)
        changed = world.links.update(
            made.link.id, owner_id=world.owner, visibility="public", expires_at=later + HOUR, allow_forking=True
        )

        assert (changed.visibility, changed.expires_at, changed.updated_at) == ("public", later + HOUR, later)
        assert (changed.allow_forking, changed.allow_comments) == (True, False)
        assert world.links.resolve(made.token).id == changed.id
        assert world.links.update(made.link.id, org_id=world.org, expires_at=None).expires_at is None

    def test_takes_part_in_a_transaction(self, world: World) -> None:
        """What the caller takes back was never made, seen or revoked."""
        made = world.make("public")
        with pytest.raises(RevokedError), world.database.transaction() as tx:
            world.make(tx=tx)
            assert world.links.resolve(made.token, tx=tx).view_count == 1
            world.links.revoke(made.link.id, owner_id=world.owner, tx=tx)
            world.links.resolve(made.token, tx=tx)
        assert list(world.links.iter_links(org_id=world.org)) == [made.link]


class TestTenants:
    """Whose links they are."""

    def test_another_s_link_is_not_there(self, world: World) -> None:
        """For reading, changing, revoking and showing alike."""
        made = world.make("public")
        whose: list[dict[str, str]] = [
            {"owner_id": world.stranger},
            {"owner_id": world.mate},
            {"org_id": world.other},
            {"owner_id": world.owner, "org_id": world.other},
        ]
        for scope in whose:
            assert world.links.get(made.link.id, **scope) is None
            attempts: list[Callable[..., object]] = [
                world.links.update,
                world.links.revoke,
                world.links.reveal_token,
            ]
            for attempt in attempts:
                with pytest.raises(NotFoundError):
                    attempt(made.link.id, **scope)
            assert list(world.links.iter_links(**scope)) == []
        assert world.links.get(made.link.id, owner_id=world.owner, org_id=world.org) == made.link

    def test_somebody_must_be_said(self, world: World) -> None:
        """Nobody is shown everybody's links, not even those to one debate."""
        made = world.make()
        with pytest.raises(InvalidValueError, match="owner_id"):
            world.links.get(made.link.id)
        with pytest.raises(InvalidValueError, match="owner_id"):
            world.links.list_links(debate_id="debate")
        with pytest.raises(InvalidValueError, match="owner_id"):
            world.links.revoke(made.link.id)
        assert world.links.resolve(made.token, viewer_id=world.owner).revoked_at is None

    def test_lists_by_owner_organization_and_debate(self, world: World) -> None:
        """The oldest first, in pages that leave out and repeat nothing."""
        made = []
        for number in range(5):
            made.append(world.links.create(f"debate-{number % 2}", world.owner, org_id=world.org).link)
            world.clock.advance(seconds=1)
        mates = world.links.create("debate-0", world.mate, org_id=world.org).link
        own = world.links.create("debate-0", world.owner).link
        world.links.create("debate-0", world.stranger, org_id=world.other)

        assert list(world.links.iter_links(org_id=world.org)) == [*made, mates]
        # The last two were made in one moment.
        assert list(world.links.iter_links(owner_id=world.owner)) == [*made, own]
        assert list(world.links.iter_links(org_id=world.org, debate_id="debate-0")) == [*made[::2], mates]
        first = world.links.list_links(owner_id=world.owner, limit=4)
        rest = world.links.list_links(owner_id=world.owner, limit=4, after=first.next)
        assert (first.items + rest.items, rest.next) == ([*made, own], None)

    def test_who_left_the_organization_has_no_hold_of_its_links(self, world: World) -> None:
        """Neither to follow a private one, nor to change it; the organization has."""
        made = world.links.create("debate", world.mate, org_id=world.org)
        own = world.links.create("debate", world.mate)
        assert world.links.resolve(made.token, viewer_id=world.mate).view_count == 1
        world.organizations.remove_member(world.org, world.mate)

        with pytest.raises(AccessDeniedError):
            world.links.resolve(made.token, viewer_id=world.mate)
        with pytest.raises(NotFoundError):
            world.links.update(made.link.id, owner_id=world.mate, visibility="public")
        assert list(world.links.iter_links(owner_id=world.mate)) == [own.link]
        assert world.links.revoke(made.link.id, org_id=world.org).visibility == "private"

    def test_links_go_with_what_they_belong_to(self, world: World) -> None:
        """With their organization or their owner, when that is deleted."""
        made, mates = world.make("public"), world.links.create("debate", world.mate, visibility="public")
        world.organizations.delete(world.org)
        world.users.delete(world.mate)
        for gone in (made, mates):
            with pytest.raises(NotFoundError):
                world.links.resolve(gone.token)
        assert list(world.links.iter_links(owner_id=world.owner)) == []


class TestFollowing:
    """Who may, until when, and what is counted."""

    def test_visibility(self, world: World) -> None:
        """The owner alone, the members, or anybody with the token; only what is followed is counted."""
        everybody = ("owner", "mate", "stranger", "nobody")
        for visibility, allowed in (("private", everybody[:1]), ("team", everybody[:2]), ("public", everybody)):
            made = world.make(visibility)
            for who in everybody:
                viewer = getattr(world, who, None)
                if who in allowed:
                    assert world.links.resolve(made.token, viewer_id=viewer).last_viewed_at == world.clock.now
                else:
                    with pytest.raises(AccessDeniedError):
                        world.links.resolve(made.token, viewer_id=viewer)
            found = world.links.get(made.link.id, owner_id=world.owner)
            assert found is not None
            assert found.view_count == len(allowed)

    def test_what_is_no_token_is_not_found(self, world: World) -> None:
        """Neither a part of one nor the id nor anything else."""
        made = world.make("public")
        for token in ("", made.token[:-1], made.token + " ", made.link.id, "%", made.token.upper()):
            with pytest.raises(NotFoundError):
                world.links.resolve(token)
        assert world.links.resolve(made.token).view_count == 1

    def test_expires_at_its_moment_and_can_be_given_more_time(self, world: World) -> None:
        """As another outcome than being revoked; a refused view is not counted."""
        made = world.make("public", expires_at=world.clock.now + HOUR)
        world.clock.advance(hours=1, microseconds=-1)
        assert world.links.resolve(made.token).view_count == 1
        world.clock.advance(microseconds=1)
        with pytest.raises(ExpiredError):
            world.links.resolve(made.token)
        world.links.update(made.link.id, owner_id=world.owner, expires_at=world.clock.now + HOUR)
        assert world.links.resolve(made.token).view_count == 2

    def test_revoking_is_final(self, world: World) -> None:
        """No change brings it back, and a new link to the same debate has another token."""
        made = world.make("public")
        world.links.resolve(made.token)
        revoked = world.links.revoke(made.link.id, owner_id=world.owner)
        world.clock.advance(hours=1)

        assert world.links.revoke(made.link.id, org_id=world.org) == revoked
        changes: list[dict[str, Any]] = [{"visibility": "public"}, {"expires_at": world.clock.now + HOUR}, {}]
        for change in changes:
            with pytest.raises(RevokedError):
                world.links.update(made.link.id, owner_id=world.owner, **change)
        with pytest.raises(InvalidValueError, match="revoked_at"):
            world.links.update(made.link.id, owner_id=world.owner, revoked_at=None)  # type: ignore[call-arg] # the test
        again = world.make("public")
        assert again.token != made.token
        with pytest.raises(RevokedError):
            world.links.resolve(made.token)
        assert world.links.get(made.link.id, owner_id=world.owner) == revoked
        assert (revoked.view_count, revoked.revoked_at) == (1, revoked.updated_at)

    def test_views_are_counted_exactly(self, world: World) -> None:
        """By threads at once; each sees another number, and what comes after a revoke is not counted."""
        made = world.make("public")
        counts: list[int] = []

        def follow() -> None:
            for _ in range(10):
                try:
                    counts.append(world.links.resolve(made.token).view_count)
                except RevokedError:
                    return

        threads = [threading.Thread(target=follow) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        revoked = world.links.revoke(made.link.id, owner_id=world.owner)
        for thread in threads:
            thread.join()
        assert sorted(counts) == list(range(1, revoked.view_count + 1))
        other = world.make("public")
        threads = [threading.Thread(target=world.links.resolve, args=(other.token,)) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert world.links.resolve(other.token).view_count == THREADS + 1

    def test_old_ones_are_cleaned_up_in_batches(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """A time after they ended; then their tokens are unknown. Others stay."""
        monkeypatch.setattr("aragora_persist.storage.share_store._BATCH", 2)
        expired = [world.make("public", expires_at=world.clock.now + HOUR) for _ in range(5)]
        revoked, lasting = world.make("public"), world.make("public")
        world.links.revoke(revoked.link.id, owner_id=world.owner)
        world.clock.advance(days=30)
        assert world.links.cleanup() == 0
        world.clock.advance(microseconds=1)
        assert (world.links.cleanup(), world.links.cleanup()) == (1, 0)
        world.clock.advance(hours=1)
        assert (world.links.cleanup(), world.links.cleanup()) == (5, 0)
        for gone in (*expired, revoked):
            with pytest.raises(NotFoundError):
                world.links.resolve(gone.token)
        assert world.links.resolve(lasting.token).view_count == 1
        with pytest.raises(InvalidValueError, match="older_than_days"):
            world.links.cleanup(older_than_days=-1)


class TestTokens:
    """What is stored of them, and for whom they are shown again."""

    def test_are_in_no_row_and_no_repr(self, world: World) -> None:
        """Neither as they are nor in what a log would show of the answer."""
        made = world.make("public")
        with world.database.read("look") as view:
            rows = view.all("SELECT * FROM share_links")
        assert made.token.startswith("shr_")
        assert made.token not in repr(rows) + repr(made)

    def test_are_shown_again_to_whom_they_belong(self, world: World) -> None:
        """Until they are revoked: then not even their encrypted form is left."""
        made = world.make()
        assert world.links.reveal_token(made.link.id, owner_id=world.owner) == made.token
        assert world.links.reveal_token(made.link.id, org_id=world.org) == made.token
        world.links.revoke(made.link.id, owner_id=world.owner)
        with pytest.raises(RevokedError):
            world.links.reveal_token(made.link.id, owner_id=world.owner)
        with world.database.read("look") as view:
            assert view.one("SELECT token_sealed FROM share_links") == (None,)

    def test_without_a_key_are_shown_once(self, world: World) -> None:
        """The link works as any other; showing it again names what is missing, or that it was missing then."""
        keyless = world.store({})
        made = keyless.create("debate", world.owner, visibility="public")
        with pytest.raises(InvalidValueError, match="ARAGORA_ENCRYPTION_KEY_FILE"):
            keyless.reveal_token(made.link.id, owner_id=world.owner)
        with pytest.raises(NotFoundError, match="no key was configured"):
            world.links.reveal_token(made.link.id, owner_id=world.owner)
        assert keyless.resolve(made.token).view_count == 1

    def test_copied_to_another_link_do_not_open(self, world: World) -> None:
        """A sealed token belongs to its row."""
        made, other = world.make(), world.make()
        with world.database.transaction() as tx:
            sealed = tx.one("SELECT token_sealed FROM share_links WHERE id = ?", (made.link.id,))
            assert sealed is not None
            tx.execute("UPDATE share_links SET token_sealed = ? WHERE id = ?", (sealed[0], other.link.id))
        with pytest.raises(DamagedError):
            world.links.reveal_token(other.link.id, owner_id=world.owner)
        assert world.links.reveal_token(made.link.id, owner_id=world.owner) == made.token

    def test_go_over_to_a_new_key(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """In batches, any number of times; what no key opens is named and stays."""
        monkeypatch.setattr("aragora_persist.storage.sharing.tokens._BATCH", 2)
        made = [world.make() for _ in range(3)]
        world.set_keys(9)
        lost = world.make().link.id
        world.set_keys(2, 1)
        newest = world.make()
        assert world.links.rotate_encryption() == Rotation(3, 1, (lost,))
        assert world.links.rotate_encryption() == Rotation(0, 4, (lost,))
        world.set_keys(2)
        for link in (*made, newest):
            assert world.links.reveal_token(link.link.id, owner_id=world.owner) == link.token
        with pytest.raises(AccessDeniedError):
            world.links.reveal_token(lost, owner_id=world.owner)
        with pytest.raises(InvalidValueError, match="ARAGORA_ENCRYPTION_KEY_FILE"):
            world.store({}).rotate_encryption()


def test_any_value_is_refused_or_comes_back(world: World) -> None:
    """Ids and tokens of any characters and times of any size: stored exactly, or a typed error."""

    @settings(max_examples=40)
    @given(debate=ANY_TEXT, token=ANY_TEXT, expires=st.none() | st.datetimes(timezones=st.just(UTC)))
    def check(debate: str, token: str, expires: datetime | None) -> None:
        with pytest.raises((NotFoundError, InvalidValueError)):
            world.links.resolve(token, viewer_id=debate)
        try:
            made = world.links.create(debate, world.owner, expires_at=expires)
        except InvalidValueError:
            return
        assert (made.link.debate_id, made.link.expires_at) == (debate, expires)
        assert world.links.get(made.link.id, owner_id=world.owner) == made.link
        assert world.links.list_links(owner_id=world.owner, debate_id=debate).items[-1].debate_id == debate

    check()


class LinksMachine(RuleBasedStateMachine):
    """Links against a model: what comes of following each, at every time, for everybody."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        with self.world.database.transaction() as tx:
            tx.execute("DELETE FROM share_links")
        self.made: list[NewShareLink] = []
        self.model: list[dict[str, Any]] = []

    @rule(visibility=st.sampled_from(VISIBILITIES), hours=st.none() | st.integers(1, 9))
    def make(self, visibility: str, hours: int | None) -> None:
        """Make a link."""
        expires = None if hours is None else self.world.clock.now + hours * HOUR
        self.made.append(self.world.make(visibility, expires_at=expires))
        self.model.append({"visibility": visibility, "expires": expires, "revoked": False, "views": 0, "gone": False})

    @rule(hours=st.integers(1, 5))
    def wait(self, hours: int) -> None:
        """Let time pass."""
        self.world.clock.advance(hours=hours)

    def expected(self, model: dict[str, Any], who: str) -> type[PersistError] | None:
        """Return the error of following a link, or None."""
        if model["gone"]:
            return NotFoundError
        if model["revoked"]:
            return RevokedError
        if model["expires"] is not None and model["expires"] <= self.world.clock.now:
            return ExpiredError
        who_may = {"private": ("owner",), "team": ("owner", "mate")}.get(model["visibility"])
        return AccessDeniedError if who_may is not None and who not in who_may else None

    @precondition(lambda self: self.made)
    @rule(number=st.integers(0, 99), who=st.sampled_from(["owner", "mate", "stranger", "nobody"]))
    def follow(self, number: int, who: str) -> None:
        """Follow a link."""
        number %= len(self.made)
        model, token = self.model[number], self.made[number].token
        error = self.expected(model, who)
        if error is None:
            model["views"] += 1
            assert (
                self.world.links.resolve(token, viewer_id=getattr(self.world, who, None)).view_count == model["views"]
            )
        else:
            with pytest.raises(error):
                self.world.links.resolve(token, viewer_id=getattr(self.world, who, None))

    @precondition(lambda self: self.made)
    @rule(number=st.integers(0, 99))
    def revoke(self, number: int) -> None:
        """Revoke a link."""
        number %= len(self.made)
        if self.model[number]["gone"]:
            with pytest.raises(NotFoundError):
                self.world.links.revoke(self.made[number].link.id, owner_id=self.world.owner)
            return
        link = self.world.links.revoke(self.made[number].link.id, owner_id=self.world.owner)
        self.model[number].update(revoked=True, at=link.revoked_at)

    @precondition(lambda self: self.made)
    @rule(number=st.integers(0, 99), visibility=st.sampled_from(VISIBILITIES), hours=st.none() | st.integers(1, 9))
    def update(self, number: int, visibility: str, hours: int | None) -> None:
        """Change a link."""
        number %= len(self.made)
        model, ident = self.model[number], self.made[number].link.id
        expires = None if hours is None else self.world.clock.now + hours * HOUR
        error = NotFoundError if model["gone"] else RevokedError if model["revoked"] else None
        if error is not None:
            with pytest.raises(error):
                self.world.links.update(ident, org_id=self.world.org, visibility=visibility, expires_at=expires)
            return
        self.world.links.update(ident, org_id=self.world.org, visibility=visibility, expires_at=expires)
        model.update(visibility=visibility, expires=expires)

    @rule()
    def clean_up(self) -> None:
        """Clean up without a grace."""
        now = self.world.clock.now
        expected = 0
        for model in self.model:
            over = (model["expires"] is not None and model["expires"] < now) or (model["revoked"] and model["at"] < now)
            expected += over and not model["gone"]
            model["gone"] = model["gone"] or over
        assert self.world.links.cleanup(older_than_days=0) == expected


def test_links_agree_with_a_model(world: World) -> None:
    """Whatever is done in whatever order, a link that was revoked stays so, and every view counts once."""
    machine = type("Machine", (LinksMachine,), {"world": world})
    run_state_machine_as_test(machine, settings=settings(max_examples=15, stateful_step_count=30))
    assert list(world.links.iter_links(owner_id=world.stranger)) == []
