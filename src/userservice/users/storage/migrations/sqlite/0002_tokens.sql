-- Tokens of programs: their secret halves are kept as SHA-256 only. Times are as in users.
CREATE TABLE api_tokens (
    id         TEXT PRIMARY KEY,
    hash       BLOB NOT NULL,
    user_id    TEXT NOT NULL,
    name       TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    used_at    INTEGER
) WITHOUT ROWID;

CREATE INDEX api_tokens_by_user ON api_tokens (user_id, created_at);

-- The keys that sign tokens of users; the newest signs, the others were retired.
CREATE TABLE signing_keys (
    generation INTEGER PRIMARY KEY AUTOINCREMENT,
    value      BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    retired_at INTEGER
);
