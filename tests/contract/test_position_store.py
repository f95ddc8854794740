"""The contract of PositionStore: one suite over every backend."""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from aragora_persist.errors import ConflictError, DamagedError, InvalidValueError, NotFoundError
from aragora_persist.json_text import unstorable
from aragora_persist.storage.position_store import PositionStore
from aragora_persist.storage.positions import FLIP_KINDS, Flip, Position, PositionStats
from aragora_persist.testing import Clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from aragora_persist.storage.port import Backend

pytest_plugins = ("tests.contract.backends",)

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20) | st.sampled_from(["x" * 255, "x" * 256])


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the store."""
    return Clock()


@pytest.fixture
def positions(open_database: Callable[[str], Backend], clock: Clock) -> PositionStore:
    """Return an empty store on each backend."""
    return PositionStore(open_database("positions"), clock=clock)


def clear(positions: PositionStore) -> None:
    """Take every row away, for the next example."""
    with positions.database.transaction() as tx:
        tx.execute("DELETE FROM flips")
        tx.execute("DELETE FROM positions")


def everything(positions: PositionStore) -> list[list[Any]]:
    """Return every row of every table."""
    with positions.database.read("everything") as view:
        return [sorted(view.all(f"SELECT * FROM {table}"), key=repr) for table in ("positions", "flips")]


def record(positions: PositionStore, position_id: str, agent: str = "ada", **changes: Any) -> Position:  # noqa: ANN401 - any field
    """Record a position of this id."""
    told = {"claim": "cats purr", "confidence": 0.75, "debate_id": f"debate of {position_id}", **changes}
    return positions.record(agent, position_id=position_id, **told)


def test_a_position_comes_back_as_it_was_taken(positions: PositionStore, clock: Clock) -> None:
    """Every field, with the documented defaults, under an id of its own."""
    position = positions.record("ada", "cats purr", 0.75, "d1", round_num=3, domain="zoology")

    assert position == Position(
        *(position.id, "ada", "cats purr", 0.75, "d1", 3, "zoology", "pending", False, None, clock.now, None)
    )
    assert positions.get(position.id) == position
    assert len(position.id) == 32
    other = positions.record("ada", "cats purr", 1, "d1")
    assert (other.round_num, other.domain, other.confidence, other.id == position.id) == (0, "", 1.0, False)
    assert positions.get("unknown") is None


def test_recording_it_again_changes_nothing(positions: PositionStore, clock: Clock) -> None:
    """Not even after it was resolved; other content under the same id is refused."""
    record(positions, "p1")
    resolved = positions.resolve("p1", "correct")
    clock.advance(hours=1)

    assert record(positions, "p1") == resolved
    for change in ({"claim": "dogs purr"}, {"confidence": 0.5}, {"round_num": 1}, {"agent": "bob"}):
        with pytest.raises(ConflictError, match="p1: is another position"):
            record(positions, "p1", **change)
    assert list(positions.iter_by_agent("ada")) == [resolved]


@pytest.mark.parametrize("outcome", ["correct", "incorrect", "unresolved"])
def test_an_outcome_is_said_once(positions: PositionStore, clock: Clock, outcome: str) -> None:
    """With its time; said again it changes nothing."""
    position = record(positions, "p1")
    resolved_at = clock.advance(hours=1)
    resolved = positions.resolve("p1", outcome)
    clock.advance(hours=1)

    assert resolved == dataclasses.replace(position, outcome=outcome, resolved_at=resolved_at)
    assert positions.resolve("p1", outcome) == positions.get("p1") == resolved


def test_only_what_is_open_can_be_decided(positions: PositionStore, clock: Clock) -> None:
    """``unresolved`` is open; a decision is final, and nothing goes back to pending."""
    record(positions, "p1")
    positions.resolve("p1", "unresolved")
    later = clock.advance(hours=1)
    decided = positions.resolve("p1", "incorrect")

    assert (decided.outcome, decided.resolved_at) == ("incorrect", later)
    for outcome in ("correct", "unresolved"):
        with pytest.raises(ConflictError, match="p1: was decided: incorrect"):
            positions.resolve("p1", outcome)
    for nonsense in ("pending", "true", None, True):
        with pytest.raises(InvalidValueError, match="outcome"):
            positions.resolve("p1", nonsense)  # type: ignore[arg-type] # the test
    with pytest.raises(NotFoundError):
        positions.resolve("unknown", "correct")
    assert positions.get("p1") == decided


def test_a_change_of_mind_marks_and_links(positions: PositionStore, clock: Clock) -> None:
    """The old position names the debate of the new one, which stays as it is; the flip names both."""
    old, new = record(positions, "p1"), record(positions, "p2")
    detected_at = clock.advance(hours=1)
    flip = positions.reverse("p1", "p2", kind="retraction", similarity=0.9)

    assert flip == Flip(flip.id, "ada", "p1", "p2", "retraction", 0.9, detected_at)
    assert positions.get("p1") == dataclasses.replace(old, reversed=True, reversal_debate_id="debate of p2")
    assert positions.get("p2") == new
    assert list(positions.iter_flips("ada")) == [flip]


def test_a_flip_is_noted_once(positions: PositionStore, clock: Clock) -> None:
    """The same again is the same flip; another one of the same position is refused, and a chain is not."""
    for name in ("p1", "p2", "p3"):
        record(positions, name)
    flip = positions.reverse("p1", "p2")
    before = everything(positions)
    clock.advance(hours=1)

    assert positions.reverse("p1", "p2") == flip
    for other in ({"new_position_id": "p3"}, {"kind": "refinement"}, {"similarity": 0.5}):
        with pytest.raises(ConflictError, match="p1: was given up before"):
            positions.reverse("p1", **{"new_position_id": "p2", **other})  # type: ignore[arg-type] # the test
    assert everything(positions) == before
    assert positions.reverse("p2", "p3").from_position_id == "p2"


def test_what_cannot_be_a_flip_is_refused(positions: PositionStore) -> None:
    """Unknown positions, the same one, another agent's, a kind or a similarity that there is not."""
    record(positions, "p1")
    record(positions, "p2")
    record(positions, "b1", "bob")
    before = everything(positions)

    for pair in (("p1", "unknown"), ("unknown", "p1")):
        with pytest.raises(NotFoundError, match="unknown"):
            positions.reverse(*pair)
    refused: list[tuple[str, str, dict[str, Any]]] = [
        ("p1", "new_position_id", {}),
        ("b1", "new_position_id", {}),
        ("p2", "kind", {"kind": "whim"}),
        ("p2", "similarity", {"similarity": 1.5}),
        ("p2", "similarity", {"similarity": float("nan")}),
    ]
    for new, field, arguments in refused:
        with pytest.raises(InvalidValueError) as error:
            positions.reverse("p1", new, **arguments)
        assert error.value.target == field
    assert everything(positions) == before


def test_a_transaction_of_the_caller_decides(positions: PositionStore) -> None:
    """A failed part leaves the rest of it; a failed whole leaves nothing."""
    with positions.database.transaction() as tx:
        positions.record("ada", "a", 0.5, "d1", position_id="p1", tx=tx)
        positions.record("ada", "b", 0.5, "d1", position_id="p2", tx=tx)
        with pytest.raises(NotFoundError):
            positions.reverse("p1", "p3", tx=tx)
        positions.reverse("p1", "p2", tx=tx)
        positions.resolve("p2", "correct", tx=tx)
    before = everything(positions)
    with pytest.raises(RuntimeError), positions.database.transaction() as tx:
        positions.resolve("p1", "incorrect", tx=tx)
        raise RuntimeError

    assert everything(positions) == before
    assert len(before[1]) == 1


def test_positions_and_flips_come_in_pages(positions: PositionStore, clock: Clock) -> None:
    """An agent's last first, a debate's round by round, each once, and only those that were asked for."""
    for number in range(7):
        record(positions, f"p{number}", debate_id="d1", round_num=(7 - number) // 2)
        clock.advance(seconds=number % 2)
    record(positions, "b0", "bob", debate_id="d1", round_num=9)
    for number in (1, 3):
        positions.resolve(f"p{number}", "correct")
        positions.reverse(f"p{number}", "p6")
    first = positions.list_by_agent("ada", limit=3)
    second = positions.list_by_agent("ada", limit=4, after=first.next)

    found = [one.id for one in first.items + second.items]
    assert (found, second.next) == ([f"p{number}" for number in reversed(range(7))], None)
    assert [one.id for one in positions.iter_by_agent("ada")] == found
    assert [one.id for one in positions.iter_by_agent("ada", outcome="correct")] == ["p3", "p1"]
    rounds = positions.list_by_debate("d1", limit=7)
    assert [one.id for one in rounds.items] == ["p6", "p4", "p5", "p2", "p3", "p0", "p1"]
    assert [one.id for one in positions.list_by_debate("d1", after=rounds.next).items] == ["b0"]
    assert len(list(positions.iter_by_debate("d1"))) == 8
    one = positions.list_flips("ada", limit=1)
    two = positions.list_flips("ada", limit=1, after=one.next)
    assert {flip.from_position_id for flip in one.items + two.items} == {"p1", "p3"}
    assert (two.next, positions.list_flips("bob").items, positions.list_by_agent("nobody").items) == (None, [], [])


def test_the_stats_of_an_agent(positions: PositionStore) -> None:
    """Counts by outcome, the share that was right, the share that was given up; for one domain or all."""
    for number, outcome in enumerate(("correct", "correct", "incorrect", "unresolved", "")):
        record(positions, f"p{number}", confidence=number / 4, domain="law" if number < 2 else "")
        if outcome:
            positions.resolve(f"p{number}", outcome)
    positions.reverse("p0", "p4")
    overall, law = positions.stats("ada"), positions.stats("ada", "law")

    assert overall == PositionStats("ada", "", 5, 1, 2, 1, 1, 1, 0.5)
    assert (overall.accuracy(), overall.reversal_rate()) == (2 / 3, 0.2)
    assert law == PositionStats("ada", "law", 2, 0, 2, 0, 0, 1, 0.125)
    nothing = positions.stats("nobody")
    assert nothing == PositionStats("nobody", "", 0, 0, 0, 0, 0, 0, None)
    assert (nothing.accuracy(), nothing.reversal_rate()) == (None, None)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"agent_name": ""}, "agent_name"),
        ({"agent_name": None}, "agent_name"),
        ({"claim": ""}, "claim"),
        ({"claim": "a\0b"}, "claim"),
        ({"claim": "\udfff"}, "claim"),
        ({"claim": "x" * 10_000_000}, "claim"),
        ({"confidence": 1.01}, "confidence"),
        ({"confidence": float("nan")}, "confidence"),
        ({"confidence": True}, "confidence"),
        ({"debate_id": ""}, "debate_id"),
        ({"round_num": -1}, "round_num"),
        ({"round_num": 1.0}, "round_num"),
        ({"round_num": 2**63}, "round_num"),
        ({"domain": None}, "domain"),
        ({"position_id": ""}, "position_id"),
    ],
)
def test_a_bad_position_is_refused(positions: PositionStore, arguments: dict[str, Any], field: str) -> None:
    """The error names the field, and nothing is written."""
    with pytest.raises(InvalidValueError) as refused:
        positions.record(**{"agent_name": "ada", "claim": "c", "confidence": 0.5, "debate_id": "d", **arguments})
    assert refused.value.target == field
    assert everything(positions) == [[], []]


def test_bad_pages_are_refused(positions: PositionStore) -> None:
    """Limits out of range, cursors of other lists, an outcome that there is not."""
    for fetch in (positions.list_by_agent, positions.list_by_debate, positions.list_flips):
        for page in ({"limit": 0}, {"limit": 1001}, {"after": "x"}, {"after": "W10="}):
            with pytest.raises(InvalidValueError):
                fetch("ada", **page)
    with pytest.raises(InvalidValueError, match="outcome"):
        positions.list_by_agent("ada", outcome="maybe")
    assert everything(positions) == [[], []]


def test_a_damaged_time_is_said(positions: PositionStore) -> None:
    """It is an error of the data, not a wrong record."""
    record(positions, "p1")
    with positions.database.transaction() as tx:
        tx.execute("UPDATE positions SET resolved_at = 'soon'")
    with pytest.raises(DamagedError, match="position p1: its resolved_at"):
        positions.get("p1")


def test_of_many_flips_at_once_one_is_noted(positions: PositionStore) -> None:
    """Eight threads give up one position for eight others: one flip, seven conflicts."""
    record(positions, "old")
    for number in range(8):
        record(positions, f"new{number}")
    outcomes: list[str] = []

    def work(number: int) -> None:
        try:
            outcomes.append(positions.reverse("old", f"new{number}").to_position_id)
        except ConflictError:
            outcomes.append("conflict")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    flips = list(positions.iter_flips("ada"))
    assert [flips[0].to_position_id, *["conflict"] * 7] == sorted(outcomes, reverse=True)
    assert (len(flips), positions.stats("ada").reversed) == (1, 1)


def test_any_text_and_number_is_stored_exactly_or_refused(positions: PositionStore) -> None:
    """Whatever is told, it reads as it was told, or there is nothing."""

    @settings(max_examples=50)
    @given(
        texts=st.fixed_dictionaries(
            {"agent_name": ANY_TEXT, "claim": ANY_TEXT, "debate_id": ANY_TEXT, "domain": ANY_TEXT}
        ),
        confidence=st.floats() | st.floats(0, 1),
        round_num=st.integers() | st.integers(0, 9),
    )
    def check(texts: dict[str, Any], confidence: float, round_num: int) -> None:
        clear(positions)
        sound = not any(unstorable(text) for text in texts.values()) and all(
            len(text) <= 255 or field == "claim" for field, text in texts.items()
        )
        try:
            position = positions.record(**texts, confidence=confidence, round_num=round_num)
        except InvalidValueError:
            assert everything(positions) == [[], []]
            return
        assert sound
        assert positions.get(position.id) == position
        assert {field: getattr(position, field) for field in texts} == texts
        assert (position.confidence, position.round_num) == (confidence, round_num)
        assert list(positions.iter_by_agent(position.agent_name)) == [position]
        assert list(positions.iter_by_debate(position.debate_id)) == [position]
        assert positions.stats(position.agent_name, position.domain).positions == 1

    check()


class Machine(RuleBasedStateMachine):
    """Calls in any order, beside dicts of outcomes and flips."""

    positions: ClassVar[PositionStore]
    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        clear(self.positions)
        self.outcomes: dict[str, str] = {}
        self.agents: dict[str, str] = {}
        self.flips: dict[str, tuple[str, str]] = {}

    @rule(target=ids, agent=st.sampled_from(["ada", "bob"]))
    def record(self, agent: str) -> str:
        """Take a position."""
        position = self.positions.record(agent, "c", 0.5, "d")
        self.outcomes[position.id], self.agents[position.id] = "pending", agent
        return position.id

    @rule(one=ids, outcome=st.sampled_from(["correct", "incorrect", "unresolved"]))
    def resolve(self, one: str, outcome: str) -> None:
        """Decide one, or be refused because it is decided otherwise."""
        if self.outcomes[one] in ("correct", "incorrect") and self.outcomes[one] != outcome:
            with pytest.raises(ConflictError):
                self.positions.resolve(one, outcome)
        else:
            self.outcomes[one] = self.positions.resolve(one, outcome).outcome

    @rule(one=ids, other=ids, kind=st.sampled_from(FLIP_KINDS[:2]))
    def reverse(self, one: str, other: str, kind: str) -> None:
        """Give one up for another, or be refused."""
        if one == other or self.agents[one] != self.agents[other]:
            with pytest.raises(InvalidValueError):
                self.positions.reverse(one, other, kind=kind)
        elif self.flips.setdefault(one, (other, kind)) != (other, kind):
            with pytest.raises(ConflictError):
                self.positions.reverse(one, other, kind=kind)
        else:
            assert self.positions.reverse(one, other, kind=kind).from_position_id == one

    @invariant()
    def same(self) -> None:
        """Outcomes, marks, flips and counts are the model's."""
        for agent in ("ada", "bob"):
            found = {one.id: one for one in self.positions.iter_by_agent(agent)}
            flips = {flip.from_position_id: flip for flip in self.positions.iter_flips(agent)}
            own = [one for one in self.outcomes if self.agents[one] == agent]
            assert {one: found[one].outcome for one in found} == {one: self.outcomes[one] for one in own}
            assert {one for one in found if found[one].reversed} == flips.keys() == self.flips.keys() & set(own)
            assert all((flip.to_position_id, flip.kind) == self.flips[one] for one, flip in flips.items())
            assert self.positions.stats(agent).positions == len(own)


def test_it_behaves_like_dicts(positions: PositionStore) -> None:
    """Any sequence of calls gives what plain dicts give."""
    Machine.positions = positions
    run_state_machine_as_test(Machine, settings=settings(max_examples=20, stateful_step_count=12))
    assert len(everything(positions)) == 2
