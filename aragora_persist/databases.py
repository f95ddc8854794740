"""The registry of databases: which SQLite files there are, what for, and which stores live in them.

The only place that knows file names. Pure: it opens nothing and reads no environment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aragora_persist.errors import InvalidValueError

if TYPE_CHECKING:
    from pathlib import Path


class Database(NamedTuple):
    """One SQLite file of the tier."""

    name: str
    purpose: str
    stores: tuple[str, ...]

    @property
    def file_name(self) -> str:
        """``aragora_<name>.db``, as documented."""
        return f"aragora_{self.name}.db"

    def path(self, nomic_dir: Path) -> Path:
        """Where this database lives below ``nomic_dir``."""
        return nomic_dir / self.file_name


DATABASES: tuple[Database, ...] = (
    Database("elo", "Agent ELO rankings", ("EloStore",)),
    Database("memory", "Memory tiers", ("MemoryStore",)),
    Database(
        "users",
        "User accounts",
        ("UserStore", "OrganizationStore", "AuditStore", "UsageStore", "ShareLinkStore", "WebhookStore"),
    ),
    Database("positions", "Agent positions", ("PositionStore",)),
    Database("replay", "Debate replays", ("ReplayStore",)),
    Database("tokens", "Token blacklist", ("TokenBlacklist",)),
    Database("outbox", "Records on their way to Supabase", ("Outbox",)),
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
