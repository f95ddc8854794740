"""
Migration 003: How every two agents did against each other, counted as matches are recorded

Created: 2026-11-23T14:10:00
"""

import json
import sqlite3
from itertools import combinations

MIN_READER = "0.1.0"

TABLE = """
    CREATE TABLE meetings (
        agent_name TEXT NOT NULL,
        opponent TEXT NOT NULL,
        domain TEXT NOT NULL DEFAULT '',
        wins INTEGER NOT NULL,
        losses INTEGER NOT NULL,
        draws INTEGER NOT NULL,
        last_played_at TEXT NOT NULL,
        PRIMARY KEY (agent_name, opponent, domain)
    )
"""
ADD = """
    INSERT INTO meetings (agent_name, opponent, domain, wins, losses, draws, last_played_at)
    VALUES (?, ?, ?, ?, ?, ?, ?)
"""


def upgrade(conn: sqlite3.Connection) -> None:
    """Apply this migration."""
    conn.execute(TABLE)
    counted: dict[tuple[str, str, str], list[int]] = {}
    last: dict[tuple[str, str, str], str] = {}
    for domain, text, played_at in conn.execute("SELECT domain, scores, played_at FROM matches"):
        scores = json.loads(text)
        for one, other in combinations(sorted(scores), 2):
            for each in dict.fromkeys(("", domain)):
                key = one, other, each
                counts = counted.setdefault(key, [0, 0, 0])
                counts[0 if scores[one] > scores[other] else 1 if scores[one] < scores[other] else 2] += 1
                last[key] = max(last.get(key, ""), played_at)
    conn.executemany(ADD, [(*key, *counts, last[key]) for key, counts in counted.items()])


def downgrade(conn: sqlite3.Connection) -> None:
    """Reverse this migration."""
    conn.execute("DROP TABLE meetings")
