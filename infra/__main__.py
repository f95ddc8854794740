"""The Pulumi program: settings → components → exports, nothing else."""

from __future__ import annotations

from pathlib import Path

import pulumi
import pulumi_docker as docker

from aragora_persist.errors import PersistError
from infra.components.backup_sidecar import BackupSidecar
from infra.components.data_volumes import DataVolumes
from infra.components.images import BuiltImage
from infra.components.library_volume import LibraryVolume
from infra.components.secret_files import SecretFiles
from infra.components.sqlite_service import SqliteService
from infra.naming import labels_of, resource_name
from infra.settings import StackSettings, encryption_key, settings_of_program

ROOT = Path(__file__).resolve().parent.parent


def declare(settings: StackSettings, key: pulumi.Output[str]) -> None:
    """Declare everything that the stack consists of."""
    stack, memory_mb = settings.stack, settings.memory_mb
    image = BuiltImage("persist", stack=stack, root=ROOT, base_image=settings.base_image).image_id
    library = LibraryVolume("library", stack=stack, image=image, memory_mb=memory_mb)
    network = docker.Network(
        "network",
        name=resource_name(stack),
        labels=[
            docker.NetworkLabelArgs(label=label, value=text) for label, text in labels_of(stack, "network").items()
        ],
    )
    services = {}
    for each in settings.services:
        volumes = DataVolumes(each.name, stack=stack)
        secrets = SecretFiles(f"{each.name}-secrets", stack=stack, image=image, files={"encryption_key": key})
        service = SqliteService(
            each, settings=settings, image=image, network=network.name, volumes=volumes, secrets=secrets
        )
        sidecar = BackupSidecar(each, settings=settings, image=image, volumes=volumes, service=service)
        services[each.name] = {
            "url": service.url,
            "databases": list(each.databases),
            "container": service.container_name,
            "sidecar": sidecar.container_name,
            "data_volume": volumes.data,
            "backups_volume": volumes.backups,
        }
    pulumi.export("image", image)
    pulumi.export("library", {"volume": library.volume_name, "release": library.release})
    pulumi.export("services", services)


def main() -> None:
    """Run the program; what is wrong with the configuration is said in one line, without a traceback."""
    config = pulumi.Config()
    try:
        settings, key = settings_of_program(config, pulumi.get_stack()), encryption_key(config)
    except PersistError as error:
        raise pulumi.RunError(str(error)) from None
    declare(settings, key)


main()
