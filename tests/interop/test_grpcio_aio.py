"""grpcio's asyncio client calls our server: the four kinds of method, and cancellation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.interop.conftest import Contract, ServerProgram


@pytest.fixture
async def aio_stub(
    contract: Contract, server: ServerProgram, channel_options: list[tuple[str, str]]
) -> AsyncIterator[Any]:
    """A client of our server, made by grpcio for asyncio."""
    async with grpc.aio.insecure_channel(server.address, channel_options) as channel:
        yield contract.services.UserServiceStub(channel)


async def test_unary_calls_overlap(contract: Contract, aio_stub: Any, domain: str) -> None:
    """Many calls at once on one connection all get their own answers."""
    pb = contract.messages
    users = await asyncio.gather(
        *(
            aio_stub.CreateUser(pb.CreateUserRequest(email=f"user{number}@{domain}", name="Ann"))
            for number in range(50)
        )
    )
    assert [user.email for user in users] == [f"user{number}@{domain}" for number in range(50)]
    got = await asyncio.gather(*(aio_stub.GetUser(pb.GetUserRequest(id=user.id)) for user in users))
    assert got == users


async def test_all_four_kinds_of_method(contract: Contract, aio_stub: Any, domain: str) -> None:
    """Unary calls, a watch, a batch and a chat work with grpcio's asyncio client."""
    pb = contract.messages
    user = await aio_stub.CreateUser(pb.CreateUserRequest(email=f"ann@{domain}", name="Ann"))
    watch = aio_stub.WatchUser(pb.WatchUserRequest(id=user.id))
    assert (await watch.read()).user == user
    await aio_stub.DeleteUser(pb.DeleteUserRequest(id=user.id))
    assert (await watch.read()).type == pb.UserEvent.EVENT_TYPE_DELETED
    assert await watch.read() is grpc.aio.EOF
    assert await watch.code() is grpc.StatusCode.OK

    batch = aio_stub.BatchCreateUsers(
        pb.CreateUserRequest(email=email, name="Ben") for email in (f"ben@{domain}", "nobody")
    )
    response = await batch
    assert (response.created_count, list(response.failed_emails)) == (1, ["nobody"])

    chat = aio_stub.Chat()
    await chat.wait_for_connection()
    await chat.write(pb.ChatMessage(sender_id=domain, text="Hello"))
    assert (await chat.read()).text == "Hello"
    await chat.done_writing()
    assert await chat.read() is grpc.aio.EOF
    assert await chat.code() is grpc.StatusCode.OK


async def test_cancelling_a_task_cancels_its_call(
    contract: Contract, telling_server: ServerProgram
) -> None:
    """A task that is cancelled while it watches leaves nobody watching on the server."""
    pb = contract.messages
    async with grpc.aio.insecure_channel(telling_server.address) as channel:
        stub = contract.services.UserServiceStub(channel)
        user = await stub.CreateUser(pb.CreateUserRequest(email="ann@example.com", name="Ann"))
        watching = asyncio.Event()

        async def watch() -> None:
            async for _ in stub.WatchUser(pb.WatchUserRequest(id=user.id)):
                watching.set()

        task = asyncio.create_task(watch())
        await watching.wait()
        assert telling_server.line() == f"listening users/{user.id}"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert telling_server.line() == f"left users/{user.id}"
