"""Sign-in: a password for a session, whose refresh tokens are good once each.

A refresh token has two halves. The first names the session, and is the same for all of its
tokens; the second is another one each time. Of both, only hashes are kept. Whoever shows the
first half with a second one that is not the last has a token that was used before: it was
stolen, or its thief has used it, and nobody can say which. The session ends
(RFC 9700 section 4.14.2).
"""

import asyncio
import datetime
import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import structlog

from userservice.rpc.middleware.callers import network_of
from userservice.users import rules
from userservice.users.attempts import Allowance, Attempts
from userservice.users.errors import (
    SessionEndedError,
    SignInFailedError,
    TooManyAttemptsError,
    UserGoneError,
)
from userservice.users.passwords import PasswordHasher
from userservice.users.storage.accounts import AccountRepository, Credentials, Session

SESSION_CLAIM: Final = "userservice_session"
"""The claim of an access token that names its session; other issuers have none of this name."""

UNUSED_MAX: Final = datetime.timedelta(days=30)
"""How long a refresh token is good."""

OF_EMAIL: Final = Allowance(at_once=10, every_s=60)
"""How often a password can be tried for one email."""

OF_PEER: Final = Allowance(at_once=20, every_s=10)
"""How often passwords can be tried from one address."""

WAITING_MAX: Final = 100
"""How many passwords may wait to be verified; beyond, the next is refused at once."""

_HALF_BYTES: Final = 32
_NAME_BYTES: Final = 16  # the name is in each access token
_BUSY_S: Final = 5.0

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class AccessTokens(Protocol):
    """Signs access tokens."""

    lifetime_s: float
    """How long a token is good, in seconds."""

    def issue(self, subject_id: str, /, **claims: Any) -> str:
        """Return a token for a user."""


@dataclass(frozen=True, slots=True)
class SessionTokens:
    """What a session gives.

    Args:
        user_id: whose session it is.
        access: goes with calls.
        expires_in: how long it is good.
        refresh: good for the next tokens.
    """

    user_id: str
    access: str = field(repr=False)
    expires_in: datetime.timedelta
    refresh: str = field(repr=False)


class Sessions:
    """Begins, continues and ends sessions.

    Args:
        accounts: where passwords and sessions are kept.
        hasher: verifies passwords.
        access_tokens: signs access tokens.
        ended: is told whose sessions have ended.
        clock: tells the time to count attempts by, in seconds.
    """

    def __init__(
        self,
        accounts: AccountRepository,
        hasher: PasswordHasher,
        access_tokens: AccessTokens,
        ended: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._accounts = accounts
        self._hasher = hasher
        self._access_tokens = access_tokens
        self._ended = ended
        self._by_email = Attempts(OF_EMAIL, clock)
        self._by_peer = Attempts(OF_PEER, clock)
        # Those who sign in leave each other a turn, and others a thread: a flood of them does
        # not keep a new user's password waiting.
        self._turns = asyncio.Semaphore(hasher.at_once)
        self._waiting = 0

    async def sign_in(self, email: str, password: str, peer: str) -> SessionTokens:
        """Begin a session.

        Args:
            email: the user's email.
            password: the user's password.
            peer: the client's address.

        Raises:
            InvalidRequestError: one of them is none.
            TooManyAttemptsError: somebody tries too often.
            SignInFailedError: the email or the password is wrong.
        """
        checks = rules.Checks()
        checks.check("email", rules.email, email)
        checks.check("password", rules.given_password, password)
        checks.done()
        credentials = await self._accounts.credentials(email)
        password_hash = await self._verified(email, password, peer, credentials)
        assert credentials is not None
        family, token = _new_half(), _new_half()
        session_id = _session_id(family)
        session = Session(session_id, credentials.user_id, _hash(token), _expiry())
        if not await self._accounts.begin_session(session, password_hash):
            raise SignInFailedError  # the password was changed meanwhile
        log.info("signed in", user=credentials.user_id, peer=peer)
        return self._tokens(credentials.user_id, session_id, f"{family}.{token}")

    async def refresh(self, refresh_token: str) -> SessionTokens:
        """Go on with a session; the refresh token is used up by this.

        Raises:
            SessionEndedError: it is over, or is ended by this.
        """
        family, _, token = refresh_token.partition(".")
        session_id, next_token = _session_id(family), _new_half()
        rotation = await self._accounts.rotate_session(
            session_id, _hash(token), _hash(next_token), _expiry()
        )
        if rotation.user_id is None:
            raise SessionEndedError
        if rotation.reused:
            log.warning("a refresh token came twice: the session ends", user=rotation.user_id)
            self._ended(rotation.user_id)
            raise SessionEndedError
        return self._tokens(rotation.user_id, session_id, f"{family}.{next_token}")

    async def sign_out(self, refresh_token: str) -> None:
        """End a session; one that is over already may be ended again."""
        family, _, _token = refresh_token.partition(".")
        user_id = await self._accounts.end_session(_session_id(family))
        if user_id is not None:
            log.info("signed out", user=user_id)
            self._ended(user_id)

    async def change_password(
        self, user_id: str, session_id: str | None, old: str, new: str, peer: str
    ) -> None:
        """Change a user's password, and end all other sessions.

        Args:
            user_id: the user.
            session_id: the session that goes on; None where there is none.
            old: the password until now.
            new: the new password.
            peer: the client's address.

        Raises:
            InvalidRequestError: one of the passwords is none.
            UserGoneError: there is no such user.
            TooManyAttemptsError: somebody tries too often.
            SignInFailedError: the old password is wrong.
        """
        checks = rules.Checks()
        checks.check("old_password", rules.given_password, old)
        checks.check("new_password", rules.required, new)
        checks.check("new_password", rules.password, new)
        checks.done()
        credentials = await self._accounts.credentials_of(user_id)
        if credentials is None:
            raise UserGoneError
        old_hash = await self._verified(credentials.email, old, peer, credentials)
        async with self._turns:
            new_hash = await self._hasher.hash(new)
        if not await self._accounts.change_password(user_id, old_hash, new_hash, session_id):
            raise SignInFailedError
        log.info("password changed", user=user_id, peer=peer)
        self._ended(user_id)

    async def _verified(
        self, email: str, password: str, peer: str, credentials: Credentials | None
    ) -> str:
        """Return the hash of a password that is right.

        It takes as long, and fails as often, for an email that nobody has.

        Raises:
            TooManyAttemptsError: somebody tries too often.
            SignInFailedError: it is wrong.
        """
        email_key, host = rules.email_key(email), network_of(peer)
        wait_s = self._by_email.wait_s(email_key)
        if host is not None:
            wait_s = max(wait_s, self._by_peer.wait_s(host))
        if wait_s == 0 and self._waiting >= WAITING_MAX:
            wait_s = _BUSY_S
        if wait_s > 0:
            log.info("too many attempts to sign in", peer=peer)
            raise TooManyAttemptsError(wait_s)
        # Counted before they are verified: attempts at the same time count as well.
        self._by_email.take(email_key)
        if host is not None:
            self._by_peer.take(host)
        known = None if credentials is None else credentials.password_hash
        self._waiting += 1
        try:
            async with self._turns:
                right = await self._hasher.verify(password, known)
        finally:
            self._waiting -= 1
        if known is None or not right:
            log.info("sign-in failed", peer=peer)
            raise SignInFailedError
        self._by_email.forget(email_key)
        if host is not None:
            self._by_peer.give_back(host)
        return known

    def _tokens(self, user_id: str, session_id: str, refresh_token: str) -> SessionTokens:
        access = self._access_tokens.issue(user_id, **{SESSION_CLAIM: session_id})
        lifetime = datetime.timedelta(seconds=self._access_tokens.lifetime_s)
        return SessionTokens(user_id, access, lifetime, refresh_token)


def _new_half() -> str:
    return secrets.token_urlsafe(_HALF_BYTES)


def _hash(half: str) -> bytes:
    # A slow hash is for passwords: nobody guesses 256 bits of chance.
    return hashlib.sha256(half.encode()).digest()


def _session_id(family: str) -> str:
    return _hash(family)[:_NAME_BYTES].hex()


def _expiry() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + UNUSED_MAX
