"""The contract of EloStore: one suite over every backend."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from aragora_persist.errors import ConflictError, DamagedError, InvalidValueError
from aragora_persist.json_text import unstorable
from aragora_persist.storage.elo import formula as elo
from aragora_persist.storage.elo.records import HeadToHead, Match, Rating, RatingChange
from aragora_persist.storage.elo_store import EloStore
from aragora_persist.testing import Clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from aragora_persist.storage.port import Backend

pytest_plugins = ("tests.contract.backends",)

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20) | st.sampled_from(["x" * 255, "x" * 256])
TABLES = ("elo_history", "matches", "ratings", "calibration", "meetings")
AGENTS = ("ada", "bob", "cyd", "dot")
RESULTS = st.dictionaries(st.sampled_from(AGENTS), st.integers(0, 2).map(float), min_size=2)


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the store."""
    return Clock()


@pytest.fixture
def ratings(open_database: Callable[[str], Backend], clock: Clock) -> EloStore:
    """Return an empty store on each backend."""
    return EloStore(open_database("elo"), clock=clock)


def clear(ratings: EloStore) -> None:
    """Take every row away, for the next example."""
    with ratings.database.transaction() as tx:
        for table in TABLES:
            tx.execute(f"DELETE FROM {table}")


def everything(ratings: EloStore) -> list[list[Any]]:
    """Return every row of every table."""
    with ratings.database.read("everything") as view:
        return [sorted(view.all(f"SELECT * FROM {table}"), key=repr) for table in TABLES]


def board(ratings: EloStore, domain: str = "") -> dict[str, float]:
    """Return every rating of a domain."""
    return {rating.agent_name: rating.rating for rating in ratings.iter_leaderboard(domain)}


def recomputed(ratings: EloStore) -> dict[tuple[str, str], float]:
    """Return the ratings that the recorded matches make, taken in the order in which they were recorded."""
    with ratings.database.read("order") as view:
        order = "SELECT debate_id FROM elo_history GROUP BY debate_id ORDER BY MIN(id)"
        debates = [str(row[0]) for row in view.all(order)]
    found: dict[tuple[str, str], float] = {}
    for debate_id in debates:
        result = ratings.get_match(debate_id)
        assert result is not None
        scores = result.match.scores
        for domain in {"", result.match.domain}:
            before = {agent: found.get((agent, domain), elo.START) for agent in scores}
            for agent, gain in elo.gains(before, scores).items():
                found[agent, domain] = before[agent] + gain
    return found


def check_books(ratings: EloStore) -> None:
    """Assert what always holds: ratings are what the matches make, and their sum is what everybody began with."""
    with ratings.database.read("ratings") as view:
        rows = view.all("SELECT agent_name, domain, rating FROM ratings")
    stored = {(str(agent), str(domain)): rating for agent, domain, rating in rows}

    assert stored == recomputed(ratings)
    for domain in {domain for _, domain in stored}:
        found = board(ratings, domain)
        assert sum(found.values()) == elo.START * len(found)


def test_a_match_changes_the_ratings_of_all_domains_and_of_its_own(ratings: EloStore, clock: Clock) -> None:
    """What it returns is what is stored: the match, and each change with its before and after."""
    result = ratings.record_match("d1", scores={"bob": 1, "ada": 3}, domain="law")

    assert result.match == Match("d1", "law", "ada", {"ada": 3.0, "bob": 1.0}, clock.now)
    assert result.changes == tuple(
        RatingChange("d1", agent, domain, 1500.0, after, clock.now)
        for domain in ("", "law")
        for agent, after in (("ada", 1516.0), ("bob", 1484.0))
    )
    assert ratings.get_match("d1") == result
    for domain in ("", "law"):
        assert ratings.get_rating("ada", domain) == Rating("ada", domain, 1516.0, 1, 0, 0, clock.now)
        assert ratings.get_rating("bob", domain) == Rating("bob", domain, 1484.0, 0, 1, 0, clock.now)
    assert (ratings.get_rating("ada", "art"), ratings.get_rating("cyd"), ratings.get_match("d2")) == (None, None, None)


def test_domains_are_apart(ratings: EloStore) -> None:
    """A match in one leaves the others alone; one without a domain counts over all domains only."""
    ratings.record_match("d1", ranking=["ada", "bob"], domain="law")
    ratings.record_match("d2", ranking=["bob", "ada"], domain="art")
    ratings.record_match("d3", ranking=["bob", "ada"])

    assert (board(ratings, "law"), board(ratings, "art")) == (
        {"ada": 1516.0, "bob": 1484.0},
        {"ada": 1484.0, "bob": 1516.0},
    )
    assert board(ratings)["bob"] > 1500
    check_books(ratings)


def test_the_three_ways_to_tell_a_result(ratings: EloStore) -> None:
    """Scores, a ranking with a tie, and a winner among participants or none."""
    assert ratings.record_match("d1", ranking=["ada", ["bob", "cyd"]]).match.winner == "ada"
    assert ratings.record_match("d2", participants=["bob", "cyd"], winner="cyd").match.winner == "cyd"
    assert ratings.record_match("d3", participants=["bob", "cyd"]).match.winner is None
    cyd = ratings.get_rating("cyd")

    assert cyd is not None
    assert (cyd.wins, cyd.losses, cyd.draws) == (1, 1, 1)


def test_telling_a_match_again_changes_nothing(ratings: EloStore, clock: Clock) -> None:
    """The same result comes back, whatever the order of the agents and the time of day."""
    result = ratings.record_match("d1", scores={"ada": 2, "bob": 1, "cyd": 1}, domain="law", played_at=clock.now)
    ratings.record_match("d2", scores={"ada": 0, "bob": 1})
    before = everything(ratings)
    played_at = clock.now
    clock.advance(hours=5)

    assert ratings.record_match("d1", scores={"cyd": 1, "bob": 1, "ada": 2}, domain="law") == result
    assert (
        ratings.record_match("d1", scores={"bob": 1, "cyd": 1, "ada": 2}, domain="law", played_at=played_at) == result
    )
    assert everything(ratings) == before


@pytest.mark.parametrize(
    "other",
    [
        {"scores": {"ada": 2, "bob": 0}},
        {"scores": {"ada": 2, "cyd": 1}},
        {"domain": ""},
        {"played_at": datetime(2020, 1, 1, tzinfo=UTC)},
    ],
    ids=["score", "agent", "domain", "time"],
)
def test_telling_it_otherwise_is_refused(ratings: EloStore, other: dict[str, Any]) -> None:
    """What stands there stays."""
    told: dict[str, Any] = {"scores": {"ada": 2, "bob": 1}, "domain": "law"}
    ratings.record_match("d1", **told)
    before = everything(ratings)

    with pytest.raises(ConflictError, match="d1: was recorded with another result"):
        ratings.record_match("d1", **{**told, **other})
    assert everything(ratings) == before


def test_a_refused_match_leaves_a_transaction_of_the_caller_usable(ratings: EloStore) -> None:
    """Its part is taken back alone; when the whole fails, nothing stays."""
    with ratings.database.transaction() as tx:
        ratings.record_match("d1", ranking=["ada", "bob"], tx=tx)
        with pytest.raises(ConflictError):
            ratings.record_match("d1", ranking=["bob", "ada"], tx=tx)
        ratings.record_calibration("d1", "ada", 0.5, correct=True, tx=tx)
    before = everything(ratings)
    with pytest.raises(RuntimeError), ratings.database.transaction() as tx:
        ratings.record_match("d2", ranking=["ada", "bob"], tx=tx)
        raise RuntimeError

    assert [match.debate_id for match in ratings.iter_matches()] == ["d1"]
    assert ratings.calibration("ada").predictions == 1
    assert everything(ratings) == before


def test_history_and_matches_come_in_pages(ratings: EloStore, clock: Clock) -> None:
    """The last first, each once; a rating's changes follow one from another even when the clock is set back."""
    for number in range(7):
        ratings.record_match(f"d{number}", ranking=["ada", "bob"], domain="law" if number % 2 else "")
        clock.advance(minutes=-1 if number == 3 else 1)
    first = ratings.list_history("ada", limit=4)
    second = ratings.list_history("ada", limit=4, after=first.next)
    changes = first.items + second.items

    assert [change.debate_id for change in changes] == [f"d{number}" for number in reversed(range(7))]
    assert (list(ratings.iter_history("ada")), second.next) == (changes, None)
    assert [change.rating_before for change in changes] == [change.rating_after for change in changes[1:]] + [1500.0]
    assert [change.debate_id for change in ratings.iter_history("bob", "law")] == ["d5", "d3", "d1"]
    assert ratings.list_history("nobody").items == []
    played = [(match.played_at, match.debate_id) for match in ratings.iter_matches()]
    one = ratings.list_matches(limit=6)
    two = ratings.list_matches(limit=6, after=one.next)
    assert [(match.played_at, match.debate_id) for match in one.items + two.items] == played
    assert played == sorted(played, reverse=True)
    assert len(played) == 7


def test_the_leaderboard_has_one_order(ratings: EloStore) -> None:
    """Best first, equal ones by name, over pages too; who played too little is left out."""
    ratings.record_match("d1", ranking=[["f", "b", "d"], ["e", "a", "c"]])
    ratings.record_match("d2", participants=["a", "c"])
    pages = [ratings.leaderboard(limit=4)]
    pages.append(ratings.leaderboard(limit=4, after=pages[0].next))

    assert [[one.agent_name for one in page.items] for page in pages] == [["b", "d", "f", "a"], ["c", "e"]]
    assert pages[1].next is None
    assert [one.agent_name for one in ratings.iter_leaderboard(minimum_matches=2)] == ["a", "c"]
    assert ratings.leaderboard("law").items == []


def test_two_agents_are_compared_by_the_matches_they_shared(ratings: EloStore, clock: Clock) -> None:
    """Who of the two scored more counts, not who won; seen from the other side it is turned round."""
    start = clock.now
    ratings.record_match("d1", ranking=["cyd", "ada", "bob"], domain="law")
    ratings.record_match("d2", ranking=["bob", "ada"], played_at=start + timedelta(days=2))
    ratings.record_match("d3", ranking=["ada", "bob"], played_at=start + timedelta(days=1))
    ratings.record_match("d4", participants=["ada", "bob"], played_at=start)
    ratings.record_match("d5", ranking=["ada", "cyd"], played_at=start + timedelta(days=9))

    assert ratings.head_to_head("ada", "bob") == HeadToHead("ada", "bob", "", 2, 1, 1, start + timedelta(days=2))
    assert ratings.head_to_head("bob", "ada") == HeadToHead("bob", "ada", "", 1, 2, 1, start + timedelta(days=2))
    assert ratings.head_to_head("ada", "bob", "law") == HeadToHead("ada", "bob", "law", 1, 0, 0, start)
    assert ratings.head_to_head("ada", "dot") == HeadToHead("ada", "dot", "", 0, 0, 0, None)
    with pytest.raises(InvalidValueError, match="opponent"):
        ratings.head_to_head("ada", "ada")


def test_predictions_make_a_calibration(ratings: EloStore, clock: Clock) -> None:
    """Over all domains and in each; the same again counts once, something else is refused."""
    prediction = ratings.record_calibration("d1", "ada", 0.8, correct=True, domain="law")
    ratings.record_calibration("d2", "ada", 0.6, correct=False)
    ratings.record_calibration("d1", "bob", 1, correct=True)
    recorded_at = clock.now
    clock.advance(hours=1)

    assert ratings.record_calibration("d1", "ada", 0.8, correct=True, domain="law") == prediction
    assert (prediction.correct, prediction.recorded_at) == (True, recorded_at)
    with pytest.raises(ConflictError):
        ratings.record_calibration("d1", "ada", 0.8, correct=False, domain="law")
    overall, law = ratings.calibration("ada"), ratings.calibration("ada", "law")
    assert (overall.predictions, overall.correct, len(overall.buckets)) == (2, 1, 2)
    assert overall.brier_score == pytest.approx((0.2**2 + 0.6**2) / 2)
    assert law.predictions == 1
    assert law.brier_score == pytest.approx(0.04)
    assert ratings.calibration("bob").brier_score == 0
    assert ratings.calibration("nobody").brier_score is None


def test_the_stats_of_an_agent(ratings: EloStore, clock: Clock) -> None:
    """All in one: ratings by domain, their span, the last match, and how predictions went."""
    ratings.record_match("d1", ranking=["ada", "bob"], domain="law")
    ratings.record_match("d2", ranking=["bob", "ada"], domain="art", played_at=clock.now + timedelta(days=1))
    ratings.record_calibration("d1", "ada", 0.9, correct=True)
    ratings.record_calibration("d1", "cyd", 0.9, correct=False)
    ada, cyd = ratings.stats("ada"), ratings.stats("cyd")

    assert ada is not None
    assert [rating.domain for rating in ada.ratings] == ["", "art", "law"]
    assert (ada.highest, ada.last_played_at) == (1516.0, clock.now + timedelta(days=1))
    assert ada.lowest == ada.ratings[0].rating < 1500
    assert ada.predictions == 1
    assert ada.brier_score == pytest.approx(0.01)
    assert cyd is not None
    assert (cyd.ratings, cyd.highest, cyd.last_played_at, cyd.predictions) == ((), None, None, 1)
    assert ratings.stats("nobody") is None


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"debate_id": ""}, "debate_id"),
        ({"debate_id": "d\0"}, "debate_id"),
        ({"debate_id": 5}, "debate_id"),
        ({"debate_id": "x" * 10_000_000}, "debate_id"),
        ({"domain": None}, "domain"),
        ({"domain": "\ud800"}, "domain"),
        ({"scores": {"ada": float("inf"), "bob": 1}}, "scores"),
        ({"scores": {"ada": 1}}, "agents"),
        ({"ranking": ["ada", "bob"]}, "scores"),
        ({"played_at": datetime(2026, 1, 1)}, "played_at"),  # noqa: DTZ001 - naive on purpose
    ],
)
def test_a_bad_match_is_refused(ratings: EloStore, arguments: dict[str, Any], field: str) -> None:
    """The error names the field, and nothing is written."""
    with pytest.raises(InvalidValueError) as refused:
        ratings.record_match(**{"debate_id": "d1", "scores": {"ada": 1, "bob": 0}, **arguments})
    assert refused.value.target == field
    assert everything(ratings) == [[] for _ in TABLES]


@pytest.mark.parametrize("confidence", [-0.01, 1.01, float("nan"), True, "0.5", None])
def test_a_bad_confidence_is_refused(ratings: EloStore, confidence: Any) -> None:  # noqa: ANN401 - wrong kinds on purpose
    """Nothing is written; the same goes for what is no truth value."""
    with pytest.raises(InvalidValueError, match="confidence"):
        ratings.record_calibration("d1", "ada", confidence, correct=True)
    with pytest.raises(InvalidValueError, match="correct"):
        ratings.record_calibration("d1", "ada", 0.5, correct=1)  # type: ignore[arg-type] # the test
    assert everything(ratings)[3] == []


def test_bad_pages_are_refused(ratings: EloStore) -> None:
    """Limits out of range and cursors of other lists, for each list."""
    for fetch in (ratings.list_matches, ratings.leaderboard, lambda **page: ratings.list_history("ada", **page)):
        for page in ({"limit": 0}, {"limit": 1001}, {"after": "x"}, {"after": "W10="}):
            with pytest.raises(InvalidValueError):
                fetch(**page)
    with pytest.raises(InvalidValueError, match="minimum_matches"):
        ratings.leaderboard(minimum_matches=-1)
    assert everything(ratings)[0] == []


def test_damaged_rows_are_said(ratings: EloStore) -> None:
    """A time that is none is an error of the data."""
    ratings.record_match("d1", ranking=["ada", "bob"])
    with ratings.database.transaction() as tx:
        tx.execute("UPDATE matches SET scores = '{}', played_at = 'yesterday'")

        tx.execute("UPDATE meetings SET last_played_at = 'yesterday'")

    with pytest.raises(DamagedError, match="last_played_at"):
        ratings.head_to_head("ada", "bob")
    with pytest.raises(DamagedError, match="match d1: its played_at"):
        ratings.get_match("d1")


def test_matches_recorded_at_once_lose_nothing(ratings: EloStore) -> None:
    """Eight threads, overlapping agents, every match told twice: each counts once, and the books are right."""
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(8):
                ratings.record_match(f"d{number // 2}-{turn}", ranking=["ada", AGENTS[1 + turn % 3]], domain="law")
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test must see it
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    ada = ratings.get_rating("ada")
    assert ada is not None
    assert (ada.wins, ada.losses, ada.draws) == (32, 0, 0)
    check_books(ratings)


def test_any_text_and_number_is_stored_exactly_or_refused(ratings: EloStore) -> None:
    """Whatever is told, it reads as it was told, or there is nothing."""

    @settings(max_examples=40)
    @given(
        debate_id=ANY_TEXT,
        domain=ANY_TEXT,
        scores=st.dictionaries(ANY_TEXT, st.floats() | st.integers(), max_size=3),
        confidence=st.floats(),
    )
    def check(debate_id: str, domain: str, scores: dict[str, float], confidence: float) -> None:
        clear(ratings)
        texts = [debate_id, domain, *scores]
        sound = not any(unstorable(text) or len(text) > 255 for text in texts) and all([debate_id, *scores])
        try:
            result = ratings.record_match(debate_id, scores=scores, domain=domain)
        except InvalidValueError:
            assert everything(ratings) == [[] for _ in TABLES]
        else:
            assert sound
            assert result.match.scores == {agent: float(score) for agent, score in scores.items()}
            assert ratings.get_match(debate_id) == result
            assert board(ratings, domain).keys() == scores.keys()
            check_books(ratings)
        try:
            ratings.record_calibration(debate_id, "ada", confidence, correct=True, domain=domain)
        except InvalidValueError:
            assert everything(ratings)[3] == []
        else:
            assert ratings.calibration("ada", domain).mean_confidence == confidence

    check()


class Machine(RuleBasedStateMachine):
    """Matches in any order, told once or again, beside ratings in a dict."""

    ratings: ClassVar[EloStore]

    def __init__(self) -> None:
        super().__init__()
        clear(self.ratings)
        self.told: dict[str, tuple[dict[str, float], str]] = {}
        self.model: dict[tuple[str, str], float] = {}
        self.tallies: dict[tuple[str, str], list[int]] = {}

    @rule(number=st.integers(0, 5), scores=RESULTS, domain=st.sampled_from(["", "law"]))
    def record(self, number: int, scores: dict[str, float], domain: str) -> None:
        """Tell a match: it counts, or is the same, or contradicts."""
        debate_id = f"d{number}"
        if self.told.setdefault(debate_id, (scores, domain)) != (scores, domain):
            with pytest.raises(ConflictError):
                self.ratings.record_match(debate_id, scores=scores, domain=domain)
            return
        new = self.ratings.get_match(debate_id) is None
        self.ratings.record_match(debate_id, scores=scores, domain=domain)
        for each in {"", domain} if new else ():
            before = {agent: self.model.get((agent, each), 1500.0) for agent in scores}
            for agent, gain in elo.gains(before, scores).items():
                self.model[agent, each] = before[agent] + gain
                self.tallies.setdefault((agent, each), []).append(elo.tally(agent, scores).index(1))

    @invariant()
    def same(self) -> None:
        """Ratings, counts and the order of the leaderboard are the model's."""
        for domain in ("", "law"):
            found = list(self.ratings.iter_leaderboard(domain))
            expected = [(-rating, agent) for (agent, each), rating in self.model.items() if each == domain]
            assert [(-one.rating, one.agent_name) for one in found] == sorted(expected)
            for one in found:
                tallies = self.tallies[one.agent_name, domain]
                assert [one.wins, one.losses, one.draws] == [tallies.count(kind) for kind in range(3)]

    def teardown(self) -> None:
        """Every two agents did against each other what the matches say."""
        for one, other in permutations(AGENTS, 2):
            for domain in ("", "law"):
                shared = [
                    scores[one] - scores[other]
                    for scores, each in self.told.values()
                    if domain in ("", each) and {one, other} <= scores.keys()
                ]
                met = self.ratings.head_to_head(one, other, domain)
                counted = [sum(by > 0 for by in shared), sum(by < 0 for by in shared), shared.count(0)]
                assert [met.wins, met.losses, met.draws] == counted


def test_it_behaves_like_a_dict_of_ratings(ratings: EloStore) -> None:
    """Any sequence of matches gives what plain arithmetic gives."""
    Machine.ratings = ratings
    run_state_machine_as_test(Machine, settings=settings(max_examples=20, stateful_step_count=10))
    check_books(ratings)
