"""Databases of other programs: as the public code lays them out, and as somebody makes them from the documentation.

The definitions are written from what is known of those layouts: names and types of tables and columns, and forms of
times, emails and secrets.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENTED = """
CREATE TABLE users (
    id TEXT PRIMARY KEY, email TEXT UNIQUE NOT NULL, password_hash TEXT NOT NULL, password_salt TEXT NOT NULL,
    name TEXT DEFAULT '', org_id TEXT, role TEXT DEFAULT 'member', created_at TEXT DEFAULT CURRENT_TIMESTAMP,
    updated_at TEXT DEFAULT CURRENT_TIMESTAMP, last_login_at TEXT, is_active INTEGER DEFAULT 1,
    email_verified INTEGER DEFAULT 0, avatar_url TEXT, preferences TEXT DEFAULT '{}'
);
CREATE TABLE organizations (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, slug TEXT UNIQUE NOT NULL, tier TEXT DEFAULT 'free',
    owner_id TEXT REFERENCES users(id), stripe_customer_id TEXT, stripe_subscription_id TEXT,
    created_at TEXT DEFAULT CURRENT_TIMESTAMP, updated_at TEXT DEFAULT CURRENT_TIMESTAMP, settings TEXT DEFAULT '{}'
);
CREATE TABLE audit_log (
    id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp TEXT NOT NULL, user_id TEXT, org_id TEXT, action TEXT NOT NULL,
    resource_type TEXT, resource_id TEXT, details TEXT DEFAULT '{}', ip_address TEXT, user_agent TEXT
);
CREATE TABLE usage_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, org_id TEXT NOT NULL REFERENCES organizations(id), event_type TEXT NOT NULL,
    count INTEGER DEFAULT 1, metadata TEXT DEFAULT '{}', timestamp TEXT DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX idx_users_email ON users(email);
CREATE INDEX idx_audit_user ON audit_log(user_id);
"""
LOCKOUT = """
ALTER TABLE users ADD COLUMN locked_until TEXT;
ALTER TABLE users ADD COLUMN failed_login_count INTEGER DEFAULT 0;
ALTER TABLE users ADD COLUMN lockout_reason TEXT;
ALTER TABLE users ADD COLUMN last_activity_at TEXT;
ALTER TABLE users ADD COLUMN last_debate_at TEXT;
"""
DOCUMENTED_ROWS = """
INSERT INTO users (id, email, password_hash, password_salt, org_id, role, created_at) VALUES
    ('ann', ' Ann@Example.COM ', '', '', 'acme', 'owner', '2024-01-02 03:04:05'),
    ('bob', 'bob@example.com', '', '', 'acme', 'member', '2024-01-02T05:04:05+02:00');
INSERT INTO organizations (id, name, slug, owner_id) VALUES ('acme', 'Acme', 'Acme Inc', 'ann');
INSERT INTO audit_log (id, timestamp, user_id, action, details) VALUES
    (7, '2024-01-02 03:04:05', 'ann', 'login', NULL), (90, '2024-01-02T04:00:00.5Z', 'bob', 'login', '{"way": "sso"}');
DELETE FROM audit_log WHERE id = 90;
INSERT INTO audit_log (id, timestamp, user_id, action) VALUES (12, '2024-01-03', 'bob', 'logout');
INSERT INTO usage_events (org_id, event_type, count, timestamp) VALUES
    ('acme', 'debate', 2, '2024-01-05 00:00:00'), ('acme', 'debate', 3, '2024-01-06 00:00:00');
"""

LEDGER = """
CREATE TABLE _schema_versions (
    module TEXT PRIMARY KEY, version INTEGER NOT NULL, updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP
);
"""
PUBLIC_USERS = """
CREATE TABLE users (
    id TEXT PRIMARY KEY, email TEXT UNIQUE NOT NULL, password_hash TEXT NOT NULL, password_salt TEXT NOT NULL,
    name TEXT DEFAULT '', org_id TEXT, role TEXT DEFAULT 'member', is_active INTEGER DEFAULT 1,
    email_verified INTEGER DEFAULT 0, api_key TEXT UNIQUE, api_key_hash TEXT UNIQUE, api_key_prefix TEXT,
    api_key_created_at TEXT, api_key_expires_at TEXT, created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
    last_login_at TEXT, mfa_secret TEXT, mfa_enabled INTEGER DEFAULT 0, mfa_backup_codes TEXT,
    token_version INTEGER DEFAULT 1, failed_login_attempts INTEGER DEFAULT 0, lockout_until TEXT,
    last_failed_login_at TEXT, preferences TEXT DEFAULT '{}', FOREIGN KEY (org_id) REFERENCES organizations(id)
);
CREATE TABLE organizations (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, slug TEXT UNIQUE NOT NULL, tier TEXT DEFAULT 'free', owner_id TEXT,
    stripe_customer_id TEXT, stripe_subscription_id TEXT, debates_used_this_month INTEGER DEFAULT 0,
    billing_cycle_start TEXT NOT NULL, settings TEXT DEFAULT '{}', created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
    FOREIGN KEY (owner_id) REFERENCES users(id)
);
CREATE TABLE usage_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, org_id TEXT NOT NULL, event_type TEXT NOT NULL, count INTEGER DEFAULT 1,
    metadata TEXT DEFAULT '{}', created_at TEXT NOT NULL, FOREIGN KEY (org_id) REFERENCES organizations(id)
);
CREATE TABLE oauth_providers (
    id INTEGER PRIMARY KEY AUTOINCREMENT, user_id TEXT NOT NULL, provider TEXT NOT NULL,
    provider_user_id TEXT NOT NULL, email TEXT, linked_at TEXT NOT NULL, UNIQUE (provider, provider_user_id),
    FOREIGN KEY (user_id) REFERENCES users(id)
);
CREATE TABLE audit_log (
    id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp TEXT NOT NULL, user_id TEXT, org_id TEXT, action TEXT NOT NULL,
    resource_type TEXT NOT NULL, resource_id TEXT, old_value TEXT, new_value TEXT, metadata TEXT DEFAULT '{}',
    ip_address TEXT, user_agent TEXT
);
CREATE TABLE org_invitations (
    id TEXT PRIMARY KEY, org_id TEXT NOT NULL, email TEXT NOT NULL, role TEXT DEFAULT 'member',
    token TEXT UNIQUE NOT NULL, invited_by TEXT, status TEXT DEFAULT 'pending', created_at TEXT NOT NULL,
    expires_at TEXT NOT NULL, accepted_at TEXT
);
CREATE TABLE share_links (
    token TEXT PRIMARY KEY, debate_id TEXT NOT NULL UNIQUE, visibility TEXT NOT NULL DEFAULT 'private', owner_id TEXT,
    org_id TEXT, created_at REAL NOT NULL, expires_at REAL, allow_comments INTEGER DEFAULT 0,
    allow_forking INTEGER DEFAULT 0, view_count INTEGER DEFAULT 0, last_viewed_at REAL
);
CREATE TABLE onboarding_flows (id INTEGER PRIMARY KEY AUTOINCREMENT, user_id TEXT REFERENCES users(id), step TEXT);
CREATE INDEX idx_onboarding ON onboarding_flows(user_id);
CREATE VIEW active_users AS SELECT id FROM users WHERE is_active = 1;
"""
API_KEY = "ara_" + "k" * 43
INVITATION = "invitation-token-of-the-public-code"
SHARE = "share-token-of-the-public-code"
SHARED_SECRET = "JBSWY3DPEHPK3PXP"

PUBLIC_ELO = """
CREATE TABLE ratings (
    agent_name TEXT PRIMARY KEY, elo REAL DEFAULT 1500, domain_elos TEXT, wins INTEGER DEFAULT 0,
    losses INTEGER DEFAULT 0, draws INTEGER DEFAULT 0, debates_count INTEGER DEFAULT 0,
    critiques_accepted INTEGER DEFAULT 0, critiques_total INTEGER DEFAULT 0,
    updated_at TEXT DEFAULT CURRENT_TIMESTAMP, calibration_correct INTEGER DEFAULT 0
);
CREATE TABLE matches (
    id INTEGER PRIMARY KEY AUTOINCREMENT, debate_id TEXT UNIQUE, winner TEXT, participants TEXT, domain TEXT,
    scores TEXT, elo_changes TEXT, created_at TEXT DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE elo_history (
    id INTEGER PRIMARY KEY AUTOINCREMENT, agent_name TEXT NOT NULL, elo REAL NOT NULL, debate_id TEXT,
    created_at TEXT DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE agent_relationships (agent_a TEXT, agent_b TEXT, debate_count INTEGER, PRIMARY KEY (agent_a, agent_b));
INSERT INTO ratings (agent_name, elo, domain_elos, wins, critiques_total, updated_at) VALUES
    ('claude', 1532.5, '{"law": 1550.0}', 2, 4, '2026-01-02T03:04:05.678901'),
    ('gpt', 1467.5, NULL, 0, 0, '2026-01-02T03:04:05');
INSERT INTO matches (debate_id, winner, participants, domain, scores, elo_changes, created_at) VALUES
    ('d1', 'claude', '["claude", "gpt"]', 'law', '{"claude": 1.0, "gpt": 0.0}', '{}', '2026-01-01 10:00:00'),
    (NULL, NULL, '[]', NULL, NULL, NULL, '2026-01-01 10:00:00');
INSERT INTO elo_history (agent_name, elo, debate_id, created_at) VALUES
    ('claude', 1516.0, 'd1', '2026-01-01 10:00:00'), ('gpt', 1484.0, 'd1', '2026-01-01 10:00:00'),
    ('claude', 1532.5, NULL, '2026-01-02 10:00:00');
INSERT INTO agent_relationships VALUES ('claude', 'gpt', 1);
"""

PUBLIC_MEMORY = """
CREATE TABLE continuum_memory (
    id TEXT PRIMARY KEY, tier TEXT NOT NULL DEFAULT 'slow', content TEXT NOT NULL, importance REAL DEFAULT 0.5,
    surprise_score REAL DEFAULT 0.0, consolidation_score REAL DEFAULT 0.0, update_count INTEGER DEFAULT 0,
    success_count INTEGER DEFAULT 0, failure_count INTEGER DEFAULT 0, semantic_centroid BLOB, last_promotion_at TEXT,
    created_at TEXT DEFAULT CURRENT_TIMESTAMP, updated_at TEXT DEFAULT CURRENT_TIMESTAMP, metadata TEXT DEFAULT '{}',
    expires_at TEXT, red_line INTEGER DEFAULT 0, red_line_reason TEXT DEFAULT ''
);
CREATE TABLE continuum_memory_archive (
    id TEXT PRIMARY KEY, tier TEXT NOT NULL, content TEXT NOT NULL, importance REAL, surprise_score REAL,
    consolidation_score REAL, update_count INTEGER, success_count INTEGER, failure_count INTEGER,
    semantic_centroid BLOB, created_at TEXT, updated_at TEXT, archived_at TEXT DEFAULT CURRENT_TIMESTAMP,
    archive_reason TEXT, metadata TEXT
);
CREATE TABLE tier_transitions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, memory_id TEXT NOT NULL, from_tier TEXT NOT NULL, to_tier TEXT NOT NULL,
    reason TEXT, surprise_score REAL, created_at TEXT DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (memory_id) REFERENCES continuum_memory(id)
);
CREATE TABLE memories (
    id TEXT PRIMARY KEY, agent_name TEXT NOT NULL, memory_type TEXT NOT NULL, content TEXT NOT NULL, context TEXT
);
INSERT INTO continuum_memory (id, tier, content, importance, update_count, created_at, updated_at, semantic_centroid,
    red_line, red_line_reason) VALUES
    ('m1', 'slow', 'strong', 0.9, 3, '2026-11-01T00:00:00.123456', '2026-11-01T00:00:00.123456', x'00ff', 0, ''),
    ('m2', 'slow', 'weak', 0.1, 0, '2026-11-01 00:00:00', '2026-11-01 00:00:00', NULL, 0, ''),
    ('m3', 'slow', 'kept', 0.5, 0, '2026-11-01 00:00:00', '2026-11-01 00:00:00', NULL, 1, 'safety');
INSERT INTO continuum_memory_archive (id, tier, content, created_at) VALUES ('m0', 'fast', 'old', NULL);
INSERT INTO tier_transitions (memory_id, from_tier, to_tier, reason, surprise_score, created_at) VALUES
    ('m1', 'glacial', 'slow', NULL, 0.7, '2026-11-01 00:00:00');
INSERT INTO memories VALUES ('a1', 'claude', 'reflection', 'think', NULL);
"""

PUBLIC_POSITIONS = """
CREATE TABLE positions (
    id TEXT PRIMARY KEY, agent_name TEXT NOT NULL, claim TEXT NOT NULL, confidence REAL NOT NULL,
    debate_id TEXT NOT NULL, round_num INTEGER NOT NULL, outcome TEXT DEFAULT 'pending', reversed INTEGER DEFAULT 0,
    reversal_debate_id TEXT, domain TEXT, created_at TEXT DEFAULT CURRENT_TIMESTAMP, resolved_at TEXT
);
CREATE TABLE detected_flips (
    id TEXT PRIMARY KEY, agent_name TEXT NOT NULL, original_claim TEXT NOT NULL, new_claim TEXT NOT NULL,
    original_confidence REAL, new_confidence REAL, original_debate_id TEXT, new_debate_id TEXT,
    original_position_id TEXT, new_position_id TEXT, similarity_score REAL, flip_type TEXT, domain TEXT,
    detected_at TEXT DEFAULT CURRENT_TIMESTAMP
);
INSERT INTO positions (id, agent_name, claim, confidence, debate_id, round_num, created_at) VALUES
    ('p1', 'claude', 'yes', 0.8, 'd1', 1, '2026-01-01 10:00:00'),
    ('p2', 'claude', 'no', 0.7, 'd2', 1, '2026-01-02T10:00:00.5');
INSERT INTO detected_flips (id, agent_name, original_claim, new_claim, original_position_id, new_position_id,
    similarity_score, flip_type, detected_at) VALUES
    ('f1', 'claude', 'yes', 'no', 'p1', 'p2', 0.9, 'contradiction', '2026-01-02T10:00:00.5'),
    ('f2', 'claude', 'yes', 'maybe', 'p1', NULL, 0.2, 'qualification', '2026-01-02T10:00:00.5');
"""

PUBLIC_TOKENS = """
CREATE TABLE token_blacklist (jti TEXT PRIMARY KEY, expires_at REAL NOT NULL, revoked_at REAL NOT NULL);
INSERT INTO token_blacklist VALUES ('t1', 4102444800.25, 1767225600.5);
"""

PUBLIC_TRACES = """
CREATE TABLE traces (
    trace_id TEXT PRIMARY KEY, debate_id TEXT, task TEXT, agents TEXT, random_seed INTEGER, started_at TEXT,
    completed_at TEXT, checksum TEXT, trace_json TEXT
);
CREATE TABLE trace_events (
    event_id TEXT PRIMARY KEY, trace_id TEXT, event_type TEXT, timestamp TEXT, round_num INTEGER, agent TEXT,
    content TEXT, FOREIGN KEY (trace_id) REFERENCES traces(trace_id)
);
"""


def make(path: Path, *scripts: str) -> Path:
    """Make a database of these statements."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        for script in scripts:
            connection.executescript(script)
    return path


def rows_of(path: Path, sql: str) -> list[tuple[object, ...]]:
    """Return what a query finds."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def execute(path: Path, sql: str, values: tuple[object, ...] = ()) -> None:
    """Change a database."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(sql, values)


def make_public_users(path: Path) -> Path:
    """Make the public code's users database, with a row of everything."""
    make(path, LEDGER, PUBLIC_USERS, "INSERT INTO _schema_versions (module, version) VALUES ('users', 2)")
    insert = (
        "INSERT INTO users (id, email, password_hash, password_salt, org_id, role, api_key_hash, api_key_prefix, "
        "api_key_created_at, created_at, updated_at, mfa_secret, mfa_enabled, mfa_backup_codes, failed_login_attempts, "
        "lockout_until, preferences) VALUES (?, ?, ?, '', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    )
    made = "2026-01-02T03:04:05.678901+00:00"
    key = (sha256(API_KEY.encode()).hexdigest(), API_KEY[:12], made)
    factor = (SHARED_SECRET, 1, '["5e884898"]')
    ann = ("ann", "ann@example.com", "bcrypt:$2b$12$abc", "acme", "owner", *key, made, made, *factor)
    execute(path, insert, (*ann, 6, "2026-01-02T03:19:05.000001+00:00", '{"theme": "dark"}'))
    bob = ("bob", "bob@example.com", "", "acme", "member", None, None, None, made, made, None, 0, None, 0, None, "{}")
    execute(path, insert, bob)
    make(
        path,
        f"""
        INSERT INTO organizations (id, name, slug, owner_id, debates_used_this_month, billing_cycle_start, settings,
            created_at, updated_at) VALUES ('acme', 'Acme', 'acme', 'ann', 4, '{made}', '{{"seats": 5}}', '{made}',
            '{made}');
        INSERT INTO usage_events (org_id, event_type, count, created_at) VALUES ('acme', 'debate', 4, '{made}');
        INSERT INTO oauth_providers (user_id, provider, provider_user_id, email, linked_at) VALUES
            ('ann', 'google', '1234', 'ann@example.com', '{made}');
        INSERT INTO audit_log (timestamp, user_id, action, resource_type, old_value, new_value, metadata) VALUES
            ('{made}', 'ann', 'user.update', 'user', '{{"role": "member"}}', '{{"role": "owner"}}', '{{"by": "api"}}');
        INSERT INTO org_invitations (id, org_id, email, token, invited_by, status, created_at, expires_at) VALUES
            ('i1', 'acme', 'Cy@Example.com', '{INVITATION}', 'ann', 'pending', '{made}', '2126-01-02T03:04:05+00:00'),
            ('i2', 'acme', 'dee@example.com', 'old', 'ann', 'pending', '{made}', '2026-01-09T03:04:05+00:00'),
            ('i3', 'acme', 'dee@example.com', 'new', 'ann', 'pending', '{made}', '2126-01-09T03:04:05+00:00');
        INSERT INTO share_links (token, debate_id, visibility, owner_id, created_at, expires_at) VALUES
            ('{SHARE}', 'd1', 'public', 'ann', 1767323045.5, NULL), ('nobody', 'd2', 'public', NULL, 1767323045.5, 1.0);
        INSERT INTO onboarding_flows (user_id, step) VALUES ('ann', 'welcome');
        """,
    )
    return path


def make_public_traces(path: Path, *, more: bool = False) -> Path:
    """Make the public code's database of traces; ``more`` is an event that its trace has not."""
    event = {
        "event_id": "d1-e0001",
        "event_type": "agent_proposal",
        "timestamp": "2026-01-02T03:04:05.678901",
        "round_num": 1,
        "agent": "claude",
        "content": {"content": "yes"},
        "parent_event_id": None,
        "duration_ms": 12,
        "metadata": {},
    }
    trace = {
        "trace_id": "trace-d1",
        "debate_id": "d1",
        "task": "decide",
        "agents": ["claude"],
        "random_seed": 7,
        "events": [event],
        "started_at": "2026-01-02T03:04:05",
        "completed_at": "2026-01-02T03:05:05",
        "final_result": {"final_answer": "yes"},
        "metadata": {},
        "checksum": sha256(json.dumps([event], sort_keys=True).encode()).hexdigest()[:16],
    }
    make(path, LEDGER, PUBLIC_TRACES)
    insert = "INSERT INTO traces (trace_id, debate_id, trace_json) VALUES ('trace-d1', 'd1', ?)"
    execute(path, insert, (json.dumps(trace, indent=2),))
    for event_id in ("d1-e0001", "d1-e0002") if more else ("d1-e0001",):
        execute(path, "INSERT INTO trace_events (event_id, trace_id) VALUES (?, 'trace-d1')", (event_id,))
    return path
