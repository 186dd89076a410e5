"""Signed tokens (JSON Web Tokens, RFC 7519): issued, and verified.

The key says which algorithm a token must be signed with, never the token's own header
(RFC 8725 section 3.1).
"""

import base64
import hashlib
import json
import math
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import jwt
from jwt.exceptions import (
    ExpiredSignatureError,
    ImmatureSignatureError,
    InvalidAlgorithmError,
    InvalidAudienceError,
    InvalidIssuerError,
    InvalidKeyError,
    InvalidSignatureError,
    PyJWTError,
)

__all__ = [
    "HS256",
    "JwtError",
    "JwtExpiredError",
    "JwtIssuer",
    "JwtVerifier",
    "Keys",
    "UnknownJwtKeyError",
    "VerifyingKey",
]

HS256: Final = "HS256"
TOKEN_MAX: Final = 8_192
"""The longest token that is looked at, in bytes."""
LEEWAY_S: Final = 30.0
"""How far clocks may be apart, in seconds."""
_CACHED_MAX: Final = 4_096
_KEY_MIN: Final = 32  # bytes: RFC 7518 section 3.2
_OURS: Final = frozenset({"aud", "exp", "iat", "iss", "sub"})

Claims = Mapping[str, Any]
"""What a token says."""


class JwtError(ValueError):
    """A text is no token that is taken here; its own text never has any of it."""


class JwtExpiredError(JwtError):
    """A token was good, and its time is over."""


class UnknownJwtKeyError(JwtError):
    """A token names a key that is not at hand."""


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A key that verifies tokens.

    Args:
        kid: its name, as the header of a token has it; None where any token may be its own.
        algorithm: the only one that it is used with: HS256, RS256, ES256 or EdDSA.
        key: the bytes of HS256, and a public key of `cryptography` for the others.
    """

    kid: str | None
    algorithm: str
    key: Any = field(repr=False)


class Keys:
    """The keys of a verifier; these never change.

    Args:
        keys: the keys.
    """

    fresh_until = math.inf
    """Until when nobody need look for newer ones, by the monotonic clock."""
    trouble: str | None = None
    """Why newer ones cannot be had, where that is so."""

    def __init__(self, keys: Iterable[VerifyingKey] = ()) -> None:
        self.at_hand: tuple[VerifyingKey, ...] = tuple(keys)
        """Those known now: another tuple where they have changed."""

    async def refresh(self) -> bool:
        """Look for newer keys, unless that was done a moment ago; False where there are none."""
        return False


class JwtIssuer:
    """Signs tokens, with HS256.

    Args:
        key: the key, of 32 bytes at least.
        issuer: who says what the token says.
        audience: for whom it is.
        lifetime_s: how long it is good, in seconds.
        kid: the name of the key.
    """

    def __init__(
        self, key: bytes, *, issuer: str, audience: str, lifetime_s: float, kid: str
    ) -> None:
        if len(key) < _KEY_MIN:
            raise ValueError(f"a key of HS256 has {_KEY_MIN} bytes at least")
        self._key = key
        self._common = {"iss": issuer, "aud": audience}
        self._headers = {"kid": kid}
        self.lifetime_s = lifetime_s

    def issue(self, subject_id: str, **claims: Any) -> str:
        """Return a token for a subject.

        Args:
            subject_id: who it is.
            claims: what else the token says: anything that JSON can say. Everybody who has
                the token can read it.

        Raises:
            ValueError: one of the claims is the issuer's own.
        """
        if not _OURS.isdisjoint(claims):
            raise ValueError(f"these claims are the issuer's: {', '.join(sorted(_OURS))}")
        now = int(time.time())
        payload = {
            **claims,
            **self._common,
            "sub": subject_id,
            "iat": now,
            "exp": now + math.ceil(self.lifetime_s),
        }
        return jwt.encode(payload, self._key, HS256, self._headers)


@dataclass(frozen=True, slots=True)
class _Verified:
    """What a good token says, and until when it is good."""

    claims: Claims
    expires_at: float


class JwtVerifier:
    """Verifies tokens; what was verified is remembered until it expires.

    Args:
        keys: those that may have signed one.
        issuer: who must have said it.
        audience: for whom it must be, perhaps among others.
        leeway_s: how far the issuer's clock may be from ours, in seconds.
        cached_max: how many verified tokens are remembered.
    """

    def __init__(
        self,
        keys: Keys,
        *,
        issuer: str,
        audience: str,
        leeway_s: float = LEEWAY_S,
        cached_max: int = _CACHED_MAX,
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._leeway_s = leeway_s
        self._cached_max = cached_max
        # By a hash: what a dump of the memory shows of them is good for nothing.
        self._cached: OrderedDict[bytes, _Verified] = OrderedDict()
        self._cached_with = keys.at_hand

    @property
    def trouble(self) -> str | None:
        """Why newer keys cannot be had, where that is so."""
        return self._keys.trouble

    @property
    def fresh(self) -> bool:
        """Whether nobody need look for newer keys."""
        return time.monotonic() <= self._keys.fresh_until

    def known(self, token: str) -> Claims | None:
        """Return what a token says that was verified before, and is still good; or None."""
        keys = self._keys
        if self._cached_with is not keys.at_hand:
            # One of the keys may be gone, and what it had signed with it.
            self._cached.clear()
            self._cached_with = keys.at_hand
        if not self._cached or len(token) > TOKEN_MAX or not self.fresh:
            return None
        name = _name(token)
        found = self._cached.get(name)
        if found is None:
            return None
        if time.time() >= found.expires_at:
            del self._cached[name]
            return None
        self._cached.move_to_end(name)
        return found.claims

    async def verify_fresh(self, token: str) -> Claims:
        """Verify a token as `verify` does, with the newest keys.

        Raises:
            JwtError: it is not good.
        """
        if not self.fresh:
            await self._keys.refresh()
        try:
            return self.verify(token)
        except UnknownJwtKeyError:
            if not await self._keys.refresh():
                raise
            return self.verify(token)

    def verify(self, token: str) -> Claims:
        """Return what a token says.

        Raises:
            JwtExpiredError: its time is over.
            UnknownJwtKeyError: its key is not at hand.
            JwtError: it is not good for another reason.
        """
        claims = self.known(token)
        if claims is None:
            claims = MappingProxyType(self._decoded(token))
            self._remember(token, claims)
        return claims

    def _remember(self, token: str, claims: Claims) -> None:
        while len(self._cached) >= self._cached_max:
            self._cached.popitem(last=False)
        expires_at = int(claims["exp"]) + self._leeway_s
        self._cached[_name(token)] = _Verified(claims, expires_at)

    def _decoded(self, token: str) -> dict[str, Any]:
        if len(token) > TOKEN_MAX or not token.isascii():
            raise JwtError("it is too long, or no token at all")
        kid = _kid(token)
        named = [key for key in self._keys.at_hand if key.kid is not None and key.kid == kid]
        for key in (*named, *(key for key in self._keys.at_hand if key.kid is None)):
            claims = self._decoded_with(token, key)
            if claims is not None:
                return claims
        if not named:
            raise UnknownJwtKeyError("its key is not known here")
        raise JwtError("it is not signed by a key that is trusted here")

    def _decoded_with(self, token: str, key: VerifyingKey) -> dict[str, Any] | None:
        """Return what a token says; None where it is not signed by this key."""
        try:
            return jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=self._leeway_s,
                options={"require": ["exp", "sub", "iss", "aud"]},
            )
        except (InvalidSignatureError, InvalidAlgorithmError, InvalidKeyError):
            return None
        except ExpiredSignatureError:
            raise JwtExpiredError("it has expired") from None
        except ImmatureSignatureError:
            raise JwtError("it is not valid yet") from None
        except InvalidAudienceError:
            raise JwtError("it is for another audience") from None
        except InvalidIssuerError:
            raise JwtError("it is of another issuer") from None
        except (PyJWTError, ValueError, TypeError, RecursionError):
            # What is in it, but no more than that is said: its text is not repeated.
            raise JwtError("a claim is missing, or is none (exp, sub, iss, aud)") from None


def _kid(token: str) -> str | None:
    """Return the name of a token's key, as its header has it; nothing is verified yet.

    PyJWT would look at the whole token for that, character by character, and then again.
    """
    head = token.partition(".")[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (ValueError, RecursionError):
        raise JwtError("it is no token") from None
    kid = header.get("kid") if isinstance(header, dict) else header
    if not isinstance(kid, str | None):
        raise JwtError("it is no token")
    return kid


def _name(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
