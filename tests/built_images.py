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

from aragora_persist.backup.files import locked
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
_BUILD_S = 900.0


def build_image(client: docker.DockerClient, image: str, **arguments: Any) -> None:  # noqa: ANN401 - the engine's own
    """Build an image, one worker at a time: of two builds at once, neither finds what the other has built."""
    dockerfile = ROOT / "docker" / image / "Dockerfile"
    with locked(dockerfile.parent, timeout_s=_BUILD_S, operation="build"):
        client.images.build(
            path=str(ROOT), dockerfile=str(dockerfile.relative_to(ROOT)), rm=True, forcerm=True, **arguments
        )


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
        build_image(client, image, tag=tag, target=target, buildargs=bases)
    for old in client.images.list(name=_REPOSITORY):
        if datetime.now(UTC) - datetime.fromisoformat(old.attrs["Metadata"]["LastTagTime"]) < _KEPT:
            continue
        for other in old.tags:
            if other.startswith(f"{_REPOSITORY}:{name}-") and other != tag:
                with suppress(APIError):  # another run is using it
                    client.images.remove(other)
    return tag
