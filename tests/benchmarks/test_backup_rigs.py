"""The short form of the rig that kills backups: it finds nothing bad, and it finds what is bad without protection."""

from __future__ import annotations

import pytest

from tests.benchmarks.rigs import run


@pytest.mark.parametrize("unprotected", [False, True])
def test_no_kill_leaves_something_bad_on_offer(*, unprotected: bool) -> None:
    """In the middle of a backup, a removal or a rebuild, what is offered is whole; copies in place are not."""
    kills = "10" if unprotected else "16"
    code, report = run("chaos/backup_kill.py", "--kills", kills, *(["--unprotected"] if unprotected else []))
    assert (code, report["kills"], report["bad"] > 0) == (int(unprotected), int(kills), unprotected), report
    assert unprotected or sum(report["found"].values()) == 16
