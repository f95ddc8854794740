"""The rules of retention, for whatever clocks and catalogs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from aragora_persist.backup.catalog import BackupEntry
from aragora_persist.backup.retention import decide
from aragora_persist.backup.verify import Content

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TEN_YEARS = timedelta(days=3650)


def entry(number: int, database: str, created_at: datetime) -> BackupEntry:
    """Return an entry of which only its database, time and place in the list matter here."""
    return BackupEntry(
        id=f"{database}_{number}",
        database=database,
        file=f"{database}_{number}.db",
        created_at=created_at,
        duration_s=0.1,
        size_bytes=1,
        sha256="0" * 64,
        content=Content(schema_version=1, foreign_key_violations=0, tables={}),
        method="test",
        package_version="0",
    )


moments = st.datetimes(datetime(2016, 1, 1), datetime(2036, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - zoned by the strategy
catalogs = st.lists(st.tuples(st.sampled_from(["users", "elo"]), moments, st.booleans()), max_size=30).map(
    lambda rows: [(entry(number, name, moment), intact) for number, (name, moment, intact) in enumerate(rows)]
)


@given(catalogs, moments, st.integers(1, 60))
def test_the_last_intact_backup_of_each_database_stays(
    catalog: list[tuple[BackupEntry, bool]], now: datetime, keep_days: int
) -> None:
    """Whatever the times of the entries and of the clock, each database keeps its last intact backup."""
    intact = {one.id for one, whole in catalog if whole}
    decisions = decide([one for one, _ in catalog], intact=intact, now=now, keep_days=keep_days)
    kept = {decision.entry.id for decision in decisions if decision.keep}
    assert set({one.database: one.id for one, whole in catalog if whole}.values()) <= kept


@given(catalogs, moments, st.integers(1, 60))
def test_every_backup_is_decided_once_and_only_the_old_go(
    catalog: list[tuple[BackupEntry, bool]], now: datetime, keep_days: int
) -> None:
    """Each entry gets one decision, in order, and none that is young enough goes."""
    entries = [one for one, _ in catalog]
    decisions = decide(entries, intact={one.id for one, whole in catalog if whole}, now=now, keep_days=keep_days)
    assert [decision.entry for decision in decisions] == entries
    assert all(now - d.entry.created_at > timedelta(days=keep_days) for d in decisions if not d.keep)
    assert all(decision.reason for decision in decisions)


@given(catalogs, moments, st.integers(1, 60))
def test_databases_do_not_see_each_other(
    catalog: list[tuple[BackupEntry, bool]], now: datetime, keep_days: int
) -> None:
    """The decisions about one database are the same without the other one."""
    entries = [one for one, _ in catalog]
    intact = {one.id for one, whole in catalog if whole}
    together = decide(entries, intact=intact, now=now, keep_days=keep_days)
    alone = decide([one for one in entries if one.database == "users"], intact=intact, now=now, keep_days=keep_days)
    assert [decision for decision in together if decision.entry.database == "users"] == alone


@given(catalogs, moments, st.integers(1, 60))
def test_deciding_again_after_the_deletions_deletes_nothing_more(
    catalog: list[tuple[BackupEntry, bool]], now: datetime, keep_days: int
) -> None:
    """A second run at the same moment keeps everything that the first one kept."""
    intact = {one.id for one, whole in catalog if whole}
    first = decide([one for one, _ in catalog], intact=intact, now=now, keep_days=keep_days)
    kept = [decision.entry for decision in first if decision.keep]
    assert all(decision.keep for decision in decide(kept, intact=intact, now=now, keep_days=keep_days))


def test_the_edge_is_the_age_itself() -> None:
    """A backup of exactly seven days stays; one a microsecond older goes."""
    entries = [
        entry(0, "users", NOW - timedelta(days=7, microseconds=1)),
        entry(1, "users", NOW - timedelta(days=7)),
        entry(2, "users", NOW),
    ]
    decisions = decide(entries, intact={one.id for one in entries}, now=NOW, keep_days=7)
    assert [(decision.keep, decision.reason) for decision in decisions] == [
        (False, "older than 7 days"),
        (True, "not older than 7 days"),
        (True, "the last verified backup of its database"),
    ]


def test_no_number_of_days_is_too_large() -> None:
    """Who wants to keep everything may say so with any number."""
    entries = [entry(0, "users", NOW - TEN_YEARS), entry(1, "users", NOW)]
    decisions = decide(entries, intact={one.id for one in entries}, now=NOW, keep_days=10**12)
    assert [decision.keep for decision in decisions] == [True, True]


def test_a_clock_ten_years_ahead_leaves_the_last_one() -> None:
    """When everything looks old at once, the last backup is what remains."""
    entries = [entry(number, "users", NOW - timedelta(days=number)) for number in (3, 2, 1)]
    decisions = decide(entries, intact={one.id for one in entries}, now=NOW + TEN_YEARS, keep_days=7)
    assert [decision.keep for decision in decisions] == [False, False, True]


def test_a_backup_from_the_future_does_not_take_the_place_of_the_last_one() -> None:
    """One that a wrong clock dated ten years ahead is kept, and so is the old one that was made after it."""
    entries = [entry(0, "users", NOW + TEN_YEARS), entry(1, "users", NOW - timedelta(days=30))]
    decisions = decide(entries, intact={one.id for one in entries}, now=NOW, keep_days=7)
    assert [decision.keep for decision in decisions] == [True, True]


def test_a_damaged_last_one_does_not_count() -> None:
    """When the newest file is not whole, the last whole one is kept in spite of its age."""
    entries = [entry(0, "users", NOW - timedelta(days=30)), entry(1, "users", NOW)]
    decisions = decide(entries, intact={"users_0"}, now=NOW, keep_days=7)
    assert [decision.keep for decision in decisions] == [True, True]
