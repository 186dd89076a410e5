# printing is how a program tells
"""Our user service, made to tell: who listens to what, and what comes with a call.

It prints ``listening TOPIC`` and ``left TOPIC`` as clients come to listen and leave.
GetUser sends every ``echo-`` metadata key back, with the initial and the trailing
metadata, and says how it sees the call.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from userservice import GetUserRequest, User
from userservice.rpc import Server, current_call
from userservice.users.feed import LocalFeed, Mailbox, Overflow, Topic
from userservice.users.model import Change
from userservice.users.passwords import PasswordHasher
from userservice.users.service import UserService
from userservice.users.status import rpc_error
from userservice.users.storage.urls import open_repository
from userservice.users.tokens import Tokens
from userservice.users.watch import user_topic

T = TypeVar("T")


class TellingFeed(LocalFeed):
    """The change feed, which says who comes and goes."""

    @contextmanager
    def listen(
        self, topic: Topic[T], *, limit: int, overflow: Overflow, lost: T | None = None
    ) -> Iterator[Mailbox[T]]:
        """Listen, and print it."""
        with super().listen(topic, limit=limit, overflow=overflow, lost=lost) as mailbox:
            print(f"listening {topic.name}", flush=True)
            try:
                yield mailbox
            finally:
                print(f"left {topic.name}", flush=True)


class TellingService(UserService):
    """The user service, whose GetUser answers with what came with the call."""

    async def get_user(self, message: GetUserRequest) -> User:
        """Return the user, and the metadata of the call."""
        call = current_call()
        for key, value in call.metadata.items():
            if key.startswith("echo-"):
                call.initial_metadata.add(key, value)
                call.trailing_metadata.add(key, value)
        left = call.time_remaining_s
        call.trailing_metadata["time-left"] = "none" if left is None else f"{left:.3f}"
        call.trailing_metadata["method"] = call.method
        call.trailing_metadata["peer"] = call.peer
        return await super().get_user(message)


async def main() -> None:
    """Serve on any port until killed."""
    feed = TellingFeed()

    def publish(changes: Sequence[Change]) -> None:
        for change in changes:
            feed.publish(user_topic(change.user.id), change)

    repository = open_repository("memory:", publish)
    service = TellingService(repository, feed, PasswordHasher(), Tokens(bytes(32)))
    server = Server([service], error_mapping=rpc_error)
    await server.start("127.0.0.1", 0)
    print("ready on", *server.addresses, flush=True)
    await server.wait_closed()


asyncio.run(main())
