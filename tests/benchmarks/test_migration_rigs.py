"""The short forms of the rigs of the migrations: they hold, and they fail where the protection is missing."""

from __future__ import annotations

import pytest

from tests.benchmarks.rigs import rounds, run


@pytest.mark.parametrize("protected", [True, False])
def test_a_killed_migration_is_begun_again(*, protected: bool) -> None:
    """The rerun ends as if nothing had happened; where each statement commits by itself, it does not."""
    options = [] if protected else ["--without", "transaction", "--scenes", "steps"]
    code, report = run("chaos/migration_kill.py", "--json", "--kills", "40", "--random", "5", *options)

    assert report["kills"] + report["too_late"] + report["missed"] == 45
    assert report["kills"] > 10
    assert (code == 0, report["wrong"] == 0) == (protected, protected), report["first_wrong"]


@pytest.mark.parametrize("unprotected", [False, True])
def test_sixteen_starters_apply_each_migration_once(*, unprotected: bool) -> None:
    """One applies, the others wait and go on; without a turn and the lock, they get in each other's way."""
    code, report = run("chaos/migration_starters.py", *rounds("--rounds", 2, unprotected=unprotected))

    assert unprotected or report["starters"] == 64
    assert (code == 1, report["failed"] + report["wrong"] > 0) == (unprotected, unprotected), report["first"]


@pytest.mark.parametrize("unprotected", [False, True])
def test_a_full_disk_changes_nothing(*, unprotected: bool) -> None:
    """At whatever write, the error is clear and the next run succeeds; half a migration is seen where there is one."""
    options = ["--scenes", "steps", "--every", "29"]
    code, report = run("chaos/migration_disk_full.py", *options, *(["--unprotected"] if unprotected else []))

    assert report["refused"] > 0
    assert (code == 1, report["torn"] > 0) == (unprotected, unprotected), report["first_wrong"]


@pytest.mark.parametrize("unprotected", [False, True])
def test_a_loss_of_power_undoes_no_migration_that_was_reported(*, unprotected: bool) -> None:
    """Every image is of a state between two migrations, after the return of the last; a disk that lies breaks that."""
    code, report = run(
        "chaos/migration_power_loss.py",
        "--images",
        "140",
        "--scenes",
        "steps",
        *(["--unprotected"] if unprotected else []),
    )

    assert report["images"] == 140
    assert report["after_return"] > 0
    assert (code == 1, report["between"] + report["lost"] > 0) == (unprotected, unprotected)
