"""The short form of the stores' benchmark: every part runs, beside its peers, and loses nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.benchmarks.rigs import figures, run


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run all of it once."""
    return figures("bench/stores.py", tmp_path_factory.mktemp("benchmark"), "--short")


def test_every_part_has_the_product_and_its_peers(report: dict[str, Any]) -> None:
    """Nobody is measured alone."""
    peers = {"lookup": 9, "append": 8, "transactions": 2, "log": 1, "stream": 1, "import": 3}
    counted = {part: len(figures) - 1 for part, figures in report.items()}

    assert counted == peers


def test_the_product_loses_no_update_and_meets_no_lock(report: dict[str, Any]) -> None:
    """However short the run is, this holds."""
    ours = report["transactions"]["aragora-persist"]
    errors = {name: figures["errors"] for name, figures in report["append"].items() if "aragora" in name}

    assert (ours["lost_updates"], ours["errors"]) == (0, 0)
    assert ours["rows_per_s"] > 0
    assert set(errors.values()) == {0}


def test_the_whole_log_is_streamed(report: dict[str, Any]) -> None:
    """As many rows come out as went in."""
    assert report["stream"]["iter_entries"]["rows"] == 2_000


def test_a_loop_is_measured_beside_a_bare_one() -> None:
    """Both are, in the short form too, and the tasks write meanwhile."""
    code, found = run("bench/loop_lag.py", "--seconds", "0.5", "--most-ms", "1e9")

    assert code == 0
    assert found["writes_per_s"] > 0
    assert found["bare"].keys() == found["beside_writers"].keys() == {"p50_ms", "p99_ms", "max_ms"}
