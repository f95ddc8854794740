"""The images of the tier, built on the stack's engine.

Deliberately does not push anywhere, and does not remove what it built before: a stack that goes down comes up again
without a build, and an engine keeps the image that a running container came from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pulumi
import pulumi_docker as docker

from infra.build_context import image_build
from infra.naming import image_repository

if TYPE_CHECKING:
    from pathlib import Path


class BuiltImage(pulumi.ComponentResource):
    """The image ``name``, one of ``infra.build_context.IMAGES``; ``image_id`` names exactly this build."""

    image_id: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        stack: str,
        root: Path,
        base_image: str,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("aragora:persist:Image", name, None, opts)
        build = image_build(root, name)
        image = docker.RemoteImage(
            name,
            name=f"{image_repository(stack, name)}:{build.digest[:12]}",
            build=docker.RemoteImageBuildArgs(
                context=str(root), dockerfile=build.dockerfile, build_args={"BASE_IMAGE": base_image}
            ),
            triggers={"context": build.digest},
            keep_locally=True,
            # Where the tree lies is no reason to build again: what it holds is in the digest.
            opts=pulumi.ResourceOptions(parent=self, ignore_changes=["build.context"]),
        )
        self.image_id = image.image_id
        self.register_outputs({"image_id": self.image_id})
