"""What follows from who calls: sign-in and the policy, where calls say who makes them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from userservice.app.auth import Auth
from userservice.rpc.middleware import Middleware
from userservice.rpc.server import Service
from userservice.users.feed import ChangeFeed
from userservice.users.passwords import PasswordHasher
from userservice.users.storage.urls import Repository
from userservice.users.watch import Gap, user_topic


@dataclass(frozen=True, slots=True)
class Access:
    """Sign-in and the policy, under way.

    Args:
        services: what is served for it.
        authentication: the middleware that finds out who calls.
        policy: the middleware that says whether they may.
    """

    services: tuple[Service, ...] = ()
    authentication: tuple[Middleware, ...] = ()
    policy: tuple[Middleware, ...] = ()


EVERYBODY = Access()
"""Nobody is asked, and so everybody may do everything."""


@asynccontextmanager
async def access_of(
    auth: Auth | None, repository: Repository, feed: ChangeFeed, hasher: PasswordHasher
) -> AsyncIterator[Access]:
    """Set up sign-in and the policy for as long as the block runs.

    Args:
        auth: authentication; None where there is none.
        repository: keeps users and their sessions.
        feed: tells of changes of users.
        hasher: verifies passwords.
    """
    if auth is None:
        yield EVERYBODY
        return
    # What these import is loaded where it is wanted, as authentication is.
    from userservice.users.auth_service import AuthService  # noqa: PLC0415
    from userservice.users.authorization import Authorization  # noqa: PLC0415
    from userservice.users.sessions import Sessions  # noqa: PLC0415

    authorization = Authorization(
        repository, feed, exempt=auth.exempt, certificates=dict(auth.certificates)
    )

    def ended(user_id: str) -> None:
        # Whoever listens to the user looks again: open calls at their session.
        feed.publish(user_topic(user_id), Gap.GAP)

    sessions = Sessions(repository, hasher, auth.signing_keys, ended)
    try:
        yield Access((AuthService(sessions),), (auth.middleware,), (authorization,))
    finally:
        await authorization.close()
