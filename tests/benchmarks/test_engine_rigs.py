"""The short forms of the rigs of the SQLite engine: they hold, and they fail where the protection is missing."""

from __future__ import annotations

import pytest

from tests.benchmarks.rigs import rounds, run

pytest_plugins = ("tests.image_fixtures",)


@pytest.mark.parametrize(("unprotected", "found"), [(None, ()), ("level", ("durable_lost",)), ("sync", ("corrupt",))])
def test_a_loss_of_power_takes_nothing_durable(unprotected: str | None, found: tuple[str, ...]) -> None:
    """No image is corrupt or lacks an acknowledged durable row; with weaker writes, or a disk that lies, some do."""
    options = [] if unprotected is None else ["--unprotected", unprotected]
    code, report = run("chaos/power_loss.py", "--images", "150", "--rounds", "1", *options)

    assert report["images"] == 150
    assert report["acknowledged"] > 0
    assert code == (0 if unprotected is None else 1)
    wrong = {name for name in ("corrupt", "durable_lost") if report[name]}
    assert wrong == set() if unprotected is None else wrong >= set(found)


@pytest.mark.parametrize("unprotected", [False, True])
def test_killed_writers_lose_nothing_acknowledged(*, unprotected: bool) -> None:
    """Every row that a killed process had acknowledged is there; acknowledged before their commit, some are not."""
    code, report = run("chaos/engine_kill.py", *rounds("--kills", 25, unprotected=unprotected))

    assert unprotected or report["kills"] == 25
    assert report["acknowledged"] > 0
    assert report["unsound"] == 0
    assert (code == 1, report["lost"] > 0) == (unprotected, unprotected)


def test_killed_checkpointers_leave_the_log_bounded() -> None:
    """With four processes that write and read one file, and whoever checkpoints killed among them, nothing is lost."""
    code, report = run("chaos/engine_kill.py", "--kills", "15", "--processes", "4", "--threads", "2")

    assert (code, report["lost"], report["unsound"]) == (0, 0, 0)
    assert report["acknowledged"] > 0


@pytest.mark.parametrize("unprotected", [False, True])
def test_a_storm_of_signals_leaves_nothing_half_done(*, unprotected: bool) -> None:
    """Whatever a handler raises, and when: each outcome is the true one; in two transactions, pairs are torn."""
    code, report = run("chaos/signal_storm.py", "--interrupts", "600", *(["--unprotected"] if unprotected else []))

    assert report["interrupts"] == 600
    assert [report[name] for name in ("lost", "unsound", "disturbed", "kept")] == [0] * 4
    assert (code == 1, report["torn"] > 0) == (unprotected, unprotected)


@pytest.mark.parametrize("unprotected", [False, True])
def test_a_fresh_folder_takes_sixteen_openers_at_once(*, unprotected: bool) -> None:
    """All of them open and write; where what is pending is looked at without the lock, they get in each other's way."""
    code, report = run("chaos/open_race.py", *rounds("--rounds", 2, unprotected=unprotected))

    assert unprotected or report["openers"] == 32
    assert (code == 1, report["failed"] > 0) == (unprotected, unprotected)


@pytest.mark.engine
@pytest.mark.parametrize("unprotected", [False, True])
def test_a_full_disk_is_told_and_passes(persist_image: str, *, unprotected: bool) -> None:
    """Writes are refused with a clear error, reads and later writes succeed; nothing acknowledged is lost."""
    code, report = run(
        "chaos/disk_full.py", persist_image, "--rounds", "1", *(["--unprotected"] if unprotected else [])
    )

    assert report["refused"] > 0
    assert (report["unclear_errors"], report["failed_reads"], report["stuck"], report["unsound"]) == (0, 0, 0, 0)
    assert (code == 1, report["lost"] > 0) == (unprotected, unprotected)
