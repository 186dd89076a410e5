"""The port to what shows who calls: API tokens, and the keys that sign the tokens of users."""

import datetime
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A token for a program, which acts for the token's owner.

    Args:
        id: names the token; it is no secret.
        user_id: the owner.
        name: what the owner calls it.
        created_at: when it was made.
        hash: of its secret half.
        expires_at: until when it is good; None for ever.
        used_at: when it was last used, more or less; None for never.
    """

    id: str
    user_id: str
    name: str
    created_at: datetime.datetime
    hash: bytes = field(repr=False)
    expires_at: datetime.datetime | None = None
    used_at: datetime.datetime | None = None


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that signs tokens, or did.

    Args:
        generation: its number: the newest has the highest.
        value: 32 random bytes.
        created_at: when it was made.
        retired_at: when another took its place; None for the newest.
    """

    generation: int
    value: bytes = field(repr=False)
    created_at: datetime.datetime
    retired_at: datetime.datetime | None


class KeyRepository(Protocol):
    """Keeps tokens and keys; see UserRepository, which has the users.

    A user's tokens go with the user.
    """

    async def add_api_token(self, token: ApiToken) -> bool:
        """Store a token; False where there is no such owner."""
        ...

    async def api_token(self, token_id: str) -> ApiToken | None:
        """Return a token, or None where there is none; of an owner who is there."""
        ...

    async def api_tokens(self, user_id: str | None = None) -> list[ApiToken]:
        """Return the tokens of an owner, or all of them, the oldest first."""
        ...

    async def use_api_token(self, token_id: str, at: datetime.datetime) -> None:
        """Note when a token was last used."""
        ...

    async def revoke_api_token(self, token_id: str) -> bool:
        """Delete a token; False where there was none."""
        ...

    async def signing_keys(self) -> list[SigningKey]:
        """Return the keys, the newest first; the first one is made where there is none."""
        ...

    async def rotate_signing_key(self, retired_for: datetime.timedelta) -> SigningKey:
        """Make a new key, and return it; the one until now is retired.

        Args:
            retired_for: keys that were retired longer ago are deleted; zero for all of them.
        """
        ...
