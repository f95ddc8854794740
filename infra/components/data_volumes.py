"""What outlives a stack: the volume with a service's databases, and the volume with their backups.

Deliberately holds no container, so that everything else of a service can be replaced around it. The volumes are
protected, stay on the engine when they leave the state, and no edit of the program replaces them; a volume that is
there already, from a stack whose state was lost, is taken over with what is in it.
"""

from __future__ import annotations

import pulumi
import pulumi_docker as docker

from infra.components.containers import volume_labels
from infra.naming import resource_name


class DataVolumes(pulumi.ComponentResource):
    """The two volumes of one service, by name."""

    data: pulumi.Output[str]
    backups: pulumi.Output[str]

    def __init__(self, service: str, *, stack: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("aragora:persist:DataVolumes", f"{service}-volumes", None, opts)
        self.data = kept_volume(service, "data", stack=stack, parent=self)
        self.backups = kept_volume(service, "backups", stack=stack, parent=self)
        self.register_outputs({"data": self.data, "backups": self.backups})


def kept_volume(holder: str, content: str, *, stack: str, parent: pulumi.Resource) -> pulumi.Output[str]:
    """Declare the volume with the ``content`` of ``holder``; return its name."""
    volume = docker.Volume(
        f"{holder}-{content}",
        name=resource_name(stack, holder, content),
        labels=volume_labels(stack, holder, content),
        opts=pulumi.ResourceOptions(
            parent=parent,
            protect=True,
            retain_on_delete=True,
            ignore_changes=["name", "labels", "driver", "driverOpts"],
        ),
    )
    return volume.name
