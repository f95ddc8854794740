"""What a stack has on the engine is found by its labels, removed by nothing but them, and never another stack's."""

from __future__ import annotations

import secrets
import socket
from typing import TYPE_CHECKING, Any, cast

import pytest
import yaml

from aragora_persist.errors import ConflictError
from infra.naming import image_repository, labels_of, resource_name
from infra.settings import StackSettings, read_settings
from infra.stack.engine import StackOnEngine
from infra.toolchain.environment import REPOSITORY as ROOT
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    import docker
    from docker.models.containers import Container

pytest_plugins = ("tests.image_fixtures",)
pytestmark = pytest.mark.engine


class _Stack:
    """Makes things as the program does, without Pulumi."""

    def __init__(self, client: docker.DockerClient, image: str) -> None:
        self.name = f"unit-{secrets.token_hex(3)}"
        self.on_engine = StackOnEngine(client, self.name)
        self._client = client
        self._image = image

    def container(self, part: str, *command: str, restart: str | None = None) -> Container:
        """Start a container and, where nothing restarts it, wait for its end."""
        container = self._client.containers.run(
            self._image,
            ["python3", "-c", *command],
            name=resource_name(self.name, part),
            labels=labels_of(self.name, part),
            detach=True,
            init=True,
            restart_policy=cast("Any", {"Name": restart} if restart else None),
            network_mode="none",
        )
        if restart is None:
            container.wait(timeout=PATIENCE_S)
        return container

    def starting(self, port: int) -> None:
        """Make a container that is to have this port of the loopback."""
        self._client.containers.create(
            self._image,
            ["true"],
            name=resource_name(self.name, "starting"),
            labels=labels_of(self.name, "starting"),
            ports={"8787/tcp": ("127.0.0.1", port)},
        )

    def network(self) -> str:
        """Make the stack's network; return its id."""
        made = self._client.networks.create(resource_name(self.name), labels=labels_of(self.name, "network"))
        return str(made.id)

    def volume(self) -> str:
        """Make a volume; return its name."""
        name = resource_name(self.name, "data")
        return str(self._client.volumes.create(name, labels=labels_of(self.name, "data")).name)

    def tag(self) -> str:
        """Give the image a name of this stack."""
        self._client.images.get(self._image).tag(image_repository(self.name, "persist"), "abc")
        return f"{image_repository(self.name, 'persist')}:abc"


@pytest.fixture
def stacks(docker_engine: docker.DockerClient, python_image: str) -> Iterator[tuple[_Stack, _Stack]]:
    """Give two stacks, and leave nothing of them."""
    pair = (_Stack(docker_engine, python_image), _Stack(docker_engine, python_image))
    yield pair
    for each in pair:
        each.on_engine.remove_everything()


def test_what_no_state_knows_is_removed_and_the_rest_stays(
    stacks: tuple[_Stack, _Stack], docker_engine: docker.DockerClient
) -> None:
    """Unrecorded containers and networks go, a failed job too; recorded ones, volumes and other stacks stay."""
    stack, other = stacks
    recorded = stack.container("job", "pass")
    failed = stack.container("failed-job", "raise SystemExit(3)")
    stack.container("unrecorded", "import time; time.sleep(60)", restart="unless-stopped")
    stack.network()
    stack.volume()
    theirs = (other.container("job", "raise SystemExit(3)"), other.network())
    removed = stack.on_engine.remove_leftovers({str(recorded.id), str(failed.id)})
    names = [resource_name(stack.name, part) for part in ("failed-job", "unrecorded")]
    assert sorted(removed) == sorted([*names, resource_name(stack.name)])
    assert docker_engine.containers.get(str(recorded.id)).status == "exited"
    assert docker_engine.volumes.get(resource_name(stack.name, "data")).name
    assert docker_engine.containers.get(str(theirs[0].id)).status == "exited"
    assert docker_engine.networks.get(theirs[1]).name == resource_name(other.name)
    assert stack.on_engine.remove_leftovers({str(recorded.id)}) == []


def test_everything_of_a_stack_is_removed_and_nothing_of_another(
    stacks: tuple[_Stack, _Stack], docker_engine: docker.DockerClient
) -> None:
    """Containers, networks, volumes and image names go; the image stays while another name needs it."""
    stack, other = stacks
    for each in stacks:
        each.container("job", "pass")
        each.network()
        each.volume()
        each.tag()
    assert stack.on_engine.volumes() == [resource_name(stack.name, "data")]
    assert len(stack.on_engine.remove_everything()) == 4
    mine: dict[str, str | list[str] | bool] = {"label": f"io.aragora.stack={stack.name}"}
    assert not docker_engine.containers.list(all=True, filters=mine)
    assert not docker_engine.networks.list(filters=mine)
    assert not docker_engine.volumes.list(filters=mine)
    assert not docker_engine.images.list(name=image_repository(stack.name, "persist"))
    assert docker_engine.images.get(f"{image_repository(other.name, 'persist')}:abc").id
    assert len(other.on_engine.remove_everything()) == 4


def test_a_port_that_its_own_container_is_about_to_take_is_the_stacks_own(stacks: tuple[_Stack, _Stack]) -> None:
    """The engine takes a container's port before it says that it runs; for another stack the port is in use."""
    stack, other = stacks
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(ConflictError, match=f"127.0.0.1:{port}: .*in use by another program"):
            stack.on_engine.check_ports(_settings(stack.name, port))
        stack.starting(port)
        stack.on_engine.check_ports(_settings(stack.name, port))
        with pytest.raises(ConflictError, match=f"127.0.0.1:{port}: "):
            other.on_engine.check_ports(_settings(other.name, port))


def _settings(stack: str, port: int) -> StackSettings:
    project = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    # Without the Supabase half: its usual ports are those of a stack that whoever runs the tests may have up.
    wanted = {**{key: value["default"] for key, value in project.items()}, "port": port, "supabase": "none"}
    return read_settings(wanted, stack)


def test_a_container_that_keeps_failing_says_why(stacks: tuple[_Stack, _Stack]) -> None:
    """A service that does not stay up is found with its last words; a job that is done is not sick."""
    stack, _ = stacks
    stack.container("job", "pass")
    service = stack.container("service", "print('no such thing'); raise SystemExit(1)", restart="on-failure")
    service.wait(timeout=PATIENCE_S)
    sick = dict(stack.on_engine.sick())
    assert list(sick) == [resource_name(stack.name, "service")]
    assert "no such thing" in sick[resource_name(stack.name, "service")]
