"""Authentication: a call is served when it is known who makes it.

Each call shows who makes it: by a bearer token (RFC 6750), or by the certificate of its
connection. A token that runs out while a call goes on does not end the call.
"""

from collections.abc import Awaitable, Iterable, Sequence
from contextlib import suppress
from enum import Enum
from typing import Final

from userservice.rpc.call import Call
from userservice.rpc.details import ErrorInfo
from userservice.rpc.errors import UnauthenticatedError, UnavailableError
from userservice.rpc.identity import Identity
from userservice.rpc.jwt import Claims, JwtError, JwtExpiredError, JwtVerifier, UnknownJwtKeyError
from userservice.rpc.middleware import Middleware
from userservice.rpc.subject import Subject, SubjectKind

__all__ = [
    "NO_SECRETS",
    "Authentication",
    "Authenticator",
    "Certificates",
    "Jwts",
    "Reason",
    "RefusedCredentialsError",
    "name_of",
]

NO_SECRETS: Final = (
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/List",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)
"""The methods of health and reflection: what they tell is told to everybody."""

_PERIODS_OF_A_JWT: Final = 2  # RFC 7515 section 7.1


class Reason(Enum):
    """Why it is not known who calls: the reason in ErrorInfo."""

    MISSING_CREDENTIALS = "MISSING_CREDENTIALS"
    MALFORMED_CREDENTIALS = "MALFORMED_CREDENTIALS"
    INVALID_TOKEN = "INVALID_TOKEN"  # noqa: S105  # the name of a reason
    TOKEN_EXPIRED = "TOKEN_EXPIRED"  # noqa: S105  # likewise


class RefusedCredentialsError(Exception):
    """What a call shows is not good.

    Args:
        reason: for programs.
        message: for people; it has nothing of what was shown.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Authenticator:
    """Finds out who makes a call, in one way."""

    def known(self, call: Call, token: str | None) -> Subject | None:
        """Return who it is where that can be said at once; None where it cannot.

        Args:
            call: the call.
            token: the bearer token, where there is one.
        """

    async def authenticate(self, call: Call, token: str | None) -> Subject | None:
        """Return who it is; None where the call does not show it in this way.

        Raises:
            RefusedCredentialsError: it does, and what it shows is not good.
        """


class Jwts(Authenticator):
    """Takes signed tokens.

    Args:
        verifiers: each with keys of its own; one that has a token's key decides.
    """

    def __init__(self, verifiers: Sequence[JwtVerifier]) -> None:
        self._verifiers = verifiers

    def known(self, call: Call, token: str | None) -> Subject | None:
        """Return who it is where the token was verified before."""
        del call
        if token is not None:
            for verifier in self._verifiers:
                claims = verifier.known(token)
                if claims is not None:
                    return _user(claims)
        return None

    async def authenticate(self, call: Call, token: str | None) -> Subject | None:
        """Return who it is; None where the token is no signed one."""
        del call
        if token is None or token.count(".") != _PERIODS_OF_A_JWT:
            return None
        try:
            return _user(await self._verified(token))
        except JwtExpiredError:
            raise RefusedCredentialsError(Reason.TOKEN_EXPIRED, "the token has expired") from None
        except JwtError as error:
            raise RefusedCredentialsError(
                Reason.INVALID_TOKEN, f"the token is not taken: {error}"
            ) from None

    async def _verified(self, token: str) -> Claims:
        # Nobody waits for the newer keys of one where another has the key at hand.
        for verifier in self._verifiers:
            if verifier.fresh:
                with suppress(UnknownJwtKeyError):
                    return verifier.verify(token)
        for verifier in self._verifiers:
            with suppress(UnknownJwtKeyError):
                return await verifier.verify_fresh(token)
            if verifier.trouble is not None:
                # It may be good: that is to be tried again, and not to be signed in again.
                raise UnavailableError("the keys of the token's issuer cannot be had now")
        raise UnknownJwtKeyError("its key is not known here")


def _user(claims: Claims) -> Subject:
    return Subject(claims["sub"], SubjectKind.USER, claims)


class Certificates(Authenticator):
    """Takes the certificates of clients that show no token (mutual TLS)."""

    def known(self, call: Call, token: str | None) -> Subject | None:
        """Return who the client's certificate is for."""
        identity = call.identity
        if token is not None or identity is None:
            return None
        claims = {"issuer": identity.issuer, "sha256": identity.sha256}
        return Subject(name_of(identity), SubjectKind.CERTIFICATE, claims)


def name_of(identity: Identity) -> str:
    """Return the name that a certificate is for, with its kind: ``uri:``, ``email:``, ``dns:``...

    The first of these that it has: a URI, as SPIFFE has it; an email; a DNS name; a common
    name; its fingerprint. No name of one kind is one of another, or the id of a user.
    """
    for kind, names in (
        ("uri", identity.uris),
        ("email", identity.emails),
        ("dns", identity.dns_names),
    ):
        if names:
            return f"{kind}:{names[0]}"
    return f"cn:{identity.common_name}" if identity.common_name else f"sha256:{identity.sha256}"


class Authentication(Middleware):
    """Serves no call before it is known who makes it: sets `Call.subject`.

    A method that does not exist is refused like any other: who is not known is not told
    which methods there are.

    Args:
        authenticators: asked in their order; the first that finds somebody decides.
        exempt: the methods that anybody may call, by their whole paths.
        domain: who gives the reasons in ErrorInfo.
    """

    def __init__(
        self,
        authenticators: Sequence[Authenticator],
        *,
        exempt: Iterable[str] = NO_SECRETS,
        domain: str = "grpc.io",
    ) -> None:
        self._authenticators = tuple(authenticators)
        self._exempt = frozenset(exempt)
        self._domain = domain

    def before(self, call: Call) -> Awaitable[None] | None:
        """Find out who makes the call, and refuse it where that cannot be known."""
        if call.method in self._exempt:
            return None
        try:
            token = bearer_token(call)
        except RefusedCredentialsError as error:
            raise self._refusal(error) from None
        for authenticator in self._authenticators:
            subject = authenticator.known(call, token)
            if subject is not None:
                call.subject = subject
                return None
        return self._authenticate(call, token)

    async def _authenticate(self, call: Call, token: str | None) -> None:
        try:
            for authenticator in self._authenticators:
                subject = await authenticator.authenticate(call, token)
                if subject is not None:
                    call.subject = subject
                    return
            raise _nobody(token)
        except RefusedCredentialsError as error:
            raise self._refusal(error) from None

    def _refusal(self, error: RefusedCredentialsError) -> UnauthenticatedError:
        info = ErrorInfo(reason=error.reason.value, domain=self._domain)
        return UnauthenticatedError(str(error), [info])


def _nobody(token: str | None) -> RefusedCredentialsError:
    if token is None:
        return RefusedCredentialsError(
            Reason.MISSING_CREDENTIALS,
            "the call does not say who makes it: send the metadata authorization: Bearer TOKEN",
        )
    return RefusedCredentialsError(Reason.INVALID_TOKEN, "the token is of no kind that is taken")


def bearer_token(call: Call) -> str | None:
    """Return the token in the metadata ``authorization``; None where there is none.

    Raises:
        RefusedCredentialsError: there are several, or it is no bearer token.
    """
    values = call.metadata.getall("authorization", ())
    if not values:
        return None
    if len(values) > 1:
        raise RefusedCredentialsError(
            Reason.MALFORMED_CREDENTIALS, "there is more than one authorization in the metadata"
        )
    # The scheme is in upper or lower case (RFC 9110 section 11.1).
    scheme, _, token = str(values[0]).partition(" ")
    token = token.strip(" ")
    if scheme.lower() != "bearer" or not token or " " in token:
        raise RefusedCredentialsError(
            Reason.MALFORMED_CREDENTIALS, "the metadata authorization is Bearer and a token"
        )
    return token
