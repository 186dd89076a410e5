"""TLS: a handshake, and all that is wrong with a certificate that is not trusted.

OpenSSL names the first fault that it finds. What else is wrong is asked for with more
handshakes, each of which overlooks something.
"""

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from userservice.app.doctor.places import Place, dial
from userservice.app.doctor.tongues import hang_up

ContextFactory = Callable[[], ssl.SSLContext]
"""Makes a context as a client of this server would have it; a new one each time."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_NO_CHECK_TIME: Final = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL; ssl has no name for it

# Of X509_verify_cert: the certificate is for another name, email or address.
_OTHER_NAME: Final = (62, 63, 64)


@dataclass(frozen=True, slots=True)
class Agreement:
    """What both sides agreed on.

    Args:
        version: of TLS.
        cipher: its name.
        protocol: what ALPN chose, or None.
    """

    version: str
    cipher: str
    protocol: str | None


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says.

    Args:
        names: for which it is.
        issuer: who signed it.
        since: from when on it is valid, in seconds since the epoch.
        until: until when it is.
    """

    names: tuple[str, ...]
    issuer: str
    since: float
    until: float

    def left_s(self) -> float:
        """Return how long it is still valid."""
        return self.until - time.time()

    def begins_in_s(self) -> float:
        """Return how long it is not valid yet; less than 0 where it is."""
        return self.since - time.time()

    @property
    def ends_soon(self) -> bool:
        """Whether less than a tenth of its life is left."""
        return self.left_s() < (self.until - self.since) / 10


@dataclass(frozen=True, slots=True)
class Distrust:
    """Why a certificate is not trusted.

    Args:
        first: what OpenSSL said first, as the code of X509_verify_cert, and in its words.
        chain: the code for its authority; 0 where that is trusted.
        name_differs: whether it is for another name.
    """

    first: tuple[int, str]
    chain: int = 0
    name_differs: bool = False


@dataclass(frozen=True, slots=True)
class Handshake:
    """What became of TLS.

    Args:
        streams: the connection, where there is one.
        agreement: what was agreed on.
        certificate: the server's, where it can be read.
        distrust: why it is not trusted; the connection is there nevertheless.
        error: why there is no connection; a TimeoutError where nothing was heard.
    """

    streams: Streams | None = None
    agreement: Agreement | None = None
    certificate: Certificate | None = None
    distrust: Distrust | None = None
    error: OSError | None = None


async def shake_hands(
    place: Place, name: str, make_context: ContextFactory, timeout_s: float
) -> Handshake:
    """Connect with TLS, and find out what is wrong with it.

    Args:
        place: where.
        name: whose certificate it should be.
        make_context: makes the client's context.
        timeout_s: how long each handshake may take.
    """
    try:
        streams = await _open(place, name, make_context(), timeout_s)
    except ssl.SSLCertVerificationError as error:
        return await _distrusted(place, name, make_context, timeout_s, error)
    except OSError as error:
        return Handshake(error=error)
    seen = _tls_of(streams).getpeercert()
    return Handshake(streams, _agreement(streams), _certificate(seen))


async def _open(place: Place, name: str, context: ssl.SSLContext, timeout_s: float) -> Streams:
    sock = await dial(place, timeout_s)
    async with asyncio.timeout(timeout_s):
        return await asyncio.open_connection(sock=sock, ssl=context, server_hostname=name)


def _tls_of(streams: Streams) -> ssl.SSLObject:
    tls: ssl.SSLObject = streams[1].get_extra_info("ssl_object")
    return tls


def _agreement(streams: Streams) -> Agreement:
    tls = _tls_of(streams)
    cipher = tls.cipher()
    return Agreement(
        tls.version() or "TLS", "" if cipher is None else cipher[0], tls.selected_alpn_protocol()
    )


async def _distrusted(
    place: Place,
    name: str,
    make_context: ContextFactory,
    timeout_s: float,
    first: ssl.SSLCertVerificationError,
) -> Handshake:
    """Go on without trust, and see what else is wrong."""
    blind = make_context()
    blind.check_hostname = False
    blind.verify_mode = ssl.CERT_NONE
    try:
        streams = await _open(place, name, blind, timeout_s)
    except OSError as error:
        return Handshake(error=error)
    encoded = _tls_of(streams).getpeercert(binary_form=True) or b""

    async def looked_at(*, by_itself: bool, named: bool) -> tuple[int, Any]:
        """Return what is wrong but for the time, 0 for nothing, and what the certificate says."""
        context = make_context()
        context.check_hostname = named
        flags = context.verify_flags | _NO_CHECK_TIME
        if by_itself:  # as its own authority: what it says can be read whoever signed it
            context.load_verify_locations(cadata=encoded)
            flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        context.verify_flags = ssl.VerifyFlags(flags)
        try:
            seen = await _open(place, name, context, timeout_s)
        except ssl.SSLCertVerificationError as error:
            return error.verify_code, None
        except OSError:  # once it worked, and now it does not: nothing can be said
            return 0, None
        told = _tls_of(seen).getpeercert()
        await hang_up(seen[1])
        return 0, told

    code, told = await looked_at(by_itself=True, named=True)
    name_differs = code in _OTHER_NAME
    if name_differs:
        _, told = await looked_at(by_itself=True, named=False)
    chain, _ = await looked_at(by_itself=False, named=False)
    return Handshake(
        streams,
        _agreement(streams),
        _certificate(told),
        Distrust((first.verify_code, first.verify_message), chain, name_differs),
    )


def _certificate(told: Any) -> Certificate | None:
    """Return what `getpeercert` tells."""
    if not told:
        return None
    names = tuple(value for _kind, value in told.get("subjectAltName", ()))
    subject = _fields(told.get("subject", ()))
    issuer = _fields(told.get("issuer", ()))
    return Certificate(
        names or tuple(filter(None, [subject.get("commonName")])),
        issuer.get("commonName") or issuer.get("organizationName") or "nobody",
        ssl.cert_time_to_seconds(told["notBefore"]),
        ssl.cert_time_to_seconds(told["notAfter"]),
    )


def _fields(name: Any) -> dict[str, str]:
    return {key: value for part in name for key, value in part}
