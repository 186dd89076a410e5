"""The port to what sign-in keeps: passwords, sessions, and what each user may do now."""

import datetime
from dataclasses import dataclass, field
from typing import Protocol

from userservice.users.model import Role

SESSIONS_MAX = 100
"""How many sessions a user has at most; the next sign-in ends the oldest."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a user signs in with.

    Args:
        user_id: the user.
        email: the email, as it was given.
        password_hash: the hash of the password; None where there is none.
    """

    user_id: str
    email: str
    password_hash: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Session:
    """A sign-in that goes on.

    Args:
        id: names the session; it is no secret.
        user_id: who signed in.
        token_hash: the hash of the refresh token that is good now.
        expires_at: when the session ends if the token is not used.
    """

    id: str
    user_id: str
    token_hash: bytes
    expires_at: datetime.datetime


@dataclass(frozen=True, slots=True)
class Rotation:
    """What became of a refresh token.

    Args:
        user_id: whose session it is; None where there is none any more.
        reused: whether the token had been used before, and the session is ended by this.
    """

    user_id: str | None
    reused: bool = False


class AccountRepository(Protocol):
    """Keeps what users sign in with; see UserRepository, which has the same users.

    Sessions end with their user.
    """

    async def credentials(self, email: str) -> Credentials | None:
        """Return what the user with this email signs in with; None where there is none."""
        ...

    async def credentials_of(self, user_id: str) -> Credentials | None:
        """Return what a user signs in with; None where there is none."""
        ...

    async def begin_session(self, session: Session, password_hash: str) -> bool:
        """Store a session; False where this is not the hash of the user's password any more.

        It also removes sessions that have expired, and the oldest beyond SESSIONS_MAX.
        """
        ...

    async def rotate_session(
        self, session_id: str, token_hash: bytes, next_hash: bytes, expires_at: datetime.datetime
    ) -> Rotation:
        """Put the next token in the place of this one; end the session where it is another."""
        ...

    async def end_session(self, session_id: str) -> str | None:
        """End a session, and return whose it was; None where there is none."""
        ...

    async def change_password(
        self, user_id: str, old_hash: str, new_hash: str, kept_session: str | None
    ) -> bool:
        """Change a password, and end all sessions but one.

        False where the old hash is not that of the user's password any more.
        """
        ...

    async def standing(self, user_id: str, session_id: str | None = None) -> Role | None:
        """Return the role of a user now; None where the user, or the session, is gone."""
        ...

    def role_of(self, user_id: str) -> Role | None:
        """Return the role of a user now, without waiting; None where there is none."""
        ...

    async def promote(self, email: str, password_hash: str | None) -> str | None:
        """Make the user with this email an admin, and return its id; None where there is none.

        Args:
            email: the email.
            password_hash: the hash of the new password, which ends all sessions; None to
                leave the password as it is.
        """
        ...
