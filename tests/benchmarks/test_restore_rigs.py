"""The short forms of the rigs of restores: they hold, and they fail where the protection is missing."""

from __future__ import annotations

import pytest

from tests.benchmarks.rigs import rounds, run


@pytest.mark.parametrize("unprotected", [False, True])
def test_a_killed_restore_leaves_the_old_or_the_new(*, unprotected: bool) -> None:
    """Of one database or a set, at whatever instant, and begun again it succeeds; a copy by hand is torn."""
    code, report = run("chaos/restore_kill.py", *rounds("--kills", 24, unprotected=unprotected))
    assert (code, report["wrong"] > 0) == (int(unprotected), unprotected), report
    assert min(report["boundaries"].values()) > 5
    assert unprotected or (report["kills"] == 24 and min(report["found_old"], report["found_new"]) >= 3)


@pytest.mark.parametrize("unprotected", [False, True])
def test_after_a_kill_of_the_writer_every_restore_is_sound(*, unprotected: bool) -> None:
    """The rows are the backup's and those of the writer are kept; with cp the old log is replayed onto the backup."""
    code, report = run("chaos/restore_after_kill.py", "--restores", "12", *(["--unprotected"] if unprotected else []))
    assert (code, report["with_a_log"]) == (int(unprotected), 12), report
    assert report["reported_rows"] > 0
    assert (report["corrupt"] + report["different"] > 0) == unprotected, report
