"""Litestream beside one SQLite service: ships each transaction within a second, so that any moment can be restored.

It ships to an S3-compatible server, or into the service's volume of backups, in which case it has no network. The same
container is where a moment is restored by hand, with scratch space as large as the databases may be. Deliberately does
not take backups, which a sidecar of their own does: the two fail apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pulumi
import pulumi_docker as docker

from infra.components.backup_means import SCRATCH, scratch_volume, secret_files
from infra.components.containers import BACKUPS, DATA, always_running, healthcheck, replaced_whole, restricted

if TYPE_CHECKING:
    from infra.components.backup_means import BackupMeans
    from infra.components.data_volumes import DataVolumes
    from infra.components.sqlite_service import SqliteService
    from infra.settings import ServiceSettings, StackSettings

LITESTREAM = "litestream"
"""The image that it runs from, and its part of the names."""

HERE = f"file://{BACKUPS}/litestream"
"""Where it ships to that is told of no server: beside the backups."""

_MAX_LAG_S = 60
"""How long something may wait to be shipped before the sidecar counts as sick."""
_STOP_S = 40
"""How long it may take to ship the rest: longer than Litestream is given for it."""


class LitestreamSidecar(pulumi.ComponentResource):
    """A running Litestream beside ``service``; healthy while nothing waits to be shipped for long."""

    container_name: pulumi.Output[str]

    def __init__(
        self,
        holder: ServiceSettings,
        *,
        settings: StackSettings,
        image: pulumi.Input[str],
        volumes: DataVolumes,
        service: SqliteService,
        means: BackupMeans,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        name = f"{holder.name}-{LITESTREAM}"
        super().__init__("aragora:persist:LitestreamSidecar", name, None, opts)
        stack, url = settings.stack, settings.backups.litestream_url
        files = means.bucket_files() if url else {}
        secrets = secret_files(name, stack=stack, image=image, files=files, parent=self)
        arguments = restricted(stack, (name,), image, settings.memory_mb)
        arguments["labels"] += [] if secrets is None else [secrets.label]
        options = [option for database in holder.databases for option in ("--db", database)]
        container = docker.Container(
            name,
            **arguments,
            **always_running(ready_s=120, stop_s=_STOP_S),
            command=["replicate", *options],
            envs=[
                f"NOMIC_DIR={DATA}",
                f"ARAGORA_BACKUP_DIR={BACKUPS}",
                f"ARAGORA_BACKUP_RETENTION_DAYS={settings.backups.retention_days}",
                f"ARAGORA_LITESTREAM_URL={url or HERE}",
                f"TMPDIR={SCRATCH}",
                *(means.bucket_access() if url else ()),
            ],
            volumes=[
                docker.ContainerVolumeArgs(volume_name=volumes.data, container_path=DATA),
                docker.ContainerVolumeArgs(volume_name=volumes.backups, container_path=BACKUPS),
                scratch_volume(name, stack=stack, parent=self),
                *([] if secrets is None else [secrets.mount]),
            ],
            **means.reached(ships=bool(url)),
            healthcheck=healthcheck("aragora-persist", "replicate", "--max-lag", str(_MAX_LAG_S), *options),
            # After the service's first start, which migrates.
            opts=replaced_whole(self, service),
        )
        self.container_name = container.name
        self.register_outputs({"container_name": self.container_name})
