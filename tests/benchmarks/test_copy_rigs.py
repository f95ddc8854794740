"""The short form of the rig of copies for rehearsals: it holds, and it fails where the protection is missing."""

from __future__ import annotations

import pytest

from tests.benchmarks.rigs import run


@pytest.mark.parametrize("unprotected", [False, True])
def test_a_copy_is_whole_whoever_writes_meanwhile(*, unprotected: bool) -> None:
    """Each is sound and of one moment; a plain copy of file and log is not."""
    code, report = run("chaos/scratch_copy.py", "--copies", "15", *(["--unprotected"] if unprotected else []))
    assert (code, report["copies"], report["wrong"] > 0) == (int(unprotected), 15, unprotected)
    assert report["transactions"] > 0
