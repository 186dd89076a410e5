-- One row for each sign-in. Its refresh tokens have two halves: the first is the same for
-- all of them, and names the row by its SHA-256; the second is another one each time, and
-- only the hash of the last is kept.
CREATE TABLE sessions (
    id         TEXT PRIMARY KEY,
    user_id    TEXT NOT NULL,
    token_hash BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX sessions_by_user ON sessions (user_id, created_at);

CREATE INDEX sessions_by_expiry ON sessions (expires_at);
