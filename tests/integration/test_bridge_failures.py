"""What happens when something is refused, fails half-way, takes too long, or must not be seen.

Each test has a stack of its own with one or two containers of the base image, which start in a moment.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_docker
import pytest
from pulumi import ResourceOptions

from .bridge_support import BASE_IMAGE, Stack, build_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from docker import DockerClient

    from .bridge_support import Plugin

pytest_plugins = ("tests.integration.bridge_fixtures",)
pytestmark = pytest.mark.engine

SECRET = "correct-horse-battery"


class Secret(str):
    """A text that the program passes as a secret; an output can only be made while the program runs."""

    __slots__ = ()


def _as_input(value: Any) -> Any:  # noqa: ANN401 - any argument of the wheel's
    if isinstance(value, Secret):
        return pulumi.Output.secret(str(value))
    return [_as_input(item) for item in value] if isinstance(value, list) else value


class Program:
    """A program that a test changes between runs: the arguments of one container named ``web``."""

    def __init__(self, prefix: str, test: str, **arguments: Any) -> None:  # noqa: ANN401 - any argument of the wheel's
        self.name = f"{prefix}-{test}"
        self.arguments: dict[str, Any] = {"image": BASE_IMAGE, "command": ["sleep", "600"], **arguments}
        self.options = ResourceOptions()

    def __call__(self) -> None:
        """State the container."""
        arguments = {name: _as_input(value) for name, value in self.arguments.items()}
        container = pulumi_docker.Container(
            "web", name=self.name, network_mode="bridge", **arguments, opts=self.options
        )
        pulumi.export("logs", container.container_logs)
        pulumi.export("envs", container.envs)


@pytest.fixture
def stack_of(plugin: Plugin, tmp_path: Path) -> Callable[[Callable[[], None]], Stack]:
    """Give a stack for a program."""
    return lambda program: Stack(plugin, tmp_path / "state", "bridge-failures", program)


def container_id(engine: DockerClient, name: str) -> str | None:
    """Find the running container of a name."""
    found = engine.containers.list(filters={"name": f"^/{name}$", "status": "running"})
    return found[0].id if found else None


def test_an_image_edit_is_truthful_and_a_failing_build_harmless(
    engine: DockerClient, prefix: str, tmp_path: Path, stack_of: Callable[[Callable[[], None]], Stack]
) -> None:
    """The preview shows the container that an edit of its image replaces; when the build fails the old one runs on."""
    name, trigger = f"{prefix}-build", "first"
    folder = build_context(tmp_path / "image", prefix, "LABEL step=first")

    def program() -> None:
        build = pulumi_docker.RemoteImageBuildArgs(context=folder)
        image = pulumi_docker.RemoteImage("image", name=f"{name}:1", build=build, triggers={"context": trigger})
        pulumi_docker.Container("web", name=name, image=image.image_id, command=["sleep", "600"], network_mode="bridge")

    stack = stack_of(program)
    stack.up()
    before = container_id(engine, name)

    build_context(tmp_path / "image", prefix, "RUN echo broken on purpose && false")
    trigger = "second"
    assert stack.preview().kinds() == {"image": "replace", "web": "replace"}
    output = stack.fail()
    assert "create: RemoteImage image: " in output
    assert "echo broken on purpose" in output
    assert before == container_id(engine, name)

    build_context(tmp_path / "image", prefix, "LABEL step=third")
    trigger = "third"
    assert stack.up().kinds() == {"image": "replace", "web": "replace"}
    assert container_id(engine, name) not in {None, before}
    stack.destroy()


def test_an_engine_error_is_one_diagnostic_that_names_the_resource(
    engine: DockerClient, prefix: str, stack_of: Callable[[Callable[[], None]], Stack]
) -> None:
    """A name in use: one line says what was tried, on which resource, and what the engine answered."""
    program = Program(prefix, "taken")
    other = engine.containers.create(BASE_IMAGE, "true", name=program.name)
    stack = stack_of(program)
    output = stack.fail()
    [line] = [line.strip() for line in output.splitlines() if line.strip().startswith("error: create:")]
    assert line.startswith("error: create: Container web: Unable to create container:")
    assert f'The container name "/{program.name}" is already in use' in line
    other.remove()
    assert stack.up().kinds() == {"web": "create"}
    stack.destroy()


def test_wrong_inputs_are_refused_before_the_engine_is_asked(
    engine: DockerClient, prefix: str, stack_of: Callable[[Callable[[], None]], Stack]
) -> None:
    """A preview already names the property and its rule; nothing was made."""
    program = Program(prefix, "wrong", restart="sometimes")
    output = stack_of(program).fail()
    assert "property restart" in output
    assert container_id(engine, program.name) is None


def test_what_the_bridge_does_not_serve_is_said(stack_of: Callable[[Callable[[], None]], Stack]) -> None:
    """A resource and an import beyond its reach end with a sentence, not with a defect."""

    def swarm() -> None:
        pulumi_docker.Secret("swarm", name="swarm", data="")

    def image() -> None:
        pulumi_docker.RemoteImage("found", name=BASE_IMAGE, opts=ResourceOptions(import_="sha256:0"))

    assert "docker:index/secret:Secret is not served by the bridge" in stack_of(swarm).fail()
    assert "read: RemoteImage found: resource docker_image doesn't support import" in stack_of(image).fail()


def test_a_half_made_container_is_recorded_and_replaced(
    engine: DockerClient, prefix: str, stack_of: Callable[[Callable[[], None]], Stack]
) -> None:
    """Past its time limit a creation fails; the container is in the state, and the next run replaces it."""
    program = Program(prefix, "slow", attach=True, must_run=False, logs=True)
    program.options = ResourceOptions(custom_timeouts=pulumi.CustomTimeouts(create="10s"))
    stack = stack_of(program)
    output = stack.fail()  # without a limit: after the container's 600 seconds, which is later than this test may end
    assert "create: Container web: " in output
    assert "what exists will be replaced by the next run" in output
    left = container_id(engine, program.name)
    assert left is not None
    assert left in stack.state()

    program.arguments["command"] = ["echo", "done"]
    program.options = ResourceOptions()
    assert stack.up().kinds() == {"web": "replace"}
    assert stack.outputs()["logs"].value == "done\n"
    assert container_id(engine, program.name) is None
    stack.destroy()


def test_secrets_stay_secret(plugin: Plugin, prefix: str, stack_of: Callable[[Callable[[], None]], Stack]) -> None:
    """Neither an engine's error, nor the log, nor the state shows a secret input, not even a container's own output."""
    program = Program(prefix, "secret", user=Secret(SECRET))
    stack = stack_of(program)
    output = stack.fail()
    assert "unable to find user [secret]" in output
    assert SECRET not in output

    program.arguments |= {"user": None, "attach": True, "must_run": False, "logs": True, "command": ["env"]}
    program.arguments["envs"] = ["PLAIN=seen", Secret(f"PASSWORD={SECRET}")]
    run = stack.up()
    outputs = stack.outputs()
    assert SECRET in outputs["logs"].value
    assert outputs["logs"].secret
    assert outputs["envs"].secret
    log = Path(plugin.environment["ARAGORA_BRIDGE_LOG"]).read_text()
    assert "Create urn:pulumi:test::bridge-failures::" in log
    assert "PLAIN=seen" not in log
    for text in (run.output, stack.state(), log):
        assert SECRET not in text
    stack.destroy()


def test_ignored_changes_are_ignored_and_others_are_not(
    engine: DockerClient, prefix: str, stack_of: Callable[[Callable[[], None]], Stack]
) -> None:
    """Nested paths in the program, and a drift on the engine."""
    healthcheck = {"tests": ["CMD", "true"], "interval": "5s", "retries": 2}
    program = Program(prefix, "ignored", healthcheck=healthcheck, cpu_shares=256)
    program.options = ResourceOptions(ignore_changes=["healthcheck.interval", "cpuShares"])
    stack = stack_of(program)
    stack.up()

    engine.containers.get(program.name).update(cpu_shares=512)
    program.arguments["healthcheck"] = {**healthcheck, "interval": "7s"}
    assert stack.up(refresh=True).kinds() == {}
    assert engine.containers.get(program.name).attrs["HostConfig"]["CpuShares"] == 512

    program.arguments["healthcheck"] = {**healthcheck, "interval": "9s", "retries": 3}
    preview = stack.preview()
    assert preview.kinds() == {"web": "update"}
    assert preview.differences["web"] == {"healthcheck.retries"}

    program.options = ResourceOptions(
        ignore_changes=["healthcheck.interval", "cpuShares"], replace_on_changes=["healthcheck"]
    )
    before = container_id(engine, program.name)
    assert stack.up().kinds() == {"web": "replace"}
    assert container_id(engine, program.name) not in {None, before}
    stack.destroy()


def test_two_plugins_at_once(
    engine: DockerClient, prefix: str, stack_of: Callable[[Callable[[], None]], Stack]
) -> None:
    """Two providers in one run are two plugins; each makes its volume, one of them with an automatic name."""

    def program() -> None:
        host = pulumi.Output.secret("unix:///var/run/docker.sock")
        second = pulumi_docker.Provider("bridge-second", host=host, ssh_opts=["-o", "BatchMode=yes"])
        first = pulumi_docker.Volume(f"{prefix}-first")
        named = pulumi_docker.Volume("second", name=f"{prefix}-second", opts=ResourceOptions(provider=second))
        pulumi.export("names", [first.name, named.name])

    stack = stack_of(program)
    assert stack.up().kinds() == {f"{prefix}-first": "create", "second": "create"}
    automatic, chosen = stack.outputs()["names"].value
    assert automatic.startswith(f"{prefix}-first-")
    assert {volume.name for volume in engine.volumes.list(filters={"name": prefix})} >= {automatic, chosen}
    assert stack.up().kinds() == {}
    stack.destroy()
