"""The documented tables are there as documented: every column, type, key and index; defaults in the one time form."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from aragora_persist.storage.sqlite.engine import open_engine
from aragora_persist.times import from_text, utc_now

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = "now"
USERS = [
    ("id", "TEXT", 0, None, 1),
    ("email", "TEXT", 1, None, 0),
    ("password_hash", "TEXT", 1, None, 0),
    ("password_salt", "TEXT", 1, None, 0),
    ("name", "TEXT", 0, "''", 0),
    ("org_id", "TEXT", 0, None, 0),
    ("role", "TEXT", 0, "'member'", 0),
    ("created_at", "TEXT", 0, NOW, 0),
    ("updated_at", "TEXT", 0, NOW, 0),
    ("last_login_at", "TEXT", 0, None, 0),
    ("is_active", "INTEGER", 0, "1", 0),
    ("email_verified", "INTEGER", 0, "0", 0),
    ("avatar_url", "TEXT", 0, None, 0),
    ("preferences", "TEXT", 0, "'{}'", 0),
    ("locked_until", "TEXT", 0, None, 0),
    ("failed_login_count", "INTEGER", 0, "0", 0),
    ("lockout_reason", "TEXT", 0, None, 0),
    ("last_activity_at", "TEXT", 0, None, 0),
    ("last_debate_at", "TEXT", 0, None, 0),
]
ORGANIZATIONS = [
    ("id", "TEXT", 0, None, 1),
    ("name", "TEXT", 1, None, 0),
    ("slug", "TEXT", 1, None, 0),
    ("tier", "TEXT", 0, "'free'", 0),
    ("owner_id", "TEXT", 0, None, 0),
    ("stripe_customer_id", "TEXT", 0, None, 0),
    ("stripe_subscription_id", "TEXT", 0, None, 0),
    ("created_at", "TEXT", 0, NOW, 0),
    ("updated_at", "TEXT", 0, NOW, 0),
    ("settings", "TEXT", 0, "'{}'", 0),
]
AUDIT_LOG = [
    ("id", "INTEGER", 0, None, 1),
    ("timestamp", "TEXT", 1, None, 0),
    ("user_id", "TEXT", 0, None, 0),
    ("org_id", "TEXT", 0, None, 0),
    ("action", "TEXT", 1, None, 0),
    ("resource_type", "TEXT", 0, None, 0),
    ("resource_id", "TEXT", 0, None, 0),
    ("details", "TEXT", 0, "'{}'", 0),
    ("ip_address", "TEXT", 0, None, 0),
    ("user_agent", "TEXT", 0, None, 0),
]
USAGE_EVENTS = [
    ("id", "INTEGER", 0, None, 1),
    ("org_id", "TEXT", 1, None, 0),
    ("event_type", "TEXT", 1, None, 0),
    ("count", "INTEGER", 0, "1", 0),
    ("metadata", "TEXT", 0, "'{}'", 0),
    ("timestamp", "TEXT", 0, NOW, 0),
]
INDEXES = {
    ("idx_users_email", "users", "email"),
    ("idx_users_org", "users", "org_id"),
    ("idx_orgs_slug", "organizations", "slug"),
    ("idx_orgs_stripe", "organizations", "stripe_customer_id"),
    ("idx_audit_user", "audit_log", "user_id"),
    ("idx_audit_org", "audit_log", "org_id"),
    ("idx_audit_timestamp", "audit_log", "timestamp"),
    ("idx_usage_org", "usage_events", "org_id"),
    ("idx_usage_timestamp", "usage_events", "timestamp"),
}


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Look at a migrated users' database with plain sqlite3."""
    open_engine(tmp_path / "users.db", "users").close()
    with closing(sqlite3.connect(tmp_path / "users.db")) as conn:
        yield conn


@pytest.mark.parametrize(
    ("table", "columns"),
    [("users", USERS), ("organizations", ORGANIZATIONS), ("audit_log", AUDIT_LOG), ("usage_events", USAGE_EVENTS)],
)
def test_columns(conn: sqlite3.Connection, table: str, columns: list[tuple[object, ...]]) -> None:
    """Name, type, NOT NULL, default and key of every documented column, in the documented order."""
    rows = conn.execute(f"PRAGMA table_info({table})").fetchall()
    actual = [(row[1], row[2], row[3], NOW if "strftime" in str(row[4]) else row[4], row[5]) for row in rows]
    assert actual[: len(columns)] == columns


def test_indexes(conn: sqlite3.Connection) -> None:
    """Every documented index is there, on its column."""
    rows = conn.execute("SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
    assert {(name, table, sql.partition("(")[2].rstrip(")")) for name, table, sql in rows} >= INDEXES


def test_keys(conn: sqlite3.Connection) -> None:
    """Emails and slugs are unique; owners and usage refer to what exists; audit ids are never used again."""
    insert = "INSERT INTO users (id, email, password_hash, password_salt) VALUES (?, ?, '', '')"
    conn.execute(insert, ("1", "a@example.com"))
    with pytest.raises(sqlite3.IntegrityError, match=r"users\.email"):
        conn.execute(insert, ("2", "a@example.com"))
    conn.execute("INSERT INTO organizations (id, name, slug) VALUES ('1', 'n', 's')")
    with pytest.raises(sqlite3.IntegrityError, match=r"organizations\.slug"):
        conn.execute("INSERT INTO organizations (id, name, slug) VALUES ('2', 'n', 's')")
    foreign = {
        table: [(row[2], row[3], row[4]) for row in conn.execute(f"PRAGMA foreign_key_list({table})")]
        for table in ("organizations", "usage_events", "users", "audit_log")
    }
    assert foreign == {
        "organizations": [("users", "owner_id", "id")],
        "usage_events": [("organizations", "org_id", "id")],
        "users": [],
        "audit_log": [],
    }
    autoincrement = conn.execute("SELECT name FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%' ORDER BY name")
    assert autoincrement.fetchall() == [("audit_log",), ("usage_events",)]


def test_defaults_have_the_one_form_of_time(conn: sqlite3.Connection) -> None:
    """A row written with plain SQL sorts among those that the stores write."""
    conn.execute("INSERT INTO users (id, email, password_hash, password_salt) VALUES ('1', 'a', '', '')")
    created, updated = conn.execute("SELECT created_at, updated_at FROM users").fetchone()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", created)
    assert created == updated
    assert abs((utc_now() - from_text(created)).total_seconds()) < 60
