"""Passwords and sessions on SQLite: what is done in a transaction of ``sqlite.py``."""

import datetime
import sqlite3
from typing import Final

from userservice.users import rules
from userservice.users.storage import sql
from userservice.users.storage.accounts import SESSIONS_MAX, Rotation, Session

SELECT_CREDENTIALS: Final = "SELECT id, email, password_hash FROM users WHERE email_key = ?"
SELECT_CREDENTIALS_OF: Final = "SELECT id, email, password_hash FROM users WHERE id = ?"
SELECT_SESSION: Final = "SELECT 1 FROM sessions WHERE id = ?"
SELECT_ROLE: Final = "SELECT role FROM users WHERE id = ?"
SELECT_ROLE_IN_SESSION: Final = (
    "SELECT role FROM users WHERE id = ? "
    "AND EXISTS (SELECT 1 FROM sessions WHERE sessions.id = ? AND user_id = users.id)"
)


def begin_session(writer: sqlite3.Connection, session: Session, password_hash: str) -> bool:
    """Store a session, where the password is still the one that was verified."""
    kept = writer.execute(
        "SELECT 1 FROM users WHERE id = ? AND password_hash = ?", (session.user_id, password_hash)
    )
    if kept.fetchone() is None:
        return False
    now = _now()
    writer.execute("DELETE FROM sessions WHERE expires_at <= ?", (now,))
    writer.execute(
        "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE user_id = ? "
        "ORDER BY created_at DESC LIMIT -1 OFFSET ?)",
        (session.user_id, SESSIONS_MAX - 1),
    )
    writer.execute(
        "INSERT INTO sessions (id, user_id, token_hash, created_at, expires_at) "
        "VALUES (?, ?, ?, ?, ?)",
        (
            session.id,
            session.user_id,
            session.token_hash,
            now,
            sql.microseconds(session.expires_at),
        ),
    )
    return True


def rotate_session(
    writer: sqlite3.Connection,
    session_id: str,
    token_hash: bytes,
    next_hash: bytes,
    expires_at: datetime.datetime,
) -> Rotation:
    """Put the next token in the place of this one; end the session where it is another."""
    row = writer.execute(
        "SELECT user_id, token_hash, expires_at FROM sessions WHERE id = ?", (session_id,)
    ).fetchone()
    if row is None:
        return Rotation(None)
    user_id, last_hash, expired_at = row
    if last_hash != token_hash or expired_at <= _now():
        writer.execute("DELETE FROM sessions WHERE id = ?", (session_id,))
        # Whoever knows the first half of a token had one of this session.
        return Rotation(user_id, reused=True) if last_hash != token_hash else Rotation(None)
    writer.execute(
        "UPDATE sessions SET token_hash = ?, expires_at = ? WHERE id = ?",
        (next_hash, sql.microseconds(expires_at), session_id),
    )
    return Rotation(user_id)


def end_session(writer: sqlite3.Connection, session_id: str) -> str | None:
    """End a session, and return whose it was."""
    row = writer.execute("SELECT user_id FROM sessions WHERE id = ?", (session_id,)).fetchone()
    writer.execute("DELETE FROM sessions WHERE id = ?", (session_id,))
    return None if row is None else row[0]


def end_sessions(writer: sqlite3.Connection, user_id: str, kept: str | None = None) -> None:
    """End the sessions of a user, but for one."""
    writer.execute("DELETE FROM sessions WHERE user_id = ? AND id IS NOT ?", (user_id, kept))


def change_password(
    writer: sqlite3.Connection, user_id: str, old_hash: str, new_hash: str, kept: str | None
) -> bool:
    """Change a password, where it is still the one that was verified."""
    changed = writer.execute(
        "UPDATE users SET password_hash = ? WHERE id = ? AND password_hash = ?",
        (new_hash, user_id, old_hash),
    )
    if not changed.rowcount:
        return False
    end_sessions(writer, user_id, kept)
    return True


def set_password(writer: sqlite3.Connection, user_id: str, new_hash: str) -> None:
    """Change a password, whatever it was."""
    writer.execute("UPDATE users SET password_hash = ? WHERE id = ?", (new_hash, user_id))
    end_sessions(writer, user_id)


def id_of(writer: sqlite3.Connection, email: str) -> str | None:
    """Return the id of the user with this email."""
    row = writer.execute(SELECT_CREDENTIALS, (rules.email_key(email),)).fetchone()
    return None if row is None else row[0]


def _now() -> int:
    return sql.microseconds(datetime.datetime.now(datetime.UTC))
