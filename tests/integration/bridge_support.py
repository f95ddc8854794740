"""What the bridge's integration tests share: a stack with an inline program, and what a run of it did.

The fixtures are in ``bridge_fixtures``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from pulumi import automation

from infra.toolchain import pins
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pulumi.automation.events import EngineEvent

BASE_IMAGE = pins.BASE_IMAGE
IMAGE_LABEL = "bridge-test"


@dataclass(frozen=True)
class Plugin:
    """The bridge, installed, and the environment of a Pulumi call that uses it."""

    script: Path
    provider: Path
    stubs: Path
    environment: dict[str, str]


@dataclass
class Run:
    """What one Pulumi operation did: per resource its operations and differing paths, and all that was printed."""

    operations: dict[str, set[str]] = field(default_factory=dict)
    differences: dict[str, set[str]] = field(default_factory=dict)
    output: str = ""

    def record(self, event: EngineEvent) -> None:
        """Take in one event of the engine."""
        if event.resource_pre_event is None:
            return
        step = event.resource_pre_event.metadata
        if step.type.startswith("pulumi:"):
            return  # the stack and the providers
        name = step.urn.rsplit("::", 1)[-1]
        self.operations.setdefault(name, set()).add(str(step.op.value))
        self.differences.setdefault(name, set()).update(step.detailed_diff or {})

    def kind(self, name: str) -> str:
        """Return one word for what happened to a resource; a replacement has several operations."""
        operations = self.operations.get(name, {"nothing"})
        for word in ("replace", "create-replacement"):
            if word in operations:
                return "replace"
        return "+".join(sorted(operations - {"refresh"})) or "refresh"

    def kinds(self) -> dict[str, str]:
        """Return ``kind`` for every resource that changed."""
        return {name: kind for name in self.operations if (kind := self.kind(name)) != "same"}


class Stack:
    """A stack with an inline program, on a file backend of its own."""

    def __init__(self, plugin: Plugin, folder: Path, project: str, program: Callable[[], None]) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        options = automation.LocalWorkspaceOptions(
            env_vars={**plugin.environment, "PULUMI_BACKEND_URL": f"file://{folder}"},
            pulumi_command=automation.PulumiCommand(str(_cli_root(plugin))),
            secrets_provider="passphrase",
        )
        self._stack = automation.create_or_select_stack("test", project, program, opts=options)

    def up(self, *, refresh: bool = False) -> Run:
        """Make the stack what the program says."""
        run = Run()
        run.output = self._stack.up(on_event=run.record, refresh=refresh, color="never").stdout
        return run

    def truthful_up(self) -> Run:
        """Preview, then run: nothing may happen that the preview did not say.

        What it did say may fail to happen: an image that is built again may turn out to be the same.
        """
        promised, run = self.preview(), self.up()
        assert run.kinds().items() <= promised.kinds().items(), (run.kinds(), promised.kinds())
        return run

    def preview(self, *, refresh: bool = False) -> Run:
        """Say what a run would do."""
        run = Run()
        run.output = self._stack.preview(on_event=run.record, refresh=refresh, color="never").stdout
        return run

    def fail(self) -> str:
        """Run, expecting a failure; answer all that the CLI printed."""
        with _closed_event_loops():
            try:
                self._stack.up(color="never")
            except automation.CommandError as error:
                return str(error)
        raise AssertionError("the run did not fail")

    def refresh(self) -> Run:
        """Read every resource back."""
        run = Run()
        run.output = self._stack.refresh(on_event=run.record, color="never").stdout
        return run

    def destroy(self) -> Run:
        """Delete every resource."""
        run = Run()
        run.output = self._stack.destroy(on_event=run.record, color="never").stdout
        return run

    def outputs(self) -> automation.OutputMap:
        """Answer the stack's outputs, secrets in plain text."""
        return self._stack.outputs()

    def state(self) -> str:
        """Answer the state file as it lies on disk."""
        return "".join(path.read_text() for path in self._folder.rglob("*.json"))


@contextlib.contextmanager
def _closed_event_loops() -> Iterator[None]:
    """Close the event loops that were made meanwhile: the SDK forgets that of an inline program which failed."""
    made: list[asyncio.AbstractEventLoop] = []
    new_event_loop = asyncio.new_event_loop

    def remembered() -> asyncio.AbstractEventLoop:
        made.append(new_event_loop())
        return made[-1]

    with mock.patch.object(asyncio, "new_event_loop", remembered):
        yield
    wait_until(lambda: not any(loop.is_running() for loop in made), "the end of the event loops")
    for loop in made:
        loop.close()


def _cli_root(plugin: Plugin) -> Path:
    """Find the folder whose ``bin`` holds the CLI: the toolchain's, or the one of a CLI on PATH."""
    for folder in plugin.environment["PATH"].split(os.pathsep):
        if (Path(folder) / "pulumi").is_file():
            return Path(folder).parent
    raise AssertionError("there is no pulumi on the toolchain's PATH: run scripts/bootstrap")


def build_context(folder: Path, prefix: str, *lines: str) -> str:
    """Write a Dockerfile from the base image with these lines more, and answer its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    # The label finds images that have lost their name: the provider leaves those behind.
    lines = (f"FROM {BASE_IMAGE}", f"LABEL {IMAGE_LABEL}={prefix}", *lines)
    (folder / "Dockerfile").write_text("\n".join(lines) + "\n")
    return str(folder)
