-- Marks the file as ours: "usrs".
PRAGMA application_id = 1970500211;

-- Times are microseconds since the Unix epoch. Text sorts by code point: UTF-8
-- under SQLite's default collation, BINARY.
CREATE TABLE users (
    id            TEXT PRIMARY KEY,
    email         TEXT NOT NULL,
    email_key     TEXT NOT NULL UNIQUE,
    name          TEXT NOT NULL,
    avatar        TEXT NOT NULL,
    role          INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    revision      INTEGER NOT NULL,
    password_hash TEXT
) WITHOUT ROWID;

-- The default order.
CREATE INDEX users_by_created_at ON users (created_at, id);

-- AUTOINCREMENT: a revision number is never used again, even after the newest is gone.
CREATE TABLE events (
    revision   INTEGER PRIMARY KEY AUTOINCREMENT,
    kind       INTEGER NOT NULL,
    time       INTEGER NOT NULL,
    id         TEXT NOT NULL,
    email      TEXT NOT NULL,
    name       TEXT NOT NULL,
    avatar     TEXT NOT NULL,
    role       INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);

CREATE INDEX events_by_user ON events (id, revision);

CREATE TABLE secrets (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;
