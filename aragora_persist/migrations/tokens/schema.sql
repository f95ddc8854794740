-- Generated from the migrations beside it; do not edit.

CREATE TABLE schema_version (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at TEXT NOT NULL,
    duration_ms REAL NOT NULL,
    package_version TEXT NOT NULL,
    min_reader TEXT NOT NULL
);

CREATE TABLE token_blacklist (
    jti TEXT PRIMARY KEY,
    user_id TEXT,
    reason TEXT,
    expires_at TEXT NOT NULL,
    revoked_at TEXT NOT NULL
);

CREATE INDEX idx_blacklist_expires ON token_blacklist(expires_at);

CREATE INDEX idx_blacklist_user ON token_blacklist(user_id);
