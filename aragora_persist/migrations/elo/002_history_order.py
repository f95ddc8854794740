"""
Migration 002: The history of ratings in the order of its changes

Created: 2026-11-23T10:15:00
"""

import sqlite3

MIN_READER = "0.1.0"
WAIVED = {"drop-index": "no release has read by idx_history_agent: the first one reads by its successor"}


def upgrade(conn: sqlite3.Connection) -> None:
    """Apply this migration."""
    # The order of the changes, which a clock that is set back would turn round.
    conn.execute("CREATE INDEX idx_history_order ON elo_history(agent_name, domain, id)")
    conn.execute("DROP INDEX idx_history_agent")


def downgrade(conn: sqlite3.Connection) -> None:
    """Reverse this migration."""
    conn.execute("CREATE INDEX idx_history_agent ON elo_history(agent_name, recorded_at)")
    conn.execute("DROP INDEX idx_history_order")
