"""What the migration to memberships makes of databases in which columns said who belongs where."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from aragora_persist.migrations.apply import apply_pending
from aragora_persist.migrations.folder import folder_of, load
from aragora_persist.storage.organization_store import OrganizationStore

if TYPE_CHECKING:
    from pathlib import Path

USERS = [
    ("owner", "acme", "owner"),
    ("second", "acme", "owner"),
    ("admin", "acme", "admin"),
    ("plain", "acme", None),
    ("odd", "acme", "boss"),
    ("viewer", "acme", "viewer"),
    ("elsewhere", "gone", "admin"),
    ("nowhere", None, "admin"),
    ("founder", None, "member"),
    ("mover", "gone", "viewer"),
]
ORGANIZATIONS = [("acme", "owner"), ("beta", "founder"), ("delta", "founder"), ("gamma", "mover"), ("empty", None)]


def test_who_belonged_by_columns_is_a_member(tmp_path: Path) -> None:
    """With the role of the column, as far as there is such a role; owners always; who is nowhere keeps the columns."""
    path = tmp_path / "users.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        known = [migration for migration in load(folder_of("users")) if migration.version <= 3]
        apply_pending(connection, known, str(path), lambda: None)
        for name, org_id, role in USERS:
            connection.execute(
                "INSERT INTO users (id, email, password_hash, password_salt, org_id, role) VALUES (?, ?, '', '', ?, ?)",
                (name, name, org_id, role),
            )
        for name, owner_id in ORGANIZATIONS:
            connection.execute(
                "INSERT INTO organizations (id, name, slug, owner_id) VALUES (?, ?, ?, ?)", (name, name, name, owner_id)
            )

    with OrganizationStore(path, migrate=True) as store:
        members = {org: {m.user_id: m.role for m in store.iter_members(org)} for org, _ in ORGANIZATIONS}
        with store.database.read("look") as view:
            columns = {
                str(name): (org_id, role) for name, org_id, role in view.all("SELECT id, org_id, role FROM users")
            }

    assert members == {
        "acme": {
            "owner": "owner",
            "second": "admin",
            "admin": "admin",
            "plain": "member",
            "odd": "member",
            "viewer": "viewer",
        },
        "beta": {"founder": "owner"},
        "delta": {"founder": "owner"},
        "gamma": {"mover": "owner"},
        "empty": {},
    }
    assert columns == {
        **{name: ("acme", role) for name, role in members["acme"].items()},
        "elsewhere": ("gone", "admin"),
        "nowhere": (None, "admin"),
        "founder": ("beta", "owner"),
        "mover": ("gamma", "owner"),
    }
