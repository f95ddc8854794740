"""
Migration 006: Share links

Created: 2026-11-23T10:00:00
"""

import sqlite3

MIN_READER = "0.1.0"

# A token is looked up by its hash; `token_sealed` is the token encrypted, where a key is configured, so that its owner
# can be shown the link again.
SHARE_LINKS = """
CREATE TABLE share_links (
    id TEXT PRIMARY KEY,
    token_hash TEXT NOT NULL UNIQUE,
    token_sealed TEXT,
    debate_id TEXT NOT NULL,
    owner_id TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
    org_id TEXT REFERENCES organizations(id) ON DELETE CASCADE,
    visibility TEXT NOT NULL CHECK (visibility IN ('private', 'team', 'public')),
    allow_comments INTEGER NOT NULL CHECK (allow_comments IN (0, 1)),
    allow_forking INTEGER NOT NULL CHECK (allow_forking IN (0, 1)),
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    expires_at TEXT,
    revoked_at TEXT,
    view_count INTEGER NOT NULL DEFAULT 0,
    last_viewed_at TEXT,
    CHECK (visibility <> 'team' OR org_id IS NOT NULL)
)
"""

INDEXES = (
    "CREATE INDEX idx_share_links_owner ON share_links(owner_id, created_at, id)",
    "CREATE INDEX idx_share_links_org ON share_links(org_id, created_at, id)",
    "CREATE INDEX idx_share_links_debate ON share_links(debate_id)",
    "CREATE INDEX idx_share_links_expiry ON share_links(expires_at) WHERE expires_at IS NOT NULL",
    "CREATE INDEX idx_share_links_revoked ON share_links(revoked_at) WHERE revoked_at IS NOT NULL",
)


def upgrade(conn: sqlite3.Connection) -> None:
    """Apply this migration."""
    for statement in (SHARE_LINKS, *INDEXES):
        conn.execute(statement)


def downgrade(conn: sqlite3.Connection) -> None:
    """Reverse this migration."""
    conn.execute("DROP TABLE share_links")
