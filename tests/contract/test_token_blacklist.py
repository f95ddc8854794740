"""The contract of TokenBlacklist: one suite over every backend."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from aragora_persist.errors import DamagedError, InvalidValueError, MisuseError
from aragora_persist.json_text import unstorable
from aragora_persist.storage.token_blacklist import RevokedToken, TokenBlacklist
from aragora_persist.testing import Clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from aragora_persist.storage.port import Backend

pytest_plugins = ("tests.contract.backends",)

HOUR = timedelta(hours=1)
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=30) | st.sampled_from(["x" * 255, "x" * 256])
JTIS = st.sampled_from(["a", "b", "c"])


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the store."""
    return Clock()


@pytest.fixture
def tokens(open_database: Callable[[str], Backend], clock: Clock) -> TokenBlacklist:
    """Return an empty blacklist on each backend."""
    return TokenBlacklist(open_database("tokens"), clock=clock)


def rows(tokens: TokenBlacklist) -> int:
    """Return how many rows there are, the expired ones too."""
    with tokens.database.read("count") as view:
        row = view.one("SELECT COUNT(*) FROM token_blacklist")
    assert row is not None
    return int(str(row[0]))


def clear(tokens: TokenBlacklist) -> None:
    """Take every row away, for the next example."""
    with tokens.database.transaction() as tx:
        tx.execute("DELETE FROM token_blacklist")


def test_a_revoked_token_is_on_the_list_until_it_expires(tokens: TokenBlacklist, clock: Clock) -> None:
    """It is there at once, and ends at its very moment; another token is not."""
    tokens.revoke("t1", clock.now + HOUR, user_id="u1", reason="logout")

    assert ("t1" in tokens, "t2" in tokens) == (True, False)
    assert tokens.get("t1") == RevokedToken("t1", "u1", "logout", clock.now + HOUR, clock.now)
    clock.advance(hours=1, microseconds=-1)
    assert tokens.is_revoked("t1")
    clock.advance(microseconds=1)
    assert not tokens.is_revoked("t1")
    assert tokens.get("t1") is None


@pytest.mark.parametrize("hours", [(1, 2), (2, 1)])
def test_revoking_again_keeps_the_later_expiry(tokens: TokenBlacklist, clock: Clock, hours: tuple[int, int]) -> None:
    """In either order; the first moment, user and reason stay, and what was not said is filled in."""
    first = clock.now
    tokens.revoke("t", first + hours[0] * HOUR, user_id="u1")
    clock.advance(minutes=1)
    tokens.revoke("t", first + hours[1] * HOUR, user_id="u2", reason="stolen")

    assert tokens.get("t") == RevokedToken("t", "u1", "stolen", first + 2 * HOUR, first)
    assert rows(tokens) == 1


def test_an_expiry_in_another_zone_is_the_same_moment(tokens: TokenBlacklist, clock: Clock) -> None:
    """Stored and given back in UTC."""
    tokens.revoke("t", (clock.now + HOUR).astimezone(timezone(timedelta(hours=-9, minutes=-30))))
    found = tokens.get("t")

    assert found is not None
    assert (found.expires_at, found.expires_at.tzinfo) == (clock.now + HOUR, UTC)


def test_many_are_revoked_together(tokens: TokenBlacklist, clock: Clock) -> None:
    """All of them, each with its own expiry, and one that is named twice with its later one."""
    many = [(f"t{number}", clock.now + number * HOUR) for number in range(1, 50)]
    tokens.revoke_many([*many, ("t1", clock.now + 9 * HOUR)], user_id="u", reason="log out everywhere")

    assert [token.jti for token in tokens.iter_by_user("u")] == sorted(jti for jti, _ in many)
    clock.advance(hours=5)
    assert ["t1" in tokens, "t5" in tokens, "t6" in tokens] == [True, False, True]
    tokens.revoke_many([])


def test_one_bad_token_keeps_all_out(tokens: TokenBlacklist, clock: Clock) -> None:
    """Nothing of the call is written, and the next one works."""
    with pytest.raises(InvalidValueError, match="jti"):
        tokens.revoke_many([("t1", clock.now + HOUR), ("", clock.now + HOUR)])
    assert rows(tokens) == 0

    tokens.revoke_many([("t1", clock.now + HOUR)])
    assert "t1" in tokens


@pytest.mark.parametrize("many", [None, 7, "t1", [7], ["t1"], [("t1",)], {"t1": None}])
def test_what_are_no_tokens_is_refused(tokens: TokenBlacklist, many: Any) -> None:  # noqa: ANN401 - of any kind
    """With our error, before anything is put on the list."""
    with pytest.raises(InvalidValueError, match="tokens: "):
        tokens.revoke_many(many)

    assert not tokens.is_revoked("t1")


def test_a_transaction_of_the_caller_decides(tokens: TokenBlacklist, clock: Clock) -> None:
    """With ``tx`` nothing is revoked before it ends, and nothing when it fails; another database's is refused."""
    with pytest.raises(RuntimeError), tokens.database.transaction() as tx:
        tokens.revoke("t1", clock.now + HOUR, tx=tx)
        raise RuntimeError
    assert rows(tokens) == 0

    with tokens.database.transaction() as tx:
        tokens.revoke("t1", clock.now + HOUR, tx=tx)
    assert "t1" in tokens
    with TokenBlacklist(":memory:") as other, other.database.transaction() as tx, pytest.raises(MisuseError):
        tokens.revoke("t2", clock.now + HOUR, tx=tx)
    assert "t2" not in tokens


def test_a_users_tokens_come_in_pages(tokens: TokenBlacklist, clock: Clock) -> None:
    """The first revoked first, each once, without those that have expired and those of others."""
    for number in range(7):
        tokens.revoke(f"t{6 - number}", clock.now + (10 + number) * HOUR, user_id="u")
        clock.advance(seconds=number % 2)
    tokens.revoke("gone", clock.now + 2 * HOUR, user_id="u")
    tokens.revoke("other", clock.now + 10 * HOUR, user_id="v")
    clock.advance(hours=2)
    expected = [token.jti for token in tokens.iter_by_user("u")]

    assert sorted(expected) == [f"t{number}" for number in range(7)]
    assert expected[0] == "t5"  # of the two of one moment, the one whose jti is less
    first = tokens.list_by_user("u", limit=4)
    second = tokens.list_by_user("u", limit=4, after=first.next)
    assert [token.jti for token in first.items + second.items] == expected
    assert (len(first.items), second.next) == (4, None)
    assert tokens.list_by_user("nobody").items == []


@pytest.mark.parametrize("batch_size", [1, 3, 1000])
def test_cleanup_deletes_what_has_expired(
    tokens: TokenBlacklist, clock: Clock, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whatever batches, it says how many went; a second one finds nothing."""
    monkeypatch.setattr("aragora_persist.storage.token_blacklist._BATCH", batch_size)
    tokens.revoke_many([(f"old-{number}", clock.now + HOUR) for number in range(7)])
    tokens.revoke("new", clock.now + 2 * HOUR)
    clock.advance(hours=1)

    assert tokens.cleanup() == 7
    assert (tokens.cleanup(), rows(tokens), "new" in tokens) == (0, 1, True)


@pytest.mark.parametrize("jti", ["", "a\0b", "\udc80", "x" * 256, "x" * 10_000_000, 5, None, b"t"])
def test_what_cannot_be_a_token_is_refused(tokens: TokenBlacklist, clock: Clock, jti: Any) -> None:  # noqa: ANN401 - wrong kinds on purpose
    """Asking about it is an error too: "not revoked" would let it pass."""
    for call in (lambda: tokens.revoke(jti, clock.now), lambda: tokens.is_revoked(jti), lambda: jti in tokens):
        with pytest.raises(InvalidValueError) as refused:
            call()
        assert refused.value.target == "jti"
    assert rows(tokens) == 0


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"expires_at": datetime(2027, 1, 1)}, "expires_at"),  # noqa: DTZ001 - naive on purpose
        ({"expires_at": "2027-01-01T00:00:00.000000Z"}, "expires_at"),
        ({"user_id": ""}, "user_id"),
        ({"user_id": 7}, "user_id"),
        ({"reason": "a\0"}, "reason"),
        ({"reason": "x" * 1001}, "reason"),
    ],
)
def test_other_bad_values_are_refused(
    tokens: TokenBlacklist, clock: Clock, arguments: dict[str, Any], field: str
) -> None:
    """The error names the field, and nothing is written."""
    with pytest.raises(InvalidValueError) as refused:
        tokens.revoke("t", **{"expires_at": clock.now, **arguments})
    assert refused.value.target == field
    assert rows(tokens) == 0


def test_bad_pages_and_batches_are_refused(tokens: TokenBlacklist) -> None:
    """A limit out of range, a cursor of something else, a batch of nothing."""
    for limit in (0, -1, 1001, True):
        with pytest.raises(InvalidValueError, match="limit"):
            tokens.list_by_user("u", limit=limit)
    with pytest.raises(InvalidValueError, match="after"):
        tokens.list_by_user("u", after="nonsense")
    assert rows(tokens) == 0


def test_a_damaged_row_is_said(tokens: TokenBlacklist, clock: Clock) -> None:
    """A time that is none is an error of the data, not a wrong record."""
    tokens.revoke("t", clock.now + HOUR)
    with tokens.database.transaction() as tx:
        tx.execute("UPDATE token_blacklist SET revoked_at = 'yesterday'")

    with pytest.raises(DamagedError, match="token t: its revoked_at"):
        tokens.get("t")


def test_eight_threads_revoke_ask_and_clean_at_once(tokens: TokenBlacklist, clock: Clock) -> None:
    """Nobody fails, nothing that was revoked is missing afterwards, and the latest expiry of a shared token stands."""
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(20):
                tokens.revoke(f"t{number}-{turn}", clock.now + HOUR)
                tokens.revoke_many([("shared", clock.now + (number + 1) * HOUR), (f"old{number}", clock.now)])
                assert f"t{number}-{turn}" in tokens
                tokens.cleanup()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test must see it
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert all(f"t{number}-{turn}" in tokens for number in range(8) for turn in range(20))
    shared = tokens.get("shared")
    assert shared is not None
    assert shared.expires_at == clock.now + 8 * HOUR


def test_any_text_is_stored_exactly_or_refused(tokens: TokenBlacklist, clock: Clock) -> None:
    """Whatever the texts, the row reads as it was written, or there is none."""

    @settings(max_examples=50)
    @given(jti=ANY_TEXT, user_id=st.none() | ANY_TEXT, reason=st.none() | ANY_TEXT, moment=st.datetimes())
    def check(jti: str, user_id: str | None, reason: str | None, moment: datetime) -> None:
        clear(tokens)
        expires_at = moment.replace(tzinfo=UTC)
        given_texts = [text for text in (jti, user_id, reason) if text is not None]
        storable = not any(unstorable(text) for text in given_texts) and all(
            0 < len(text) <= 255 for text in (jti, user_id) if text is not None
        )
        try:
            tokens.revoke(jti, expires_at, user_id=user_id, reason=reason)
        except InvalidValueError:
            assert not storable
            assert rows(tokens) == 0
            return
        assert storable
        stands = expires_at > clock.now
        assert tokens.get(jti) == (RevokedToken(jti, user_id, reason, expires_at, clock.now) if stands else None)
        assert tokens.is_revoked(jti) is stands
        listed = [] if user_id is None else list(tokens.iter_by_user(user_id))
        assert [token.jti for token in listed] == ([jti] if stands and user_id is not None else [])

    check()


class Machine(RuleBasedStateMachine):
    """Calls in any order, beside a dict of expiries."""

    tokens: ClassVar[TokenBlacklist]
    clock: ClassVar[Clock]

    def __init__(self) -> None:
        super().__init__()
        clear(self.tokens)
        self.model: dict[str, datetime] = {}

    @rule(many=st.lists(st.tuples(JTIS, st.integers(-2, 5)), min_size=1, max_size=4))
    def revoke(self, many: list[tuple[str, int]]) -> None:
        """Revoke one in the one way, several in the other."""
        tokens = [(jti, self.clock.now + ahead * HOUR) for jti, ahead in many]
        if len(tokens) == 1:
            self.tokens.revoke(*tokens[0])
        else:
            self.tokens.revoke_many(tokens)
        for jti, expires_at in tokens:
            self.model[jti] = max(expires_at, self.model.get(jti, expires_at))

    @rule(hours=st.integers(0, 3))
    def wait(self, hours: int) -> None:
        """Let time pass."""
        self.clock.advance(hours=hours)

    @rule()
    def clean(self) -> None:
        """Delete what has expired, and nothing else."""
        kept = {jti: expires_at for jti, expires_at in self.model.items() if expires_at > self.clock.now}
        assert self.tokens.cleanup() == len(self.model) - len(kept)
        self.model = kept

    @invariant()
    def same(self) -> None:
        """Every answer is the model's."""
        for jti in "abc":
            assert (jti in self.tokens) == (jti in self.model and self.model[jti] > self.clock.now)


def test_it_behaves_like_a_dict_of_expiries(
    tokens: TokenBlacklist, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any sequence of calls gives what a plain dict gives."""
    monkeypatch.setattr("aragora_persist.storage.token_blacklist._BATCH", 2)
    Machine.tokens, Machine.clock = tokens, clock
    run_state_machine_as_test(Machine, settings=settings(max_examples=20, stateful_step_count=15))
    assert rows(tokens) <= 3
