"""The fixture of the end-to-end tests, loaded as a pytest plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from infra.toolchain.environment import pulumi_environment
from tests.e2e.running_stack import RunningStack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import docker


@pytest.fixture
def stack(
    docker_engine: docker.DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunningStack]:
    """Give a stack that is not up yet, and leave nothing of it on the engine."""
    # The Automation API looks for the CLI on this process's own PATH.
    monkeypatch.setenv("PATH", pulumi_environment()["PATH"])
    running = RunningStack(docker_engine, tmp_path / "state")
    yield running
    running.remove()
