"""What containers that back up have in common: the rules as environment, secrets as files, the way off-site, and room.

Each has the volume of backups and scratch space, and the databases where they are files. A container is in no network
but for a bucket, to which one of the stack's own leads. A folder of the engine's host is mounted. Deliberately declares
no container, and no volume with data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

import pulumi
import pulumi_docker as docker

from infra.components.containers import BACKUPS, DATA, Restricted, restricted, volume_labels
from infra.components.secret_files import MOUNT, SecretFiles
from infra.naming import resource_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from infra.backup_settings import BackupSettings
    from infra.settings import BackupSecrets, StackSettings

SCRATCH = "/scratch"
"""Where databases are unpacked and drilled: as large as they may be, so not in memory."""

_FOLDERS = {DATA: f"NOMIC_DIR={DATA}", BACKUPS: f"ARAGORA_BACKUP_DIR={BACKUPS}"}
"""By what the tier is told where they are."""

_FOLDER = "/offsite"
"""Where a folder of the engine's host is mounted."""
_IDENTITY, _KEY = "backup_identity", "offsite_secret_access_key"
"""The names of the secrets' files."""


class Reached(TypedDict, total=False):
    """The arguments of ``docker.Container`` for the networks that it is in."""

    network_mode: str
    networks_advanced: list[docker.ContainerNetworksAdvancedArgs]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupMeans:
    """What a stack gives those that back up; ``network`` leads to its bucket, None where it has none."""

    settings: BackupSettings
    secrets: BackupSecrets
    network: pulumi.Output[str] | None

    def rules(self, interval_s: int, *, objective_s: int = 0) -> list[str]:
        """Return the environment that says when, how packed and for how long; an objective of 0 is left to follow."""
        told = self.settings
        values = {
            "ARAGORA_BACKUP_INTERVAL_SECONDS": interval_s,
            "ARAGORA_BACKUP_RETENTION_DAYS": told.retention_days,
            **{f"ARAGORA_BACKUP_KEEP_{rule.upper()}": number for rule, number in told.keep.items()},
            "ARAGORA_BACKUP_COMPRESSION": told.compression,
            "ARAGORA_BACKUP_RECIPIENTS": ",".join(told.recipients),
            "ARAGORA_BACKUP_OBJECTIVE_SECONDS": objective_s or "",
            "ARAGORA_DRILL_INTERVAL_SECONDS": told.drill_interval_s,
            "ARAGORA_DRILL_OBJECTIVE_SECONDS": told.drill_objective_s or "",
        }
        return [f"{name}={value}" for name, value in values.items() if value != ""]

    def access(self) -> list[str]:
        """Return the environment that opens backups, and leads to where they are shipped."""
        identity = [f"ARAGORA_BACKUP_IDENTITY_FILE={MOUNT}/{_IDENTITY}"] if self.secrets.identity is not None else []
        bucket = self.bucket_access() if self.settings.offsite.in_a_bucket else []
        return [*identity, *offsite_url(self.settings), *bucket]

    def bucket_access(self) -> list[str]:
        """Return the environment that opens the bucket's server."""
        told = self.settings.offsite
        values = {
            "ARAGORA_OFFSITE_ENDPOINT": told.endpoint,
            "ARAGORA_OFFSITE_REGION": told.region,
            "ARAGORA_OFFSITE_ACCESS_KEY_ID": told.access_key_id,
            "ARAGORA_OFFSITE_ALLOW_HTTP": "yes" if told.allow_http else "",
            "ARAGORA_OFFSITE_SECRET_ACCESS_KEY_FILE": f"{MOUNT}/{_KEY}",
        }
        return [f"{name}={value}" for name, value in values.items() if value]

    def files(self) -> dict[str, pulumi.Input[str]]:
        """Return the secrets that opening and shipping backups takes, by the names of their files."""
        identity = {} if self.secrets.identity is None else {_IDENTITY: self.secrets.identity}
        return {**identity, **(self.bucket_files() if self.settings.offsite.in_a_bucket else {})}

    def bucket_files(self) -> dict[str, pulumi.Input[str]]:
        """Return the secret that the bucket's server takes."""
        return {} if self.secrets.offsite_key is None else {_KEY: self.secrets.offsite_key}

    def folder(self) -> list[docker.ContainerVolumeArgs]:
        """Return the mount of the host's folder that backups are shipped to, where it is one."""
        told = self.settings.offsite.folder
        return [docker.ContainerVolumeArgs(host_path=told, container_path=_FOLDER)] if told else []

    def reached(self, *, ships: bool, inside: pulumi.Input[str] | None = None) -> Reached:
        """Return the networks of a container: that of the database ``inside``, and the way out if it ``ships``."""
        networks = [inside, self.network if ships else None]
        named = [docker.ContainerNetworksAdvancedArgs(name=name) for name in networks if name is not None]
        return {"networks_advanced": named} if named else {"network_mode": "none"}


def offsite_url(settings: BackupSettings) -> list[str]:
    """Return the environment that says where backups are shipped, as containers see it."""
    url = f"file://{_FOLDER}" if settings.offsite.folder else settings.offsite.url
    return [f"ARAGORA_OFFSITE_URL={url}"] if url else []


class BacksUp(Restricted):
    """The arguments of ``docker.Container`` that hold for every container that backs up."""

    envs: list[str]
    volumes: list[docker.ContainerVolumeArgs]


def backs_up(
    name: str,
    *,
    settings: StackSettings,
    image: pulumi.Input[str],
    volumes: Mapping[str, pulumi.Input[str]],
    envs: Sequence[str],
    files: Mapping[str, pulumi.Input[str]],
    mounts: Sequence[docker.ContainerVolumeArgs] = (),
    parent: pulumi.Resource,
) -> BacksUp:
    """Declare the secret ``files`` and the scratch space of the container ``name``; return its arguments.

    ``volumes`` are the names of those at ``DATA`` and at ``BACKUPS``; ``envs`` and ``mounts`` are what is its own.
    """
    stack = settings.stack
    arguments: BacksUp = {
        **restricted(stack, (name,), image, settings.memory_mb),
        "envs": [*(_FOLDERS[path] for path in volumes), f"TMPDIR={SCRATCH}", *envs],
        "volumes": [
            *(docker.ContainerVolumeArgs(volume_name=each, container_path=path) for path, each in volumes.items()),
            _scratch_volume(name, stack=stack, parent=parent),
            *mounts,
        ],
    }
    if files:
        opts = pulumi.ResourceOptions(parent=parent)
        secrets = SecretFiles(f"{name}-secrets", stack=stack, image=image, files=files, opts=opts)
        arguments["labels"].append(secrets.label)
        arguments["volumes"].append(secrets.mount)
    return arguments


def _scratch_volume(name: str, *, stack: str, parent: pulumi.Resource) -> docker.ContainerVolumeArgs:
    """Declare the scratch space of the container ``name``, which holds nothing that lasts; return its mount."""
    volume = docker.Volume(
        f"{name}-scratch",
        name=resource_name(stack, name, "scratch"),
        labels=volume_labels(stack, name, "scratch"),
        opts=pulumi.ResourceOptions(parent=parent, ignore_changes=["labels"]),
    )
    return docker.ContainerVolumeArgs(volume_name=volume.name, container_path=SCRATCH)
