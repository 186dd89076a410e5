# ruff: noqa: N802  # the names are the contract's, and peers/README.md explains them
# printing is how a program tells
"""A grpcio server of the baseline contract, with its users in memory.

It takes the folder of the generated stubs. README.md above it says what it does.
"""

import asyncio
import functools
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

sys.path.insert(0, sys.argv[1])

import user_service_pb2 as pb  # made by whoever starts this program
import user_service_pb2_grpc as services

CODES = {code.value[0]: code for code in grpc.StatusCode}
Method = Callable[[Any, Any, Any], Awaitable[Any]]


def peer(method: Method) -> Method:
    """Give a method what every call does."""

    @functools.wraps(method)
    async def call(service: Any, request: Any, context: Any) -> Any:
        context.set_trailing_metadata([*echoes(context), ("time-left", time_left(context))])
        code = dict(context.invocation_metadata()).get("fail-with")
        if code is not None:
            await fail(context, CODES[int(code)], "as asked: déjà vu, 50 % ☂")
        await context.send_initial_metadata(echoes(context))
        try:
            return await method(service, request, context)
        except asyncio.CancelledError:
            if method.__name__ != "Chat":
                print(f"cancelled {method.__name__}", flush=True)
            raise

    return call


def echoes(context: Any) -> list[tuple[str, str | bytes]]:
    """Return the metadata that goes back."""
    sent = context.invocation_metadata()
    return [(key, value) for key, value in sent if key.startswith("echo-")]


def time_left(context: Any) -> str:
    """Return the seconds until the deadline."""
    left = context.time_remaining()
    return "none" if left is None else f"{left:.3f}"


async def fail(context: Any, code: grpc.StatusCode, message: str) -> None:
    """End a call with a status and details."""
    status = status_pb2.Status(code=code.value[0], message=message)
    info = error_details_pb2.ErrorInfo(reason="PEER", domain="peer.example")
    resource = error_details_pb2.ResourceInfo(resource_name=message)
    for detail in (info, resource):
        status.details.add().Pack(detail)
    rich = rpc_status.to_status(status)
    # abort_with_status would drop the metadata that was set.
    trailing = (*rich.trailing_metadata, *context.trailing_metadata())
    await context.abort(rich.code, rich.details, trailing)


class UserService(services.UserServiceServicer):
    """Users in a dictionary; everyone who listens has a queue."""

    def __init__(self) -> None:
        self._users: dict[str, Any] = {}
        self._watchers: dict[str, set[asyncio.Queue[Any]]] = {}
        self._room: set[asyncio.Queue[Any]] = set()

    @peer
    async def GetUser(self, request: Any, context: Any) -> Any:
        if "hang" in dict(context.invocation_metadata()):
            print("hanging", flush=True)
            await asyncio.Event().wait()
        return await self._find(request.id, context)

    @peer
    async def CreateUser(self, request: Any, context: Any) -> Any:
        if not request.email:
            await fail(context, grpc.StatusCode.INVALID_ARGUMENT, "email is required")
        return self._store(request)

    @peer
    async def UpdateUser(self, request: Any, context: Any) -> Any:
        user = await self._find(request.id, context)
        for path in request.update_mask.paths:
            setattr(user, path, getattr(request, path))
        user.updated_at.GetCurrentTime()
        self._publish(user, pb.UserEvent.EVENT_TYPE_UPDATED)
        return user

    @peer
    async def DeleteUser(self, request: Any, context: Any) -> Any:
        user = await self._find(request.id, context)
        del self._users[user.id]
        self._publish(user, pb.UserEvent.EVENT_TYPE_DELETED)
        return Empty()

    @peer
    async def ListUsers(self, request: Any, context: Any) -> Any:
        users = [user for user in self._users.values() if user.email.endswith(request.filter)]
        users.sort(key=lambda user: user.email)
        start = int(request.page_token or 0)
        end = start + request.page_size
        return pb.ListUsersResponse(
            users=users[start:end],
            next_page_token=str(end) if end < len(users) else "",
            total_count=len(users),
        )

    @peer
    async def WatchUser(self, request: Any, context: Any) -> None:
        user = await self._find(request.id, context)
        events: asyncio.Queue[Any] = asyncio.Queue()
        watchers = self._watchers.setdefault(user.id, set())
        watchers.add(events)
        event = pb.UserEvent(type=pb.UserEvent.EVENT_TYPE_UPDATED, user=user)
        try:
            await context.write(event)
            while event.type != pb.UserEvent.EVENT_TYPE_DELETED:
                event = await events.get()
                await context.write(event)
        finally:
            watchers.discard(events)

    @peer
    async def BatchCreateUsers(self, requests: AsyncIterator[Any], context: Any) -> Any:
        response = pb.BatchCreateUsersResponse()
        if "answer-early" in dict(context.invocation_metadata()):
            return response
        async for request in requests:
            if "@" in request.email:
                self._store(request)
                response.created_count += 1
            else:
                response.failed_emails.append(request.email)
        return response

    @peer
    async def Chat(self, requests: AsyncIterator[Any], context: Any) -> None:
        if "answer-early" in dict(context.invocation_metadata()):
            return
        heard: asyncio.Queue[Any] = asyncio.Queue()
        self._room.add(heard)
        speaking = asyncio.create_task(self._speak(requests, heard))
        try:
            while (message := await heard.get()) is not None:
                await context.write(message)
        finally:
            self._room.discard(heard)
            speaking.cancel()
            print("ended Chat", flush=True)

    async def _speak(self, said: AsyncIterator[Any], own: asyncio.Queue[Any]) -> None:
        async for message in said:
            message.timestamp.GetCurrentTime()
            for heard in self._room:
                heard.put_nowait(message)
        own.put_nowait(None)

    async def _find(self, user_id: str, context: Any) -> Any:
        if user_id not in self._users:
            await fail(context, grpc.StatusCode.NOT_FOUND, f"there is no user {user_id}")
        return self._users[user_id]

    def _store(self, request: Any) -> Any:
        user = pb.User(
            id=str(uuid.uuid4()), email=request.email, name=request.name, role=request.role
        )
        user.created_at.GetCurrentTime()
        user.updated_at.CopyFrom(user.created_at)
        self._users[user.id] = user
        return user

    def _publish(self, user: Any, kind: int) -> None:
        event = pb.UserEvent(type=kind, user=user)
        event.timestamp.GetCurrentTime()
        for events in self._watchers.get(user.id, ()):
            events.put_nowait(event)


async def main() -> None:
    """Serve on any port until killed."""
    server = grpc.aio.server()
    services.add_UserServiceServicer_to_server(UserService(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"ready on 127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


asyncio.run(main())
