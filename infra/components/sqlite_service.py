"""A set of SQLite databases: one protected volume, and one container that migrates, serves and maintains them.

Deliberately does not back up (``backup_sidecar`` does, so that the two fail apart), and never replaces the volume: it
is protected, stays on the engine whatever happens to the stack, and no edit of this file changes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pulumi
import pulumi_docker as docker

from infra.components import secret_files
from infra.components.containers import healthcheck, restricted, volume_labels
from infra.naming import resource_name

if TYPE_CHECKING:
    from infra.settings import ServiceSettings

DATA = "/data"
LOOPBACK = "127.0.0.1"
_PORT = 8787


def protected_volume(name: str, stack: str, parent: pulumi.Resource) -> docker.Volume:
    """Declare a volume that no command of Pulumi's deletes or replaces."""
    return docker.Volume(
        name,
        name=resource_name(stack, name),
        labels=volume_labels(stack, name),
        opts=pulumi.ResourceOptions(
            parent=parent,
            protect=True,
            retain_on_delete=True,
            ignore_changes=["name", "labels", "driver", "driverOpts"],
        ),
    )


class SqliteService(pulumi.ComponentResource):
    """A running service; ``url`` is its page, ``data_volume`` the volume with the databases."""

    container_name: pulumi.Output[str]
    data_volume: pulumi.Output[str]
    url: str

    def __init__(
        self,
        service: ServiceSettings,
        *,
        stack: str,
        image: pulumi.Input[str],
        network: pulumi.Input[str],
        secrets: secret_files.SecretFiles,
        memory_mb: int,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        name = service.name
        super().__init__("aragora:persist:SqliteService", name, None, opts)
        data = protected_volume(f"{name}-data", stack, self)
        options = [option for database in service.databases for option in ("--db", database)]
        arguments = restricted(stack, (name,), image, memory_mb)
        arguments["labels"].append(docker.ContainerLabelArgs(label="io.aragora.secrets", value=secrets.fingerprint))
        container = docker.Container(
            name,
            **arguments,
            command=["serve", "--host", "0.0.0.0", "--port", str(_PORT), *options],  # noqa: S104 - its own network's
            envs=[f"NOMIC_DIR={DATA}", f"ARAGORA_ENCRYPTION_KEY_FILE={secret_files.MOUNT}/encryption_key"],
            volumes=[
                docker.ContainerVolumeArgs(volume_name=data.name, container_path=DATA),
                docker.ContainerVolumeArgs(
                    volume_name=secrets.volume_name, container_path=secret_files.MOUNT, read_only=True
                ),
            ],
            ports=[docker.ContainerPortArgs(internal=_PORT, external=service.port, ip=LOOPBACK)],
            networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=network, aliases=[name])],
            healthcheck=healthcheck("aragora-persist", "serve", "--probe", "--port", str(_PORT)),
            restart="unless-stopped",
            wait=True,
            wait_timeout=120,
            destroy_grace_seconds=30,
            # An edited health check updates nothing in a running container.
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True, replace_on_changes=["healthcheck"]),
        )
        self.container_name = container.name
        self.data_volume = data.name
        self.url = f"http://{LOOPBACK}:{service.port}/"
        self.register_outputs({"container_name": self.container_name, "data_volume": self.data_volume})
