"""The backups of one SQLite service, taken by a container beside it into a volume of their own.

The sidecar reads the databases without opening them for writing; their volume is mounted writable all the same, because
SQLite cannot read a database in WAL mode without its shared-memory file. Deliberately does not restore, which an
operator decides, and does not ship backups off the engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pulumi
import pulumi_docker as docker

from infra.components.containers import BACKUPS, DATA, always_running, healthcheck, replaced_whole, restricted

if TYPE_CHECKING:
    from infra.components.data_volumes import DataVolumes
    from infra.components.sqlite_service import SqliteService
    from infra.settings import ServiceSettings, StackSettings

_LATE_S = 120
"""How much longer than two intervals a backup may take before the sidecar counts as sick."""


class BackupSidecar(pulumi.ComponentResource):
    """A running sidecar of ``service``; healthy when every database has a verified backup that is young enough."""

    container_name: pulumi.Output[str]

    def __init__(
        self,
        holder: ServiceSettings,
        *,
        settings: StackSettings,
        image: pulumi.Input[str],
        volumes: DataVolumes,
        service: SqliteService,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        name = f"{holder.name}-backup"
        super().__init__("aragora:persist:BackupSidecar", name, None, opts)
        options = [option for database in holder.databases for option in ("--db", database)]
        max_age_s = 2 * settings.backup_interval_s + _LATE_S
        container = docker.Container(
            name,
            **restricted(settings.stack, (name,), image, settings.memory_mb),
            **always_running(ready_s=180),
            command=["backup", "--every", str(settings.backup_interval_s), *options],
            envs=[
                f"NOMIC_DIR={DATA}",
                f"ARAGORA_BACKUP_DIR={BACKUPS}",
                f"ARAGORA_BACKUP_RETENTION_DAYS={settings.backup_retention_days}",
            ],
            volumes=[
                docker.ContainerVolumeArgs(volume_name=volumes.data, container_path=DATA),
                docker.ContainerVolumeArgs(volume_name=volumes.backups, container_path=BACKUPS),
            ],
            network_mode="none",
            healthcheck=healthcheck("aragora-persist", "backups", "--max-age", str(max_age_s), *options),
            # After the service's first start, which migrates: there is something to back up.
            opts=replaced_whole(self, service),
        )
        self.container_name = container.name
        self.register_outputs({"container_name": self.container_name})
