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
        self.data = self._volume(service, "data", stack)
        self.backups = self._volume(service, "backups", stack)
        self.register_outputs({"data": self.data, "backups": self.backups})

    def _volume(self, service: str, content: str, stack: str) -> pulumi.Output[str]:
        volume = docker.Volume(
            f"{service}-{content}",
            name=resource_name(stack, service, content),
            labels=volume_labels(stack, service, content),
            opts=pulumi.ResourceOptions(
                parent=self,
                protect=True,
                retain_on_delete=True,
                ignore_changes=["name", "labels", "driver", "driverOpts"],
            ),
        )
        return volume.name
