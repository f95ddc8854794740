"""The engine, and the tier's own image, as fixtures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import docker
import pytest

from tests.built_images import built_image

if TYPE_CHECKING:
    from collections.abc import Iterator


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
