"""The settings of a stack: the only reader of Pulumi's configuration, validated and frozen.

Defaults live in `Pulumi.yaml`, where `pulumi config` shows them. Leaves out: whether the engine, a port or a path is
there; a validator that reaches out would make a preview depend on the network.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aragora_persist.databases import DATABASES, find_database
from aragora_persist.errors import InvalidValueError, PersistError
from infra import backup_settings
from infra.backup_settings import BackupSettings, read_backup_settings
from infra.naming import PROJECT, SUPABASE
from infra.values import OPERATION, invalid, one_of, structure, text_or_empty, whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pulumi

HOSTED_URL = "supabaseDbUrl"
"""The secret that says where a hosted Supabase is whose backups the stack takes."""

IDENTITY = "backupIdentity"
"""The secret that reads encrypted backups."""

OFFSITE_KEY = "offsiteSecretAccessKey"
"""The secret that opens the bucket's server."""

LOOPBACK = "127.0.0.1"
"""Where every port of a stack is published, and nowhere else."""

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_LAST_PORT = 65535
_MADE = "scripts/up makes one; by hand: pulumi config set --secret"
_GIVEN = "write it into the stack's secrets file, then scripts/up; by hand: pulumi config set --secret"
_LEAST_MB = 64
_LEAST_MB_OF_POSTGRESQL = 256
"""Of which its shared memory and the connections of PostgREST take the half."""
_EXAMPLE = "'{sqlite: {port: 8787, databases: [users, …]}}'"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """One SQLite service: its name, the port of its page, the databases it holds."""

    name: str
    port: int
    databases: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SupabaseSettings:
    """The stack's own Supabase: where its gateway and its database listen."""

    port: int
    db_port: int

    @property
    def url(self) -> str:
        """Where programs on this machine find it."""
        return f"http://{LOOPBACK}:{self.port}"

    def database_url(self, password: str) -> str:
        """Return where they find its database, for the role that owns it."""
        return f"postgresql://postgres:{password}@{LOOPBACK}:{self.db_port}/postgres"


@dataclass(frozen=True, slots=True, kw_only=True)
class StackSettings:
    """Everything that a stack can be told; ``supabase`` is None where it has none of its own."""

    stack: str
    base_image: str
    services: tuple[ServiceSettings, ...]
    supabase: SupabaseSettings | None
    memory_mb: int
    backups: BackupSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSecrets:
    """The keys that belong to the SQLite databases, each a secret."""

    encryption_key: pulumi.Output[str]
    """Under which secrets are stored in them."""
    audit_signing_key: pulumi.Output[str]
    """With which a service signs what it states of the audit log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupSecrets:
    """What opens backups and the store off-site, each a secret; None where there is none."""

    identity: pulumi.Output[str] | None
    """Reads encrypted backups: a drill does, and a restore."""
    offsite_key: pulumi.Output[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SupabaseSecrets:
    """The keys and passwords of the stack's own Supabase, each a secret."""

    service_key: pulumi.Output[str]
    publishable_key: pulumi.Output[str]
    jwt_secret: pulumi.Output[str]
    db_password: pulumi.Output[str]
    admin_password: pulumi.Output[str]
    authenticator_password: pulumi.Output[str]


KEYS = (
    *("baseImage", "services", "port", "supabase", "supabasePort", "supabaseDbPort"),
    *("memoryMb", *backup_settings.KEYS),
)


def settings_of_program(config: pulumi.Config, stack: str) -> StackSettings:
    """Return the settings that Pulumi hands to the running program; see ``read_settings``."""
    return read_settings({key: config.get(key) for key in KEYS}, stack)


def check_stack_name(stack: str) -> None:
    """Refuse what cannot be a stack's name; it stands in the names of files, containers and volumes.

    Raises:
        InvalidValueError: it cannot.

    """
    if not _NAME.fullmatch(stack):
        raise InvalidValueError(
            OPERATION,
            "stack",
            f"{stack!r} is not a lower-case name of at most 31 letters, digits and hyphens, a letter first",
        )


def read_settings(config: Mapping[str, object], stack: str) -> StackSettings:
    """Return the validated settings of ``stack``; numbers and structures may also be given as their JSON text.

    Raises:
        InvalidValueError: a value breaks its rule; ``target`` is the key, the hint a command that mends it.

    """
    check_stack_name(stack)
    services, supabase = _services(config), _supabase(config)
    _check_ports(services, supabase)
    return StackSettings(
        stack=stack,
        base_image=_text(config, "baseImage"),
        services=services,
        supabase=supabase,
        memory_mb=whole(config, "memoryMb", least=_LEAST_MB if supabase is None else _LEAST_MB_OF_POSTGRESQL),
        backups=read_backup_settings(config),
    )


def database_secrets(config: pulumi.Config) -> DatabaseSecrets:
    """Return the keys that belong to the SQLite databases.

    Raises:
        InvalidValueError: one is missing.

    """
    return DatabaseSecrets(
        encryption_key=_secret(config, "encryptionKey"), audit_signing_key=_secret(config, "auditSigningKey")
    )


def backup_secrets(config: pulumi.Config, settings: BackupSettings) -> BackupSecrets:
    """Return what opens the backups, and the store off-site where that is a bucket.

    Raises:
        InvalidValueError: one is missing. Without the identity nobody here could prove an encrypted backup; the others
            that it is encrypted to need not be here.

    """
    return BackupSecrets(
        identity=_secret(config, IDENTITY) if settings.recipients else config.get_secret(IDENTITY),
        offsite_key=_secret(config, OFFSITE_KEY) if settings.uses_a_bucket else None,
    )


def supabase_secrets(config: pulumi.Config) -> SupabaseSecrets:
    """Return the keys and passwords of the stack's own Supabase.

    Raises:
        InvalidValueError: one is missing.

    """
    return SupabaseSecrets(
        service_key=_secret(config, "supabaseServiceKey"),
        publishable_key=_secret(config, "supabasePublishableKey"),
        jwt_secret=_secret(config, "supabaseJwtSecret"),
        db_password=_secret(config, "supabaseDbPassword"),
        admin_password=_secret(config, "supabaseAdminPassword"),
        authenticator_password=_secret(config, "supabaseAuthenticatorPassword"),
    )


def hosted_database_url(config: pulumi.Config, settings: StackSettings) -> pulumi.Output[str] | None:
    """Return where the database of a hosted Supabase is that this stack backs up, a secret; None where it does not.

    Raises:
        InvalidValueError: the stack's settings do not go together with it (``check_hosted``).

    """
    url = config.get_secret(HOSTED_URL)
    if url is not None:
        check_hosted(settings)
    return url


def check_hosted(settings: StackSettings) -> None:
    """Refuse what does not go together with the backups of a hosted Supabase.

    Raises:
        InvalidValueError: the stack has a Supabase of its own, or too little memory for the server that proves dumps.

    """
    if settings.supabase is not None:
        problem = "is set, and the stack has a Supabase of its own"
        hint = "scripts/up STACK --config supabase=none, or take it out of the stack's secrets"
        raise InvalidValueError(OPERATION, f"{PROJECT}:{HOSTED_URL}", problem, hint=hint)
    if settings.memory_mb < _LEAST_MB_OF_POSTGRESQL:
        problem = (
            f"is too little for the dumps of a hosted Supabase, which are tried out in a server: {settings.memory_mb}"
        )
        raise invalid("memoryMb", problem, _LEAST_MB_OF_POSTGRESQL)


def missing_secret(key: str) -> InvalidValueError:
    """Return the error for a secret that a stack lacks."""
    hint = _GIVEN if key in {IDENTITY, OFFSITE_KEY} else f"{_MADE} {key}"
    return InvalidValueError(OPERATION, f"{PROJECT}:{key}", "is not set", hint=hint)


def _secret(config: pulumi.Config, key: str) -> pulumi.Output[str]:
    value = config.get_secret(key)
    if value is None:
        raise missing_secret(key)
    return value


def _text(config: Mapping[str, object], key: str) -> str:
    value = text_or_empty(config, key)
    if not value:
        raise invalid(key, "is empty", "debian:trixie-slim")
    return value


def _services(config: Mapping[str, object]) -> tuple[ServiceSettings, ...]:
    """Return the services: those that are configured, else one with every database."""
    configured = structure(config, "services", dict)
    if configured is None:
        raise invalid("services", "is not a mapping of service names to what they are", _EXAMPLE)
    every = [database.name for database in DATABASES]
    found = configured or {"sqlite": {"port": config.get("port"), "databases": every}}
    services = tuple(_service(str(name), found[name]) for name in sorted(found))
    _check_split(services)
    return services


def _supabase(config: Mapping[str, object]) -> SupabaseSettings | None:
    if one_of(config, "supabase", "local", "none") == "none":
        return None
    port, db_port = (whole(config, key, least=1, most=_LAST_PORT) for key in ("supabasePort", "supabaseDbPort"))
    return SupabaseSettings(port=port, db_port=db_port)


def _service(name: str, value: object) -> ServiceSettings:
    if not _NAME.fullmatch(name):
        raise invalid("services", f"{name!r} is not a lower-case name of letters, digits and hyphens", _EXAMPLE)
    if f"{name}-".startswith(f"{SUPABASE}-"):
        raise invalid("services", f"{name!r} is a name of the Supabase half's own", _EXAMPLE)
    databases = value.get("databases") if isinstance(value, dict) and set(value) == {"port", "databases"} else None
    if not isinstance(value, dict) or not isinstance(databases, list) or not databases:
        raise invalid("services", f"{name} needs a port and a list of databases, and nothing else", _EXAMPLE)
    port = whole(value, "port", least=1, most=_LAST_PORT)
    return ServiceSettings(name=name, port=port, databases=tuple(map(str, databases)))


def _check_ports(services: Iterable[ServiceSettings], supabase: SupabaseSettings | None) -> None:
    """Refuse a port that two parts want."""
    holders: dict[int, str] = {}
    for service in services:
        if (other := holders.setdefault(service.port, service.name)) != service.name:
            raise invalid("services", f"{other} and {service.name} have the same port", _EXAMPLE)
    if supabase is not None:
        for key, port in (("supabasePort", supabase.port), ("supabaseDbPort", supabase.db_port)):
            if (other := holders.setdefault(port, key)) != key:
                raise invalid(key, f"{other} has the same port", port % _LAST_PORT + 1)


def _check_split(services: Iterable[ServiceSettings]) -> None:
    """Refuse a database that does not exist, is held twice, or by nobody."""
    holders: dict[str, str] = {}
    for service in services:
        for database in service.databases:
            try:
                find_database(database)
            except PersistError as error:
                problem = f"{error.target} {error.problem}"
                raise InvalidValueError(OPERATION, f"{PROJECT}:services", problem, hint=error.hint) from error
            if database in holders:
                raise invalid("services", f"{database} is in {holders[database]} and in {service.name}", _EXAMPLE)
            holders[database] = service.name
    if missing := [database.name for database in DATABASES if database.name not in holders]:
        raise invalid("services", f"no service holds {', '.join(missing)}", _EXAMPLE)
