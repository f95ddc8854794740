"""The images that `up` deploys, for tests that start them without Pulumi: same Dockerfiles, built when needed.

A name holds the digest of the image's files, so an unchanged tree builds nothing; images stay as the next run's cache.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import docker
import pytest
from docker.errors import APIError, ImageNotFound

from infra.build_context import image_build
from infra.toolchain.environment import REPOSITORY as ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

_REPOSITORY = "aragora-persist-test"


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[docker.DockerClient]:
    """Give a client of the engine."""
    client = docker.from_env(timeout=300)
    yield client
    client.close()


@pytest.fixture(scope="session")
def persist_image(docker_engine: docker.DockerClient) -> str:
    """Give the name of the image of the tier."""
    return built_image(docker_engine, "persist")


@pytest.fixture(scope="session")
def python_image(docker_engine: docker.DockerClient) -> str:
    """Give the name of an image with the tier's Python and SQLite and nothing of the tier itself."""
    return built_image(docker_engine, "persist", target="python")


def built_image(client: docker.DockerClient, image: str, target: str | None = None) -> str:
    """Return the name of one of the tier's images, or of one of its stages, after building it if need be."""
    build = image_build(ROOT, image)
    name = target or image
    tag = f"{_REPOSITORY}:{name}-{build.digest[:12]}"
    try:
        client.images.get(tag)
    except ImageNotFound:
        client.images.build(path=str(ROOT), dockerfile=build.dockerfile, tag=tag, target=target, rm=True, forcerm=True)
    for old in client.images.list(name=_REPOSITORY):
        for other in old.tags:
            if other.startswith(f"{_REPOSITORY}:{name}-") and other != tag:
                with suppress(APIError):  # another run is using it
                    client.images.remove(other)
    return tag
