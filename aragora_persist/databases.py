"""The registry of databases: which SQLite files there are, what for, and which stores live in them.

The only place that knows file names. Pure: it opens nothing and reads no environment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aragora_persist.errors import InvalidValueError

if TYPE_CHECKING:
    from pathlib import Path


class StoreName(NamedTuple):
    """A store: its class, the module of this package that holds it, and how a drill reads from it."""

    cls: str
    module: str
    read: str
    """The public method that is called on a restored database to see that the store can read its rows."""
    read_by: str = ""
    """What it must be told, as ``table.column``: the column is the argument's name, a row of the table its value."""


class Database(NamedTuple):
    """One SQLite file of the tier."""

    name: str
    purpose: str
    stores: tuple[StoreName, ...]

    @property
    def file_name(self) -> str:
        """``aragora_<name>.db``, as documented."""
        return f"aragora_{self.name}.db"

    def path(self, nomic_dir: Path) -> Path:
        """Where this database lives below ``nomic_dir``."""
        return nomic_dir / self.file_name


DATABASES: tuple[Database, ...] = (
    Database("elo", "Agent ELO rankings", (StoreName("EloStore", "storage.elo_store", "leaderboard"),)),
    Database("memory", "Memory tiers", (StoreName("MemoryStore", "storage.memory_store", "list_memories"),)),
    Database(
        "users",
        "User accounts",
        (
            StoreName("UserStore", "storage.user_store", "list_users"),
            StoreName("OrganizationStore", "storage.organization_store", "list_organizations"),
            StoreName("AuditStore", "storage.audit_store", "list_entries"),
            StoreName("UsageStore", "storage.usage_store", "list_events", "usage_events.org_id"),
            StoreName("ShareLinkStore", "storage.share_store", "list_links", "share_links.owner_id"),
            StoreName("WebhookStore", "storage.webhook_store", "list_webhooks", "webhooks.org_id"),
        ),
    ),
    Database(
        "positions",
        "Agent positions",
        (StoreName("PositionStore", "storage.position_store", "list_by_agent", "positions.agent_name"),),
    ),
    Database("replay", "Debate replays", (StoreName("ReplayStore", "storage.replay_store", "list_replays"),)),
    Database(
        "tokens",
        "Token blacklist",
        (StoreName("TokenBlacklist", "storage.token_blacklist", "list_by_user", "token_blacklist.user_id"),),
    ),
    Database("outbox", "Records on their way to Supabase", (StoreName("Outbox", "cloud.outbox", "pending"),)),
)

_BY_NAME = {database.name: database for database in DATABASES}


def find_database(name: str) -> Database:
    """Return the database of this name.

    Raises:
        InvalidValueError: there is none; the hint lists those that exist.

    """
    try:
        return _BY_NAME[name]
    except KeyError:
        known = ", ".join(sorted(_BY_NAME))
        raise InvalidValueError("find database", repr(name), "is not a database", hint=f"one of: {known}") from None
