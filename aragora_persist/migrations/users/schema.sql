-- Generated from the migrations beside it; do not edit.

CREATE TABLE account_tokens (
    user_id TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
    purpose TEXT NOT NULL CHECK (purpose IN ('verify_email', 'reset_password')),
    token_hash TEXT UNIQUE NOT NULL,
    email TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    PRIMARY KEY (user_id, purpose)
);

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    prefix TEXT NOT NULL,
    key_hash TEXT UNIQUE NOT NULL,
    created_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    last_used_at TEXT,
    revoked_at TEXT
);

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
, event_key TEXT, erased_at TEXT, position INTEGER, nodes BLOB, actor_salt BLOB, actor_hash BLOB, subject_salt BLOB, subject_hash BLOB);

CREATE TABLE audit_tree (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    size INTEGER NOT NULL,
    edge BLOB NOT NULL,
    last_id INTEGER NOT NULL,
    removed INTEGER NOT NULL,
    removed_edge BLOB NOT NULL,
    retention_id INTEGER
);

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
);

CREATE TABLE memberships (
    org_id TEXT NOT NULL REFERENCES organizations(id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
    role TEXT NOT NULL CHECK (role IN ('owner', 'admin', 'member', 'viewer')),
    joined_at TEXT NOT NULL,
    PRIMARY KEY (org_id, user_id)
);

CREATE TABLE mfa_backup_codes (
    user_id TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
    code_hash TEXT NOT NULL,
    PRIMARY KEY (user_id, code_hash)
);

CREATE TABLE oauth_identities (
    provider TEXT NOT NULL,
    subject TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
    created_at TEXT NOT NULL,
    PRIMARY KEY (provider, subject)
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
, closed_at TEXT);

CREATE TABLE schema_version (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at TEXT NOT NULL,
    duration_ms REAL NOT NULL,
    package_version TEXT NOT NULL,
    min_reader TEXT NOT NULL
);

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
);

CREATE TABLE usage_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    org_id TEXT NOT NULL REFERENCES organizations(id),
    event_type TEXT NOT NULL,
    count INTEGER DEFAULT 1,
    metadata TEXT DEFAULT '{}',
    timestamp TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'))
, event_key TEXT, recorded_at TEXT, aggregated INTEGER NOT NULL DEFAULT 0);

CREATE TABLE usage_monthly (
    org_id TEXT NOT NULL REFERENCES organizations(id),
    month TEXT NOT NULL,
    event_type TEXT NOT NULL,
    count INTEGER NOT NULL,
    events INTEGER NOT NULL,
    PRIMARY KEY (org_id, month, event_type)
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
, locked_until TEXT, failed_login_count INTEGER DEFAULT 0, lockout_reason TEXT, last_activity_at TEXT, last_debate_at TEXT, token_version INTEGER NOT NULL DEFAULT 0, mfa_enabled INTEGER NOT NULL DEFAULT 0, mfa_secret TEXT);

CREATE TABLE webhook_attempts (
    delivery_id TEXT NOT NULL REFERENCES webhook_deliveries(id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    attempted_at TEXT NOT NULL,
    status INTEGER,
    error TEXT NOT NULL,
    duration_ms REAL,
    PRIMARY KEY (delivery_id, number)
);

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
);

CREATE TABLE webhook_receipts (
    source TEXT NOT NULL,
    event_id TEXT NOT NULL,
    received_at TEXT NOT NULL,
    PRIMARY KEY (source, event_id)
);

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
);

CREATE INDEX idx_api_keys_user ON api_keys(user_id, created_at, id);

CREATE UNIQUE INDEX idx_audit_event_key ON audit_log(event_key) WHERE event_key IS NOT NULL;

CREATE INDEX idx_audit_org ON audit_log(org_id);

CREATE INDEX idx_audit_person ON audit_log(resource_id) WHERE resource_type = 'user';

CREATE UNIQUE INDEX idx_audit_position ON audit_log(position);

CREATE INDEX idx_audit_timestamp ON audit_log(timestamp);

CREATE INDEX idx_audit_user ON audit_log(user_id);

CREATE INDEX idx_invitations_accepter ON invitations(accepted_by);

CREATE INDEX idx_invitations_email ON invitations(email);

CREATE INDEX idx_invitations_expiry ON invitations(expires_at);

CREATE INDEX idx_invitations_inviter ON invitations(invited_by);

CREATE UNIQUE INDEX idx_invitations_open ON invitations(org_id, email) WHERE accepted_at IS NULL AND revoked_at IS NULL;

CREATE INDEX idx_invitations_org ON invitations(org_id, created_at, id);

CREATE UNIQUE INDEX idx_memberships_owner ON memberships(org_id) WHERE role = 'owner';

CREATE INDEX idx_memberships_user ON memberships(user_id, joined_at);

CREATE INDEX idx_oauth_user ON oauth_identities(user_id, provider, subject);

CREATE INDEX idx_orgs_owner ON organizations(owner_id);

CREATE INDEX idx_orgs_slug ON organizations(slug);

CREATE INDEX idx_orgs_stripe ON organizations(stripe_customer_id);

CREATE INDEX idx_orgs_subscription ON organizations(stripe_subscription_id);

CREATE INDEX idx_orgs_tier ON organizations(tier, slug);

CREATE INDEX idx_share_links_debate ON share_links(debate_id);

CREATE INDEX idx_share_links_expiry ON share_links(expires_at) WHERE expires_at IS NOT NULL;

CREATE INDEX idx_share_links_org ON share_links(org_id, created_at, id);

CREATE INDEX idx_share_links_owner ON share_links(owner_id, created_at, id);

CREATE INDEX idx_share_links_revoked ON share_links(revoked_at) WHERE revoked_at IS NOT NULL;

CREATE UNIQUE INDEX idx_usage_key ON usage_events(org_id, event_key) WHERE event_key IS NOT NULL;

CREATE INDEX idx_usage_open ON usage_events(org_id, timestamp) WHERE aggregated = 0;

CREATE INDEX idx_usage_org ON usage_events(org_id);

CREATE INDEX idx_usage_timestamp ON usage_events(timestamp);

CREATE INDEX idx_users_created ON users(created_at, id);

CREATE INDEX idx_users_email ON users(email);

CREATE INDEX idx_users_org ON users(org_id);

CREATE INDEX idx_users_org_created ON users(org_id, created_at, id);

CREATE INDEX webhook_deliveries_by_state ON webhook_deliveries (webhook_id, state, created_at, id);

CREATE INDEX webhook_deliveries_by_time ON webhook_deliveries (webhook_id, created_at, id);

CREATE INDEX webhook_deliveries_claimed ON webhook_deliveries (webhook_id, due_at) WHERE claim IS NOT NULL;

CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook_id, due_at) WHERE due_at IS NOT NULL;

CREATE INDEX webhook_deliveries_finished ON webhook_deliveries (finished_at) WHERE finished_at IS NOT NULL;

CREATE INDEX webhook_receipts_by_time ON webhook_receipts (received_at);

CREATE INDEX webhooks_by_org ON webhooks (org_id, created_at, id);
