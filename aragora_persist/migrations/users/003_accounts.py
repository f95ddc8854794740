"""
Migration 003: Accounts

Created: 2026-11-23T10:00:00
"""

import sqlite3

MIN_READER = "0.1.0"

COLUMNS = (
    "token_version INTEGER NOT NULL DEFAULT 0",
    "mfa_enabled INTEGER NOT NULL DEFAULT 0",
    "mfa_secret TEXT",
)

API_KEYS = """
CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    prefix TEXT NOT NULL,
    key_hash TEXT UNIQUE NOT NULL,
    created_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    last_used_at TEXT,
    revoked_at TEXT
)
"""

OAUTH_IDENTITIES = """
CREATE TABLE oauth_identities (
    provider TEXT NOT NULL,
    subject TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
    created_at TEXT NOT NULL,
    PRIMARY KEY (provider, subject)
)
"""

MFA_BACKUP_CODES = """
CREATE TABLE mfa_backup_codes (
    user_id TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
    code_hash TEXT NOT NULL,
    PRIMARY KEY (user_id, code_hash)
)
"""

# One of each purpose a user: a new one takes the place of the one before.
ACCOUNT_TOKENS = """
CREATE TABLE account_tokens (
    user_id TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
    purpose TEXT NOT NULL CHECK (purpose IN ('verify_email', 'reset_password')),
    token_hash TEXT UNIQUE NOT NULL,
    email TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    PRIMARY KEY (user_id, purpose)
)
"""

TABLES = {
    "api_keys": API_KEYS,
    "oauth_identities": OAUTH_IDENTITIES,
    "mfa_backup_codes": MFA_BACKUP_CODES,
    "account_tokens": ACCOUNT_TOKENS,
}

INDEXES = (
    "idx_users_created ON users(created_at, id)",
    "idx_users_org_created ON users(org_id, created_at, id)",
    "idx_api_keys_user ON api_keys(user_id, created_at, id)",
    "idx_oauth_user ON oauth_identities(user_id, provider, subject)",
)


def upgrade(conn: sqlite3.Connection) -> None:
    """Apply this migration."""
    for column in COLUMNS:
        conn.execute(f"ALTER TABLE users ADD COLUMN {column}")
    for table in TABLES.values():
        conn.execute(table)
    for index in INDEXES:
        conn.execute(f"CREATE INDEX {index}")


def downgrade(conn: sqlite3.Connection) -> None:
    """Reverse this migration."""
    for index in reversed(INDEXES):
        conn.execute(f"DROP INDEX {index.split()[0]}")
    for table in reversed(TABLES):
        conn.execute(f"DROP TABLE {table}")
    for column in reversed(COLUMNS):
        conn.execute(f"ALTER TABLE users DROP COLUMN {column.split()[0]}")
