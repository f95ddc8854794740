"""What every container of the tier has in common: a name and labels of its stack, and as few rights as it can run with.

Leaves out: what a container does, which network it is in, and its health; each component says that itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import pulumi_docker as docker

from infra.naming import labels_of, resource_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pulumi

OWNER = "10001"
"""User and group of everything that touches the data."""

DATA = "/data"
"""Where the databases' volume is mounted."""

BACKUPS = "/backups"
"""Where the backups' volume is mounted."""

CHECK_INTERVAL_S = 3
"""How often a health check runs. `up` waits for the first; engines before 25 know no shorter interval at the start."""

_PROCESSES = 512
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


def healthcheck(*command: str) -> docker.ContainerHealthcheckArgs:
    """Return a health check that runs ``command`` in the container."""
    return docker.ContainerHealthcheckArgs(
        tests=["CMD", *command],
        interval=f"{CHECK_INTERVAL_S}s",
        timeout="5s",
        retries=3,
        start_period="1m0s",
    )


def container_labels(stack: str, *parts: str) -> list[docker.ContainerLabelArgs]:
    """Return the labels of a container."""
    return [docker.ContainerLabelArgs(label=key, value=text) for key, text in labels_of(stack, *parts).items()]


def volume_labels(stack: str, *parts: str) -> list[docker.VolumeLabelArgs]:
    """Return the labels of a volume."""
    return [docker.VolumeLabelArgs(label=key, value=text) for key, text in labels_of(stack, *parts).items()]
