"""
Migration 005: Audit tree

Created: 2026-11-23T10:00:00
"""

import sqlite3

from aragora_persist.storage.audit.leaf import AuditRow, content_of, leaf_of, salted
from aragora_persist.storage.audit.tree import RightEdge

MIN_READER = "0.1.0"

COLUMNS = (
    "event_key TEXT",
    "erased_at TEXT",
    "position INTEGER",
    "nodes BLOB",
    "actor_salt BLOB",
    "actor_hash BLOB",
    "subject_salt BLOB",
    "subject_hash BLOB",
)

TREE = """
CREATE TABLE audit_tree (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    size INTEGER NOT NULL,
    edge BLOB NOT NULL,
    last_id INTEGER NOT NULL,
    removed INTEGER NOT NULL,
    removed_edge BLOB NOT NULL,
    retention_id INTEGER
)
"""

INDEXES = {
    "idx_audit_position": "CREATE UNIQUE INDEX idx_audit_position ON audit_log(position)",
    "idx_audit_event_key": (
        "CREATE UNIQUE INDEX idx_audit_event_key ON audit_log(event_key) WHERE event_key IS NOT NULL"
    ),
    "idx_audit_person": "CREATE INDEX idx_audit_person ON audit_log(resource_id) WHERE resource_type = 'user'",
}

DOCUMENTED = "id, timestamp, user_id, org_id, action, resource_type, resource_id, details, ip_address, user_agent"


def adopt(conn: sqlite3.Connection) -> None:
    """Take the entries that are there into the tree, in the order of their ids, some at a time."""
    edge = RightEdge()
    select = f"SELECT {DOCUMENTED} FROM audit_log WHERE id > ? ORDER BY id LIMIT 1000"
    last_id = 0
    while rows := conn.execute(select, (last_id,)).fetchall():
        for values in rows:
            row = salted(AuditRow(*values))
            nodes = edge.append(leaf_of(row.id, edge.size, content_of(row)))
            conn.execute(
                "UPDATE audit_log SET position = ?, nodes = ?, actor_salt = ?, subject_salt = ? WHERE id = ?",
                (edge.size - 1, nodes, row.actor_salt, row.subject_salt, row.id),
            )
        last_id = rows[-1][0]
    if edge.size:
        conn.execute(
            "INSERT INTO audit_tree (id, size, edge, last_id, removed, removed_edge) VALUES (1, ?, ?, ?, 0, ?)",
            (edge.size, edge.stored, last_id, b""),
        )


def upgrade(conn: sqlite3.Connection) -> None:
    """Apply this migration."""
    for column in COLUMNS:
        conn.execute(f"ALTER TABLE audit_log ADD COLUMN {column}")
    conn.execute(TREE)
    adopt(conn)
    for statement in INDEXES.values():
        conn.execute(statement)


def downgrade(conn: sqlite3.Connection) -> None:
    """Reverse this migration."""
    for index in INDEXES:
        conn.execute(f"DROP INDEX {index}")
    conn.execute("DROP TABLE audit_tree")
    for column in reversed(COLUMNS):
        conn.execute(f"ALTER TABLE audit_log DROP COLUMN {column.split()[0]}")
