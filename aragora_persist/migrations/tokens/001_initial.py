"""
Migration 001: The token blacklist

Created: 2026-11-23T04:00:00
"""

import sqlite3

MIN_READER = "0.1.0"

STATEMENTS = (
    """
    CREATE TABLE token_blacklist (
        jti TEXT PRIMARY KEY,
        user_id TEXT,
        reason TEXT,
        expires_at TEXT NOT NULL,
        revoked_at TEXT NOT NULL
    )
    """,
    "CREATE INDEX idx_blacklist_expires ON token_blacklist(expires_at)",
    "CREATE INDEX idx_blacklist_user ON token_blacklist(user_id)",
)


def upgrade(conn: sqlite3.Connection) -> None:
    """Apply this migration."""
    for statement in STATEMENTS:
        conn.execute(statement)


def downgrade(conn: sqlite3.Connection) -> None:
    """Reverse this migration."""
    conn.execute("DROP TABLE token_blacklist")
