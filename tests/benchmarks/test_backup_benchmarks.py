"""The short form of the backups' benchmark: every part runs, beside its peers, and what the product makes is right."""

from __future__ import annotations

from typing import Any

import pytest

from tests.benchmarks.rigs import figures


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run all of it once; it fails where other rows come back, or a check misses something."""
    return figures("bench/backups.py", tmp_path_factory.mktemp("benchmark"), "--short")


def test_a_snapshot_finishes_and_is_sound_beside_its_peers(report: dict[str, Any]) -> None:
    """However short the run is, this holds; the writer wrote meanwhile."""
    ((name, ours),) = [(name, one) for name, one in report["snapshot"].items() if name.startswith("aragora-persist")]
    peers = {"Connection.backup(pages=-1)", "Connection.backup(pages=1000)", "VACUUM INTO", "cp"}

    assert name in {"aragora-persist (file-copy)", "aragora-persist (reflink)"}
    assert peers <= report["snapshot"].keys()
    assert (ours["finished"], ours["sound"], ours["of"]) == (1, 1, 1)
    assert report["snapshot"]["nothing is copied"]["p50_ms"] > 0


def test_every_kind_of_archive_is_measured(report: dict[str, Any]) -> None:
    """A compressed one is smaller, and encryption adds hardly anything; each was opened again."""
    ratios = {kind: figures["ratio"] for kind, figures in report["size"].items()}

    assert ratios.keys() == {"plain", "zstd", "zstd, age"}
    assert ratios["plain"] == 1 < ratios["zstd, age"] <= ratios["zstd"]


def test_checks_and_recoveries_are_measured(report: dict[str, Any]) -> None:
    """Beside the digest alone; of what is here and of what is off-site."""
    assert report["verify"].keys() >= {"sha256", "backups --check", "before it counts"}
    assert {name.rpartition(", ")[2] for name in report["recovery"]} == {"local", "off-site"}
    assert all(figures["s"] > 0 for figures in report["recovery"].values())
