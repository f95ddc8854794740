"""The settings of a stack: the only reader of Pulumi's configuration, validated and frozen.

Defaults live in `Pulumi.yaml`, where `pulumi config` shows them. Leaves out: whether the engine, a port or a path is
there; a validator that reaches out would make a preview depend on the network.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aragora_persist.databases import DATABASES, find_database
from aragora_persist.errors import InvalidValueError, PersistError
from infra.naming import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pulumi

_OPERATION = "read configuration"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_LAST_PORT = 65535
_EXAMPLE = "'{sqlite: {port: 8787, databases: [users, …]}}'"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """One SQLite service: its name, the port of its page, the databases it holds."""

    name: str
    port: int
    databases: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StackSettings:
    """Everything that a stack can be told."""

    stack: str
    base_image: str
    services: tuple[ServiceSettings, ...]
    memory_mb: int
    backup_interval_s: int
    backup_retention_days: int


KEYS = ("baseImage", "services", "port", "memoryMb", "backupIntervalSeconds", "backupRetentionDays")


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
            _OPERATION,
            "stack",
            f"{stack!r} is not a lower-case name of at most 31 letters, digits and hyphens, a letter first",
        )


def read_settings(config: Mapping[str, object], stack: str) -> StackSettings:
    """Return the validated settings of ``stack``; numbers and structures may also be given as their JSON text.

    Raises:
        InvalidValueError: a value breaks its rule; ``target`` is the key, the hint a command that mends it.

    """
    check_stack_name(stack)
    return StackSettings(
        stack=stack,
        base_image=_text(config, "baseImage"),
        services=_services(config),
        memory_mb=_whole(config, "memoryMb", least=64),
        backup_interval_s=_whole(config, "backupIntervalSeconds", least=5),
        backup_retention_days=_whole(config, "backupRetentionDays", least=1),
    )


def encryption_key(config: pulumi.Config) -> pulumi.Output[str]:
    """Return the key under which secrets are stored in the databases, as a secret.

    Raises:
        InvalidValueError: there is none.

    """
    key = config.get_secret("encryptionKey")
    if key is None:
        raise InvalidValueError(
            _OPERATION,
            f"{PROJECT}:encryptionKey",
            "is not set",
            hint="scripts/up makes one; by hand: pulumi config set --secret encryptionKey",
        )
    return key


def _invalid(key: str, problem: str, example: object) -> InvalidValueError:
    return InvalidValueError(_OPERATION, f"{PROJECT}:{key}", problem, hint=f"scripts/up STACK --config {key}={example}")


def _whole(config: Mapping[str, object], key: str, *, least: int, most: int | None = None) -> int:
    text = str(config.get(key))
    value = int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else None
    if value is None or value < least or (most is not None and value > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise _invalid(key, f"{text!r} is not a whole number {bounds}", least)
    return value


def _text(config: Mapping[str, object], key: str) -> str:
    value = str(config.get(key) or "").strip()
    if not value:
        raise _invalid(key, "is empty", "debian:trixie-slim")
    return value


def _services(config: Mapping[str, object]) -> tuple[ServiceSettings, ...]:
    """Return the services: those that are configured, else one with every database."""
    configured = config.get("services")
    if isinstance(configured, str):
        try:
            configured = json.loads(configured or "{}")
        except ValueError:
            configured = None
    if not isinstance(configured, dict):
        raise _invalid("services", "is not a mapping of service names to what they are", _EXAMPLE)
    every = [database.name for database in DATABASES]
    found = configured or {"sqlite": {"port": config.get("port"), "databases": every}}
    services = tuple(_service(str(name), found[name]) for name in sorted(found))
    _check_split(services)
    return services


def _service(name: str, value: object) -> ServiceSettings:
    if not _NAME.fullmatch(name):
        raise _invalid("services", f"{name!r} is not a lower-case name of letters, digits and hyphens", _EXAMPLE)
    databases = value.get("databases") if isinstance(value, dict) and set(value) == {"port", "databases"} else None
    if not isinstance(value, dict) or not isinstance(databases, list) or not databases:
        raise _invalid("services", f"{name} needs a port and a list of databases, and nothing else", _EXAMPLE)
    port = _whole(value, "port", least=1, most=_LAST_PORT)
    return ServiceSettings(name=name, port=port, databases=tuple(map(str, databases)))


def _check_split(services: Iterable[ServiceSettings]) -> None:
    """Refuse a port that two services want, and a database that does not exist, is held twice, or by nobody."""
    ports: dict[int, str] = {}
    holders: dict[str, str] = {}
    for service in services:
        if (other := ports.setdefault(service.port, service.name)) != service.name:
            raise _invalid("services", f"{other} and {service.name} have the same port", _EXAMPLE)
        for database in service.databases:
            try:
                find_database(database)
            except PersistError as error:
                problem = f"{error.target} {error.problem}"
                raise InvalidValueError(_OPERATION, f"{PROJECT}:services", problem, hint=error.hint) from error
            if database in holders:
                raise _invalid("services", f"{database} is in {holders[database]} and in {service.name}", _EXAMPLE)
            holders[database] = service.name
    if missing := [database.name for database in DATABASES if database.name not in holders]:
        raise _invalid("services", f"no service holds {', '.join(missing)}", _EXAMPLE)
