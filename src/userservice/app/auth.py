"""Who may call: authentication as the settings have it, and where it may be left out."""

import ipaddress
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from userservice.app.errors import ServeError
from userservice.rpc.middleware import Middleware
from userservice.rpc.target import host_and_port
from userservice.users import policy
from userservice.users.errors import StorageUnavailableError
from userservice.users.model import Role
from userservice.users.storage.keys import KeyRepository

if TYPE_CHECKING:
    from userservice.rpc.jwt import JwtVerifier, VerifyingKey
    from userservice.users.signing_keys import SigningKeys

LEEWAY_S: Final = 30.0

_DOMAIN: Final = "userservice.v1"


class AuthError(ServeError):
    """The server cannot start with these settings of authentication; the text is one line."""


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """Who may call.

    Args:
        wanted: whether each call must say who makes it.
        left_out: whether it is meant that others than this machine call without saying so.
        public_keys: PEM files of keys that others sign tokens with.
        jwks_url: where such keys are published.
        issuer: who signs with these keys.
        audience: for whom these tokens must be.
        leeway_s: how far clocks may be apart, in seconds.
        certificates: names of client certificates, and the role of each.
    """

    wanted: bool = False
    left_out: bool = False
    public_keys: tuple[Path, ...] = ()
    jwks_url: str | None = None
    issuer: str | None = None
    audience: str | None = None
    leeway_s: float = LEEWAY_S
    certificates: tuple[tuple[str, Role], ...] = ()


OF_THIS_MACHINE: Final = AuthSettings()
"""Programs of this machine call without saying who they are; others cannot."""


@dataclass(frozen=True, slots=True)
class Auth:
    """Authentication that is under way.

    Args:
        signing_keys: sign the tokens of users.
        middleware: refuses calls that do not say who makes them.
        exempt: what may be called without saying it, by whole paths.
        certificates: names of client certificates, and the role of each.
    """

    signing_keys: "SigningKeys"
    middleware: Middleware
    exempt: tuple[str, ...]
    certificates: tuple[tuple[str, Role], ...]


def require_authentication(
    sockets: Sequence[socket.socket], settings: AuthSettings, *, mutual_tls: bool
) -> None:
    """See that not everybody may do everything, but for programs of this machine.

    The addresses are those that are bound in truth, whatever name was given.

    Args:
        sockets: where calls come from.
        settings: who may call.
        mutual_tls: whether each client shows a certificate.

    Raises:
        AuthError: whoever reaches one of them could do everything.
    """
    if settings.wanted or settings.left_out or mutual_tls:
        return
    for sock in sockets:
        if not _is_of_this_machine(sock):
            raise AuthError(
                f"whoever reaches {host_and_port(sock.getsockname())} could do everything: "
                "give --auth, or --allow-unauthenticated, or --host 127.0.0.1"
            )


def _is_of_this_machine(sock: socket.socket) -> bool:
    if sock.family == socket.AF_UNIX:
        return True
    address = ipaddress.ip_address(sock.getsockname()[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


@asynccontextmanager
async def authenticated(
    settings: AuthSettings, repository: KeyRepository
) -> AsyncIterator[Auth | None]:
    """Set up authentication for as long as the block runs; None where it is not wanted.

    Args:
        settings: who may call.
        repository: keeps keys and tokens.

    Raises:
        AuthError: a key cannot be used, or the database cannot.
    """
    if not settings.wanted:
        yield None
        return
    # What these import takes 50 ms, with cryptography twice that: only where it is wanted.
    from userservice.rpc.middleware.authentication import (  # noqa: PLC0415
        NO_SECRETS,
        Authentication,
        Certificates,
        Jwts,
    )
    from userservice.users.api_tokens import ApiTokens  # noqa: PLC0415
    from userservice.users.signing_keys import SigningKeys  # noqa: PLC0415

    signing_keys = SigningKeys(repository, settings.leeway_s)
    async with AsyncExitStack() as running:
        others = await _verifiers_of_others(settings, running)
        try:
            await running.enter_async_context(signing_keys.kept_fresh())
        except StorageUnavailableError as error:
            raise AuthError(f"the database cannot be used: {error}") from error
        authenticators = [
            Jwts([signing_keys.verifier, *others]),
            ApiTokens(repository),
            Certificates(),
        ]
        exempt = (*NO_SECRETS, *policy.OPEN)
        middleware = Authentication(authenticators, exempt=exempt, domain=_DOMAIN)
        yield Auth(signing_keys, middleware, exempt, settings.certificates)


async def _verifiers_of_others(
    settings: AuthSettings, running: AsyncExitStack
) -> "list[JwtVerifier]":
    """Return what verifies tokens that others have signed."""
    if settings.issuer is None or settings.audience is None:
        return []
    from userservice.rpc.jwks import JwksKeys, JwksUrlError  # noqa: PLC0415
    from userservice.rpc.jwt import JwtVerifier, Keys  # noqa: PLC0415
    from userservice.rpc.public_keys import PublicKeyError  # noqa: PLC0415

    own = tuple(_public_key(file) for file in settings.public_keys)
    keys = Keys(own)
    if settings.jwks_url is not None:
        try:
            keys = published = JwksKeys(settings.jwks_url, own)
        except (JwksUrlError, PublicKeyError) as error:
            raise AuthError(f"cannot use --jwks-url: {error}") from error
        running.push_async_callback(published.aclose)
    return [
        JwtVerifier(
            keys,
            issuer=settings.issuer,
            audience=settings.audience,
            leeway_s=settings.leeway_s,
        )
    ]


def _public_key(file: Path) -> "VerifyingKey":
    from userservice.rpc.public_keys import PublicKeyError, read_pem  # noqa: PLC0415

    try:
        return read_pem(file.read_bytes())
    except OSError as error:
        raise AuthError(f"cannot read {file}: {error.strerror}") from error
    except PublicKeyError as error:
        raise AuthError(f"cannot use the key in {file}: {error}") from error
