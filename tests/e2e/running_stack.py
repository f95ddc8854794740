"""A stack of the end-to-end test: its own name, ports and state, the real CLI, and nothing left behind."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from docker.errors import NotFound
from pulumi import automation

from infra.naming import STACK_LABEL, resource_name
from infra.stack.engine import StackOnEngine
from infra.stack.files import StackFiles
from infra.stack.pulumi import environment
from infra.toolchain.environment import REPOSITORY as ROOT
from tests.ports import free_ports
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import docker
    from docker.models.containers import Container

_WITHIN_S = 180


class RunningStack:
    """One stack; ``root`` is the tree that its program runs from."""

    def __init__(self, client: docker.DockerClient, state_home: Path, root: Path = ROOT) -> None:
        self.client = client
        self.name = f"e2e-{secrets.token_hex(3)}"
        self.port, self.supabase_port, self.db_port = free_ports(3)
        self._environ = {**os.environ, "XDG_STATE_HOME": str(state_home)}
        self.files = StackFiles(self.name, root=root, state=state_home / "aragora-persist")

    # --- commands -------------------------------------------------------------------------------------------------

    def script(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `scripts/up` or `scripts/down` for this stack, as an operator does."""
        return self._run([str(ROOT / "scripts" / name), self.name, *arguments])

    def up(self, *arguments: str, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
        """Run what `scripts/up` runs after the bootstrap, in the tree ``root``."""
        return self._run([sys.executable, "-m", "infra.stack.up", self.name, *arguments], root)

    def start_up(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the same in a process group of its own."""
        command = [sys.executable, "-m", "infra.stack.up", self.name, *arguments]
        return subprocess.Popen(
            command, cwd=ROOT, env=self._environ, text=True, stdout=subprocess.DEVNULL, start_new_session=True
        )

    def ports(self) -> list[str]:
        """Return the arguments that let `up` publish what it publishes on ports of this stack's own."""
        ports = {"port": self.port, "supabasePort": self.supabase_port, "supabaseDbPort": self.db_port}
        return [argument for key, port in ports.items() for argument in ("--config", f"{key}={port}")]

    @contextlib.contextmanager
    def pulumi(self, root: Path = ROOT) -> Iterator[automation.Stack]:
        """Give the stack as the Automation API sees it, running from ``root``."""
        files = StackFiles(self.name, root=root, state=self.files.folder.parent)
        with files.locked():
            files.write({})
            # The environment is this tree's own: its modules would come first otherwise.
            options = automation.LocalWorkspaceOptions(env_vars={**environment(files), "PYTHONPATH": str(root)})
            yield automation.select_stack(stack_name=self.name, work_dir=str(files.folder), opts=options)

    def _run(self, command: list[str], root: Path = ROOT) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=root, env=self._environ, text=True, capture_output=True, check=False, timeout=600
        )

    # --- containers -----------------------------------------------------------------------------------------------

    def container(self, *parts: str) -> Container:
        """Return one of the stack's containers."""
        return self.client.containers.get(resource_name(self.name, *parts))

    def ids(self) -> dict[str, str]:
        """Return the id of every container of the stack."""
        containers = self.client.containers.list(all=True, filters={"label": f"{STACK_LABEL}={self.name}"})
        return {str(each.name): str(each.id) for each in containers}

    def run(self, part: str, *command: str) -> str:
        """Run a command in a container; it has to succeed."""
        code, output = self.container(*part.split("/")).exec_run(list(command))
        assert isinstance(output, bytes)
        assert code == 0, output.decode()
        return output.decode()

    def ask(self, part: str, *command: str) -> Any:  # noqa: ANN401 - JSON is what it is
        """Run a command of the tier in a container and return its JSON answer."""
        return json.loads(self.run(part, "aragora-persist", *command, "--json"))

    def send(self, part: str, folder: str, archive: bytes) -> None:
        """Unpack a tar archive in a folder of a running container, whose root file system cannot be written."""
        api = self.client.api
        started = api.exec_create(self.container(part).id, ["tar", "-x", "-C", folder], stdin=True)
        stream: Any = api.exec_start(started["Id"], socket=True)  # its public type has no way to send
        try:
            stream._sock.sendall(archive)
            stream._sock.shutdown(socket.SHUT_WR)
            while stream._sock.recv(65536):
                pass
        finally:
            stream._response.close()  # before the socket below it, or newer Pythons complain of a flush
            stream.close()
        assert api.exec_inspect(started["Id"])["ExitCode"] == 0

    def supabase_env(self) -> dict[str, str]:
        """Return what `up` wrote for programs that use the stack's Supabase."""
        lines = self.files.supabase_env.read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def wait_healthy(self, *parts: str) -> None:
        """Wait until a container runs and is healthy."""

        def healthy() -> bool:
            state = self.container(*parts).attrs["State"]
            return bool(state["Running"] and state["Health"]["Status"] == "healthy")

        wait_for(healthy, f"{'-'.join(parts)} to be healthy")

    # --- what is left ---------------------------------------------------------------------------------------------

    def left(self) -> dict[str, list[str]]:
        """Return everything on the engine that belongs to the stack."""
        mine: dict[str, str | list[str] | bool] = {"label": f"{STACK_LABEL}={self.name}"}
        return {
            "containers": sorted(str(each.name) for each in self.client.containers.list(all=True, filters=mine)),
            "volumes": sorted(str(each.name) for each in self.client.volumes.list(filters=mine)),
            "networks": sorted(str(each.name) for each in self.client.networks.list(filters=mine)),
            "images": StackOnEngine(self.client, self.name).image_tags(),
        }

    def remove(self) -> None:
        """Leave nothing on the engine, whatever a failed test left, and say what was wrong with it."""
        on_engine = StackOnEngine(self.client, self.name)
        for container, log in on_engine.sick():
            print(f"last words of {container}:\n{log}")  # noqa: T201 - shown with the failure
        on_engine.remove_everything()


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait until ``condition`` holds; a container that is just not there counts as "not yet"."""

    def holds() -> bool:
        with contextlib.suppress(NotFound):
            return condition()
        return False

    wait_until(holds, what, within_s=_WITHIN_S)


def succeeds(done: subprocess.CompletedProcess[str]) -> str:
    """Return what a command said; it has to have succeeded."""
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def changes(summary: Mapping[automation.OpType, int] | None) -> dict[str, int]:
    """Return the changes that Pulumi counts, without what stayed the same."""
    return {str(kind): count for kind, count in (summary or {}).items() if kind != "same"}
