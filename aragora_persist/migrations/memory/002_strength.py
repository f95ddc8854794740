"""
Migration 002: The order of memories, how many there are, whole records in the archive, events of red lines

Created: 2026-11-23T10:35:00
"""

import sqlite3

MIN_READER = "0.1.0"
WAIVED = {"drop-index": "no release has read by idx_memories_tier: the first one reads by strength"}

# What the archive lacked of a memory, so that one comes back as it went.
ARCHIVED = (
    "surprise REAL NOT NULL DEFAULT 0",
    "stability REAL NOT NULL DEFAULT 0",
    "success_count INTEGER NOT NULL DEFAULT 0",
    "failure_count INTEGER NOT NULL DEFAULT 0",
    "access_count INTEGER NOT NULL DEFAULT 0",
    "red_line INTEGER NOT NULL DEFAULT 0",
    "last_accessed_at TEXT",
    "tier_changed_at TEXT",
)

STATEMENTS = (
    # The decayed importance as a number that time does not change. No release wrote memories before: there is none to
    # be filled in.
    "ALTER TABLE memories ADD COLUMN strength REAL NOT NULL DEFAULT 0",
    "CREATE INDEX idx_memories_strength ON memories(tier, strength, id)",
    "DROP INDEX idx_memories_tier",
    "CREATE INDEX idx_memories_red_line ON memories(id) WHERE red_line = 1",
    # How many memories of a tier its cap counts: counting tens of thousands at each new one would take milliseconds.
    "CREATE TABLE tier_counts (tier TEXT PRIMARY KEY, memories INTEGER NOT NULL)",
    *(f"ALTER TABLE memory_archive ADD COLUMN {column}" for column in ARCHIVED),
    # No reference to memories: what happened to a red line outlives it.
    """
    CREATE TABLE red_line_events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        memory_id TEXT NOT NULL,
        action TEXT NOT NULL CHECK (action IN ('marked', 'lifted', 'archived', 'deleted')),
        reason TEXT NOT NULL,
        recorded_at TEXT NOT NULL
    )
    """,
    "CREATE INDEX idx_red_line_events_memory ON red_line_events(memory_id, id)",
)


def upgrade(conn: sqlite3.Connection) -> None:
    """Apply this migration."""
    for statement in STATEMENTS:
        conn.execute(statement)


def downgrade(conn: sqlite3.Connection) -> None:
    """Reverse this migration."""
    conn.execute("DROP TABLE red_line_events")
    conn.execute("DROP TABLE tier_counts")
    for column in reversed(ARCHIVED):
        conn.execute(f"ALTER TABLE memory_archive DROP COLUMN {column.split()[0]}")
    conn.execute("DROP INDEX idx_memories_red_line")
    conn.execute("CREATE INDEX idx_memories_tier ON memories(tier, importance)")
    conn.execute("DROP INDEX idx_memories_strength")
    conn.execute("ALTER TABLE memories DROP COLUMN strength")
