"""
Migration 003: How far a replay has come by each 512th event, so that seeking need not read all that is before

Created: 2026-11-23T14:00:00
"""

import sqlite3

MIN_READER = "0.1.0"

STATEMENTS = (
    """
    CREATE TABLE replay_marks (
        trace_id TEXT NOT NULL REFERENCES replays(trace_id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        latest_at TEXT NOT NULL,
        latest_round INTEGER NOT NULL,
        PRIMARY KEY (trace_id, position)
    )
    """,
    """
    INSERT INTO replay_marks (trace_id, position, latest_at, latest_round)
    SELECT trace_id, position, latest_at, latest_round FROM (
        SELECT trace_id, position,
            MAX(occurred_at) OVER (PARTITION BY trace_id ORDER BY position) AS latest_at,
            MAX(round_num) OVER (PARTITION BY trace_id ORDER BY position) AS latest_round
        FROM replay_events
    ) AS running WHERE position % 512 = 511
    """,
)


def upgrade(conn: sqlite3.Connection) -> None:
    """Apply this migration."""
    for statement in STATEMENTS:
        conn.execute(statement)


def downgrade(conn: sqlite3.Connection) -> None:
    """Reverse this migration."""
    conn.execute("DROP TABLE replay_marks")
