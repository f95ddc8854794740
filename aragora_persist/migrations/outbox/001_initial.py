"""
Migration 001: Records on their way to Supabase, and what was imported

Created: 2026-11-23T04:00:00
"""

import sqlite3

MIN_READER = "0.1.0"


def upgrade(conn: sqlite3.Connection) -> None:
    """Apply this migration."""
    # An id is never used again: a worker that removes the id it has sent can never remove a newer revision.
    conn.execute("""
        CREATE TABLE outbox (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            table_name TEXT NOT NULL,
            record_key TEXT NOT NULL,
            revision INTEGER NOT NULL CHECK (revision >= 0),
            payload TEXT NOT NULL,
            enqueued_at TEXT NOT NULL,
            UNIQUE (record_key, table_name)
        )
    """)
    conn.execute("""
        CREATE TABLE dead_letters (
            id INTEGER PRIMARY KEY,
            table_name TEXT NOT NULL,
            record_key TEXT NOT NULL,
            revision INTEGER NOT NULL,
            payload TEXT NOT NULL,
            enqueued_at TEXT NOT NULL,
            failed_at TEXT NOT NULL,
            attempts INTEGER NOT NULL,
            reason TEXT NOT NULL
        )
    """)
    conn.execute("""
        CREATE TABLE revision_clock (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            last_revision INTEGER NOT NULL
        )
    """)
    conn.execute("INSERT INTO revision_clock (id, last_revision) VALUES (1, 0)")
    conn.execute("""
        CREATE TABLE imported_commits (
            loop_id TEXT NOT NULL,
            cycle_number INTEGER NOT NULL CHECK (cycle_number > 0),
            sha TEXT NOT NULL,
            PRIMARY KEY (loop_id, cycle_number),
            UNIQUE (loop_id, sha)
        )
    """)
    conn.execute("""
        CREATE TABLE imported_replays (
            trace_id TEXT PRIMARY KEY,
            digest TEXT NOT NULL,
            imported_at TEXT NOT NULL
        )
    """)


def downgrade(conn: sqlite3.Connection) -> None:
    """Reverse this migration."""
    for table in ("imported_replays", "imported_commits", "revision_clock", "dead_letters", "outbox"):
        conn.execute(f"DROP TABLE {table}")
