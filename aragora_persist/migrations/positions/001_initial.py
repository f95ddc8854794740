"""
Migration 001: Positions of agents, and their flips

Created: 2026-11-23T04:00:00
"""

import sqlite3

MIN_READER = "0.1.0"

STATEMENTS = (
    """
    CREATE TABLE positions (
        id TEXT PRIMARY KEY,
        agent_name TEXT NOT NULL,
        claim TEXT NOT NULL,
        confidence REAL NOT NULL CHECK (confidence BETWEEN 0 AND 1),
        debate_id TEXT NOT NULL,
        round_num INTEGER NOT NULL DEFAULT 0,
        domain TEXT NOT NULL DEFAULT '',
        outcome TEXT NOT NULL DEFAULT 'pending',
        reversed INTEGER NOT NULL DEFAULT 0 CHECK (reversed IN (0, 1)),
        reversal_debate_id TEXT,
        created_at TEXT NOT NULL,
        resolved_at TEXT
    )
    """,
    """
    CREATE TABLE flips (
        id TEXT PRIMARY KEY,
        agent_name TEXT NOT NULL,
        from_position_id TEXT NOT NULL REFERENCES positions(id),
        to_position_id TEXT NOT NULL REFERENCES positions(id),
        kind TEXT NOT NULL,
        similarity REAL NOT NULL DEFAULT 0,
        detected_at TEXT NOT NULL,
        UNIQUE (from_position_id, to_position_id)
    )
    """,
    "CREATE INDEX idx_positions_agent ON positions(agent_name, created_at)",
    "CREATE INDEX idx_positions_debate ON positions(debate_id)",
    "CREATE INDEX idx_flips_agent ON flips(agent_name, detected_at)",
    "CREATE INDEX idx_flips_to ON flips(to_position_id)",
)


def upgrade(conn: sqlite3.Connection) -> None:
    """Apply this migration."""
    for statement in STATEMENTS:
        conn.execute(statement)


def downgrade(conn: sqlite3.Connection) -> None:
    """Reverse this migration."""
    for table in ("flips", "positions"):
        conn.execute(f"DROP TABLE {table}")
