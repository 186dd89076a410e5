"""The typed client: deadlines by default, metadata, and an orderly end."""

import asyncio
import inspect
import typing
from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpclib.const import Status
from grpclib.events import SendRequest, listen

import userservice
from userservice import (
    AuthServiceClient,
    ChatMessage,
    CreateUserRequest,
    GetUserRequest,
    ListUsersRequest,
    NotFoundError,
    UnavailableError,
    UserServiceClient,
    WatchUserRequest,
)
from userservice.rpc import TargetError, reply_metadata
from userservice.rpc.client_call import ClientCall
from userservice.rpc.middleware import ClientMiddleware, Outcome

NOBODY = "1b4e28ba-2fa1-41d2-883f-0016d3cca427"


async def sent(client: UserServiceClient) -> list[SendRequest]:
    """Collect what the client sends with its calls."""
    requests: list[SendRequest] = []

    async def note(event: SendRequest) -> None:
        requests.append(event)

    listen(client.channel, SendRequest, note)
    return requests


async def test_unary_calls_have_a_deadline_and_streams_have_none(address: str) -> None:
    """30 seconds by default; a call may say otherwise; a client may have none."""
    async with UserServiceClient(address) as client:
        requests = await sent(client)
        await client.list_users(ListUsersRequest())
        await client.list_users(ListUsersRequest(), timeout=3)
        await client.batch_create_users([])
        with pytest.raises(NotFoundError):
            await anext(client.watch_user(WatchUserRequest(id=NOBODY)))
        _ = [line async for line in client.chat([])]
    deadlines = [event.deadline for event in requests]
    assert [deadline is not None for deadline in deadlines] == [True, True, False, False, False]
    assert deadlines[0] is not None
    assert deadlines[1] is not None
    assert 29 < deadlines[0].time_remaining() <= 30
    assert 2 < deadlines[1].time_remaining() <= 3
    async with UserServiceClient(address, timeout_s=None) as client:
        requests = await sent(client)
        await client.list_users(ListUsersRequest())
    assert requests[0].deadline is None


async def test_metadata_goes_with_every_call(address: str) -> None:
    """The client's metadata is on unary calls and on streams, the call's own beside it."""
    async with UserServiceClient(address, metadata={"x-app": "shop"}) as client:
        requests = await sent(client)
        await client.list_users(ListUsersRequest(), metadata={"x-call": "1"})
        _ = [line async for line in client.chat([], metadata=[("x-call", "2")])]
        _ = [user async for user in client.list_all_users(metadata={"x-call": "3"})]
    assert [dict(event.metadata) for event in requests] == [
        {"x-app": "shop", "x-call": "1"},
        {"x-app": "shop", "x-call": "2"},
        {"x-app": "shop", "x-call": "3"},
    ]


async def test_middleware_sees_every_call(address: str) -> None:
    """The caller's own."""
    ends = []

    class Ends(ClientMiddleware):
        def ended(self, call: ClientCall, outcome: Outcome) -> None:
            ends.append((call.method, outcome.status))

    async with UserServiceClient(address, middleware=[Ends()]) as client:
        await client.list_users(ListUsersRequest())
    assert ends == [("/userservice.v1.UserService/ListUsers", Status.OK)]


async def test_reply_metadata_can_be_read(client: UserServiceClient) -> None:
    """Of a unary call through a block, of a stream through the stream as well."""
    ann = await client.create_user(CreateUserRequest(email="a@b.co", name="Ann"))
    with reply_metadata() as reply:
        await client.get_user(GetUserRequest(id=ann.id))
    assert list(reply.initial) == list(reply.trailing) == []
    stream = client.chat([ChatMessage(sender_id="ann", text="hi")])
    assert list(await stream.initial_metadata()) == []
    assert [line.text async for line in stream] == ["hi"]
    assert list(stream.trailing_metadata) == []


async def test_calls_can_be_tasks_of_a_group(client: UserServiceClient) -> None:
    """Every unary call is a coroutine: gather, create_task and TaskGroup take it."""
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(
                client.create_user(CreateUserRequest(email=f"user{number}@example.com", name="N"))
            )
            for number in range(20)
        ]
    assert len({task.result().id for task in tasks}) == 20


async def test_closing_a_client_ends_its_calls(address: str) -> None:
    """Whoever still waits gets UNAVAILABLE, and nothing is left behind."""
    before = asyncio.all_tasks()
    async with UserServiceClient(address) as client:
        ann = await client.create_user(CreateUserRequest(email="a@b.co", name="Ann"))

        async def silence() -> AsyncIterator[ChatMessage]:
            await asyncio.Event().wait()
            yield ChatMessage()

        watch = client.watch_user(WatchUserRequest(id=ann.id))
        chat = client.chat(silence())
        await anext(watch)
        await chat.initial_metadata()
        waiting = [asyncio.ensure_future(anext(stream)) for stream in (watch, chat)]
        await asyncio.sleep(0)
    for wait in waiting:
        with pytest.raises(UnavailableError):
            await wait
    async with asyncio.timeout(5):  # the server's side of the calls lives here too
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0)


async def test_a_closed_client_stays_closed(address: str) -> None:
    """A call after the end is told, and opens no connection that nobody closes."""
    async with UserServiceClient(address) as client:
        await client.list_users(ListUsersRequest())
    with pytest.raises(UnavailableError, match="closed"):
        await client.list_users(ListUsersRequest())


async def test_a_stream_can_be_left_at_any_time(client: UserServiceClient) -> None:
    """Before it began, in its middle, and twice."""
    ann = await client.create_user(CreateUserRequest(email="a@b.co", name="Ann"))
    await client.watch_user(WatchUserRequest(id=ann.id)).aclose()
    events = client.watch_user(WatchUserRequest(id=ann.id))
    await anext(events)
    await events.aclose()
    await events.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(events)


async def test_a_call_that_is_cancelled_is_cancelled(client: UserServiceClient) -> None:
    """Cancelling the caller's task ends the call, and the client goes on."""
    ann = await client.create_user(CreateUserRequest(email="a@b.co", name="Ann"))
    events = client.watch_user(WatchUserRequest(id=ann.id))
    await anext(events)
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await client.get_user(GetUserRequest(id=ann.id)) == ann


def test_a_wrong_target_is_said_at_once() -> None:
    """Not on the first call, but where it is written."""

    async def connect() -> None:
        UserServiceClient("http://localhost:80")

    with pytest.raises(TargetError, match="http://localhost:80"):
        asyncio.run(connect())


@pytest.mark.parametrize("client_type", [UserServiceClient, AuthServiceClient])
def test_every_public_name_is_there_and_typed(client_type: type) -> None:
    """What __all__ names exists; every method of a client has complete annotations."""
    for name in userservice.__all__:
        assert hasattr(userservice, name)
    for name, method in inspect.getmembers(client_type, inspect.isfunction):
        if name.startswith("_"):
            continue
        hints: dict[str, Any] = typing.get_type_hints(
            method, localns=_names_of_generated_annotations()
        )
        parameters = [p for p in inspect.signature(method).parameters if p != "self"]
        assert set(parameters) | {"return"} <= set(hints), name


def _names_of_generated_annotations() -> dict[str, Any]:
    """What betterproto2 imports for type checkers alone."""
    import grpclib.metadata  # noqa: PLC0415  # for this look-up alone
    from betterproto2.grpclib.grpclib_client import MetadataLike  # noqa: PLC0415  # likewise

    return {"Deadline": grpclib.metadata.Deadline, "MetadataLike": MetadataLike}
