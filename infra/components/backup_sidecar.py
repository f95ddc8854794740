"""The backups of one SQLite service, taken, proved and shipped by a container beside it; their volume is their own.

The sidecar reads the databases without opening them for writing; their volume is mounted writable all the same, because
SQLite cannot read a database in WAL mode without its shared-memory file. Deliberately does not restore, which an
operator decides.
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
        stack, told = settings.stack, settings.backups
        secrets = secret_files(name, stack=stack, image=image, files=means.files(), parent=self)
        arguments = restricted(stack, (name,), image, settings.memory_mb)
        arguments["labels"] += [] if secrets is None else [secrets.label]
        container = docker.Container(
            name,
            **arguments,
            **always_running(ready_s=_PROVED_S),
            **means.reached(ships=told.offsite.in_a_bucket),
            command=["backup", "--every", *options],
            envs=[
                f"NOMIC_DIR={DATA}",
                f"ARAGORA_BACKUP_DIR={BACKUPS}",
                f"TMPDIR={SCRATCH}",
                *means.rules(told.interval_s, objective_s=told.objective_s),
                *means.access(),
            ],
            volumes=[
                docker.ContainerVolumeArgs(volume_name=volumes.data, container_path=DATA),
                docker.ContainerVolumeArgs(volume_name=volumes.backups, container_path=BACKUPS),
                scratch_volume(name, stack=stack, parent=self),
                *means.folder(),
                *([] if secrets is None else [secrets.mount]),
            ],
            healthcheck=healthcheck("aragora-persist", "backups", "--health", *options, start_s=_PROVED_S),
            # After the service's first start, which migrates: there is something to back up.
            opts=replaced_whole(self, service),
        )
        self.container_name = container.name
        self.register_outputs({"container_name": self.container_name})
