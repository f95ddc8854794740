"""The short forms of the import rigs: what they measure is right, and they fail where the protection is missing."""

from __future__ import annotations

import pytest

from tests.benchmarks.rigs import run


def test_a_generated_history_is_imported_row_by_row() -> None:
    """Every row that git lists is in the outbox, once, and a second import finds nothing new."""
    code, report = run("bench/import_git.py", "--commits", "300")

    assert (code, report["comparison"]["lost"], report["comparison"]["doubled"]) == (0, 0, 0)
    assert report["comparison"]["commits"] == report["comparison"]["kinds"]["cycle"] == 300
    assert set(report["comparison"]["kinds"]) == {"cycle", "evolution", "change", "rollback"}
    assert report["again"]["rows"] == 0


@pytest.mark.parametrize("protected", [True, False])
def test_killed_imports_lose_and_double_nothing(*, protected: bool) -> None:
    """Killed again and again, the import ends complete; without its transactions the same run is caught losing rows."""
    options = "--commits 600 --batch 40 --kills 4"
    if not protected:  # as many kills as a longer history has batches for
        options = "--commits 1000 --batch 20 --kills 23 --unprotected --until-wrong"
    code, report = run("chaos/import_kill.py", *options.split())

    assert report["kills"] == 4 or not protected
    assert (code == 0) is protected
    assert (report["comparison"]["lost"] == 0) is protected
    assert report["comparison"]["doubled"] == 0
