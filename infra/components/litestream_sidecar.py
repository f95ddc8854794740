"""Litestream beside one SQLite service: ships each transaction within a second, so that any moment can be restored.

It ships to an S3-compatible server, or into the service's volume of backups, in which case it has no network. The same
container is where a moment is restored by hand, with scratch space as large as the databases may be. Deliberately does
not take backups, which a sidecar of their own does: the two fail apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pulumi
import pulumi_docker as docker

from infra.components.containers import (
    BACKUPS,
    DATA,
    always_running,
    healthcheck,
    replaced_whole,
    restricted,
    volume_labels,
)
from infra.naming import resource_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.components.data_volumes import DataVolumes
    from infra.components.secret_files import SecretFiles
    from infra.components.sqlite_service import SqliteService
    from infra.settings import ServiceSettings, StackSettings

LITESTREAM = "litestream"
"""The image that it runs from, and its part of the names."""

HERE = f"file://{BACKUPS}/litestream"
"""Where it ships to that is told of no server: beside the backups."""

_SCRATCH = "/scratch"
_MAX_LAG_S = 60
"""How long something may wait to be shipped before the sidecar counts as sick."""
_STOP_S = 40
"""How long it may take to ship the rest: longer than Litestream is given for it."""


class LitestreamSidecar(pulumi.ComponentResource):
    """A running Litestream beside ``service``; healthy while nothing waits to be shipped for long.

    ``envs`` and ``secrets`` are what the server wants, which is reached through ``network``; None has no network.
    """

    container_name: pulumi.Output[str]

    def __init__(  # noqa: PLR0913 - what a sidecar is made of
        self,
        holder: ServiceSettings,
        *,
        settings: StackSettings,
        image: pulumi.Input[str],
        volumes: DataVolumes,
        service: SqliteService,
        envs: Sequence[pulumi.Input[str]] = (),
        secrets: SecretFiles | None = None,
        network: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        name = f"{holder.name}-{LITESTREAM}"
        super().__init__("aragora:persist:LitestreamSidecar", name, None, opts)
        stack = settings.stack
        scratch = docker.Volume(
            f"{name}-scratch",
            name=resource_name(stack, name, "scratch"),
            labels=volume_labels(stack, name, "scratch"),
            opts=pulumi.ResourceOptions(parent=self, ignore_changes=["labels"]),
        )
        arguments = restricted(stack, (name,), image, settings.memory_mb)
        if secrets is not None:
            arguments["labels"].append(secrets.label)
        options = [option for database in holder.databases for option in ("--db", database)]
        container = docker.Container(
            name,
            **arguments,
            **always_running(ready_s=120, stop_s=_STOP_S),
            command=["replicate", *options],
            envs=[
                f"NOMIC_DIR={DATA}",
                f"ARAGORA_BACKUP_DIR={BACKUPS}",
                f"ARAGORA_BACKUP_RETENTION_DAYS={settings.backup_retention_days}",
                f"ARAGORA_LITESTREAM_URL={settings.litestream_url or HERE}",
                f"TMPDIR={_SCRATCH}",
                *envs,
            ],
            volumes=[
                docker.ContainerVolumeArgs(volume_name=volumes.data, container_path=DATA),
                docker.ContainerVolumeArgs(volume_name=volumes.backups, container_path=BACKUPS),
                docker.ContainerVolumeArgs(volume_name=scratch.name, container_path=_SCRATCH),
                *(() if secrets is None else (secrets.mount,)),
            ],
            **(
                {"network_mode": "none"}
                if network is None
                else {"networks_advanced": [docker.ContainerNetworksAdvancedArgs(name=network)]}
            ),
            healthcheck=healthcheck("aragora-persist", "replicate", "--max-lag", str(_MAX_LAG_S), *options),
            # After the service's first start, which migrates.
            opts=replaced_whole(self, service),
        )
        self.container_name = container.name
        self.register_outputs({"container_name": self.container_name})
