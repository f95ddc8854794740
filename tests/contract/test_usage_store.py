"""The contract of UsageStore: one suite over every backend."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from aragora_persist.errors import ConflictError, DamagedError, InvalidValueError, NotFoundError
from aragora_persist.storage import usage_store
from aragora_persist.storage.organization_store import OrganizationStore
from aragora_persist.storage.usage import MOST_AT_ONCE, NewUsage, UsageEvent, UsageSummary
from aragora_persist.storage.usage_store import UsageStore
from aragora_persist.storage.user_store import UserStore
from aragora_persist.testing import Clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from aragora_persist.storage.port import Backend

pytest_plugins = ("tests.contract.backends",)

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=30) | st.sampled_from(["x" * 255, "x" * 256])
JANUARY = datetime(2026, 1, 31, 23, 59, 59, 999999, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 1, tzinfo=UTC)
THREADS = 8


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the stores."""
    return Clock()


@pytest.fixture
def database(open_database: Callable[[str], Backend]) -> Backend:
    """Return an empty database of users on each backend."""
    return open_database("users")


@pytest.fixture
def organizations(database: Backend, clock: Clock) -> OrganizationStore:
    """Return the organizations of the same database."""
    return OrganizationStore(database, clock=clock)


@pytest.fixture
def orgs(database: Backend, organizations: OrganizationStore) -> list[str]:
    """Return the ids of two organizations."""
    owner = UserStore(database).create("owner@example.com")
    return [organizations.create(name, owner.id).id for name in ("Acme", "Other")]


@pytest.fixture
def usage(database: Backend, clock: Clock) -> UsageStore:
    """Return an empty store on each backend."""
    return UsageStore(database, clock=clock)


def raw(usage: UsageStore) -> int:
    """Return how many raw events there are."""
    with usage.database.read("count") as view:
        row = view.one("SELECT COUNT(*) FROM usage_events")
    assert row is not None
    return int(str(row[0]))


class TestRecording:
    """Events as they happen."""

    def test_an_event_comes_back(self, usage: UsageStore, orgs: list[str], clock: Clock) -> None:
        """With every field; the time is the clock's where none is given."""
        assert usage.record(orgs[0], "debate", 3, {"model": "ä", "n": [1]}, event_key="k", timestamp=JANUARY)
        assert usage.record(orgs[0], "tokens")

        first, second = usage.iter_events(orgs[0])
        assert first == UsageEvent(first.id, orgs[0], "debate", 3, {"model": "ä", "n": [1]}, JANUARY, "k", clock.now)
        assert second == UsageEvent(second.id, orgs[0], "tokens", 1, {}, clock.now, None, clock.now)
        assert list(usage.iter_events(orgs[1])) == []

    def test_a_key_counts_once_in_its_organization(self, usage: UsageStore, orgs: list[str]) -> None:
        """The first content stays; another organization has keys of its own, and without a key everything is new."""
        assert usage.record(orgs[0], "debate", 1, event_key="k")
        assert not usage.record(orgs[0], "debate", 5, event_key="k")
        assert usage.record(orgs[1], "debate", 7, event_key="k")
        assert usage.record(orgs[0], "debate", 2)
        assert usage.record(orgs[0], "debate", 2)
        assert usage.summary(orgs[0]).counts == {"debate": 5}
        assert usage.summary(orgs[1]).counts == {"debate": 7}

    def test_many_are_all_or_none(self, usage: UsageStore, orgs: list[str]) -> None:
        """Keys that are known are left out, also within one call; a bad or an unknown one keeps all out."""
        batch = [NewUsage(orgs[n % 2], "debate", n + 1, {}, f"k{n % 8}") for n in range(12)]
        assert usage.record_many(iter(batch)) == 8
        assert usage.record_many(batch) == 0
        assert usage.record_many([]) == 0
        for bad, error in ((NewUsage("unknown", "debate"), NotFoundError), (NewUsage(orgs[0], ""), InvalidValueError)):
            with pytest.raises(error):
                usage.record_many([NewUsage(orgs[0], "debate"), bad])
        assert raw(usage) == 8
        assert usage.summary(orgs[0]).counts == {"debate": 1 + 3 + 5 + 7}

    def test_large_calls_are_fine(self, usage: UsageStore, orgs: list[str]) -> None:
        """More rows than a statement could have parameters."""
        assert usage.record_many(NewUsage(orgs[0], "tokens", n + 1) for n in range(5_000)) == 5_000
        assert usage.summary(orgs[0]).counts == {"tokens": 5_000 * 5_001 // 2}
        assert sum(1 for _ in usage.iter_events(orgs[0])) == 5_000
        assert usage.aggregate() == 5_000
        assert usage.summary(orgs[0]).events == {"tokens": 5_000}

    def test_refuses_bad_input(self, usage: UsageStore, orgs: list[str]) -> None:
        """The error names the field, and nothing is stored."""
        bad: list[dict[str, Any]] = [
            {"count": 0},
            {"count": -1},
            {"count": True},
            {"count": 1.0},
            {"count": MOST_AT_ONCE + 1},
            {"event_type": ""},
            {"event_type": "a\0"},
            {"metadata": {"a": object()}},
            {"metadata": []},
            {"event_key": ""},
            {"timestamp": datetime(2026, 1, 1)},  # noqa: DTZ001 - naive, as the test needs it
            {"timestamp": "2026-01-01"},
            {"org_id": 5},
        ]
        for values in bad:
            with pytest.raises(InvalidValueError) as refused:
                usage.record(**{"org_id": orgs[0], "event_type": "debate"} | values)
            assert refused.value.target.startswith(next(iter(values)))
        no_events: tuple[Any, ...] = (
            None,
            5,
            "ab",
            b"ab",
            [None],
            [{"org_id": orgs[0]}],
            [NewUsage(orgs[0], "a"), "b"],
        )
        for events in no_events:
            with pytest.raises(InvalidValueError) as refused:
                usage.record_many(events)
            assert refused.value.target == "events"
        assert raw(usage) == 0

    def test_an_unknown_or_closed_organization_uses_nothing(
        self, usage: UsageStore, orgs: list[str], organizations: OrganizationStore
    ) -> None:
        """Each with its documented leaf; what was used before stays to be seen."""
        usage.record(orgs[0], "debate")
        organizations.close_organization(orgs[0])
        with pytest.raises(ConflictError, match="closed"):
            usage.record(orgs[0], "debate")
        with pytest.raises(ConflictError, match="closed"):
            usage.record_many([NewUsage(orgs[1], "debate"), NewUsage(orgs[0], "debate")])
        with pytest.raises(NotFoundError):
            usage.record("unknown", "debate")
        with pytest.raises(NotFoundError):
            usage.summary("unknown")
        assert usage.aggregate() == 1
        assert usage.summary(orgs[0]).counts == {"debate": 1}
        assert usage.summary(orgs[1]).counts == {}

    def test_takes_part_in_a_transaction(self, usage: UsageStore, orgs: list[str], database: Backend) -> None:
        """What the caller takes back was never used."""
        with pytest.raises(ConflictError), database.transaction() as tx:
            assert usage.record(orgs[0], "debate", tx=tx)
            assert usage.record_many([NewUsage(orgs[0], "debate")], tx=tx) == 1
            raise ConflictError("test", "block", "fails")
        assert raw(usage) == 0

    def test_of_many_with_one_key_one_counts(self, usage: UsageStore, orgs: list[str]) -> None:
        """Eight threads that try the same eight keys count each of them once."""
        new: list[bool] = []

        def work() -> None:
            new.extend([usage.record(orgs[0], "debate", event_key=f"k{number}") for number in range(8)])

        threads = [threading.Thread(target=work) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(new), sum(new)) == (64, 8)
        assert usage.summary(orgs[0]).counts == {"debate": 8}


class TestReading:
    """Raw events and months."""

    def test_filters(self, usage: UsageStore, orgs: list[str]) -> None:
        """By type and by time, whose end is not included; in the order of recording."""
        for number, moment in enumerate((FEBRUARY, JANUARY, FEBRUARY + timedelta(days=1))):
            usage.record(orgs[0], "ab"[number % 2], number + 1, timestamp=moment)

        def counts(**filters: Any) -> list[int]:  # noqa: ANN401 - any of the method's filters
            return [event.count for event in usage.iter_events(orgs[0], **filters)]

        assert counts() == [1, 2, 3]
        assert counts(event_type="a") == [1, 3]
        assert counts(since=FEBRUARY) == [1, 3]
        assert counts(until=FEBRUARY) == [2]
        assert counts(since=JANUARY, until=FEBRUARY + timedelta(microseconds=1), event_type="a") == [1]

    def test_pages_leave_nothing_out(self, usage: UsageStore, orgs: list[str]) -> None:
        """Nor repeat anything, though events come meanwhile."""
        usage.record_many(NewUsage(orgs[0], "debate", n + 1) for n in range(5))
        seen, cursor = [], None
        while True:
            page = usage.list_events(orgs[0], limit=2, after=cursor)
            seen += [event.count for event in page.items]
            if len(seen) == 2:
                usage.record(orgs[0], "debate", 6)
            cursor = page.next
            if cursor is None:
                break
        assert seen == [1, 2, 3, 4, 5, 6]
        for bad in (0, 1_001, True):
            with pytest.raises(InvalidValueError, match="limit"):
                usage.list_events(orgs[0], limit=bad)
        with pytest.raises(InvalidValueError, match="cursor"):
            usage.list_events(orgs[0], after="x")

    @pytest.mark.parametrize("aggregated", [False, True])
    def test_a_month_ends_with_its_last_microsecond(
        self, usage: UsageStore, orgs: list[str], *, aggregated: bool
    ) -> None:
        """In UTC, and a year ends like any month."""
        december = datetime(2025, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
        for count, moment in enumerate((JANUARY, FEBRUARY, december), 1):
            usage.record(orgs[0], "debate", count, timestamp=moment)
        if aggregated:
            assert usage.aggregate() == 3

        assert usage.summary(orgs[0], "2026-01") == UsageSummary(orgs[0], "2026-01", {"debate": 1}, {"debate": 1})
        assert usage.summary(orgs[0]).counts == {"debate": 1}
        assert usage.summary(orgs[0], "2026-02").counts == {"debate": 2}
        assert usage.summary(orgs[0], "2025-12").counts == {"debate": 3}
        assert usage.summary(orgs[0], "2026-03").counts == {}

    def test_refuses_what_is_no_month(self, usage: UsageStore, orgs: list[str]) -> None:
        """Rather than answer that nothing was used."""
        for month in ["", "2026", "2026-13", "2026-00", "2026-1", "26-01", "2026-01-01", "\u0662026-01"]:
            with pytest.raises(InvalidValueError, match="month"):
                usage.summary(orgs[0], month)
        assert usage.summary(orgs[0]).counts == {}


class TestAggregation:
    """Sums of months, and the end of old events."""

    def test_changes_no_summary(self, usage: UsageStore, orgs: list[str]) -> None:
        """Before, after, again, and with what came since; organizations and types stay apart."""
        for number in range(10):
            usage.record(orgs[number % 2], "ab"[number // 2 % 2], number + 1, timestamp=JANUARY)
        before = [usage.summary(org, "2026-01") for org in orgs]
        assert before[0].counts == {"a": 1 + 5 + 9, "b": 3 + 7}
        assert before[0].events == {"a": 3, "b": 2}
        assert (usage.aggregate(), usage.aggregate()) == (10, 0)
        assert [usage.summary(org, "2026-01") for org in orgs] == before
        usage.record(orgs[0], "a", 100, timestamp=JANUARY)
        assert usage.summary(orgs[0], "2026-01").counts == {"a": 115, "b": 10}
        assert usage.aggregate() == 1
        assert usage.summary(orgs[0], "2026-01").counts == {"a": 115, "b": 10}

    def test_only_what_is_aggregated_is_pruned(self, usage: UsageStore, orgs: list[str], clock: Clock) -> None:
        """After 90 days to the microsecond, which begin with the recording of what came late; sums stay."""
        usage.record(orgs[0], "debate", 2)
        clock.advance(days=90)
        assert (usage.aggregate(), usage.cleanup()) == (1, 0)
        clock.advance(microseconds=1)
        usage.record(orgs[0], "debate", 3, timestamp=clock.now - timedelta(days=120))
        assert usage.cleanup() == 1
        assert [event.count for event in usage.iter_events(orgs[0])] == [3]
        assert usage.summary(orgs[0], "2026-01").counts == {"debate": 2}
        assert usage.cleanup(older_than_days=0) == 0
        assert usage.aggregate() == 1
        clock.advance(days=90)
        assert usage.cleanup() == 0
        clock.advance(microseconds=1)
        assert usage.cleanup() == 1

    def test_what_is_in_no_sum_is_never_pruned(self, usage: UsageStore, orgs: list[str], clock: Clock) -> None:
        """However old it is: nobody aggregated, and nothing is lost."""
        usage.record(orgs[0], "debate", 2)
        clock.advance(days=1_000)
        assert usage.cleanup() == 0
        assert usage.summary(orgs[0], "2026-01").counts == {"debate": 2}

    def test_a_late_event_of_a_pruned_month_counts_once(self, usage: UsageStore, orgs: list[str], clock: Clock) -> None:
        """However often its sender tries, with aggregation and pruning between the attempts."""
        usage.record(orgs[0], "debate", 2, timestamp=JANUARY, event_key="first")
        clock.now = JANUARY + timedelta(days=200)
        assert (usage.aggregate(), usage.cleanup()) == (1, 1)
        for attempt in range(3):
            new = usage.record(orgs[0], "debate", 5, timestamp=JANUARY, event_key="late")
            assert new == (attempt == 0)
            usage.aggregate()
            assert usage.cleanup() == 0
            assert usage.summary(orgs[0], "2026-01").counts == {"debate": 7}
            clock.advance(days=30)
        clock.advance(days=1)
        assert usage.cleanup() == 1
        assert usage.summary(orgs[0], "2026-01") == UsageSummary(orgs[0], "2026-01", {"debate": 7}, {"debate": 2})

    def test_plain_sql_counts_too(self, usage: UsageStore, orgs: list[str], clock: Clock, database: Backend) -> None:
        """Documented columns are enough; NULLs are the defaults, and an event without a time is in no month."""
        insert = (
            "INSERT INTO usage_events (org_id, event_type, count, metadata, timestamp) VALUES (?, 'debate', ?, ?, ?)"
        )
        with database.transaction() as tx:
            tx.execute(insert, (orgs[0], None, None, "2026-01-05T00:00:00.000000Z"))
            tx.execute(insert, (orgs[0], 4, "{}", "2026-01-05 10:00:00"))
            tx.execute(insert, (orgs[0], 9, "{}", None))
        assert usage.summary(orgs[0], "2026-01").counts == {"debate": 5}
        assert (usage.aggregate(), usage.aggregate()) == (2, 0)
        assert usage.summary(orgs[0], "2026-01").counts == {"debate": 5}
        clock.advance(days=120)
        assert usage.cleanup() == 2
        with pytest.raises(DamagedError, match="timestamp"):
            usage.list_events(orgs[0])

    def test_a_run_that_stops_between_batches_goes_on(
        self, usage: UsageStore, orgs: list[str], clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After each batch the sums are exact, and the next run does the rest."""
        monkeypatch.setattr(usage_store, "_BATCH", 3)
        usage.record_many(NewUsage(orgs[n % 2], "debate", n + 1, timestamp=JANUARY) for n in range(10))
        expected = [usage.summary(org, "2026-01") for org in orgs]
        for _ in range(2):
            assert usage._write("aggregate", usage_store._aggregate_batch) == 3
            assert [usage.summary(org, "2026-01") for org in orgs] == expected
        assert usage.aggregate() == 4
        clock.now = JANUARY + timedelta(days=91)
        assert usage.cleanup() == 10
        assert [usage.summary(org, "2026-01") for org in orgs] == expected

    def test_a_batch_that_fails_is_taken_back(self, usage: UsageStore, orgs: list[str], database: Backend) -> None:
        """As a whole: nothing is marked without being in a sum."""
        usage.record(orgs[0], "debate", 2, timestamp=JANUARY)

        with pytest.raises(ConflictError), database.transaction() as tx:
            assert usage_store._aggregate_batch(tx) == 1
            raise ConflictError("test", "block", "fails")
        assert usage.summary(orgs[0], "2026-01").counts == {"debate": 2}
        assert usage.aggregate() == 1
        assert usage.summary(orgs[0], "2026-01").counts == {"debate": 2}

    def test_many_at_once_are_exact(self, usage: UsageStore, orgs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        """Threads that record, aggregate and read: no summary ever goes back, and the last is complete."""
        monkeypatch.setattr(usage_store, "_BATCH", 5)
        problems: list[tuple[int, int]] = []
        recording = threading.Semaphore(0)

        def record() -> None:
            for _ in range(15):
                usage.record(orgs[0], "debate")
            recording.release()

        def aggregate() -> None:
            while not recording.acquire(blocking=False):
                usage.aggregate()
            recording.release()

        def read() -> None:
            last = 0
            while not recording.acquire(blocking=False):
                now = usage.summary(orgs[0]).counts.get("debate", 0)
                if now < last:
                    problems.append((last, now))
                last = now
            recording.release()

        threads = [threading.Thread(target=work) for work in (record, record, record, aggregate, aggregate, read)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems == []
        assert usage.summary(orgs[0]).counts == {"debate": 45}
        usage.aggregate()
        assert usage.summary(orgs[0]).counts == {"debate": 45}

    def test_refuses_a_wrong_retention(self, usage: UsageStore, orgs: list[str]) -> None:
        """Nothing is pruned."""
        usage.record(orgs[0], "debate", timestamp=JANUARY - timedelta(days=999))
        usage.aggregate()
        wrong: list[Any] = [-1, 36_501, True, 1.5]
        for days in wrong:
            with pytest.raises(InvalidValueError, match="older_than_days"):
                usage.cleanup(older_than_days=days)
        assert raw(usage) == 1


def test_any_value_is_refused_or_comes_back(usage: UsageStore, orgs: list[str]) -> None:
    """Types, keys and metadata of any characters, counts and times of any size: stored exactly, or a typed error."""

    @settings(max_examples=40)
    @given(
        event_type=ANY_TEXT,
        key=st.none() | ANY_TEXT,
        count=st.integers(-2, MOST_AT_ONCE + 2) | st.integers(),
        metadata=st.dictionaries(ANY_TEXT, ANY_TEXT | st.floats() | st.none(), max_size=2),
        timestamp=st.datetimes(timezones=st.just(UTC)),
    )
    def check(event_type: str, key: str | None, count: int, metadata: dict[str, Any], timestamp: datetime) -> None:
        before = usage.summary(orgs[0], timestamp.strftime("%Y").rjust(4, "0") + timestamp.strftime("-%m"))
        try:
            new = usage.record(orgs[0], event_type, count, metadata, event_key=key, timestamp=timestamp)
        except InvalidValueError:
            assert usage.summary(orgs[0], before.month) == before
            return
        if new:
            stored = list(usage.iter_events(orgs[0]))[-1]
            assert (stored.event_type, stored.event_key, stored.count) == (event_type, key, count)
            assert (stored.metadata, stored.timestamp) == (metadata, timestamp)
        after = usage.summary(orgs[0], before.month)
        assert after.counts.get(event_type, 0) - before.counts.get(event_type, 0) == (count if new else 0)

    check()


class UsageMachine(RuleBasedStateMachine):
    """Usage against a list of what was used, with runs that stop after any batch, late events and retries."""

    usage: UsageStore
    orgs: list[str]
    clock: Clock

    def __init__(self) -> None:
        super().__init__()
        with self.usage.database.transaction() as tx:
            tx.execute("DELETE FROM usage_events")
            tx.execute("DELETE FROM usage_monthly")
        self.clock.now = JANUARY
        self.used: Counter[tuple[str, str, str]] = Counter()
        self.keys: dict[str, tuple[str, datetime]] = {}

    @rule(
        org=st.integers(0, 1),
        kind=st.sampled_from("ab"),
        count=st.integers(1, 9),
        days=st.integers(0, 200),
        keyed=st.booleans(),
    )
    def record(self, org: int, kind: str, count: int, days: int, keyed: bool) -> None:  # noqa: FBT001 - a rule's values
        """Record an event of now or long ago."""
        moment = self.clock.now - timedelta(days=days)
        key = f"k{len(self.keys)}" if keyed else None
        assert self.usage.record(self.orgs[org], kind, count, event_key=key, timestamp=moment)
        self.used[self.orgs[org], moment.strftime("%Y-%m"), kind] += count
        if key is not None:
            self.keys[key] = (self.orgs[org], self.clock.now)

    @precondition(lambda self: self.keys)
    @rule(number=st.integers(0, 99), days=st.integers(0, 200))
    def retry(self, number: int, days: int) -> None:
        """Try one again, with any time, within 90 days of its recording."""
        key = sorted(self.keys)[number % len(self.keys)]
        org, recorded = self.keys[key]
        if self.clock.now - recorded <= timedelta(days=90):
            moment = self.clock.now - timedelta(days=days)
            assert not self.usage.record(org, "a", 7, event_key=key, timestamp=moment)

    @rule()
    def aggregate_one_batch(self) -> None:
        """Aggregate, and stop after a batch."""
        assert self.usage._write("aggregate", usage_store._aggregate_batch) <= usage_store._BATCH

    @rule()
    def aggregate(self) -> None:
        """Aggregate all."""
        assert self.usage.aggregate() >= 0

    @rule()
    def clean(self) -> None:
        """Delete what is old."""
        assert self.usage.cleanup() >= 0

    @rule(days=st.integers(1, 100))
    def wait(self, days: int) -> None:
        """Let time pass."""
        self.clock.advance(days=days)

    @invariant()
    def counts_are_exact(self) -> None:
        """Each month's sums are those of the list."""
        months = {(org, month) for org, month, _ in self.used}
        for org, month in months:
            expected = {kind: used for (o, m, kind), used in self.used.items() if (o, m) == (org, month)}
            assert self.usage.summary(org, month).counts == expected


def test_usage_agrees_with_a_model(
    usage: UsageStore, orgs: list[str], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever comes in whatever order: every event counts exactly once, at every instant."""
    monkeypatch.setattr(usage_store, "_BATCH", 2)
    machine = type("Machine", (UsageMachine,), {"usage": usage, "orgs": orgs, "clock": clock})
    run_state_machine_as_test(machine, settings=settings(max_examples=20, stateful_step_count=25))
    usage.aggregate()
    clock.advance(days=400)
    usage.cleanup()
    assert raw(usage) == 0
