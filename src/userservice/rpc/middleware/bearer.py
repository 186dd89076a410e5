"""A token that goes with every call of a channel (RFC 6750)."""

import re
import ssl
from typing import Final, Self

from userservice.rpc.client_call import ClientCall
from userservice.rpc.middleware import ClientMiddleware
from userservice.rpc.target import stays_here

__all__ = [
    "BearerToken",
    "PlaintextTokenError",
    "TokenError",
]

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*").fullmatch


class TokenError(ValueError):
    """A token cannot be sent; its text has none of it."""


class PlaintextTokenError(TokenError):
    """Others could read a token on its way."""


class BearerToken(ClientMiddleware):
    """Sends a token with each call that has no ``authorization`` of its own.

    Args:
        token: the token.

    Raises:
        TokenError: the text is no token.
    """

    def __init__(self, token: str) -> None:
        if not _TOKEN(token):
            raise TokenError("a token is one word of letters, digits and -._~+/=")
        self._authorization = f"Bearer {token}"

    @classmethod
    def to(
        cls, target: str, tls: ssl.SSLContext | None, token: str, *, plaintext: bool = False
    ) -> Self:
        """Return a middleware for a channel that nobody on the way can read.

        Args:
            target: the server.
            tls: how TLS is spoken with it; None for without.
            token: the token.
            plaintext: whether all may read it who are on the way.

        Raises:
            TokenError: the text is no token.
            PlaintextTokenError: others could read it.
            TargetError: the target is none.
        """
        if tls is None and not plaintext and not stays_here(target):
            raise PlaintextTokenError(
                f"the token would go to {target} without TLS: whoever is on the way could read it"
            )
        return cls(token)

    def before(self, call: ClientCall) -> None:
        """Add the token to the metadata."""
        if "authorization" not in call.metadata:
            call.metadata["authorization"] = self._authorization
