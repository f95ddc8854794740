"""The library in a volume, for services that mount it read-only and put a release on their PYTHONPATH.

A job copies the library out of the image: each release under its content's digest, ``current`` a link to the newest,
older ones kept for the services that run from them. Deliberately does not restart such services, and does not protect
the volume: it holds nothing that the image cannot publish again.
"""

from __future__ import annotations

import pulumi
import pulumi_docker as docker

from infra.components.containers import restricted, volume_labels
from infra.naming import resource_name

MOUNT = "/library"


class LibraryVolume(pulumi.ComponentResource):
    """A volume with the library of ``image``; ``release`` is its folder where the volume is mounted at /library."""

    volume_name: pulumi.Output[str]
    release: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        stack: str,
        image: pulumi.Input[str],
        memory_mb: int,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("aragora:persist:LibraryVolume", name, None, opts)
        volume = docker.Volume(
            name,
            name=resource_name(stack, name),
            labels=volume_labels(stack, name),
            opts=pulumi.ResourceOptions(parent=self, ignore_changes=["labels"]),
        )
        job = docker.Container(
            f"{name}-publish",
            **restricted(stack, (name, "publish"), image, memory_mb),
            entrypoints=["publish-library"],
            command=["/opt/aragora/lib", MOUNT],
            volumes=[docker.ContainerVolumeArgs(volume_name=volume.name, container_path=MOUNT)],
            network_mode="none",
            must_run=False,
            attach=True,
            logs=True,
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
        )
        self.volume_name = volume.name
        self.release = pulumi.Output.all(job.name, job.exit_code, job.container_logs).apply(_release)
        self.register_outputs({"volume_name": self.volume_name, "release": self.release})


def _release(result: list[object]) -> str:
    """Return the folder that the job printed; a job that failed does not fail `up` by itself."""
    name, exit_code, logs = result
    if exit_code:
        raise pulumi.RunError(
            f"publish library: {name} ended with exit code {exit_code}: {str(logs).strip()} "
            "(scripts/up runs it again; by hand: docker rm it, then pulumi up)"
        )
    return str(logs).strip()
