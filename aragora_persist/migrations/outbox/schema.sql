-- Generated from the migrations beside it; do not edit.

CREATE TABLE dead_letters (
    id INTEGER PRIMARY KEY,
    table_name TEXT NOT NULL,
    record_key TEXT NOT NULL,
    revision INTEGER NOT NULL,
    payload TEXT NOT NULL,
    enqueued_at TEXT NOT NULL,
    failed_at TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    reason TEXT NOT NULL
);

CREATE TABLE imported_commits (
    loop_id TEXT NOT NULL,
    cycle_number INTEGER NOT NULL CHECK (cycle_number > 0),
    sha TEXT NOT NULL,
    PRIMARY KEY (loop_id, cycle_number),
    UNIQUE (loop_id, sha)
);

CREATE TABLE imported_replays (
    trace_id TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    imported_at TEXT NOT NULL
);

CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    table_name TEXT NOT NULL,
    record_key TEXT NOT NULL,
    revision INTEGER NOT NULL CHECK (revision >= 0),
    payload TEXT NOT NULL,
    enqueued_at TEXT NOT NULL,
    UNIQUE (record_key, table_name)
);

CREATE TABLE revision_clock (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    last_revision INTEGER NOT NULL
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

CREATE TABLE sync_state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    last_success_at TEXT,
    problem TEXT NOT NULL,
    problem_since TEXT
);

CREATE UNIQUE INDEX dead_letters_by_record ON dead_letters (record_key, table_name);

CREATE INDEX outbox_by_table ON outbox (table_name, id);
