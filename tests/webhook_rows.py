"""What tests of webhooks put into a store's database, and see of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aragora_persist.storage.webhook_store import WebhookStore

URL = "https://hooks.example.com/in?token=t0k3n"


def with_organizations(store: WebhookStore) -> WebhookStore:
    """Make the organizations and return the store."""
    with store.database.transaction() as tx:
        for name in ("acme", "other"):
            tx.execute("INSERT INTO organizations (id, name, slug) VALUES (?, ?, ?)", (name, name, name))
    return store


def count(store: WebhookStore, table: str) -> int:
    """Return how many rows a table has."""
    with store.database.read("count") as view:
        row = view.one(f"SELECT COUNT(*) FROM {table}")
    assert row is not None
    return int(str(row[0]))
