"""Litestream beside one SQLite service: ships each transaction within a second, so that any moment can be restored.

It ships to an S3-compatible server, or into the service's volume of backups, in which case it has no network. The same
container is where a moment is restored by hand, with scratch space as large as the databases may be. Deliberately does
not take backups, which a sidecar of their own does: the two fail apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pulumi
import pulumi_docker as docker

from infra.components.backup_means import backs_up
from infra.components.containers import BACKUPS, DATA, always_running, healthcheck, replaced_whole

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
        url = settings.backups.litestream_url
        options = [option for database in holder.databases for option in ("--db", database)]
        container = docker.Container(
            name,
            **backs_up(
                name,
                settings=settings,
                image=image,
                volumes={DATA: volumes.data, BACKUPS: volumes.backups},
                envs=[
                    f"ARAGORA_BACKUP_RETENTION_DAYS={settings.backups.retention_days}",
                    f"ARAGORA_LITESTREAM_URL={url or HERE}",
                    *(means.bucket_access() if url else ()),
                ],
                files=means.bucket_files() if url else {},
                parent=self,
            ),
            **always_running(ready_s=120, stop_s=_STOP_S),
            **means.reached(ships=bool(url)),
            command=["replicate", *options],
            healthcheck=healthcheck("aragora-persist", "replicate", "--max-lag", str(_MAX_LAG_S), *options),
            # After the service's first start, which migrates.
            opts=replaced_whole(self, service),
        )
        self.container_name = container.name
        self.register_outputs({"container_name": self.container_name})
