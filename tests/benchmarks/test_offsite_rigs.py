"""The short form of the rig of killed shipments: nothing wrong is on offer, and it fails without the protection."""

from __future__ import annotations

import pytest

from tests.benchmarks.rigs import run


@pytest.mark.parametrize(
    ("arguments", "kills"),
    [(("--folder",), 6), ((), 6), (("--folder", "--unprotected"), 3)],
    ids=["folder", "s3", "line first"],
)
def test_whoever_ships_is_killed_and_everything_is_there_once(arguments: tuple[str, ...], kills: int) -> None:
    """What is listed is whole at any moment; the line before its parts is caught."""
    code, report = run("chaos/offsite_kill.py", "--kills", str(kills), *arguments)
    unprotected = "--unprotected" in arguments
    assert (code, report["kills"], bool(report["wrong"])) == (int(unprotected), kills, unprotected)
