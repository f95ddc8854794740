"""The images that `up` deploys, for tests that start them without Pulumi: same Dockerfiles, built when needed.

A name holds the digest of the image's files, so an unchanged tree builds nothing; images stay as the next run's cache.
Those of other digests are removed when they are a day old: until then another checkout's run may be using them.
"""

from __future__ import annotations

import functools
from contextlib import suppress
from datetime import UTC, datetime, timedelta
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
_KEPT = timedelta(days=1)


@functools.cache
def built_image(client: docker.DockerClient, image: str, target: str | None = None) -> str:
    """Return the name of one of the tier's images, or of one of its stages, after building it if need be."""
    build = image_build(ROOT, image)
    name = target or image
    tag = f"{_REPOSITORY}:{name}-{build.digest[:12]}"
    try:
        client.images.get(tag)
    except ImageNotFound:
        bases = {argument: built_image(client, base) for argument, base in build.made_of.items()}
        client.images.build(
            path=str(ROOT), dockerfile=build.dockerfile, buildargs=bases, tag=tag, target=target, rm=True, forcerm=True
        )
    for old in client.images.list(name=_REPOSITORY):
        if datetime.now(UTC) - datetime.fromisoformat(old.attrs["Metadata"]["LastTagTime"]) < _KEPT:
            continue
        for other in old.tags:
            if other.startswith(f"{_REPOSITORY}:{name}-") and other != tag:
                with suppress(APIError):  # another run is using it
                    client.images.remove(other)
    return tag
