"""
Migration 007: Webhooks, what is delivered to them and what was received

Created: 2026-11-23T10:00:00
"""

import sqlite3

MIN_READER = "0.1.0"

WEBHOOKS = """
CREATE TABLE webhooks (
    id TEXT PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES organizations(id) ON DELETE CASCADE,
    url TEXT NOT NULL,
    events TEXT NOT NULL,
    description TEXT NOT NULL,
    secret TEXT NOT NULL,
    previous_secret TEXT,
    previous_secret_until TEXT,
    is_active INTEGER NOT NULL DEFAULT 1 CHECK (is_active IN (0, 1)),
    inactive_reason TEXT NOT NULL DEFAULT '',
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    success_count INTEGER NOT NULL DEFAULT 0,
    failure_count INTEGER NOT NULL DEFAULT 0,
    dead_in_a_row INTEGER NOT NULL DEFAULT 0,
    last_attempt_at TEXT,
    last_success_at TEXT,
    last_status INTEGER,
    last_error TEXT NOT NULL DEFAULT ''
)
"""

# `due_at` is when a waiting delivery is tried next. While a worker has claimed it, that is the end of the claim: a
# worker that is killed gives its deliveries back by doing nothing.
DELIVERIES = """
CREATE TABLE webhook_deliveries (
    id TEXT PRIMARY KEY,
    webhook_id TEXT NOT NULL REFERENCES webhooks(id) ON DELETE CASCADE,
    event_type TEXT NOT NULL,
    event_key TEXT,
    body TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'sent', 'dead')),
    created_at TEXT NOT NULL,
    due_at TEXT,
    claim TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    attempts_left INTEGER NOT NULL CHECK (attempts_left >= 0),
    finished_at TEXT,
    reason TEXT NOT NULL DEFAULT '',
    CHECK ((state = 'waiting') = (due_at IS NOT NULL)),
    CHECK ((state = 'waiting') = (finished_at IS NULL)),
    UNIQUE (webhook_id, event_key)
)
"""

ATTEMPTS = """
CREATE TABLE webhook_attempts (
    delivery_id TEXT NOT NULL REFERENCES webhook_deliveries(id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    attempted_at TEXT NOT NULL,
    status INTEGER,
    error TEXT NOT NULL,
    duration_ms REAL,
    PRIMARY KEY (delivery_id, number)
)
"""

RECEIPTS = """
CREATE TABLE webhook_receipts (
    source TEXT NOT NULL,
    event_id TEXT NOT NULL,
    received_at TEXT NOT NULL,
    PRIMARY KEY (source, event_id)
)
"""

INDEXES = (
    "CREATE INDEX webhooks_by_org ON webhooks (org_id, created_at, id)",
    "CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook_id, due_at) WHERE due_at IS NOT NULL",
    "CREATE INDEX webhook_deliveries_claimed ON webhook_deliveries (webhook_id, due_at) WHERE claim IS NOT NULL",
    "CREATE INDEX webhook_deliveries_by_time ON webhook_deliveries (webhook_id, created_at, id)",
    "CREATE INDEX webhook_deliveries_by_state ON webhook_deliveries (webhook_id, state, created_at, id)",
    "CREATE INDEX webhook_deliveries_finished ON webhook_deliveries (finished_at) WHERE finished_at IS NOT NULL",
    "CREATE INDEX webhook_receipts_by_time ON webhook_receipts (received_at)",
)


def upgrade(conn: sqlite3.Connection) -> None:
    """Apply this migration."""
    for statement in (WEBHOOKS, DELIVERIES, ATTEMPTS, RECEIPTS, *INDEXES):
        conn.execute(statement)


def downgrade(conn: sqlite3.Connection) -> None:
    """Reverse this migration."""
    for table in ("webhook_receipts", "webhook_attempts", "webhook_deliveries", "webhooks"):
        conn.execute(f"DROP TABLE {table}")
