"""The constant handlers on betterproto2: the same for our server and for bare grpclib."""

import asyncio
from collections.abc import AsyncIterator

from tests.bench import contract

from userservice._gen.userservice.v1 import (
    BatchCreateUsersResponse,
    ChatMessage,
    CreateUserRequest,
    GetUserRequest,
    Role,
    User,
    UserEvent,
    UserEventEventType,
    UserServiceBase,
    WatchUserRequest,
)

USER = User(
    id=contract.USER_ID,
    email=contract.EMAIL,
    name=contract.NAME,
    avatar=contract.AVATAR,
    role=Role(contract.ROLE),
    created_at=contract.CREATED,
    updated_at=contract.UPDATED,
)
EVENTS = {
    contract.SMALL: UserEvent(
        type=UserEventEventType.UPDATED, user=USER, timestamp=contract.UPDATED
    ),
    contract.LARGE: UserEvent(
        type=UserEventEventType.UPDATED,
        user=USER,
        timestamp=contract.UPDATED,
        resume_token=contract.LARGE_TEXT,
    ),
}

# Kept here: a task that waits for what nothing else knows is collected.
NEVER = asyncio.Event()


class Constant(UserServiceBase):
    """Answers without any work of its own."""

    async def get_user(self, message: GetUserRequest) -> User:
        """Return the one user."""
        return USER

    async def watch_user(self, message: WatchUserRequest) -> AsyncIterator[UserEvent]:
        """Send as many events as the id says."""
        event = EVENTS[message.resume_token]
        count = int(message.id)
        if count == contract.HELD_OPEN:
            await NEVER.wait()
        for _ in range(count):
            yield event

    async def batch_create_users(
        self, messages: AsyncIterator[CreateUserRequest]
    ) -> BatchCreateUsersResponse:
        """Count the messages."""
        count = 0
        async for _ in messages:
            count += 1
        return BatchCreateUsersResponse(created_count=count)

    async def chat(self, messages: AsyncIterator[ChatMessage]) -> AsyncIterator[ChatMessage]:
        """Send every message back."""
        async for message in messages:
            yield message
