"""The service of a set of SQLite databases: one container that migrates, serves and maintains them.

Deliberately does not own their volume (``data_volumes``), and does not back up: it only shows the backups that
``backup_sidecar`` takes, so that the two fail apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pulumi
import pulumi_docker as docker

from infra.components import secret_files
from infra.components.backup_means import offsite_url
from infra.components.containers import BACKUPS, DATA, always_running, healthcheck, replaced_whole, restricted
from infra.settings import LOOPBACK

if TYPE_CHECKING:
    from infra.components.data_volumes import DataVolumes
    from infra.settings import ServiceSettings, StackSettings

ENCRYPTION_KEY = "encryption_key"
AUDIT_SIGNING_KEY = "audit_signing_key"
SUPABASE_KEY = "supabase_key"
"""The names of its secrets' files."""

_VARIABLES = {
    ENCRYPTION_KEY: "ARAGORA_ENCRYPTION_KEY_FILE",
    AUDIT_SIGNING_KEY: "ARAGORA_AUDIT_SIGNING_KEY_FILE",
    SUPABASE_KEY: "SUPABASE_KEY_FILE",
}
_PORT = 8787
_EVERYWHERE = "0.0.0.0"  # noqa: S104 - in a network of the stack's own; outside it is published on loopback only


class SqliteService(pulumi.ComponentResource):
    """A running service; ``url`` is its page.

    ``supabase_url`` is where the one with the outbox sends its records, with a key among its ``secrets``. It starts
    and works without an answer from there.
    """

    container_name: pulumi.Output[str]
    url: str

    def __init__(
        self,
        service: ServiceSettings,
        *,
        settings: StackSettings,
        image: pulumi.Input[str],
        network: pulumi.Input[str],
        volumes: DataVolumes,
        secrets: secret_files.SecretFiles,
        supabase_url: str | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        name = service.name
        super().__init__("aragora:persist:SqliteService", name, None, opts)
        options = [option for database in service.databases for option in ("--db", database)]
        arguments = restricted(settings.stack, (name,), image, settings.memory_mb)
        arguments["labels"].append(secrets.label)
        envs = [f"NOMIC_DIR={DATA}"] + ([] if supabase_url is None else [f"SUPABASE_URL={supabase_url}"])
        envs += offsite_url(settings.backups)  # by which its page tells what is not there yet
        envs += [f"{_VARIABLES[file]}={secret_files.MOUNT}/{file}" for file in secrets.names]
        container = docker.Container(
            name,
            **arguments,
            **always_running(ready_s=120),
            command=["serve", "--host", _EVERYWHERE, "--port", str(_PORT), "--backups", BACKUPS, *options],
            envs=envs,
            volumes=[
                docker.ContainerVolumeArgs(volume_name=volumes.data, container_path=DATA),
                docker.ContainerVolumeArgs(volume_name=volumes.backups, container_path=BACKUPS, read_only=True),
                secrets.mount,
            ],
            ports=[docker.ContainerPortArgs(internal=_PORT, external=service.port, ip=LOOPBACK)],
            networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=network, aliases=[name])],
            healthcheck=healthcheck("aragora-persist", "serve", "--probe", "--port", str(_PORT)),
            opts=replaced_whole(self),
        )
        self.container_name = container.name
        self.url = f"http://{LOOPBACK}:{service.port}/"
        self.register_outputs({"container_name": self.container_name})
