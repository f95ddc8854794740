"""The backups of a Supabase database, the stack's own or a hosted one, taken by a container into a volume of their own.

Each dump is tried out before it counts, in a server that runs beside it in a volume of scratch space: as large as the
database may grow, so not in memory. Deliberately does not restore, which an operator decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pulumi
import pulumi_docker as docker

from infra.components.containers import BACKUPS, always_running, healthcheck, replaced_whole, restricted, volume_labels
from infra.components.data_volumes import kept_volume
from infra.components.secret_files import MOUNT, SecretFiles
from infra.naming import SUPABASE, resource_name

if TYPE_CHECKING:
    from infra.settings import StackSettings

SUPABASE_BACKUP = "supabase_backup"
"""The image that it runs from."""

_SCRATCH = "/scratch"
_URL_FILE = "supabase_db_url"
_PART = "backup"


class SupabaseBackup(pulumi.ComponentResource):
    """A running sidecar of the database at ``database_url``, which is reached through ``network``.

    It is started ``after`` what makes the tables: there is nothing to back up before.
    """

    container_name: pulumi.Output[str]
    backups_volume: pulumi.Output[str]

    def __init__(
        self,
        *,
        settings: StackSettings,
        image: pulumi.Input[str],
        database_url: pulumi.Input[str],
        network: pulumi.Input[str],
        after: pulumi.Resource | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        name = f"{SUPABASE}-{_PART}"
        super().__init__("aragora:persist:SupabaseBackup", name, None, opts)
        stack = settings.stack
        self.backups_volume = kept_volume(SUPABASE, "backups", stack=stack, parent=self)
        scratch = docker.Volume(
            f"{name}-scratch",
            name=resource_name(stack, name, "scratch"),
            labels=volume_labels(stack, name, "scratch"),
            opts=pulumi.ResourceOptions(parent=self, ignore_changes=["labels"]),
        )
        secrets = SecretFiles(
            f"{name}-secrets",
            stack=stack,
            image=image,
            files={_URL_FILE: database_url},
            opts=pulumi.ResourceOptions(parent=self),
        )
        arguments = restricted(stack, (SUPABASE, _PART), image, settings.memory_mb)
        arguments["labels"].append(secrets.label)
        container = docker.Container(
            name,
            **arguments,
            **always_running(ready_s=180),
            command=["backup", "--every", "--db", SUPABASE],
            envs=[
                f"SUPABASE_DB_URL_FILE={MOUNT}/{_URL_FILE}",
                f"ARAGORA_BACKUP_DIR={BACKUPS}",
                f"ARAGORA_BACKUP_INTERVAL_SECONDS={settings.supabase_backup_interval_s}",
                f"ARAGORA_BACKUP_RETENTION_DAYS={settings.backup_retention_days}",
                f"TMPDIR={_SCRATCH}",
            ],
            volumes=[
                docker.ContainerVolumeArgs(volume_name=self.backups_volume, container_path=BACKUPS),
                docker.ContainerVolumeArgs(volume_name=scratch.name, container_path=_SCRATCH),
                secrets.mount,
            ],
            networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=network)],
            healthcheck=healthcheck("aragora-persist", "backups", "--health", "--db", SUPABASE),
            opts=replaced_whole(self, *(() if after is None else (after,))),
        )
        self.container_name = container.name
        self.register_outputs({"container_name": self.container_name, "backups_volume": self.backups_volume})
