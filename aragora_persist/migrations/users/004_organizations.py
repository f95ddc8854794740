"""
Migration 004: Organizations and usage

Created: 2026-11-23T10:00:00
"""

import sqlite3

MIN_READER = "0.1.0"

NOW = "strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')"

# One owner an organization, which is also its `owner_id`: the partial unique index holds it against every writer.
MEMBERSHIPS = """
CREATE TABLE memberships (
    org_id TEXT NOT NULL REFERENCES organizations(id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
    role TEXT NOT NULL CHECK (role IN ('owner', 'admin', 'member', 'viewer')),
    joined_at TEXT NOT NULL,
    PRIMARY KEY (org_id, user_id)
)
"""

# The token itself is stored nowhere.
INVITATIONS = """
CREATE TABLE invitations (
    id TEXT PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES organizations(id) ON DELETE CASCADE,
    email TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('admin', 'member', 'viewer')),
    token_hash TEXT NOT NULL UNIQUE,
    invited_by TEXT REFERENCES users(id) ON DELETE SET NULL,
    created_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    accepted_at TEXT,
    accepted_by TEXT REFERENCES users(id) ON DELETE CASCADE,
    revoked_at TEXT
)
"""

USAGE_MONTHLY = """
CREATE TABLE usage_monthly (
    org_id TEXT NOT NULL REFERENCES organizations(id),
    month TEXT NOT NULL,
    event_type TEXT NOT NULL,
    count INTEGER NOT NULL,
    events INTEGER NOT NULL,
    PRIMARY KEY (org_id, month, event_type)
)
"""

# `aggregated` says of each event whether its month holds it already: a watermark of ids would miss an event whose
# transaction ends later than that of a higher id.
COLUMNS = (
    ("organizations", "closed_at TEXT"),
    ("usage_events", "event_key TEXT"),
    ("usage_events", "recorded_at TEXT"),
    ("usage_events", "aggregated INTEGER NOT NULL DEFAULT 0"),
)

INDEXES = {
    "idx_orgs_tier": "INDEX idx_orgs_tier ON organizations(tier, slug)",
    "idx_orgs_subscription": "INDEX idx_orgs_subscription ON organizations(stripe_subscription_id)",
    "idx_memberships_user": "INDEX idx_memberships_user ON memberships(user_id, joined_at)",
    "idx_memberships_owner": "UNIQUE INDEX idx_memberships_owner ON memberships(org_id) WHERE role = 'owner'",
    "idx_invitations_org": "INDEX idx_invitations_org ON invitations(org_id, created_at, id)",
    "idx_invitations_open": (
        "UNIQUE INDEX idx_invitations_open ON invitations(org_id, email) "
        "WHERE accepted_at IS NULL AND revoked_at IS NULL"
    ),
    "idx_invitations_email": "INDEX idx_invitations_email ON invitations(email)",
    "idx_invitations_inviter": "INDEX idx_invitations_inviter ON invitations(invited_by)",
    "idx_invitations_accepter": "INDEX idx_invitations_accepter ON invitations(accepted_by)",
    "idx_invitations_expiry": "INDEX idx_invitations_expiry ON invitations(expires_at)",
    "idx_usage_key": "UNIQUE INDEX idx_usage_key ON usage_events(org_id, event_key) WHERE event_key IS NOT NULL",
    "idx_usage_open": "INDEX idx_usage_open ON usage_events(org_id, timestamp) WHERE aggregated = 0",
}

# Until now, `users.org_id` and `organizations.owner_id` were all that said who belongs where. From now on the columns
# of a user show one of the memberships; those of users without any stay as they are.
MEMBERS_BY_COLUMN = f"""
INSERT INTO memberships (org_id, user_id, role, joined_at)
SELECT users.org_id, users.id,
    CASE
        WHEN organizations.owner_id = users.id THEN 'owner'
        WHEN users.role IN ('owner', 'admin') THEN 'admin'
        WHEN users.role = 'viewer' THEN 'viewer'
        ELSE 'member'
    END,
    COALESCE(users.created_at, {NOW})
FROM users JOIN organizations ON organizations.id = users.org_id
"""
OWNERS_ELSEWHERE = f"""
INSERT INTO memberships (org_id, user_id, role, joined_at)
SELECT id, owner_id, 'owner', COALESCE(created_at, {NOW}) FROM organizations WHERE owner_id IS NOT NULL
ON CONFLICT (org_id, user_id) DO NOTHING
"""
PRIMARY = """
UPDATE users SET org_id = (
    SELECT org_id FROM memberships WHERE user_id = users.id ORDER BY joined_at, org_id LIMIT 1
)
WHERE id IN (SELECT user_id FROM memberships)
AND NOT EXISTS (SELECT 1 FROM memberships WHERE user_id = users.id AND org_id = users.org_id)
"""
ROLES = """
UPDATE users SET role = (SELECT role FROM memberships WHERE user_id = users.id AND org_id = users.org_id)
WHERE id IN (SELECT user_id FROM memberships)
"""


def upgrade(conn: sqlite3.Connection) -> None:
    """Apply this migration."""
    for statement in (MEMBERSHIPS, INVITATIONS, USAGE_MONTHLY):
        conn.execute(statement)
    for table, column in COLUMNS:
        conn.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
    for index in INDEXES.values():
        conn.execute(f"CREATE {index}")
    for statement in (MEMBERS_BY_COLUMN, OWNERS_ELSEWHERE, PRIMARY, ROLES):
        conn.execute(statement)


def downgrade(conn: sqlite3.Connection) -> None:
    """Reverse this migration."""
    for index in INDEXES:
        conn.execute(f"DROP INDEX {index}")
    for table, column in reversed(COLUMNS):
        conn.execute(f"ALTER TABLE {table} DROP COLUMN {column.split()[0]}")
    for table in ("usage_monthly", "invitations", "memberships"):
        conn.execute(f"DROP TABLE {table}")
