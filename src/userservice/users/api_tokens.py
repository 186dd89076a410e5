"""API tokens: what a program shows in the place of a user who signs in.

A token is ``ust_ID_SECRET``. The id is public, and finds the row; of the secret, only the
SHA-256 is kept. A slow hash, as for passwords, would slow down each call for nothing: nobody
guesses 32 random bytes.
"""

import datetime
import hashlib
import hmac
import re
import secrets
from contextlib import suppress
from typing import Final

from userservice.rpc import Call
from userservice.rpc.middleware.authentication import (
    Authenticator,
    Reason,
    RefusedCredentialsError,
)
from userservice.rpc.subject import Subject, SubjectKind
from userservice.users.errors import StorageUnavailableError
from userservice.users.storage.keys import ApiToken, KeyRepository

USED_EVERY: Final = datetime.timedelta(minutes=10)
"""How old the time of the last use may be."""

NAME_MAX: Final = 100
"""The longest name of a token, in characters."""

# The start tells what it is to whoever finds one, and to programs that look for secrets.
_FORM: Final = re.compile(r"ust_([0-9a-f]{16})_([A-Za-z0-9_-]{43})").fullmatch
_ID_BYTES: Final = 8
_SECRET_BYTES: Final = 32


def new_api_token(
    user_id: str, name: str, expires_at: datetime.datetime | None
) -> tuple[ApiToken, str]:
    """Return a new token as it is kept, and its text, which is not.

    Args:
        user_id: the owner.
        name: what the owner calls it.
        expires_at: until when it is good; None for ever.
    """
    token_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(_SECRET_BYTES)
    token = ApiToken(token_id, user_id, name, _now(), _hash(secret), expires_at)
    return token, f"ust_{token_id}_{secret}"


class ApiTokens(Authenticator):
    """Takes API tokens; each call looks for its own, so that a revoked one is refused at once.

    Args:
        repository: keeps them.
    """

    def __init__(self, repository: KeyRepository) -> None:
        self._repository = repository
        self._being_noted: set[str] = set()

    async def authenticate(self, call: Call, token: str | None) -> Subject | None:
        """Return the owner; None where there is no such token in the call."""
        del call
        parts = None if token is None else _FORM(token)
        if parts is None:
            return None
        found = await self._repository.api_token(parts[1])
        # In a time that does not tell how much of it is right.
        if found is None or not hmac.compare_digest(found.hash, _hash(parts[2])):
            raise RefusedCredentialsError(
                Reason.INVALID_TOKEN, "the API token is not known, or was revoked"
            )
        now = _now()
        if found.expires_at is not None and now >= found.expires_at:
            raise RefusedCredentialsError(Reason.TOKEN_EXPIRED, "the API token has expired")
        if found.used_at is None or now - found.used_at >= USED_EVERY:
            await self._note_use(found.id, now)
        return Subject(
            found.user_id, SubjectKind.API_TOKEN, {"token_id": found.id, "token_name": found.name}
        )

    async def _note_use(self, token_id: str, now: datetime.datetime) -> None:
        """Note that a token is used; of the calls at the same time, one does."""
        if token_id in self._being_noted:
            return
        self._being_noted.add(token_id)
        try:
            # Where the database cannot be written to, it may be read all the same.
            with suppress(StorageUnavailableError):
                await self._repository.use_api_token(token_id, now)
        finally:
            self._being_noted.discard(token_id)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
