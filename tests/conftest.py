"""What holds for every test: no leaked environment, and in CI nothing skipped, deselected or missing."""

from __future__ import annotations

import functools
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import docker
import hypothesis
import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent
IN_CI = os.environ.get("CI", "").lower() == "true"
_not_run: list[str] = []

# The same examples in every run, and no time limit for each of them: a busy machine is no finding.
hypothesis.settings.load_profile("ci")


@functools.cache
def _engine_problem() -> str:
    """Return why no container engine answers, or '' when one does."""
    try:
        client = docker.from_env(timeout=10)
        try:
            client.ping()
        finally:
            client.close()
    except docker.errors.DockerException as error:
        return f"no container engine answers: {error}"
    return ""


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the operator's own settings and databases out of every test."""
    for name in tuple(os.environ):
        ours = name.startswith(("ARAGORA_", "SUPABASE_", "NOMIC_")) or name == "DB_TIMEOUT"
        if ours and name != "ARAGORA_TOOLCHAIN_DIR":
            monkeypatch.delenv(name)
    monkeypatch.setenv("NOMIC_DIR", str(tmp_path_factory.getbasetemp() / "unset-nomic-dir"))


def pytest_configure() -> None:
    """Restore Ctrl-C: a run in a shell's background inherits it ignored, and so would the commands under test."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Ask for the engine where a test needs one: its absence skips on a laptop and fails in CI."""
    if item.get_closest_marker("engine") and (problem := _engine_problem()):
        if IN_CI:
            pytest.fail(problem)
        pytest.skip(problem)


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Remember what was deselected."""
    _not_run.extend(f"deselected: {item.nodeid}" for item in items)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest chain: two workers are done soonest when it is not the last to start."""
    items.sort(key=lambda item: item.nodeid.startswith("tests/e2e/"), reverse=True)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """Take over what a worker did not run: only workers collect, and so deselect."""
    _not_run.extend(getattr(node, "workeroutput", {}).get("not_run", ()))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember what was skipped or expected to fail."""
    if report.skipped or hasattr(report, "wasxfail"):
        _not_run.append(f"skipped: {report.nodeid}: {report.longrepr}")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a CI run in which a test did not run, or whose suite is smaller than the committed minimum."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["not_run"] = [line for line in _not_run if line.startswith("deselected")]
        return
    if not IN_CI or exitstatus != pytest.ExitCode.OK:
        return
    minimum = int((ROOT / ".ci" / "minimum-tests").read_text())
    problems = list(dict.fromkeys(_not_run))
    if session.testscollected < minimum:
        problems.append(f"{session.testscollected} tests were collected, .ci/minimum-tests wants {minimum}")
    if problems:
        print("\nCI refuses this run:", *problems, sep="\n  ")  # noqa: T201 - the report of a CI run is its output
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
