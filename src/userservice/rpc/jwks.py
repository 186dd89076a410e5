"""The keys of an issuer that publishes them at a URL: a JWKS (RFC 7517 section 5).

They are fetched when the first token asks for them, again when they are old, and again when a
token names one that is not there; never more often than once in a while.
"""

import asyncio
import logging
import ssl
import time
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPMessage
from typing import IO, Any, Final, NoReturn
from urllib.parse import urlsplit

from userservice.rpc.handshake import fault_of
from userservice.rpc.jwt import Keys, VerifyingKey
from userservice.rpc.public_keys import PublicKeyError, read_jwks, require_cryptography
from userservice.rpc.target import is_loopback, reason_of

__all__ = [
    "JwksKeys",
    "JwksUrlError",
]

log = logging.getLogger(__name__)

OLD_AFTER_S: Final = 600.0
"""How old the keys may be, in seconds: a key that its issuer takes back is good so long."""

EVERY_S: Final = 30.0
"""The least time between two fetches, in seconds."""

TIMEOUT_S: Final = 5.0
"""How long a fetch may take, in seconds."""

BYTES_MAX: Final = 262_144
"""The largest set of keys, in bytes."""

_PIECE: Final = 16_384


class JwksUrlError(ValueError):
    """A text is no URL that keys are fetched from."""


class _FetchError(Exception):
    """The keys cannot be had now."""


class JwksKeys(Keys):
    """The keys at a URL; call `aclose` at the end.

    Args:
        url: an https URL; on loopback also http.
        own: keys that are there besides, always.
        every_s: the least time between two fetches, in seconds.
        old_after_s: how old the keys may become, in seconds.
        timeout_s: how long a fetch may take, in seconds.

    Raises:
        JwksUrlError: the URL is none of these.
        PublicKeyError: the package `cryptography` is missing.
    """

    def __init__(
        self,
        url: str,
        own: tuple[VerifyingKey, ...] = (),
        *,
        every_s: float = EVERY_S,
        old_after_s: float = OLD_AFTER_S,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        super().__init__(own)
        require_cryptography()
        _check_url(url)
        self._url = url
        self._own = own
        self._every_s = every_s
        self._old_after_s = old_after_s
        self._timeout_s = timeout_s
        self._asked_at = float("-inf")
        self._fetching: asyncio.Task[None] | None = None
        self.fresh_until = float("-inf")

    async def refresh(self) -> bool:
        """Fetch the keys, unless that was tried a moment ago; all who wait share one fetch."""
        before = self.at_hand
        if self._fetching is None:
            if time.monotonic() - self._asked_at < self._every_s:
                return False
            self._asked_at = time.monotonic()
            self._fetching = asyncio.create_task(self._fetch())
        # A caller that leaves does not take the keys from the others.
        await asyncio.shield(self._fetching)
        return self.at_hand is not before

    async def aclose(self) -> None:
        """Wait for a fetch that is under way."""
        if self._fetching is not None:
            await asyncio.wait({self._fetching})

    async def _fetch(self) -> None:
        try:
            octets = await asyncio.to_thread(_get, self._url, self._timeout_s)
            keys = (*self._own, *read_jwks(octets))
        except (_FetchError, PublicKeyError) as error:
            log.warning("the keys of the issuer cannot be fetched: %s", error)
            self.trouble = str(error)
            # The old ones go on until they can.
            self.fresh_until = time.monotonic() + self._every_s
        else:
            self.trouble = None
            self.fresh_until = time.monotonic() + self._old_after_s
            if [(k.kid, k.algorithm, k.key) for k in keys] != [
                (k.kid, k.algorithm, k.key) for k in self.at_hand
            ]:
                self.at_hand = keys
        finally:
            self._fetching = None


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and is_loopback(parts.hostname or ""):
        return
    raise JwksUrlError("keys are fetched by https only; by http from this machine")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Goes nowhere else: who may name the keys is decided by the operator."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> NoReturn:
        del req, fp, msg, headers, newurl
        raise _FetchError(f"it answered {code}, a redirection, which is not followed")


def _get(url: str, timeout_s: float) -> bytes:
    """Return what is at a URL (on a thread of its own).

    Raises:
        _FetchError: nothing that could be keys, or not in time.
    """
    over_at = time.monotonic() + timeout_s
    opener = urllib.request.build_opener(_NoRedirect)
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310  # its scheme was looked at
    octets = bytearray()
    try:
        with opener.open(request, timeout=timeout_s) as answer:
            while piece := _read(answer):
                octets += piece
                if len(octets) > BYTES_MAX:
                    raise _FetchError(f"the answer is larger than {BYTES_MAX} bytes")
                if time.monotonic() > over_at:
                    raise _FetchError("it took too long")
    except urllib.error.HTTPError as error:
        with error:
            raise _FetchError(f"it answered {error.code}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise _FetchError(_words(error)) from None
    return bytes(octets)


def _words(error: Exception) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    match cause:
        case ssl.SSLError():
            return fault_of(cause)
        case OSError():
            return reason_of(cause)
    return str(cause) or type(cause).__name__


def _read(answer: Any) -> bytes:
    """Return what is there, without waiting for more."""
    piece: bytes = answer.read1(_PIECE)
    return piece
