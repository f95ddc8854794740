"""Which backups belong together: the newest whole run, the one before a moment, or the one that is named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from aragora_persist.backup.restore.sets import choose_set
from aragora_persist.errors import ConflictError, NotFoundError
from tests.backup_entries import entry_of

if TYPE_CHECKING:
    from aragora_persist.backup.records import BackupEntry

START = datetime(2026, 3, 1, tzinfo=UTC)


def backup(run: str, database: str, minute: int) -> BackupEntry:
    """Return the entry of a backup."""
    return entry_of(f"{database}_{minute}", START + timedelta(minutes=minute), run=run)


def run_of(name: str, minute: int, *databases: str) -> list[BackupEntry]:
    """Return the backups of one run, a minute apart."""
    return [backup(name, database, minute + number) for number, database in enumerate(databases)]


FIRST = run_of("first", 0, "users", "elo")
SECOND = run_of("second", 10, "users", "elo")
PARTIAL = run_of("partial", 20, "elo", "tokens")


def test_the_newest_run_is_taken_in_the_order_of_the_registry() -> None:
    """Backups of the Supabase half, and those that an earlier release took without a run, are no part of it."""
    old = [backup("", "users", 30), backup("second", "supabase", 12)]
    chosen = choose_set([*FIRST, *SECOND, *old])
    assert (chosen.run, [entry.id for entry in chosen.entries]) == ("second", ["elo_11", "users_10"])
    assert (chosen.absent, chosen.moment) == ((), START + timedelta(minutes=10))


@pytest.mark.parametrize(("minute", "run"), [(100, "second"), (11, "second"), (10, "first"), (1, "first")])
def test_a_moment_takes_the_newest_run_that_was_over(minute: int, run: str) -> None:
    """A run that has a backup from after the moment is not taken."""
    assert choose_set([*FIRST, *SECOND], at=START + timedelta(minutes=minute)).run == run


def test_a_run_of_before_everything_is_not_guessed() -> None:
    """Neither by a moment nor by a name."""
    with pytest.raises(NotFoundError, match="no run of backups at or before 2"):
        choose_set([*FIRST, *SECOND], at=START)
    with pytest.raises(NotFoundError, match="run third"):
        choose_set([*FIRST, *SECOND], run="third")
    with pytest.raises(NotFoundError, match="restore DB"):
        choose_set([backup("", "users", 0)])


def test_a_run_in_which_a_backup_failed_is_taken_by_its_name_only() -> None:
    """Otherwise one database would stay where all others go back; the newest whole one is named too."""
    with pytest.raises(
        ConflictError, match=r"no backup of users.*still being taken.*--backup second; or.*--backup partial"
    ):
        choose_set([*FIRST, *SECOND, *PARTIAL])
    chosen = choose_set([*FIRST, *SECOND, *PARTIAL], run="partial")
    assert ([entry.database for entry in chosen.entries], chosen.absent) == (["elo", "tokens"], ("users",))


def test_a_backup_of_one_database_makes_no_set() -> None:
    """Somebody's single backup does not hide the whole run before it, but can be named."""
    single = backup("single", "users", 30)
    assert choose_set([*SECOND, single]).run == "second"
    assert choose_set([*SECOND, single], run="single").entries == (single,)
    assert choose_set([single]).entries == (single,)


def test_what_was_tried_again_counts_once() -> None:
    """The last backup of a database in a run is the one that is restored."""
    assert [entry.id for entry in choose_set([*FIRST, backup("first", "users", 5)]).entries] == ["elo_1", "users_5"]
