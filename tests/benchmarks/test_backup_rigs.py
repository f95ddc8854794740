"""The short form of the rig that kills backups: it finds nothing bad, and it finds what is bad without protection."""

from __future__ import annotations

import pytest

from tests.benchmarks.rigs import rounds, run


@pytest.mark.parametrize("unprotected", [False, True])
def test_no_kill_leaves_something_bad_on_offer(*, unprotected: bool) -> None:
    """In the middle of a backup, a removal or a rebuild, what is offered is whole; copies in place are not."""
    code, report = run("chaos/backup_kill.py", *rounds("--kills", 16, unprotected=unprotected))
    assert (code, report["bad"] > 0) == (int(unprotected), unprotected), report
    assert unprotected or report["kills"] == 16
