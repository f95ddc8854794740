"""The backups of a Supabase database, the stack's own or a hosted one, taken by a container into a volume of their own.

Each dump is tried out before it counts, in a server that runs beside it in a volume of scratch space: as large as the
database may grow, so not in memory. Deliberately does not restore, which an operator decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pulumi
import pulumi_docker as docker

from infra.components.backup_means import backs_up
from infra.components.containers import BACKUPS, always_running, healthcheck, replaced_whole
from infra.components.data_volumes import kept_volume
from infra.components.secret_files import MOUNT
from infra.naming import SUPABASE

if TYPE_CHECKING:
    from infra.components.backup_means import BackupMeans
    from infra.settings import StackSettings

SUPABASE_BACKUP = "supabase_backup"
"""The image that it runs from."""

_URL_FILE = "supabase_db_url"
_READY_S = 1800
"""Healthy is when the first backup was taken and proved, and a hosted database may be large and far away."""


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
        means: BackupMeans,
        after: pulumi.Resource | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        name = f"{SUPABASE}-backup"
        super().__init__("aragora:persist:SupabaseBackup", name, None, opts)
        self.backups_volume = kept_volume(SUPABASE, "backups", stack=settings.stack, parent=self)
        container = docker.Container(
            name,
            **backs_up(
                name,
                settings=settings,
                image=image,
                volumes={BACKUPS: self.backups_volume},
                envs=[
                    f"SUPABASE_DB_URL_FILE={MOUNT}/{_URL_FILE}",
                    *means.rules(settings.backups.supabase_interval_s),
                    *means.access(),
                ],
                files={_URL_FILE: database_url, **means.files()},
                mounts=means.folder(),
                parent=self,
            ),
            **always_running(ready_s=_READY_S),
            **means.reached(ships=settings.backups.offsite.in_a_bucket, inside=network),
            command=["backup", "--every", "--db", SUPABASE],
            healthcheck=healthcheck("aragora-persist", "backups", "--health", "--db", SUPABASE),
            opts=replaced_whole(self, *(() if after is None else (after,))),
        )
        self.container_name = container.name
        self.register_outputs({"container_name": self.container_name, "backups_volume": self.backups_volume})
