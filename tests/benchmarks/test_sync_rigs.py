"""The short forms of the sync rigs: what they count is right, and they fail where a protection is missing."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from types import ModuleType

    from tests.supabase_stack import LocalSupabase

pytest_plugins = ("tests.supabase_fixtures",)
pytestmark = pytest.mark.engine
SCRIPTS = Path(__file__).parents[2] / "scripts"


def load(script: str) -> ModuleType:
    """Load a rig, to run it against the Supabase that this run of the tests has already."""
    spec = importlib.util.spec_from_file_location(script.replace("/", "_"), SCRIPTS / f"{script}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("without", "kills", "wrong"),
    [("", 2, set()), ("removal", 2, {"lost"}), ("keys", 1, {"lost", "doubled"}), ("revisions", 1, {"stale"})],
)
def test_a_killed_worker_loses_and_doubles_nothing(
    supabase: LocalSupabase, monkeypatch: pytest.MonkeyPatch, without: str, kills: int, wrong: set[str]
) -> None:
    """Killed, and with PostgREST gone for a while, every row is the last one; without a protection, that is caught."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    rig = load("chaos/sync_kill")
    supabase.empty()
    with rig.protections(supabase, without):
        report: dict[str, Any] = rig.run(supabase, records=700, kills=kills, batch=10, without=without, seed=1)
    counts = report["comparison"]

    assert report["kills"] == kills
    assert counts.pop("rows") == 700
    assert {name for name, count in counts.items() if count} == wrong


def test_every_measured_row_arrives(supabase: LocalSupabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way is measured, and counts its rows in Supabase before its rate counts."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    report = load("bench/sync").run(supabase, count=300, repeats=1)

    assert set(report["rows_per_s"]) == {"service", "drain", "batches", "one_by_one"}
    assert all(rate > 0 for rate in report["rows_per_s"].values())
    assert 350 < report["row_bytes"] < 430
