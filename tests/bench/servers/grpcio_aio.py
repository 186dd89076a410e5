"""grpcio's asyncio server with constant handlers."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import user_service_pb2
import user_service_pb2_grpc
from tests.bench import contract
from tests.bench.servers.grpcio_messages import EVENTS, USER

# Kept here: a task that waits for what nothing else knows is collected.
NEVER = asyncio.Event()


class Constant(user_service_pb2_grpc.UserServiceServicer):
    """Answers without any work of its own."""

    async def GetUser(self, request: Any, context: Any) -> Any:  # noqa: N802  # the base's name
        """Return the one user."""
        return USER

    async def WatchUser(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802  # the base's name
        """Send as many events as the id says."""
        event = EVENTS[request.resume_token]
        count = int(request.id)
        if count == contract.HELD_OPEN:
            await NEVER.wait()
        for _ in range(count):
            yield event

    async def BatchCreateUsers(self, messages: AsyncIterator[Any], context: Any) -> Any:  # noqa: N802  # the base's name
        """Count the messages."""
        count = 0
        async for _ in messages:
            count += 1
        return user_service_pb2.BatchCreateUsersResponse(created_count=count)

    async def Chat(self, messages: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:  # noqa: N802  # the base's name
        """Send every message back."""
        async for message in messages:
            yield message


async def main() -> None:
    """Serve until the process is ended."""
    server = grpc.aio.server()
    user_service_pb2_grpc.add_UserServiceServicer_to_server(Constant(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print("READY", port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
