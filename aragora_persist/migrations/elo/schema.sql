-- Generated from the migrations beside it; do not edit.

CREATE TABLE calibration (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    debate_id TEXT NOT NULL,
    agent_name TEXT NOT NULL,
    domain TEXT NOT NULL DEFAULT '',
    confidence REAL NOT NULL CHECK (confidence BETWEEN 0 AND 1),
    correct INTEGER NOT NULL CHECK (correct IN (0, 1)),
    recorded_at TEXT NOT NULL,
    UNIQUE (debate_id, agent_name)
);

CREATE TABLE elo_history (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    debate_id TEXT NOT NULL REFERENCES matches(debate_id),
    agent_name TEXT NOT NULL,
    domain TEXT NOT NULL DEFAULT '',
    rating_before REAL NOT NULL,
    rating_after REAL NOT NULL,
    recorded_at TEXT NOT NULL,
    UNIQUE (debate_id, agent_name, domain)
);

CREATE TABLE matches (
    debate_id TEXT PRIMARY KEY,
    domain TEXT NOT NULL DEFAULT '',
    winner TEXT,
    scores TEXT NOT NULL DEFAULT '{}',
    played_at TEXT NOT NULL
);

CREATE TABLE meetings (
    agent_name TEXT NOT NULL,
    opponent TEXT NOT NULL,
    domain TEXT NOT NULL DEFAULT '',
    wins INTEGER NOT NULL,
    losses INTEGER NOT NULL,
    draws INTEGER NOT NULL,
    last_played_at TEXT NOT NULL,
    PRIMARY KEY (agent_name, opponent, domain)
);

CREATE TABLE ratings (
    agent_name TEXT NOT NULL,
    domain TEXT NOT NULL DEFAULT '',
    rating REAL NOT NULL DEFAULT 1500,
    wins INTEGER NOT NULL DEFAULT 0,
    losses INTEGER NOT NULL DEFAULT 0,
    draws INTEGER NOT NULL DEFAULT 0,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (agent_name, domain)
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

CREATE INDEX idx_calibration_agent ON calibration(agent_name, domain);

CREATE INDEX idx_history_order ON elo_history(agent_name, domain, id);

CREATE INDEX idx_matches_played ON matches(played_at);

CREATE INDEX idx_ratings_board ON ratings(domain, rating);
