"""
Migration 002: Lockout and activity of users

Created: 2026-11-23T04:00:00
"""

import sqlite3

MIN_READER = "0.1.0"

COLUMNS = (
    "locked_until TEXT",
    "failed_login_count INTEGER DEFAULT 0",
    "lockout_reason TEXT",
    "last_activity_at TEXT",
    "last_debate_at TEXT",
)


def upgrade(conn: sqlite3.Connection) -> None:
    """Apply this migration."""
    for column in COLUMNS:
        conn.execute(f"ALTER TABLE users ADD COLUMN {column}")


def downgrade(conn: sqlite3.Connection) -> None:
    """Reverse this migration."""
    for column in reversed(COLUMNS):
        conn.execute(f"ALTER TABLE users DROP COLUMN {column.split()[0]}")
