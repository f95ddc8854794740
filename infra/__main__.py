"""The Pulumi program: settings → components → exports, nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pulumi

from aragora_persist.errors import PersistError
from infra.components.backup_means import BackupMeans
from infra.components.backup_sidecar import BackupSidecar
from infra.components.data_volumes import DataVolumes
from infra.components.images import BuiltImage
from infra.components.library_volume import LibraryVolume
from infra.components.litestream_sidecar import LITESTREAM, LitestreamSidecar
from infra.components.networks import stack_network
from infra.components.secret_files import SecretFiles
from infra.components.sqlite_service import AUDIT_SIGNING_KEY, ENCRYPTION_KEY, SUPABASE_KEY, SqliteService
from infra.components.supabase_backup import SUPABASE_BACKUP, SupabaseBackup
from infra.components.supabase_stack import URL_IN_NETWORK, SupabaseImages, SupabaseStack
from infra.naming import SUPABASE
from infra.resources.supabase_schema import SupabaseSchema
from infra.settings import (
    backup_secrets,
    database_secrets,
    hosted_database_url,
    settings_of_program,
    supabase_secrets,
)

if TYPE_CHECKING:
    from infra.settings import (
        BackupSecrets,
        DatabaseSecrets,
        ServiceSettings,
        StackSettings,
        SupabaseSecrets,
        SupabaseSettings,
    )

ROOT = Path(__file__).resolve().parent.parent
_OFFSITE = "offsite"
"""The network that leads to the bucket, and its part of the name."""
_OUTBOX = "outbox"
_USERS = "users"
"""The database with the audit log."""


def declare(
    settings: StackSettings,
    keys: DatabaseSecrets,
    backups: BackupSecrets,
    supabase: SupabaseSecrets | None,
    hosted_db_url: pulumi.Output[str] | None,
) -> None:
    """Declare everything that the stack consists of; neither half waits for the other."""
    persist, network = _built("persist", settings), stack_network(settings.stack)
    image = persist.image_id
    library = LibraryVolume("library", stack=settings.stack, image=image, memory_mb=settings.memory_mb)
    litestream = _built(LITESTREAM, settings, persist=persist).image_id if settings.backups.litestream else None
    way_out = stack_network(settings.stack, _OFFSITE) if settings.backups.uses_a_bucket else None
    means = BackupMeans(settings=settings.backups, secrets=backups, network=way_out)
    services = {}
    for each in settings.services:
        files = {ENCRYPTION_KEY: keys.encryption_key}
        if _USERS in each.databases:
            files[AUDIT_SIGNING_KEY] = keys.audit_signing_key
        if supabase is not None and _OUTBOX in each.databases:
            files[SUPABASE_KEY] = supabase.service_key
        services[each.name] = _service(each, settings, image, network, files, means, litestream)
    pulumi.export("image", image)
    pulumi.export("library", {"volume": library.volume_name, "release": library.release})
    pulumi.export("services", services)
    if settings.supabase is not None and supabase is not None:
        pulumi.export("supabase", _supabase(settings.supabase, settings, supabase, network, means, persist))
    elif hosted_db_url is not None:
        pulumi.export("supabase", _hosted(hosted_db_url, settings, means, persist))


def _service(
    each: ServiceSettings,
    settings: StackSettings,
    image: pulumi.Output[str],
    network: pulumi.Output[str],
    files: dict[str, pulumi.Output[str]],
    means: BackupMeans,
    litestream: pulumi.Output[str] | None,
) -> dict[str, object]:
    """Declare a service with its volumes, its secrets and its sidecars; return what is exported of it."""
    volumes = DataVolumes(each.name, stack=settings.stack)
    secrets = SecretFiles(f"{each.name}-secrets", stack=settings.stack, image=image, files=files)
    service = SqliteService(
        each,
        settings=settings,
        image=image,
        network=network,
        volumes=volumes,
        secrets=secrets,
        supabase_url=URL_IN_NETWORK if SUPABASE_KEY in files else None,
    )
    sidecar = BackupSidecar(each, settings=settings, image=image, volumes=volumes, service=service, means=means)
    exported: dict[str, object] = {
        "url": service.url,
        "databases": list(each.databases),
        "container": service.container_name,
        "sidecar": sidecar.container_name,
        "data_volume": volumes.data,
        "backups_volume": volumes.backups,
    }
    if litestream is not None:
        shipper = LitestreamSidecar(
            each, settings=settings, image=litestream, volumes=volumes, service=service, means=means
        )
        exported["litestream"] = shipper.container_name
    return exported


def _supabase(
    at: SupabaseSettings,
    settings: StackSettings,
    secrets: SupabaseSecrets,
    network: pulumi.Output[str],
    means: BackupMeans,
    persist: BuiltImage,
) -> dict[str, object]:
    """Declare the stack's own Supabase with its schema and its backups; return what is exported of it."""
    postgres = _built("postgres", settings)
    images = SupabaseImages(
        postgres=postgres.image_id,
        postgrest=_built("postgrest", settings).image_id,
        gateway=_built("gateway", settings).image_id,
    )
    supabase = SupabaseStack(at, settings=settings, images=images, secrets=secrets, network=network)
    schema = SupabaseSchema(
        "supabase-schema",
        supabase.database_url,
        opts=pulumi.ResourceOptions(parent=supabase, depends_on=[supabase.database]),
    )
    backup = SupabaseBackup(
        settings=settings,
        image=_built(SUPABASE_BACKUP, settings, persist=persist, postgres=postgres).image_id,
        database_url=supabase.inside_url,
        network=supabase.inside,
        means=means,
        after=schema,
    )
    return {
        "url": at.url,
        "database_port": at.db_port,
        "data_volume": supabase.data_volume,
        "migrations": schema.migrations.apply(sorted),
        "sidecar": backup.container_name,
        "backups_volume": backup.backups_volume,
    }


def _hosted(
    database_url: pulumi.Output[str], settings: StackSettings, means: BackupMeans, persist: BuiltImage
) -> dict[str, object]:
    """Declare the backups of a hosted Supabase; return what is exported of them."""
    image = _built(SUPABASE_BACKUP, settings, persist=persist, postgres=_built("postgres", settings)).image_id
    network = stack_network(settings.stack, SUPABASE, "hosted")
    backup = SupabaseBackup(settings=settings, image=image, database_url=database_url, network=network, means=means)
    return {"sidecar": backup.container_name, "backups_volume": backup.backups_volume}


def _built(name: str, settings: StackSettings, **made_of: BuiltImage) -> BuiltImage:
    return BuiltImage(name, stack=settings.stack, root=ROOT, base_image=settings.base_image, made_of=made_of)


def main() -> None:
    """Run the program; what is wrong with the configuration is said in one line, without a traceback."""
    config = pulumi.Config()
    try:
        settings, keys = settings_of_program(config, pulumi.get_stack()), database_secrets(config)
        backups = backup_secrets(config, settings.backups)
        supabase = supabase_secrets(config) if settings.supabase is not None else None
        hosted_db_url = hosted_database_url(config, settings)
    except PersistError as error:
        raise pulumi.RunError(str(error)) from None
    declare(settings, keys, backups, supabase, hosted_db_url)


main()
