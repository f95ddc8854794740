"""What every container of the tier has in common: a name and labels of its stack, and as few rights as it can run with.

Leaves out: what a container does, which network it is in, and its health; each component says that itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import pulumi
import pulumi_docker as docker

from infra.naming import labels_of, resource_name

if TYPE_CHECKING:
    from collections.abc import Sequence

OWNER = "10001"
"""User and group of everything that touches the data."""

DATA = "/data"
"""Where the databases' volume is mounted."""

BACKUPS = "/backups"
"""Where the backups' volume is mounted."""

CHECK_INTERVAL_S = 3
"""How often a health check runs. `up` waits for the first; engines before 25 know no shorter interval at the start."""

_PROCESSES = 4096
"""The kernel counts all processes of the user, those in other containers and stacks included."""

_TMP_SIZE = "256m"


class Restricted(TypedDict):
    """The arguments of ``docker.Container`` that hold for every container."""

    name: str
    image: pulumi.Input[str]
    labels: list[docker.ContainerLabelArgs]
    user: str
    read_only: bool
    tmpfs: dict[str, str]
    capabilities: docker.ContainerCapabilitiesArgs
    security_opts: list[str]
    memory: int
    memory_swap: int
    ulimits: list[docker.ContainerUlimitArgs]
    log_driver: str
    log_opts: dict[str, str]


def restricted(stack: str, parts: Sequence[str], image: pulumi.Input[str], memory_mb: int) -> Restricted:
    """Return the shared arguments of the container ``aragora-<stack>-<parts>``."""
    return {
        "name": resource_name(stack, *parts),
        "image": image,
        "labels": container_labels(stack, *parts),
        "user": f"{OWNER}:{OWNER}",
        "read_only": True,
        "tmpfs": {"/tmp": f"rw,noexec,nosuid,nodev,size={_TMP_SIZE}"},  # noqa: S108 - the container's own
        "capabilities": docker.ContainerCapabilitiesArgs(drops=["ALL"]),
        "security_opts": ["no-new-privileges:true"],
        "memory": memory_mb,
        "memory_swap": memory_mb,
        # The provider cannot set the pids limit of a container; this bounds what its user may start.
        "ulimits": [docker.ContainerUlimitArgs(name="nproc", soft=_PROCESSES, hard=_PROCESSES)],
        "log_driver": "json-file",
        "log_opts": {"max-size": "10m", "max-file": "3"},
    }


class AlwaysRunning(TypedDict):
    """The arguments of ``docker.Container`` for one that does not end by itself."""

    restart: str
    wait: bool
    wait_timeout: int
    stop_timeout: int
    destroy_grace_seconds: int


def always_running(*, ready_s: int, stop_s: int = 30) -> AlwaysRunning:
    """Return the arguments of a container that `up` waits ``ready_s`` for to be healthy.

    ``stop_s`` is how long it may take to stop, whoever stops it.
    """
    return {
        "restart": "unless-stopped",
        "wait": True,
        "wait_timeout": ready_s,
        "stop_timeout": stop_s,
        "destroy_grace_seconds": stop_s,
    }


def healthcheck(*command: str, start_s: int = 60) -> docker.ContainerHealthcheckArgs:
    """Return a health check that runs ``command`` in the container; its failures count after ``start_s``."""
    return docker.ContainerHealthcheckArgs(
        tests=["CMD", *command],
        interval=f"{CHECK_INTERVAL_S}s",
        timeout="5s",
        retries=3,
        start_period=f"{start_s // 60}m{start_s % 60}s",
    )


def replaced_whole(parent: pulumi.Resource, *after: pulumi.Resource) -> pulumi.ResourceOptions:
    """Return the options of a container that is started ``after`` others.

    Its name is fixed, so the old one has to go first; and an edited health check changes nothing in a running one.
    """
    return pulumi.ResourceOptions(
        parent=parent, depends_on=after, delete_before_replace=True, replace_on_changes=["healthcheck"]
    )


def container_labels(stack: str, *parts: str) -> list[docker.ContainerLabelArgs]:
    """Return the labels of a container."""
    return [docker.ContainerLabelArgs(label=key, value=text) for key, text in labels_of(stack, *parts).items()]


def volume_labels(stack: str, *parts: str) -> list[docker.VolumeLabelArgs]:
    """Return the labels of a volume."""
    return [docker.VolumeLabelArgs(label=key, value=text) for key, text in labels_of(stack, *parts).items()]
