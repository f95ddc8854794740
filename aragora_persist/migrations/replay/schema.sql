-- Generated from the migrations beside it; do not edit.

CREATE TABLE replay_events (
    trace_id TEXT NOT NULL REFERENCES replays(trace_id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    occurred_at TEXT NOT NULL,
    round_num INTEGER NOT NULL,
    agent TEXT,
    body TEXT NOT NULL,
    PRIMARY KEY (trace_id, position)
);

CREATE TABLE replay_marks (
    trace_id TEXT NOT NULL REFERENCES replays(trace_id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    latest_at TEXT NOT NULL,
    latest_round INTEGER NOT NULL,
    PRIMARY KEY (trace_id, position)
);

CREATE TABLE replays (
    trace_id TEXT PRIMARY KEY,
    debate_id TEXT NOT NULL,
    task TEXT NOT NULL,
    started_at TEXT NOT NULL,
    completed_at TEXT,
    event_count INTEGER NOT NULL,
    checksum TEXT NOT NULL,
    digest TEXT NOT NULL,
    header TEXT NOT NULL,
    saved_at TEXT NOT NULL
, is_recording INTEGER NOT NULL DEFAULT 0 CHECK (is_recording IN (0, 1)));

CREATE TABLE schema_version (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at TEXT NOT NULL,
    duration_ms REAL NOT NULL,
    package_version TEXT NOT NULL,
    min_reader TEXT NOT NULL
);

CREATE INDEX idx_replay_events_id ON replay_events(trace_id, event_id);

CREATE INDEX idx_replays_debate_started ON replays(debate_id, started_at, trace_id);

CREATE INDEX idx_replays_started ON replays(started_at, trace_id);
