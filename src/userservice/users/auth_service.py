"""Sign-in as a service: requests of ``AuthService`` in, tokens out."""

from userservice._gen.userservice.v1 import (
    AuthServiceBase,
    ChangePasswordRequest,
    ChangePasswordResponse,
    RefreshRequest,
    RefreshResponse,
    SignInRequest,
    SignInResponse,
    SignOutRequest,
    SignOutResponse,
)
from userservice.rpc import current_call
from userservice.users import rules
from userservice.users.errors import UserGoneError
from userservice.users.sessions import SESSION_CLAIM, Sessions


class AuthService(AuthServiceBase):
    """The four methods of sign-in.

    Args:
        sessions: does what they say.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def sign_in(self, message: SignInRequest) -> SignInResponse:
        """Begin a session; UNAUTHENTICATED where the email or the password is wrong."""
        peer = current_call().peer
        tokens = await self._sessions.sign_in(message.email, message.password, peer)
        return SignInResponse(
            access_token=tokens.access,
            expires_in=tokens.expires_in,
            refresh_token=tokens.refresh,
            user_id=tokens.user_id,
        )

    async def refresh(self, message: RefreshRequest) -> RefreshResponse:
        """Go on with a session; UNAUTHENTICATED where it is over."""
        tokens = await self._sessions.refresh(_required(message.refresh_token))
        return RefreshResponse(
            access_token=tokens.access,
            expires_in=tokens.expires_in,
            refresh_token=tokens.refresh,
        )

    async def sign_out(self, message: SignOutRequest) -> SignOutResponse:
        """End a session; OK also where it has ended before."""
        await self._sessions.sign_out(_required(message.refresh_token))
        return SignOutResponse()

    async def change_password(self, message: ChangePasswordRequest) -> ChangePasswordResponse:
        """Change the caller's password, and end all other sessions."""
        call = current_call()
        subject = call.subject
        if subject is None:
            raise UserGoneError
        session = subject.claims.get(SESSION_CLAIM)
        await self._sessions.change_password(
            subject.id,
            session if isinstance(session, str) else None,
            message.old_password,
            message.new_password,
            call.peer,
        )
        return ChangePasswordResponse()


def _required(refresh_token: str) -> str:
    checks = rules.Checks()
    checks.check("refresh_token", rules.required, refresh_token)
    checks.done()
    return refresh_token
