-- Generated from the migrations beside it; do not edit.

CREATE TABLE memories (
    id TEXT PRIMARY KEY,
    tier TEXT NOT NULL DEFAULT 'fast' CHECK (tier IN ('fast', 'medium', 'slow', 'glacial')),
    content TEXT NOT NULL,
    importance REAL NOT NULL DEFAULT 0.5,
    surprise REAL NOT NULL DEFAULT 0,
    stability REAL NOT NULL DEFAULT 0,
    success_count INTEGER NOT NULL DEFAULT 0,
    failure_count INTEGER NOT NULL DEFAULT 0,
    access_count INTEGER NOT NULL DEFAULT 0,
    red_line INTEGER NOT NULL DEFAULT 0 CHECK (red_line IN (0, 1)),
    metadata TEXT NOT NULL DEFAULT '{}',
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    last_accessed_at TEXT,
    tier_changed_at TEXT
, strength REAL NOT NULL DEFAULT 0);

CREATE TABLE memory_archive (
    id TEXT PRIMARY KEY,
    tier TEXT NOT NULL,
    content TEXT NOT NULL,
    importance REAL NOT NULL,
    metadata TEXT NOT NULL DEFAULT '{}',
    reason TEXT NOT NULL,
    created_at TEXT NOT NULL,
    archived_at TEXT NOT NULL
, surprise REAL NOT NULL DEFAULT 0, stability REAL NOT NULL DEFAULT 0, success_count INTEGER NOT NULL DEFAULT 0, failure_count INTEGER NOT NULL DEFAULT 0, access_count INTEGER NOT NULL DEFAULT 0, red_line INTEGER NOT NULL DEFAULT 0, last_accessed_at TEXT, tier_changed_at TEXT);

CREATE TABLE memory_outcomes (
    event_key TEXT PRIMARY KEY,
    memory_id TEXT NOT NULL,
    success INTEGER NOT NULL CHECK (success IN (0, 1)),
    recorded_at TEXT NOT NULL
);

CREATE TABLE red_line_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    memory_id TEXT NOT NULL,
    action TEXT NOT NULL CHECK (action IN ('marked', 'lifted', 'archived', 'deleted')),
    reason TEXT NOT NULL,
    recorded_at TEXT NOT NULL
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

CREATE TABLE tier_counts (tier TEXT PRIMARY KEY, memories INTEGER NOT NULL);

CREATE TABLE tier_transitions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    memory_id TEXT NOT NULL,
    from_tier TEXT NOT NULL,
    to_tier TEXT NOT NULL,
    reason TEXT NOT NULL,
    moved_at TEXT NOT NULL
);

CREATE INDEX idx_memories_red_line ON memories(id) WHERE red_line = 1;

CREATE INDEX idx_memories_strength ON memories(tier, strength, id);

CREATE INDEX idx_memories_updated ON memories(tier, updated_at);

CREATE INDEX idx_archive_archived ON memory_archive(archived_at);

CREATE INDEX idx_memory_outcomes_recorded ON memory_outcomes(recorded_at);

CREATE INDEX idx_red_line_events_memory ON red_line_events(memory_id, id);

CREATE INDEX idx_transitions_memory ON tier_transitions(memory_id, moved_at);
