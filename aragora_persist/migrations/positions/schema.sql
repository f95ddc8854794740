-- Generated from the migrations beside it; do not edit.

CREATE TABLE flips (
    id TEXT PRIMARY KEY,
    agent_name TEXT NOT NULL,
    from_position_id TEXT NOT NULL REFERENCES positions(id),
    to_position_id TEXT NOT NULL REFERENCES positions(id),
    kind TEXT NOT NULL,
    similarity REAL NOT NULL DEFAULT 0,
    detected_at TEXT NOT NULL,
    UNIQUE (from_position_id, to_position_id)
);

CREATE TABLE positions (
    id TEXT PRIMARY KEY,
    agent_name TEXT NOT NULL,
    claim TEXT NOT NULL,
    confidence REAL NOT NULL CHECK (confidence BETWEEN 0 AND 1),
    debate_id TEXT NOT NULL,
    round_num INTEGER NOT NULL DEFAULT 0,
    domain TEXT NOT NULL DEFAULT '',
    outcome TEXT NOT NULL DEFAULT 'pending',
    reversed INTEGER NOT NULL DEFAULT 0 CHECK (reversed IN (0, 1)),
    reversal_debate_id TEXT,
    created_at TEXT NOT NULL,
    resolved_at TEXT
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

CREATE INDEX idx_flips_agent ON flips(agent_name, detected_at);

CREATE INDEX idx_flips_to ON flips(to_position_id);

CREATE INDEX idx_positions_agent ON positions(agent_name, created_at);

CREATE INDEX idx_positions_debate ON positions(debate_id);
