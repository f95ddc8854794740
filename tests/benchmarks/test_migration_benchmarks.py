"""The short form of the migrations' benchmark: every part runs, and the product and its peers have done their work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aragora_persist.migrations.runner import migrate
from tests.benchmarks.rigs import figures

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run all of it once; it fails where one of the two has made something else, or less."""
    sizes = ["--rounds", "1", "--files", "3", "--size-mb", "17"]
    return figures("bench/migrations.py", tmp_path_factory.mktemp("benchmark"), *sizes)


def test_nobody_is_measured_alone(report: dict[str, Any]) -> None:
    """Each part has the product and a peer, or a program without the product."""
    assert set(report["files"]) == {"aragora-persist", "yoyo"}
    assert set(report["help"]) == {"aragora_persist", "aragora_persist.migrations.runner"}
    assert set(report["rebuild"]) == {"aragora-persist", "by hand"}


def test_every_row_is_rebuilt_in_little_memory(report: dict[str, Any]) -> None:
    """How far it is was told on the way, and the memory is that of a Python, not of the table."""
    ours = report["rebuild"]["aragora-persist"]
    assert ours["rows"] == report["rebuild"]["by hand"]["rows"] > 50_000
    assert ours["told"] > 4
    assert ours["peak_mb"] <= 100


def test_a_status_loads_only_what_it_needs(tmp_path: Path) -> None:
    """Most of its time is that of imports: what a change, an error or JSON needs stays away."""
    program = (
        "import sys; from aragora_persist.migrations.command import main; "
        f"code = main(['--status', '--db', 'tokens', '--nomic-dir', {str(tmp_path)!r}]); "
        "print(*sorted(sys.modules), file=sys.stderr); sys.exit(code)"
    )
    migrate(tmp_path / "aragora_tokens.db", "tokens")
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT)
    unneeded = {"dataclasses", "inspect", "json", "traceback", "tempfile", "subprocess", "logging", "asyncio"}
    unneeded |= {f"aragora_persist.migrations.{name}" for name in ("apply", "guard", "snapshots", "turn", "rehearsal")}
    assert done.stdout.startswith("tokens: current")
    assert unneeded & set(done.stderr.split()) == set()
