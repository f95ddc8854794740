"""Containers of the tier's image through Testcontainers, restricted as `up` restricts them, and surely removed."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, cast

import pytest
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from tests.built_images import RESTRICTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import docker
    from docker.models.volumes import Volume

_LABEL = "io.aragora.test"


@pytest.fixture(autouse=True)
def _no_reaper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do without Testcontainers' own cleaner, an image that not every machine can pull; the fixtures clean up."""
    monkeypatch.setattr(testcontainers_config, "ryuk_disabled", True)


@pytest.fixture
def volume(docker_engine: docker.DockerClient) -> Iterator[Callable[[], str]]:
    """Give a function that makes an empty volume."""
    made: list[Volume] = []

    def make() -> str:
        made.append(docker_engine.volumes.create(f"aragora-persist-test-{secrets.token_hex(6)}"))
        return str(made[-1].name)

    yield make
    for each in made:
        each.remove(force=True)


@pytest.fixture
def start(
    docker_engine: docker.DockerClient,
    persist_image: str,
    volume: Callable[[], str],  # noqa: ARG001 - asked for so that its end comes after this fixture's
) -> Iterator[Callable[..., DockerContainer]]:
    """Give a function that starts a container; all are gone before the volumes go, those that never started too."""
    mine = {_LABEL: secrets.token_hex(6)}

    def start(
        *command: str,
        volumes: dict[str, str] | None = None,
        environment: dict[str, str] | None = None,
        port: int | None = None,
        image: str = persist_image,
        **more: object,
    ) -> DockerContainer:
        container = DockerContainer(image, env=environment, ports=[port] if port else None)
        # docker-py takes a list, which the wrapper's type does not say.
        container.with_kwargs(**RESTRICTED, labels=mine, **more).with_command(cast("str", list(command)))
        container.with_tmpfs_mount("/tmp", "rw,noexec,nosuid,nodev,size=64m")  # noqa: S108 - the container's own
        for name, path in (volumes or {}).items():
            folder, _, mode = path.partition(":")
            container.with_volume_mapping(name, folder, cast("Any", mode or "rw"))
        return container.start()

    yield start
    label = "=".join(*mine.items())
    for container in docker_engine.containers.list(all=True, filters={"label": label}):
        container.remove(force=True, v=True)
