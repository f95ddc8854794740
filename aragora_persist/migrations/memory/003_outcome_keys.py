"""
Migration 003: The keys of outcomes, so that one that is told again does not count again

Created: 2026-11-23T13:40:00
"""

import sqlite3

MIN_READER = "0.1.0"

STATEMENTS = (
    # No reference to memories: a key outlives an archived one, and is forgotten when it is old.
    """
    CREATE TABLE memory_outcomes (
        event_key TEXT PRIMARY KEY,
        memory_id TEXT NOT NULL,
        success INTEGER NOT NULL CHECK (success IN (0, 1)),
        recorded_at TEXT NOT NULL
    )
    """,
    "CREATE INDEX idx_memory_outcomes_recorded ON memory_outcomes(recorded_at)",
)


def upgrade(conn: sqlite3.Connection) -> None:
    """Apply this migration."""
    for statement in STATEMENTS:
        conn.execute(statement)


def downgrade(conn: sqlite3.Connection) -> None:
    """Reverse this migration."""
    conn.execute("DROP TABLE memory_outcomes")
