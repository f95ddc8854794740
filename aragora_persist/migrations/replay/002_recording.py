"""
Migration 002: Replays that are still being recorded

Created: 2026-11-23T10:00:00
"""

import sqlite3

MIN_READER = "0.1.0"


def upgrade(conn: sqlite3.Connection) -> None:
    """Apply this migration."""
    # While it is 1, checksum and digest are '': they are made of all events, at the end.
    conn.execute(
        "ALTER TABLE replays ADD COLUMN is_recording INTEGER NOT NULL DEFAULT 0 CHECK (is_recording IN (0, 1))"
    )
    conn.execute("CREATE INDEX idx_replays_started ON replays(started_at, trace_id)")
    conn.execute("CREATE INDEX idx_replays_debate_started ON replays(debate_id, started_at, trace_id)")
    conn.execute("DROP INDEX idx_replays_debate")
    # Not unique: saved traces keep what they came with, and the format does not forbid an id to come twice.
    conn.execute("CREATE INDEX idx_replay_events_id ON replay_events(trace_id, event_id)")


def downgrade(conn: sqlite3.Connection) -> None:
    """Reverse this migration."""
    conn.execute("DROP INDEX idx_replay_events_id")
    conn.execute("CREATE INDEX idx_replays_debate ON replays(debate_id)")
    conn.execute("DROP INDEX idx_replays_debate_started")
    conn.execute("DROP INDEX idx_replays_started")
    conn.execute("ALTER TABLE replays DROP COLUMN is_recording")
