"""
Migration 001: Ratings, matches, their history and calibration

Created: 2026-11-23T04:00:00
"""

import sqlite3

MIN_READER = "0.1.0"

STATEMENTS = (
    # The domain '' is the rating over all domains.
    """
    CREATE TABLE ratings (
        agent_name TEXT NOT NULL,
        domain TEXT NOT NULL DEFAULT '',
        rating REAL NOT NULL DEFAULT 1500,
        wins INTEGER NOT NULL DEFAULT 0,
        losses INTEGER NOT NULL DEFAULT 0,
        draws INTEGER NOT NULL DEFAULT 0,
        updated_at TEXT NOT NULL,
        PRIMARY KEY (agent_name, domain)
    )
    """,
    # A debate counts once, however often its result is reported.
    """
    CREATE TABLE matches (
        debate_id TEXT PRIMARY KEY,
        domain TEXT NOT NULL DEFAULT '',
        winner TEXT,
        scores TEXT NOT NULL DEFAULT '{}',
        played_at TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE elo_history (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        debate_id TEXT NOT NULL REFERENCES matches(debate_id),
        agent_name TEXT NOT NULL,
        domain TEXT NOT NULL DEFAULT '',
        rating_before REAL NOT NULL,
        rating_after REAL NOT NULL,
        recorded_at TEXT NOT NULL,
        UNIQUE (debate_id, agent_name, domain)
    )
    """,
    """
    CREATE TABLE calibration (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        debate_id TEXT NOT NULL,
        agent_name TEXT NOT NULL,
        domain TEXT NOT NULL DEFAULT '',
        confidence REAL NOT NULL CHECK (confidence BETWEEN 0 AND 1),
        correct INTEGER NOT NULL CHECK (correct IN (0, 1)),
        recorded_at TEXT NOT NULL,
        UNIQUE (debate_id, agent_name)
    )
    """,
    "CREATE INDEX idx_ratings_board ON ratings(domain, rating)",
    "CREATE INDEX idx_matches_played ON matches(played_at)",
    "CREATE INDEX idx_history_agent ON elo_history(agent_name, recorded_at)",
    "CREATE INDEX idx_calibration_agent ON calibration(agent_name, domain)",
)


def upgrade(conn: sqlite3.Connection) -> None:
    """Apply this migration."""
    for statement in STATEMENTS:
        conn.execute(statement)


def downgrade(conn: sqlite3.Connection) -> None:
    """Reverse this migration."""
    for table in ("calibration", "elo_history", "matches", "ratings"):
        conn.execute(f"DROP TABLE {table}")
