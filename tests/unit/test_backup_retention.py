"""The rules of retention, for whatever clocks, catalogs and policies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aragora_persist.backup.records import BackupEntry
from aragora_persist.backup.retention import Decision, Policy, decide
from aragora_persist.settings import Settings
from tests.backup_entries import entry_of

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
TEN_YEARS = timedelta(days=3650)
WEEK = Policy(days=7)

Catalog = Sequence[tuple[BackupEntry, bool]]
"""Entries, each with whether its file is intact."""


def entry(number: int, database: str, created_at: datetime) -> BackupEntry:
    """Return an entry of which only its database, time and place in the list matter here."""
    return entry_of(f"{database}_{number}", created_at)


def dense(base: datetime) -> st.SearchStrategy[datetime]:
    """Return moments around one, close enough that hours, days and whole moments are shared."""
    return st.integers(-400, 40).map(lambda steps: base + timedelta(minutes=steps * 37))


# Years apart, as wrong clocks are, and so close together that many share an hour or are equal.
moments = st.one_of(dense(NOW), dense(NOW), st.sampled_from([NOW - TEN_YEARS, NOW + TEN_YEARS]).flatmap(dense))
catalogs = st.lists(
    st.tuples(st.sampled_from(["users", "elo"]), moments, st.integers(0, 9).map(bool)), max_size=40
).map(lambda rows: [(entry(number, name, moment), intact) for number, (name, moment, intact) in enumerate(rows)])
few = st.integers(0, 6)
policies = st.builds(
    Policy, days=st.integers(1, 40), last=st.integers(1, 6), hourly=few, daily=few, weekly=few, monthly=few
)


def decided(catalog: Catalog, now: datetime, policy: Policy) -> list[Decision]:
    """Decide about a catalog."""
    return decide(
        [one for one, _ in catalog], intact={one.id for one, whole in catalog if whole}, now=now, policy=policy
    )


def kept(decisions: list[Decision]) -> list[str]:
    """Return the ids of what stays."""
    return [decision.entry.id for decision in decisions if decision.keep]


@given(catalogs, moments, policies)
def test_the_last_intact_backup_of_each_database_stays(catalog: Catalog, now: datetime, policy: Policy) -> None:
    """Whatever the times of the entries and of the clock, each database keeps its last intact backup."""
    last = {one.database: one.id for one, whole in catalog if whole}
    assert set(last.values()) <= set(kept(decided(catalog, now, policy)))


@given(catalogs, moments, policies)
def test_every_backup_is_decided_once_and_nothing_young_goes(catalog: Catalog, now: datetime, policy: Policy) -> None:
    """Each entry gets one decision, in order; none that is young enough goes, intact or not."""
    decisions = decided(catalog, now, policy)
    assert [decision.entry for decision in decisions] == [one for one, _ in catalog]
    assert all(now - d.entry.created_at > timedelta(days=policy.days) for d in decisions if not d.keep)


@given(catalogs, moments, policies)
def test_every_decision_says_what_each_rule_says(catalog: Catalog, now: datetime, policy: Policy) -> None:
    """What is kept names all rules that keep it; what goes, why every rule that is set lets it go."""
    alone = [
        decided(catalog, now, Policy(days=policy.days)),
        *(
            decided(catalog, now, replace(Policy(days=policy.days), **{rule: count}))
            for rule, count in asdict(policy).items()
            if rule != "days" and count
        ),
    ]
    for each in zip(decided(catalog, now, policy), *alone, strict=True):
        together, *by_rule = each
        assert together.keep == any(one.keep for one in by_rule)
        expected = {reason for one in by_rule if one.keep is together.keep for reason in one.reasons}
        assert set(together.reasons) == expected
        assert len(together.reasons) == len(expected) > 0


@given(catalogs, moments, policies)
def test_databases_do_not_see_each_other(catalog: Catalog, now: datetime, policy: Policy) -> None:
    """The decisions about one database are the same without the other one, and wherever the other one's stand."""
    together = [decision for decision in decided(catalog, now, policy) if decision.entry.database == "users"]
    users = [(one, whole) for one, whole in catalog if one.database == "users"]
    others = [(one, whole) for one, whole in catalog if one.database != "users"]
    assert together == decided(users, now, policy)
    assert together == decided([*others, *users], now, policy)[len(others) :]


@given(catalogs, moments, policies)
def test_deciding_again_after_the_deletions_deletes_nothing_more(
    catalog: Catalog, now: datetime, policy: Policy
) -> None:
    """A second run at the same moment keeps everything that the first one kept."""
    left = set(kept(decided(catalog, now, policy)))
    assert set(kept(decided([(one, whole) for one, whole in catalog if one.id in left], now, policy))) == left


@given(catalogs, moments, policies, st.sampled_from(sorted(asdict(WEEK))), st.integers(1, 10))
def test_who_asks_for_more_loses_nothing(catalog: Catalog, now: datetime, policy: Policy, rule: str, more: int) -> None:
    """With a larger number in any rule, everything stays that would have stayed without."""
    larger = replace(policy, **{rule: asdict(policy)[rule] + more})
    assert set(kept(decided(catalog, now, policy))) <= set(kept(decided(catalog, now, larger)))


@given(catalogs, moments, policies)
def test_what_does_not_count_costs_no_other_its_place(catalog: Catalog, now: datetime, policy: Policy) -> None:
    """Without those that are damaged or dated in the future, no other one is decided otherwise, but the last one."""
    counted = [(one, whole) for one, whole in catalog if whole and one.created_at <= now]
    alone, together = (
        decided(counted, now, policy),
        decided(catalog, now, replace(policy, last=policy.last + len(catalog))),
    )
    assert set(kept(alone)) <= set(kept(together))


def test_each_period_keeps_its_last_one() -> None:
    """An example by hand: hours, a day's end, the week over New Year and a month, in UTC, each with its name."""
    times = ("2025-11-30T23:59", "2025-12-29T10:00", "2025-12-31T09:00", "2025-12-31T23:10", "2025-12-31T23:50")
    entries = [entry(n, "users", datetime.fromisoformat(f"{text}:00+00:00")) for n, text in enumerate(times)]
    entries.append(entry(5, "users", datetime(2026, 1, 1, 0, 5, tzinfo=UTC)))
    policy = Policy(days=1, last=2, hourly=2, daily=2, weekly=2, monthly=3)
    decisions = decide(entries, intact={one.id for one in entries}, now=NOW, policy=policy)
    assert [(one.keep, one.reasons) for one in decisions] == [
        (True, ("the last of the week 2025-W48", "the last of the month 2025-11")),
        (
            False,
            (
                "not among the last 2",
                "the hour 2025-12-29 10:00 is not among the last 2 with a backup",
                "the day 2025-12-29 is not among the last 2 with a backup",
                "not the last of the week 2026-W01: that is users_5",
                "not the last of the month 2025-12: that is users_4",
                "older than 1 days",
            ),
        ),
        (
            False,
            (
                "not among the last 2",
                "the hour 2025-12-31 09:00 is not among the last 2 with a backup",
                "not the last of the day 2025-12-31: that is users_4",
                "not the last of the week 2026-W01: that is users_5",
                "not the last of the month 2025-12: that is users_4",
                "older than 1 days",
            ),
        ),
        (
            False,
            (
                "not among the last 2",
                "not the last of the hour 2025-12-31 23:00: that is users_4",
                "not the last of the day 2025-12-31: that is users_4",
                "not the last of the week 2026-W01: that is users_5",
                "not the last of the month 2025-12: that is users_4",
                "older than 1 days",
            ),
        ),
        (
            True,
            (
                "one of the last 2",
                "the last of the hour 2025-12-31 23:00",
                "the last of the day 2025-12-31",
                "the last of the month 2025-12",
            ),
        ),
        (
            True,
            (
                "the last verified backup of its database",
                "the last of the hour 2026-01-01 00:00",
                "the last of the day 2026-01-01",
                "the last of the week 2026-W01",
                "the last of the month 2026-01",
            ),
        ),
    ]


def test_the_edge_is_the_age_itself() -> None:
    """A backup of exactly seven days stays; one a microsecond older goes."""
    entries = [
        entry(0, "users", NOW - timedelta(days=7, microseconds=1)),
        entry(1, "users", NOW - timedelta(days=7)),
        entry(2, "users", NOW),
    ]
    decisions = decide(entries, intact={one.id for one in entries}, now=NOW, policy=WEEK)
    assert [(decision.keep, decision.reason) for decision in decisions] == [
        (False, "older than 7 days"),
        (True, "not older than 7 days"),
        (True, "the last verified backup of its database; not older than 7 days"),
    ]


def test_of_equal_times_the_one_made_last_counts() -> None:
    """As after a clock stood still: the order in the catalog decides."""
    entries = [entry(number, "users", NOW - timedelta(days=30)) for number in range(3)]
    entries.append(entry(3, "users", NOW))
    assert kept(decided([(one, True) for one in entries], NOW, Policy(days=7, daily=2))) == ["users_2", "users_3"]


def test_no_number_is_too_large() -> None:
    """Who wants to keep everything may say so with any number."""
    catalog = [(entry(0, "users", NOW - TEN_YEARS), True), (entry(1, "users", NOW), True)]
    assert len(kept(decided(catalog, NOW, Policy(days=10**12)))) == 2
    assert len(kept(decided(catalog, NOW, Policy(days=1, last=10**12, hourly=10**12)))) == 2


@pytest.mark.parametrize(
    ("policy", "left"),
    [
        (WEEK, ["users_2"]),
        (Policy(days=7, last=2), ["users_1", "users_2"]),
        (Policy(days=7, daily=2), ["users_1", "users_2"]),
    ],
)
def test_a_clock_ten_years_ahead_leaves_what_is_kept_by_number(policy: Policy, left: list[str]) -> None:
    """When everything looks old at once, the last backup remains, and what any rule but the age keeps."""
    catalog = [(entry(number, "users", NOW - timedelta(days=3 - number)), True) for number in range(3)]
    assert kept(decided(catalog, NOW + TEN_YEARS, policy)) == left


def test_a_clock_ten_years_behind_deletes_nothing() -> None:
    """Everything is dated in the future, then."""
    catalog = [(entry(number, "users", NOW - timedelta(days=number)), True) for number in range(30)]
    assert len(kept(decided(catalog, NOW - TEN_YEARS, WEEK))) == 30


def test_a_backup_from_the_future_does_not_take_the_place_of_another() -> None:
    """One that a wrong clock dated ten years ahead is kept, and so are the old ones that were made after it."""
    catalog = [(entry(0, "users", NOW + TEN_YEARS), True)]
    catalog += [(entry(number, "users", NOW - timedelta(days=40 - number)), True) for number in (1, 2)]
    decisions = decided(catalog, NOW, Policy(days=7, daily=2))
    assert kept(decisions) == ["users_0", "users_1", "users_2"]
    assert decisions[0].reasons == ("dated in the future: its age is not known",)


def test_a_damaged_last_one_does_not_count() -> None:
    """When the newest file is not whole, the last whole one is kept in spite of its age."""
    catalog = [(entry(0, "users", NOW - timedelta(days=30)), True), (entry(1, "users", NOW), False)]
    assert kept(decided(catalog, NOW, WEEK)) == ["users_0", "users_1"]


def test_the_settings_say_the_policy() -> None:
    """Seven days of everything where nothing is set; each variable is one rule."""
    assert Policy.of(Settings.from_env({})) == Policy(days=7)
    rules = ("RETENTION_DAYS", "KEEP_LAST", "KEEP_HOURLY", "KEEP_DAILY", "KEEP_WEEKLY", "KEEP_MONTHLY")
    environ = {f"ARAGORA_BACKUP_{rule}": str(number) for number, rule in enumerate(rules, start=2)}
    expected = Policy(days=2, last=3, hourly=4, daily=5, weekly=6, monthly=7)
    assert Policy.of(Settings.from_env(environ)) == expected
