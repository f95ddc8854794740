"""The images that `up` deploys, for tests that start them without Pulumi: same Dockerfiles, built when needed.

A name holds the digest of the image's files, so an unchanged tree builds nothing; images stay as the next run's cache.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from docker.errors import APIError, ImageNotFound

from infra.build_context import image_build
from infra.toolchain.environment import REPOSITORY as ROOT

if TYPE_CHECKING:
    import docker

RESTRICTED: dict[str, Any] = {
    "user": "10001:10001",
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "mem_limit": "512m",
    "memswap_limit": "512m",
}
"""How `up` restricts the containers of these images, as the engine's client says it."""

_REPOSITORY = "aragora-persist-test"


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
