"""The short form of the rig of killed shipments: nothing wrong is on offer, and it fails without the protection."""

from __future__ import annotations

import pytest

from tests.benchmarks.rigs import rounds, run


@pytest.mark.parametrize(
    ("arguments", "unprotected"),
    [(("--folder",), False), ((), False), (("--folder",), True)],
    ids=["folder", "s3", "line first"],
)
def test_whoever_ships_is_killed_and_everything_is_there_once(arguments: tuple[str, ...], *, unprotected: bool) -> None:
    """What is listed is whole at any moment; the line before its parts is caught."""
    code, report = run("chaos/offsite_kill.py", *arguments, *rounds("--kills", 6, unprotected=unprotected))
    assert (code, bool(report["wrong"])) == (int(unprotected), unprotected), report
    assert unprotected or report["kills"] == 6
