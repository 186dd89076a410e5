"""The constant handlers on connectrpc, as the ASGI application that pyvoy loads."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from connect_contract import user_service_connect, user_service_pb
from protobuf.wkt.google.protobuf.timestamp_pb import Timestamp
from tests.bench import contract

UPDATED = Timestamp.from_datetime(contract.UPDATED)
USER = user_service_pb.User(
    id=contract.USER_ID,
    email=contract.EMAIL,
    name=contract.NAME,
    avatar=contract.AVATAR,
    role=user_service_pb.Role(contract.ROLE),
    created_at=Timestamp.from_datetime(contract.CREATED),
    updated_at=UPDATED,
)
UPDATED_EVENT = user_service_pb.UserEvent.EventType(1)
EVENTS = {
    contract.SMALL: user_service_pb.UserEvent(type=UPDATED_EVENT, user=USER, timestamp=UPDATED),
    contract.LARGE: user_service_pb.UserEvent(
        type=UPDATED_EVENT, user=USER, timestamp=UPDATED, resume_token=contract.LARGE_TEXT
    ),
}

# Kept here: a task that waits for what nothing else knows is collected.
NEVER = asyncio.Event()


class Constant(user_service_connect.UserService):
    """Answers without any work of its own."""

    async def get_user(self, request: Any, ctx: Any) -> Any:
        """Return the one user."""
        return USER

    async def watch_user(self, request: Any, ctx: Any) -> AsyncIterator[Any]:
        """Send as many events as the id says."""
        event = EVENTS[request.resume_token]
        count = int(request.id)
        if count == contract.HELD_OPEN:
            await NEVER.wait()
        for _ in range(count):
            yield event

    async def batch_create_users(self, request: AsyncIterator[Any], ctx: Any) -> Any:
        """Count the messages."""
        count = 0
        async for _ in request:
            count += 1
        return user_service_pb.BatchCreateUsersResponse(created_count=count)

    async def chat(self, request: AsyncIterator[Any], ctx: Any) -> AsyncIterator[Any]:
        """Send every message back."""
        async for message in request:
            yield message


app = user_service_connect.UserServiceASGIApplication(Constant())
