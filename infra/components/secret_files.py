"""Secrets as files in a small volume of one service, mounted read-only.

A container that is made but never started carries them there: files can only be uploaded into a container whose own
file system is writable, which no running container of the tier has. Deliberately does not make secrets: a volume that
outlives a stack needs the ones it was written with.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pulumi
import pulumi_docker as docker

from infra.components.containers import container_labels, volume_labels
from infra.naming import resource_name

if TYPE_CHECKING:
    from collections.abc import Mapping

MOUNT = "/run/secrets/aragora"


class SecretFiles(pulumi.ComponentResource):
    """A volume with one file for each secret; mount it read-only at ``MOUNT``.

    A container mounts them as ``mount`` and carries ``label``, which has it replaced when the secrets change; ``names``
    are those of the files.
    """

    names: tuple[str, ...]
    mount: docker.ContainerVolumeArgs
    label: docker.ContainerLabelArgs

    def __init__(
        self,
        name: str,
        *,
        stack: str,
        image: pulumi.Input[str],
        files: Mapping[str, pulumi.Input[str]],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("aragora:persist:SecretFiles", name, None, opts)
        self.names = tuple(files)
        volume = docker.Volume(
            name,
            name=resource_name(stack, name),
            labels=volume_labels(stack, name),
            opts=pulumi.ResourceOptions(parent=self, ignore_changes=["labels"]),
        )
        carrier = docker.Container(
            f"{name}-carrier",
            name=resource_name(stack, name, "carrier"),
            image=image,
            labels=container_labels(stack, name, "carrier"),
            volumes=[docker.ContainerVolumeArgs(volume_name=volume.name, container_path=MOUNT)],
            uploads=[
                # Readable to whoever mounts the volume: giving a file another owner than root fails on some engines.
                docker.ContainerUploadArgs(file=f"{MOUNT}/{file}", content=content, permissions="0444")
                for file, content in files.items()
            ],
            network_mode="none",
            start=False,
            must_run=False,
            # What it carries does not depend on the image that it never runs.
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True, ignore_changes=["image"]),
        )
        # Through the carrier, so that nobody mounts the volume before the files are in it.
        filled = pulumi.Output.all(volume.name, carrier.id).apply(lambda pair: str(pair[0]))
        # Not a secret itself, and kept from being one: it would make all labels beside it secret too.
        fingerprint = pulumi.Output.unsecret(pulumi.Output.all(**files).apply(_fingerprint))
        self.mount = docker.ContainerVolumeArgs(volume_name=filled, container_path=MOUNT, read_only=True)
        self.label = docker.ContainerLabelArgs(label="io.aragora.secrets", value=fingerprint)
        self.register_outputs({"volume_name": filled})


def _fingerprint(files: dict[str, str]) -> str:
    """Return a digest of high-entropy secrets, from which they cannot be guessed."""
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16]
