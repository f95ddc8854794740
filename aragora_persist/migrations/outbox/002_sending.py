"""
Migration 002: Sending table by table, and how it goes

Created: 2026-11-23T06:45:00
"""

import sqlite3

MIN_READER = "0.1.0"
WAIVED = {"tighter": "no release has written dead letters without this index"}


def upgrade(conn: sqlite3.Connection) -> None:
    """Apply this migration."""
    # The records of one table are found without reading those of the others: a table that cannot be delivered must not
    # slow the others down, however many of its records wait.
    conn.execute("CREATE INDEX outbox_by_table ON outbox (table_name, id)")
    conn.execute("CREATE UNIQUE INDEX dead_letters_by_record ON dead_letters (record_key, table_name)")
    conn.execute("""
        CREATE TABLE sync_state (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            last_success_at TEXT,
            problem TEXT NOT NULL,
            problem_since TEXT
        )
    """)
    conn.execute("INSERT INTO sync_state (id, problem) VALUES (1, '')")


def downgrade(conn: sqlite3.Connection) -> None:
    """Reverse this migration."""
    conn.execute("DROP TABLE sync_state")
    conn.execute("DROP INDEX dead_letters_by_record")
    conn.execute("DROP INDEX outbox_by_table")
