-- Generated from the migrations beside it; do not edit.

CREATE TABLE audit_log (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    timestamp TEXT NOT NULL,
    user_id TEXT,
    org_id TEXT,
    action TEXT NOT NULL,
    resource_type TEXT,
    resource_id TEXT,
    details TEXT DEFAULT '{}',
    ip_address TEXT,
    user_agent TEXT
);

CREATE TABLE organizations (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    slug TEXT UNIQUE NOT NULL,
    tier TEXT DEFAULT 'free',
    owner_id TEXT REFERENCES users(id),
    stripe_customer_id TEXT,
    stripe_subscription_id TEXT,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
    settings TEXT DEFAULT '{}'
);

CREATE TABLE schema_version (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at TEXT NOT NULL,
    duration_ms REAL NOT NULL,
    package_version TEXT NOT NULL,
    min_reader TEXT NOT NULL
);

CREATE TABLE usage_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    org_id TEXT NOT NULL REFERENCES organizations(id),
    event_type TEXT NOT NULL,
    count INTEGER DEFAULT 1,
    metadata TEXT DEFAULT '{}',
    timestamp TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'))
);

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    email TEXT UNIQUE NOT NULL,
    password_hash TEXT NOT NULL,
    password_salt TEXT NOT NULL,
    name TEXT DEFAULT '',
    org_id TEXT,
    role TEXT DEFAULT 'member',
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
    last_login_at TEXT,
    is_active INTEGER DEFAULT 1,
    email_verified INTEGER DEFAULT 0,
    avatar_url TEXT,
    preferences TEXT DEFAULT '{}'
, locked_until TEXT, failed_login_count INTEGER DEFAULT 0, lockout_reason TEXT, last_activity_at TEXT, last_debate_at TEXT);

CREATE INDEX idx_audit_org ON audit_log(org_id);

CREATE INDEX idx_audit_timestamp ON audit_log(timestamp);

CREATE INDEX idx_audit_user ON audit_log(user_id);

CREATE INDEX idx_orgs_owner ON organizations(owner_id);

CREATE INDEX idx_orgs_slug ON organizations(slug);

CREATE INDEX idx_orgs_stripe ON organizations(stripe_customer_id);

CREATE INDEX idx_usage_org ON usage_events(org_id);

CREATE INDEX idx_usage_timestamp ON usage_events(timestamp);

CREATE INDEX idx_users_email ON users(email);

CREATE INDEX idx_users_org ON users(org_id);
