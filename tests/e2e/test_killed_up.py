"""Two stacks on one engine, and an `up` that is killed half-way."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING

import pytest

from infra.naming import resource_name
from tests.e2e.running_stack import RunningStack, changes, succeeds, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    import docker

pytest_plugins = ("tests.image_fixtures", "tests.e2e.stack_fixtures")
pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]


def test_a_killed_up_is_completed_beside_another_stack(
    stack: RunningStack, docker_engine: docker.DockerClient, tmp_path: Path
) -> None:
    """A port in use is said before anything is made; kill -9 in the middle of `up` leaves nothing in the way."""
    other = RunningStack(docker_engine, tmp_path / "state")
    try:
        succeeds(stack.up(*stack.ports(), "--config", "supabase=none"))
        assert not [name for names in stack.left().values() for name in names if "supabase" in name or "postgr" in name]
        before = stack.ids()
        refused = other.up(*other.ports(), "--config", f"port={stack.port}")
        assert refused.returncode == 1
        assert re.search(rf"127\.0\.0\.1:{stack.port}: .*{resource_name(stack.name, 'sqlite')}.*port=", refused.stderr)
        assert not any(other.left().values())
        _kill_up(other)
        repaired = succeeds(other.up())
        assert "cleared the lock" in repaired
        with other.pulumi() as pulumi:
            assert changes(pulumi.preview(color="never").change_summary) == {}
        assert stack.ids() == before
        succeeds(other.script("down", "--delete-data", "--yes", other.name))
        assert not any(other.left().values())
        assert stack.ids() == before
    finally:
        other.remove()


def _kill_up(stack: RunningStack) -> None:
    """Kill `up` with its whole process group while it waits for the service and the database."""
    running = stack.start_up(*stack.ports())
    try:
        wait_for(lambda: bool(stack.container("sqlite").id), "the service's container")
        wait_for(lambda: bool(stack.container("supabase", "db").id), "the database's container")
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
