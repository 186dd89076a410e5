"""The keys that sign the tokens of users: made by the database, shared by all its processes.

The newest key signs. One that was retired verifies for as long as a token that it signed may
be good.
"""

import asyncio
import datetime
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from userservice.rpc.jwt import HS256, LEEWAY_S, JwtIssuer, JwtVerifier, Keys, VerifyingKey
from userservice.users.errors import StorageUnavailableError
from userservice.users.storage.keys import KeyRepository, SigningKey

ISSUER: Final = "userservice"
"""Who says what is in the tokens of users, and for whom they are."""

LIFETIME_S: Final = 900.0
"""How long a token is good, in seconds."""

REREAD_S: Final = 1.0
"""How old the keys at hand may be, in seconds."""

RETIRED_FOR: Final = datetime.timedelta(seconds=LIFETIME_S + 2 * LEEWAY_S)
"""How long a retired key still verifies."""

_REREAD_AT_ONCE_S: Final = 0.1  # for a key that is not known: so often at most


class SigningKeys(Keys):
    """Signs the tokens of users, and has the keys that verify them.

    Args:
        repository: keeps the keys.
        leeway_s: how far clocks may be apart, in seconds.
    """

    def __init__(self, repository: KeyRepository, leeway_s: float = LEEWAY_S) -> None:
        super().__init__()
        self._repository = repository
        self._issuer: JwtIssuer | None = None
        self._read_at = -REREAD_S
        self._next_read: asyncio.Task[None] | None = None
        self._reads: set[asyncio.Task[None]] = set()
        self.lifetime_s = LIFETIME_S
        self.verifier = JwtVerifier(self, issuer=ISSUER, audience=ISSUER, leeway_s=leeway_s)

    def issue(self, subject_id: str, /, **claims: Any) -> str:
        """Return a token for a user, signed with the newest key.

        Args:
            subject_id: the user's id.
            claims: what else it says.
        """
        assert self._issuer is not None, "the keys are read before they are used"
        return self._issuer.issue(subject_id, **claims)

    async def read(self) -> None:
        """Read the keys; the first one is made where there is none.

        Raises:
            StorageUnavailableError: the database does not answer.
        """
        self._read_at = time.monotonic()
        keys = await self._repository.signing_keys()
        newest = keys[0]
        good_after = datetime.datetime.now(datetime.UTC) - RETIRED_FOR
        verifying = tuple(
            VerifyingKey(_kid(key), HS256, key.value)
            for key in keys
            if key.retired_at is None or key.retired_at > good_after
        )
        if verifying != self.at_hand:
            self.at_hand = verifying
            self._issuer = JwtIssuer(
                newest.value,
                issuer=ISSUER,
                audience=ISSUER,
                lifetime_s=self.lifetime_s,
                kid=_kid(newest),
            )

    async def refresh(self) -> bool:
        """Read the keys anew: now, or in a moment where that was done just before.

        All who ask until it begins share one look: names of keys that somebody makes up cost
        ten looks a second at most.
        """
        before = self.at_hand
        if self._next_read is None:
            self._next_read = asyncio.create_task(self._read_soon())
            self._reads.add(self._next_read)
            self._next_read.add_done_callback(self._reads.discard)
        # A caller that leaves does not take the keys from the others.
        await asyncio.shield(self._next_read)
        return self.at_hand is not before

    async def _read_soon(self) -> None:
        await asyncio.sleep(max(0.0, self._read_at + _REREAD_AT_ONCE_S - time.monotonic()))
        # Whoever asks from here on may ask for a key that this read does not see.
        self._next_read = None
        await self.read()

    @asynccontextmanager
    async def kept_fresh(self) -> AsyncIterator[None]:
        """Read the keys now, and every second while the block runs.

        Raises:
            StorageUnavailableError: the database does not answer now.
        """
        await self.read()
        rereading = asyncio.create_task(self._reread())
        try:
            yield
        finally:
            tasks = {rereading, *self._reads}
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _reread(self) -> None:
        while True:
            await asyncio.sleep(REREAD_S)
            with suppress(StorageUnavailableError):
                await self.read()


def _kid(key: SigningKey) -> str:
    """Return the name of a key, which tells nothing of it, and is that of no other database's."""
    return hashlib.sha256(b"kid" + key.value).hexdigest()[:16]
