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
    from collections.abc import Mapping
    from pathlib import Path


class BuiltImage(pulumi.ComponentResource):
    """The image ``name``, one of ``infra.build_context.IMAGES``; ``image_id`` names exactly this build.

    ``made_of`` are the images of the tier that it starts from, by their names.
    """

    image_id: pulumi.Output[str]
    tag: pulumi.Output[str]
    """What a build that starts from it calls it."""

    def __init__(
        self,
        name: str,
        *,
        stack: str,
        root: Path,
        base_image: str,
        made_of: Mapping[str, BuiltImage] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("aragora:persist:Image", name, None, opts)
        build = image_build(root, name)
        bases = {argument: (made_of or {})[base].tag for argument, base in build.made_of.items()}
        image = docker.RemoteImage(
            name,
            name=f"{image_repository(stack, name)}:{build.digest[:12]}",
            build=docker.RemoteImageBuildArgs(
                context=str(root), dockerfile=build.dockerfile, build_args={"BASE_IMAGE": base_image, **bases}
            ),
            triggers={"context": build.digest},
            keep_locally=True,
            # Where the tree lies is no reason to build again: what it holds is in the digest.
            opts=pulumi.ResourceOptions(parent=self, ignore_changes=["build.context"]),
        )
        self.image_id, self.tag = image.image_id, image.name
        self.register_outputs({"image_id": self.image_id})
