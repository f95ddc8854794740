"""
Migration 001: Replays and their events

Created: 2026-11-23T04:00:00
"""

import sqlite3

MIN_READER = "0.1.0"


def upgrade(conn: sqlite3.Connection) -> None:
    """Apply this migration."""
    conn.execute("""
        CREATE TABLE replays (
            trace_id TEXT PRIMARY KEY,
            debate_id TEXT NOT NULL,
            task TEXT NOT NULL,
            started_at TEXT NOT NULL,
            completed_at TEXT,
            event_count INTEGER NOT NULL,
            checksum TEXT NOT NULL,
            digest TEXT NOT NULL,
            header TEXT NOT NULL,
            saved_at TEXT NOT NULL
        )
    """)
    conn.execute("CREATE INDEX idx_replays_debate ON replays(debate_id)")
    conn.execute("""
        CREATE TABLE replay_events (
            trace_id TEXT NOT NULL REFERENCES replays(trace_id) ON DELETE CASCADE,
            position INTEGER NOT NULL,
            event_id TEXT NOT NULL,
            event_type TEXT NOT NULL,
            occurred_at TEXT NOT NULL,
            round_num INTEGER NOT NULL,
            agent TEXT,
            body TEXT NOT NULL,
            PRIMARY KEY (trace_id, position)
        )
    """)


def downgrade(conn: sqlite3.Connection) -> None:
    """Reverse this migration."""
    conn.execute("DROP TABLE replay_events")
    conn.execute("DROP TABLE replays")
