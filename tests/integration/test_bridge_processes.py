"""Whoever is killed, no process stays: the CLI, the host with its program, the plugins with what is below them.

The CLI runs a program that waits for a container which does not end, so that every process is busy when it is killed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from infra.toolchain import bootstrap
from infra.toolchain.bridge import build
from infra.toolchain.parts import pulumi
from infra.toolchain.process import Console
from tests.waiting import PATIENCE_S, is_running, wait_until

from .bridge_support import BASE_IMAGE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker import DockerClient

    from .bridge_support import Plugin

pytest_plugins = ("tests.integration.bridge_fixtures",)
pytestmark = pytest.mark.engine

PROGRAM = """\
import pulumi_docker
pulumi_docker.Container(
    "waits", name={name!r}, image={image!r}, command=["sleep", "600"], network_mode="bridge", attach=True
)
"""
# A resource that a plugin in Python serves, and a program that does not notice that its engine is gone.
DYNAMIC = """
import pathlib, threading, time
from pulumi.dynamic import CreateResult, Resource, ResourceProvider
class Waiting(ResourceProvider):
    def create(self, props):
        pathlib.Path({mark!r}).touch()
        time.sleep(600)
        return CreateResult("waited", props)
class Waits(Resource):
    pass
Waits(Waiting(), "waits-too", {{}})
threading.Thread(target=time.sleep, args=[600]).start()
"""


def below(pid: int) -> dict[int, str]:
    """Return the command lines of all running processes below this one, at whatever depth."""
    commands, parents = {}, {}
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue  # no process, or one that has just ended
        commands[int(entry.name)] = command
    found: dict[int, str] = {}
    generation = {pid}
    while generation:
        generation = {child for child, parent in parents.items() if parent in generation}
        found.update((child, commands[child]) for child in generation if is_running(child))
    return found


def find(marker: str, *, above: int) -> int:
    """Find the one process below another with this text in its command line."""
    [found] = (pid for pid, command in below(above).items() if marker in command)
    return found


@dataclass
class Busy:
    """A run in the middle of a creation, with its processes."""

    cli: subprocess.Popen[str]
    plugin: int
    provider: int
    scratch: Path

    def bound_to_the_cli(self) -> dict[int, str]:
        """Return all that must end with the CLI; a host that somebody put on PATH is not ours to bind to it."""
        found = pulumi.find_host(bootstrap.context_of(os.environ, Console(sys.stderr)))
        assert found is not None
        return below(self.plugin if found.origin == "PATH" else self.cli.pid) | {self.plugin: "the plugin"}

    def signal(self, pid: int, number: signal.Signals) -> str:
        """Send a signal, wait until every process has ended, and answer what the CLI printed."""
        bound = self.bound_to_the_cli()
        os.kill(pid, number)
        output, _ = self.cli.communicate(timeout=PATIENCE_S)
        wait_until(lambda: not any(map(is_running, bound)), f"the end of all of {bound}")
        assert list(self.scratch.glob("aragora-bridge-*")) == []
        assert list(self.scratch.glob("plugin*")) == []
        return output


@contextmanager
def busy(plugin: Plugin, engine: DockerClient, folder: Path, name: str, more: str = "") -> Iterator[Busy]:
    """Start a run, of a program with these lines more, and give it when its container runs."""
    (folder / "state").mkdir()
    (folder / "Pulumi.yaml").write_text("name: bridge-processes\nruntime: python\n")
    (folder / "__main__.py").write_text(PROGRAM.format(name=name, image=BASE_IMAGE) + more)
    with tempfile.TemporaryDirectory() as scratch:  # its path is short enough for the provider's socket
        environment = {
            **plugin.environment,
            "PULUMI_BACKEND_URL": f"file://{folder / 'state'}",
            "TMPDIR": scratch,
        }
        subprocess.run(
            ["pulumi", "stack", "init", "test"], cwd=folder, env=environment, check=True, capture_output=True
        )
        command = ["pulumi", "up", "--yes", "--skip-preview", "--color=never", "--non-interactive"]
        cli = subprocess.Popen(
            command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            wait_until(lambda: bool(engine.containers.list(filters={"name": f"^/{name}$"})), "the container")
            plugin_pid = find(str(plugin.script.parent), above=cli.pid)
            provider_pid = find(str(plugin.provider), above=plugin_pid)
            yield Busy(cli, plugin_pid, provider_pid, Path(scratch))
        finally:
            cli.kill()
            cli.communicate()


def test_killing_the_cli_leaves_no_process(plugin: Plugin, engine: DockerClient, prefix: str, tmp_path: Path) -> None:
    """``kill -9`` of the CLI ends the host, the program, and every plugin, whatever they are at."""
    mark = tmp_path / "waits too"
    with busy(plugin, engine, tmp_path, f"{prefix}-cli", DYNAMIC.format(mark=str(mark))) as run:
        wait_until(mark.exists, "the dynamic resource")
        for part in ("pulumi-language-python", "pulumi-language-python-exec", "-m pulumi.dynamic"):
            assert any(part in command for command in below(run.cli.pid).values()), part
        run.signal(run.cli.pid, signal.SIGKILL)
        assert not is_running(run.plugin)
        assert not is_running(run.provider)


def test_killing_the_plugin_leaves_no_process(
    plugin: Plugin, engine: DockerClient, prefix: str, tmp_path: Path
) -> None:
    """``kill -9`` of the plugin ends the provider, and the run with an error."""
    with busy(plugin, engine, tmp_path, f"{prefix}-plugin") as run:
        run.signal(run.plugin, signal.SIGKILL)
        assert run.cli.returncode != 0


def test_killing_the_provider_is_reported(plugin: Plugin, engine: DockerClient, prefix: str, tmp_path: Path) -> None:
    """When the Terraform provider dies, the resource's diagnostic says so."""
    with busy(plugin, engine, tmp_path, f"{prefix}-provider") as run:
        output = run.signal(run.provider, signal.SIGKILL)
        assert "create: Container waits: the Terraform provider ended (signal SIGKILL)" in output


def test_an_interrupt_cancels_what_is_under_way(
    plugin: Plugin, engine: DockerClient, prefix: str, tmp_path: Path
) -> None:
    """Ctrl-C ends the creation at once, and what it had made by then is in the state."""
    with busy(plugin, engine, tmp_path, f"{prefix}-interrupt") as run:
        output = run.signal(run.cli.pid, signal.SIGINT)  # which waits for less than the container sleeps
        assert "create: Container waits: " in output
        state = json.loads((tmp_path / "state/.pulumi/stacks/bridge-processes/test.json").read_text())
        recorded = {resource.get("id") for resource in state["checkpoint"]["latest"]["resources"]}
        assert engine.containers.get(f"{prefix}-interrupt").id in recorded


def started(command: list[str], plugin: Plugin, **environment: str) -> subprocess.Popen[str]:
    """Start the plugin, or something that starts it, and wait until it serves."""
    variables = {**plugin.environment, **environment}
    process = subprocess.Popen(command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert int(process.stdout.readline()) > 0
    return process


def test_the_plugin_ends_when_its_standard_input_does(plugin: Plugin) -> None:
    """The sign that every platform has."""
    process = started([str(plugin.script)], plugin)
    provider = find(str(plugin.provider), above=process.pid)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert not is_running(provider)


def test_a_temporary_folder_with_a_long_path_is_no_obstacle(plugin: Plugin, tmp_path: Path) -> None:
    """A socket's path is limited to about a hundred bytes, which a TMPDIR may use up by itself."""
    folder = tmp_path / ("long" * 25)
    folder.mkdir()
    process = started([str(plugin.script)], plugin, TMPDIR=str(folder))
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert list(folder.iterdir()) == []


def test_the_plugin_ends_when_its_parent_is_killed(plugin: Plugin) -> None:
    """The kernel's sign, where standard input says nothing."""
    script = f"import subprocess; subprocess.run([{str(plugin.script)!r}], stdin=subprocess.DEVNULL)"
    parent = started([sys.executable, "-c", script], plugin)
    child = find(str(plugin.script.parent), above=parent.pid)
    provider = find(str(plugin.provider), above=child)
    parent.kill()
    parent.communicate()
    wait_until(lambda: not is_running(child) and not is_running(provider), "the end of both")


@pytest.mark.parametrize(
    ("binary", "problem"),
    [("/nonexistent/provider", "cannot start /nonexistent/provider: No such file"), ("/bin/false", "(exit code 1)")],
)
def test_a_provider_that_does_not_start_is_reported(plugin: Plugin, tmp_path: Path, binary: str, problem: str) -> None:
    """The plugin says what is wrong with the provider's binary, and ends."""
    script = build.install_plugin(tmp_path, Path(binary), Path(sys.executable), plugin.stubs)
    done = subprocess.run(
        [script], env=plugin.environment, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    assert done.returncode == 1
    assert problem in done.stderr
    assert done.stdout == ""
