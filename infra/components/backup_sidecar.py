"""The backups of one SQLite service, taken, proved and shipped by a container beside it; their volume is their own.

The sidecar reads the databases without opening them for writing; their volume is mounted writable all the same, because
SQLite cannot read a database in WAL mode without its shared-memory file. Deliberately does not restore, which an
operator decides.
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

_PROVED_S = 600
"""How long it may take until every database has been backed up and drilled for the first time."""


class BackupSidecar(pulumi.ComponentResource):
    """A running sidecar of ``service``; healthy while every database has a young backup, and a young proof of one."""

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
        name = f"{holder.name}-backup"
        super().__init__("aragora:persist:BackupSidecar", name, None, opts)
        options = [option for database in holder.databases for option in ("--db", database)]
        told = settings.backups
        container = docker.Container(
            name,
            **backs_up(
                name,
                settings=settings,
                image=image,
                volumes={DATA: volumes.data, BACKUPS: volumes.backups},
                envs=[*means.rules(told.interval_s, objective_s=told.objective_s), *means.access()],
                files=means.files(),
                mounts=means.folder(),
                parent=self,
            ),
            **always_running(ready_s=_PROVED_S),
            **means.reached(ships=told.offsite.in_a_bucket),
            command=["backup", "--every", *options],
            healthcheck=healthcheck("aragora-persist", "backups", "--health", *options, start_s=_PROVED_S),
            # After the service's first start, which migrates: there is something to back up.
            opts=replaced_whole(self, service),
        )
        self.container_name = container.name
        self.register_outputs({"container_name": self.container_name})
