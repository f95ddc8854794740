"""The short forms of the rigs of restores: they hold, and they fail where the protection is missing."""

from __future__ import annotations

import pytest

from tests.benchmarks.rigs import run


@pytest.mark.parametrize("unprotected", [False, True])
def test_a_killed_restore_leaves_the_old_or_the_new(*, unprotected: bool) -> None:
    """Of one database or a set, at whatever instant, and begun again it succeeds; a copy by hand is torn."""
    kills = "8" if unprotected else "24"
    code, report = run("chaos/restore_kill.py", "--kills", kills, *(["--unprotected"] if unprotected else []))
    assert (code, report["kills"], report["wrong"] > 0) == (int(unprotected), int(kills), unprotected), report
    assert min(report["boundaries"].values()) > 5
    assert unprotected or min(report["found_old"], report["found_new"]) > 0


@pytest.mark.parametrize("unprotected", [False, True])
def test_after_a_kill_of_the_writer_every_restore_is_sound(*, unprotected: bool) -> None:
    """The rows are the backup's and those of the writer are kept; with cp the old log is replayed onto the backup."""
    code, report = run("chaos/restore_after_kill.py", "--restores", "12", *(["--unprotected"] if unprotected else []))
    assert (code, report["with_a_log"]) == (int(unprotected), 12), report
    assert report["reported_rows"] > 0
    assert (report["corrupt"] + report["different"] > 0) == unprotected, report
