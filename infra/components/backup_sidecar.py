"""The backups of one SQLite service: a container beside it, and a protected volume of their own.

The sidecar reads the databases without opening them for writing; their volume is mounted writable all the same, because
SQLite cannot read a database in WAL mode without its shared-memory file. Deliberately does not restore, which an
operator decides, and does not ship backups off the engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pulumi
import pulumi_docker as docker

from infra.components.containers import healthcheck, restricted
from infra.components.sqlite_service import DATA, SqliteService, protected_volume

if TYPE_CHECKING:
    from infra.settings import ServiceSettings

BACKUPS = "/backups"
_LATE_S = 120
"""How much longer than two intervals a backup may take before the sidecar counts as sick."""


class BackupSidecar(pulumi.ComponentResource):
    """A running sidecar of ``service``; healthy when every database has a verified backup that is young enough."""

    container_name: pulumi.Output[str]
    backups_volume: pulumi.Output[str]

    def __init__(
        self,
        settings: ServiceSettings,
        *,
        stack: str,
        image: pulumi.Input[str],
        service: SqliteService,
        interval_s: int,
        retention_days: int,
        memory_mb: int,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        name = f"{settings.name}-backup"
        super().__init__("aragora:persist:BackupSidecar", name, None, opts)
        backups = protected_volume(f"{settings.name}-backups", stack, self)
        options = [option for database in settings.databases for option in ("--db", database)]
        max_age_s = 2 * interval_s + _LATE_S
        container = docker.Container(
            name,
            **restricted(stack, (name,), image, memory_mb),
            command=["backup", "--every", str(interval_s), *options],
            envs=[
                f"NOMIC_DIR={DATA}",
                f"ARAGORA_BACKUP_DIR={BACKUPS}",
                f"ARAGORA_BACKUP_RETENTION_DAYS={retention_days}",
            ],
            volumes=[
                docker.ContainerVolumeArgs(volume_name=service.data_volume, container_path=DATA),
                docker.ContainerVolumeArgs(volume_name=backups.name, container_path=BACKUPS),
            ],
            network_mode="none",
            healthcheck=healthcheck("aragora-persist", "backups", "--max-age", str(max_age_s), *options),
            restart="unless-stopped",
            wait=True,
            wait_timeout=180,
            destroy_grace_seconds=30,
            opts=pulumi.ResourceOptions(
                parent=self,
                # After the service's first start, which migrates: there is something to back up.
                depends_on=[service],
                delete_before_replace=True,
                replace_on_changes=["healthcheck"],
            ),
        )
        self.container_name = container.name
        self.backups_volume = backups.name
        self.register_outputs({"container_name": self.container_name, "backups_volume": self.backups_volume})
