"""Tokens and keys on SQLite: what is done in a transaction of ``sqlite.py``."""

import datetime
import os
import sqlite3
from typing import Any, Final

from userservice.users.storage import sql
from userservice.users.storage.keys import ApiToken, SigningKey

_COLUMNS: Final = (
    "api_tokens.id, user_id, api_tokens.name, api_tokens.created_at, hash, expires_at, used_at"
)
_OF_OWNERS: Final = f"SELECT {_COLUMNS} FROM api_tokens JOIN users ON users.id = api_tokens.user_id"
SELECT_TOKEN: Final = f"{_OF_OWNERS} WHERE api_tokens.id = ?"
_OLDEST_FIRST: Final = "ORDER BY api_tokens.created_at, api_tokens.id"
_SELECT_TOKENS: Final = f"{_OF_OWNERS} WHERE :owner IS NULL OR user_id = :owner {_OLDEST_FIRST}"
_SELECT_KEYS: Final = (
    "SELECT generation, value, created_at, retired_at FROM signing_keys ORDER BY generation DESC"
)


def add_token(writer: sqlite3.Connection, token: ApiToken) -> bool:
    """Store a token, where there is its owner."""
    if writer.execute("SELECT 1 FROM users WHERE id = ?", (token.user_id,)).fetchone() is None:
        return False
    writer.execute(
        "INSERT INTO api_tokens (id, user_id, name, created_at, hash, expires_at, used_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            token.id,
            token.user_id,
            token.name,
            sql.microseconds(token.created_at),
            token.hash,
            None if token.expires_at is None else sql.microseconds(token.expires_at),
            None if token.used_at is None else sql.microseconds(token.used_at),
        ),
    )
    return True


def tokens(reader: sqlite3.Connection, user_id: str | None) -> list[ApiToken]:
    """Return the tokens of an owner, or all."""
    return [token_of(row) for row in reader.execute(_SELECT_TOKENS, {"owner": user_id}).fetchall()]


def token_of(row: tuple[Any, ...]) -> ApiToken:
    """Return the token of a row of SELECT_TOKEN."""
    token_id, user_id, name, created_at, hash_, expires_at, used_at = row
    return ApiToken(
        token_id,
        user_id,
        name,
        sql.time_of(created_at),
        hash_,
        _time_or_none(expires_at),
        _time_or_none(used_at),
    )


def use_token(writer: sqlite3.Connection, token_id: str, at: datetime.datetime) -> bool:
    """Note when a token was last used."""
    row = sql.microseconds(at), token_id
    return writer.execute("UPDATE api_tokens SET used_at = ? WHERE id = ?", row).rowcount > 0


def revoke_token(writer: sqlite3.Connection, token_id: str) -> bool:
    """Delete a token."""
    return writer.execute("DELETE FROM api_tokens WHERE id = ?", (token_id,)).rowcount > 0


def revoke_tokens_of(writer: sqlite3.Connection, user_id: str) -> None:
    """Delete the tokens of a user."""
    writer.execute("DELETE FROM api_tokens WHERE user_id = ?", (user_id,))


def signing_keys(reader: sqlite3.Connection) -> list[SigningKey]:
    """Return the keys, the newest first."""
    return [_key_of(row) for row in reader.execute(_SELECT_KEYS).fetchall()]


def first_signing_keys(writer: sqlite3.Connection) -> list[SigningKey]:
    """Make the first key, where there is none yet, and return all."""
    return signing_keys(writer) or [_new_key(writer)]


def rotate_signing_key(writer: sqlite3.Connection, retired_for: datetime.timedelta) -> SigningKey:
    """Make a new key, retire the one until now, and delete those retired long enough ago."""
    now = datetime.datetime.now(datetime.UTC)
    retired = "UPDATE signing_keys SET retired_at = ? WHERE retired_at IS NULL"
    writer.execute(retired, (sql.microseconds(now),))
    forgotten = "DELETE FROM signing_keys WHERE retired_at <= ?"
    writer.execute(forgotten, (sql.microseconds(now - retired_for),))
    return _new_key(writer)


def _new_key(writer: sqlite3.Connection) -> SigningKey:
    now = datetime.datetime.now(datetime.UTC)
    value = os.urandom(32)
    cursor = writer.execute(
        "INSERT INTO signing_keys (value, created_at) VALUES (?, ?)", (value, sql.microseconds(now))
    )
    assert cursor.lastrowid is not None
    return SigningKey(cursor.lastrowid, value, now, None)


def _key_of(row: tuple[Any, ...]) -> SigningKey:
    generation, value, created_at, retired_at = row
    return SigningKey(generation, value, sql.time_of(created_at), _time_or_none(retired_at))


def _time_or_none(microseconds: int | None) -> datetime.datetime | None:
    return None if microseconds is None else sql.time_of(microseconds)
