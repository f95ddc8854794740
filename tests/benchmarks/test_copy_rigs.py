"""The short form of the rig of copies, for rehearsals and backups: it holds, and fails without the protection."""

from __future__ import annotations

import pytest

from tests.benchmarks.rigs import rounds, run


@pytest.mark.parametrize("unprotected", [False, True])
def test_a_copy_is_whole_whoever_writes_meanwhile(*, unprotected: bool) -> None:
    """Each is sound and of one moment; made in the same way, but without the read lock, it is not."""
    code, report = run("chaos/scratch_copy.py", *rounds("--copies", 15, unprotected=unprotected))
    assert (code, report["wrong"] > 0) == (int(unprotected), unprotected), report
    assert unprotected or report["copies"] == 15
    assert report["transactions"] > 0
