"""The Pulumi program of `bare_root.py`: one resource of each kind of plugin, and a container that really runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pulumi_docker as docker
from pulumi.dynamic import CreateResult, Resource, ResourceProvider

if TYPE_CHECKING:
    from pulumi import Input, ResourceOptions

NAME = os.environ["BARE_ROOT_NAME"]


class Echo(ResourceProvider):
    """Creates what it is given."""

    def create(self, props: dict[str, object]) -> CreateResult:
        """Return the properties as outputs."""
        return CreateResult("echo", props)


class Said(Resource):
    """A word."""

    def __init__(self, name: str, word: Input[str], opts: ResourceOptions | None = None) -> None:
        super().__init__(Echo(), name, {"word": word}, opts)


volume = docker.Volume("volume", name=NAME)
Said("said", volume.name)
docker.Container(
    "container",
    name=f"{NAME}-inner",
    image="debian:trixie-slim",
    command=["true"],
    must_run=False,
    attach=True,
    network_mode="bridge",
    volumes=[docker.ContainerVolumeArgs(volume_name=volume.name, container_path="/data")],
)
