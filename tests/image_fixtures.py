"""The image that `up` deploys, for tests that start it without Pulumi: same Dockerfile, same files, built when needed.

Its name holds the digest of its files, so an unchanged tree builds nothing; the image stays as the next run's cache.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import docker
import pytest
from docker.errors import APIError, ImageNotFound

from infra.build_context import DOCKERFILE, context_digest
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
    return _built(docker_engine, "persist", None)


@pytest.fixture(scope="session")
def python_image(docker_engine: docker.DockerClient) -> str:
    """Give the name of an image with the tier's Python and SQLite and nothing of the tier itself."""
    return _built(docker_engine, "python", "python")


def _built(client: docker.DockerClient, name: str, target: str | None) -> str:
    tag = f"{_REPOSITORY}:{name}-{context_digest(ROOT)[:12]}"
    try:
        client.images.get(tag)
    except ImageNotFound:
        client.images.build(path=str(ROOT), dockerfile=DOCKERFILE, tag=tag, target=target, rm=True, forcerm=True)
    for image in client.images.list(name=_REPOSITORY):
        for old in image.tags:
            if old.startswith(f"{_REPOSITORY}:{name}-") and old != tag:
                with suppress(APIError):  # another run is using it
                    client.images.remove(old)
    return tag
