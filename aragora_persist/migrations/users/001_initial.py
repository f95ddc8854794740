"""
Migration 001: Users, organizations, audit log and usage events

Created: 2026-11-23T04:00:00
"""

import sqlite3

MIN_READER = "0.1.0"

# SQLite's clock has three digits; ours has six, so that text order is time order.
NOW = "(strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'))"

USERS = f"""
CREATE TABLE users (
    id TEXT PRIMARY KEY,
    email TEXT UNIQUE NOT NULL,
    password_hash TEXT NOT NULL,
    password_salt TEXT NOT NULL,
    name TEXT DEFAULT '',
    org_id TEXT,
    role TEXT DEFAULT 'member',
    created_at TEXT DEFAULT {NOW},
    updated_at TEXT DEFAULT {NOW},
    last_login_at TEXT,
    is_active INTEGER DEFAULT 1,
    email_verified INTEGER DEFAULT 0,
    avatar_url TEXT,
    preferences TEXT DEFAULT '{{}}'
)
"""

ORGANIZATIONS = f"""
CREATE TABLE organizations (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    slug TEXT UNIQUE NOT NULL,
    tier TEXT DEFAULT 'free',
    owner_id TEXT REFERENCES users(id),
    stripe_customer_id TEXT,
    stripe_subscription_id TEXT,
    created_at TEXT DEFAULT {NOW},
    updated_at TEXT DEFAULT {NOW},
    settings TEXT DEFAULT '{{}}'
)
"""

AUDIT_LOG = """
CREATE TABLE audit_log (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    timestamp TEXT NOT NULL,
    user_id TEXT,
    org_id TEXT,
    action TEXT NOT NULL,
    resource_type TEXT,
    resource_id TEXT,
    details TEXT DEFAULT '{}',
    ip_address TEXT,
    user_agent TEXT
)
"""

USAGE_EVENTS = f"""
CREATE TABLE usage_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    org_id TEXT NOT NULL REFERENCES organizations(id),
    event_type TEXT NOT NULL,
    count INTEGER DEFAULT 1,
    metadata TEXT DEFAULT '{{}}',
    timestamp TEXT DEFAULT {NOW}
)
"""

INDEXES = (
    "CREATE INDEX idx_users_email ON users(email)",
    "CREATE INDEX idx_users_org ON users(org_id)",
    "CREATE INDEX idx_orgs_slug ON organizations(slug)",
    "CREATE INDEX idx_orgs_stripe ON organizations(stripe_customer_id)",
    "CREATE INDEX idx_orgs_owner ON organizations(owner_id)",
    "CREATE INDEX idx_audit_user ON audit_log(user_id)",
    "CREATE INDEX idx_audit_org ON audit_log(org_id)",
    "CREATE INDEX idx_audit_timestamp ON audit_log(timestamp)",
    "CREATE INDEX idx_usage_org ON usage_events(org_id)",
    "CREATE INDEX idx_usage_timestamp ON usage_events(timestamp)",
)


def upgrade(conn: sqlite3.Connection) -> None:
    """Apply this migration."""
    for statement in (USERS, ORGANIZATIONS, AUDIT_LOG, USAGE_EVENTS, *INDEXES):
        conn.execute(statement)


def downgrade(conn: sqlite3.Connection) -> None:
    """Reverse this migration."""
    for table in ("usage_events", "audit_log", "organizations", "users"):
        conn.execute(f"DROP TABLE {table}")
