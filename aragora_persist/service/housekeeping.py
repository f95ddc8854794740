"""What time asks of the databases: what has expired goes, what is to be summed up is, what is forgotten is archived.

Each piece of work is a store's own, safe to cut off and to repeat. The service does all of it for the databases that it
serves; whoever runs without it calls the same methods. Leaves out: when (``keeper``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from aragora_persist.settings import Settings
    from aragora_persist.storage.port import Backend

    Task = Callable[[], object]


def tasks(database: Backend, settings: Settings) -> dict[str, Task]:
    """Return what is to be done for this database, each piece under its name."""
    make = _TASKS.get(database.name)
    return make(database, settings) if make else {}


def _users(database: Backend, settings: Settings) -> dict[str, Task]:
    from aragora_persist.storage.audit_store import AuditStore  # noqa: PLC0415 - a service may serve other databases
    from aragora_persist.storage.organization_store import OrganizationStore  # noqa: PLC0415 - as above
    from aragora_persist.storage.share_store import ShareLinkStore  # noqa: PLC0415 - as above
    from aragora_persist.storage.usage_store import UsageStore  # noqa: PLC0415 - as above
    from aragora_persist.storage.webhook_store import WebhookStore  # noqa: PLC0415 - as above

    usage = UsageStore(database, settings=settings)
    webhooks = WebhookStore(database, settings=settings)
    return {
        "audit retention": AuditStore(database, settings=settings).cleanup_old_entries,
        "usage sums": usage.aggregate,
        "usage retention": usage.cleanup,  # after the sums: only what is in one goes
        "expired share links": ShareLinkStore(database, settings=settings).cleanup,
        "expired invitations": OrganizationStore(database, settings=settings).cleanup_invitations,
        "old webhook deliveries": webhooks.cleanup_deliveries,
        "old webhook receipts": webhooks.cleanup_receipts,
    }


def _tokens(database: Backend, settings: Settings) -> dict[str, Task]:
    from aragora_persist.storage.token_blacklist import TokenBlacklist  # noqa: PLC0415 - as above

    return {"expired tokens": TokenBlacklist(database, settings=settings).cleanup}


def _memory(database: Backend, settings: Settings) -> dict[str, Task]:
    from aragora_persist.storage.memory_store import MemoryStore  # noqa: PLC0415 - as above

    return {"memory tiers": MemoryStore(database, settings=settings).sweep}


_TASKS: dict[str, Callable[[Backend, Settings], dict[str, Task]]] = {
    "users": _users,
    "tokens": _tokens,
    "memory": _memory,
}
