"""Our client calls a server that is not ours: grpcio's here, others' in ``nox -s interop``."""

from __future__ import annotations

import asyncio
import itertools
import socket
import uuid
from typing import TYPE_CHECKING

import pytest

import userservice
from userservice import (
    ChatMessage,
    CreateUserRequest,
    DeleteUserRequest,
    Empty,
    FieldMask,
    GetUserRequest,
    ListUsersRequest,
    Role,
    RpcError,
    UpdateUserRequest,
    User,
    UserEventEventType,
    UserServiceClient,
    WatchUserRequest,
)
from userservice.rpc import Metadata, reply_metadata
from userservice.rpc.details import ErrorInfo, ResourceInfo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.interop.conftest import ServerProgram

NOBODY = str(uuid.UUID(int=0))
HANG = {"hang": "yes"}


@pytest.fixture(autouse=True)
async def no_task_is_left() -> AsyncIterator[None]:
    """When a test is over and its client closed, no task of theirs is running."""
    before = asyncio.all_tasks()
    yield
    assert asyncio.all_tasks() - before == {asyncio.current_task()}


@pytest.fixture
async def client(peer: ServerProgram, no_task_is_left: None) -> AsyncIterator[UserServiceClient]:
    """Our client of the peer."""
    async with UserServiceClient(peer.address) as client:
        yield client


@pytest.fixture
async def ann(client: UserServiceClient, domain: str) -> User:
    """A user that the peer has."""
    return await client.create_user(CreateUserRequest(email=f"ann@{domain}", name="Ann"))


async def test_a_created_user_can_be_read_changed_and_deleted(
    client: UserServiceClient, domain: str
) -> None:
    """Unary calls carry every field both ways, and Empty."""
    created = await client.create_user(
        CreateUserRequest(email=f"ann@{domain}", name="Änn ☂", role=Role.ADMIN)
    )
    assert (created.email, created.name, created.role) == (f"ann@{domain}", "Änn ☂", Role.ADMIN)
    assert created.created_at is not None
    assert created.created_at == created.updated_at
    assert await client.get_user(GetUserRequest(id=created.id)) == created

    updated = await client.update_user(
        UpdateUserRequest(
            id=created.id,
            name="not masked",
            avatar="http://new",
            update_mask=FieldMask(paths=["avatar"]),
        )
    )
    assert (updated.name, updated.avatar) == ("Änn ☂", "http://new")
    assert await client.delete_user(DeleteUserRequest(id=created.id)) == Empty()


async def test_a_list_is_followed_page_by_page(client: UserServiceClient, domain: str) -> None:
    """Iterating over all users asks for page after page."""
    emails = [f"user{number}@{domain}" for number in range(5)]
    for email in emails:
        await client.create_user(CreateUserRequest(email=email))
    everyone = ListUsersRequest(page_size=2, filter=domain)
    assert [user.email async for user in client.list_all_users(everyone)] == emails


async def test_a_watch_ends_with_its_user(client: UserServiceClient, ann: User) -> None:
    """A watch brings each event as it happens, and ends after DELETED."""
    watch = client.watch_user(WatchUserRequest(id=ann.id))
    assert (await anext(watch)).user == ann
    updated = await client.update_user(
        UpdateUserRequest(id=ann.id, name="Anna", update_mask=FieldMask(paths=["name"]))
    )
    assert (await anext(watch)).user == updated
    await client.delete_user(DeleteUserRequest(id=ann.id))
    assert [event.type async for event in watch] == [UserEventEventType.DELETED]


async def test_a_batch_of_a_thousand(client: UserServiceClient, domain: str) -> None:
    """A batch takes any iterable; its answer, and a list of a thousand users, arrive whole."""
    emails = [f"user{number:03}{'@' if number % 100 else ' at '}{domain}" for number in range(1000)]
    response = await client.batch_create_users(
        CreateUserRequest(email=email, name="x" * 200) for email in emails
    )
    assert (response.created_count, response.failed_emails) == (990, emails[::100])
    page = await client.list_users(ListUsersRequest(page_size=1000, filter=domain))
    assert [user.email for user in page.users] == [email for email in emails if "@" in email]


async def test_a_batch_from_an_async_iterable(client: UserServiceClient, domain: str) -> None:
    """A batch takes an async iterable, and may be empty."""

    async def users(count: int) -> AsyncIterator[CreateUserRequest]:
        for number in range(count):
            await asyncio.sleep(0)
            yield CreateUserRequest(email=f"user{number}@{domain}")

    assert (await client.batch_create_users(users(3))).created_count == 3
    assert (await client.batch_create_users(users(0))).created_count == 0


class Says:
    """What one participant says: an async iterable, which ends when told."""

    def __init__(self, sender_id: str) -> None:
        self._sender_id = sender_id
        self._texts: asyncio.Queue[str | None] = asyncio.Queue()

    async def __aiter__(self) -> AsyncIterator[ChatMessage]:
        while (text := await self._texts.get()) is not None:
            yield ChatMessage(sender_id=self._sender_id, text=text)

    def say(self, text: str | None) -> None:
        """Send a text; None half-closes."""
        self._texts.put_nowait(text)


async def test_a_chat_goes_both_ways_until_it_is_half_closed(client: UserServiceClient) -> None:
    """Two chats on one connection hear each other, and each ends when it has no more to say."""
    ann, ben = Says("ann"), Says("ben")
    async with client.chat(ann) as to_ann, client.chat(ben) as to_ben:
        await to_ann.initial_metadata()
        await to_ben.initial_metadata()
        ann.say("Hello")
        heard = [await anext(to_ann), await anext(to_ben)]
        assert [(message.sender_id, message.text) for message in heard] == [("ann", "Hello")] * 2
        assert heard[0].timestamp is not None
        ann.say(None)
        assert [message async for message in to_ann] == []
        ben.say("Still here")
        ben.say(None)
        assert [message.text async for message in to_ben] == ["Still here"]


@pytest.fixture
async def own_client(
    own_peer: ServerProgram, no_task_is_left: None
) -> AsyncIterator[UserServiceClient]:
    """Our client of a peer that no other test calls: what it prints is about this test."""
    async with UserServiceClient(own_peer.address) as client:
        yield client


async def next_line(peer: ServerProgram) -> str:
    """Return the next line that a peer prints, while our own calls go on."""
    return await asyncio.to_thread(peer.line)


async def test_a_deadline_passes(own_client: UserServiceClient, own_peer: ServerProgram) -> None:
    """A call that takes too long is DEADLINE_EXCEEDED here, and cancelled there."""
    ann = await own_client.create_user(CreateUserRequest(email="ann@example.com"))
    with pytest.raises(userservice.DeadlineExceededError):
        await own_client.get_user(GetUserRequest(id=ann.id), timeout=0.3, metadata=HANG)
    assert await next_line(own_peer) == "hanging"
    assert await next_line(own_peer) == "cancelled GetUser"
    watch = own_client.watch_user(WatchUserRequest(id=ann.id), timeout=0.3)
    assert (await anext(watch)).user == ann
    with pytest.raises(userservice.DeadlineExceededError):
        await anext(watch)
    assert await next_line(own_peer) == "cancelled WatchUser"


@pytest.mark.parametrize(("timeout", "least"), [(None, 25), (5, 4)])
async def test_the_deadline_reaches_the_server(
    client: UserServiceClient, ann: User, timeout: float | None, least: float
) -> None:
    """A unary call has 30 seconds where it does not say."""
    with reply_metadata() as reply:
        await client.get_user(GetUserRequest(id=ann.id), timeout=timeout)
    assert least < float(reply.trailing["time-left"]) <= (timeout or 30)


async def test_a_stream_has_no_deadline(client: UserServiceClient, ann: User) -> None:
    """A watch may take for ever where it does not say."""
    watch = client.watch_user(WatchUserRequest(id=ann.id))
    await anext(watch)
    await client.delete_user(DeleteUserRequest(id=ann.id))
    async for _ in watch:
        pass
    assert watch.trailing_metadata["time-left"] == "none"


async def test_a_cancelled_task_cancels_its_call(
    own_client: UserServiceClient, own_peer: ServerProgram
) -> None:
    """The server hears of it when the task that waits for an answer is cancelled."""
    call = asyncio.create_task(own_client.get_user(GetUserRequest(), metadata=HANG))
    assert await next_line(own_peer) == "hanging"
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await next_line(own_peer) == "cancelled GetUser"


async def test_a_stream_that_is_left_is_cancelled(
    own_client: UserServiceClient, own_peer: ServerProgram
) -> None:
    """The server hears of it when the block around a stream is left early."""
    ann = await own_client.create_user(CreateUserRequest(email="ann@example.com"))
    async with own_client.watch_user(WatchUserRequest(id=ann.id)) as watch:
        assert (await anext(watch)).user == ann
    assert await next_line(own_peer) == "cancelled WatchUser"
    says = Says("ann")
    async with own_client.chat(says) as chat:
        says.say("Hello")
        assert (await anext(chat)).text == "Hello"
    assert await next_line(own_peer) == "ended Chat"


SENT: list[tuple[str, str | bytes]] = [
    ("echo-text", "one, two"),
    ("echo-text", "three"),
    ("echo-bin", b"\x00\xff, \n"),
    ("echo-bin", b""),
]


def check_echoes(back: Metadata) -> None:
    """Check that this is what was sent."""
    texts = back.getall("echo-text")
    # Node.js joins the values of one key, as HTTP allows (RFC 9110 section 5.3).
    assert texts in (["one, two", "three"], ["one, two, three"])
    assert back.getall("echo-bin") == [b"\x00\xff, \n", b""]


async def test_metadata_goes_both_ways_with_a_unary_call(
    client: UserServiceClient, ann: User
) -> None:
    """Repeated keys and bytes come back before and after the message."""
    with reply_metadata() as reply:
        await client.get_user(GetUserRequest(id=ann.id), metadata=SENT)
    check_echoes(reply.initial)
    check_echoes(reply.trailing)


async def test_metadata_goes_both_ways_with_a_stream(client: UserServiceClient) -> None:
    """A stream's initial metadata is there before its messages, and the trailing after them."""
    says = Says("ann")
    async with client.chat(says, metadata=SENT) as chat:
        initial = await chat.initial_metadata()
        assert not chat.trailing_metadata
        says.say(None)
        assert [message async for message in chat] == []
    check_echoes(initial)
    check_echoes(chat.trailing_metadata)


async def test_the_clients_metadata_goes_with_every_call(peer: ServerProgram, ann: User) -> None:
    """A call's own metadata replaces the client's of the same key only."""
    own = {"echo-client": "client", "echo-both": "client"}
    async with UserServiceClient(peer.address, metadata=own) as client:
        with reply_metadata() as reply:
            await client.get_user(GetUserRequest(id=ann.id), metadata={"echo-both": "call"})
    assert reply.initial["echo-client"] == "client"
    assert reply.initial.getall("echo-both") == ["call"]


STATUSES = {
    1: userservice.CancelledError,
    2: userservice.UnknownError,
    3: userservice.InvalidArgumentError,
    4: userservice.DeadlineExceededError,
    5: userservice.NotFoundError,
    6: userservice.AlreadyExistsError,
    7: userservice.PermissionDeniedError,
    8: userservice.ResourceExhaustedError,
    9: userservice.FailedPreconditionError,
    10: userservice.AbortedError,
    11: userservice.OutOfRangeError,
    12: userservice.UnimplementedError,
    13: userservice.InternalError,
    14: userservice.UnavailableError,
    15: userservice.DataLossError,
    16: userservice.UnauthenticatedError,
}


def check_as_asked(error: RpcError, code: int) -> None:
    """Check that this is the error that ``fail-with`` asks for, whole."""
    message = "as asked: déjà vu, 50 % ☂"
    assert type(error) is STATUSES[code]
    assert (error.status.value, error.message) == (code, message)
    assert error.details == [
        ErrorInfo(reason="PEER", domain="peer.example"),
        ResourceInfo(resource_name=message),
    ]
    assert error.trailing_metadata["echo-text"] == "one"


@pytest.mark.parametrize("code", STATUSES)
async def test_every_status_has_its_class(client: UserServiceClient, code: int) -> None:
    """An error has the class of its status, its message, its details and its metadata."""
    metadata = {"fail-with": str(code), "echo-text": "one"}
    with pytest.raises(RpcError) as error:
        await client.get_user(GetUserRequest(), metadata=metadata)
    check_as_asked(error.value, code)


async def test_a_stream_fails_with_its_status(client: UserServiceClient) -> None:
    """A stream that fails raises the error where it is read."""
    metadata = {"fail-with": "7", "echo-text": "one"}
    watch = client.watch_user(WatchUserRequest(id=NOBODY), metadata=metadata)
    with pytest.raises(RpcError) as error:
        await anext(watch)
    check_as_asked(error.value, 7)


async def test_a_missing_user_is_not_found(client: UserServiceClient) -> None:
    """An error that the service itself gives comes back typed."""
    for call in (
        client.get_user(GetUserRequest(id=NOBODY)),
        anext(client.watch_user(WatchUserRequest(id=NOBODY))),
    ):
        with pytest.raises(userservice.NotFoundError, match="there is no user") as error:
            await call
        resource = error.value.detail(ResourceInfo)
        assert resource is not None
        assert resource.resource_name == f"there is no user {NOBODY}"


async def test_a_long_batch_holds_up_nobody(client: UserServiceClient, ann: User) -> None:
    """While a batch is sent, other calls are answered, although nothing makes its sender wait."""
    sending = asyncio.Event()
    left = list(range(5_000))

    def users() -> Iterator[CreateUserRequest]:
        sending.set()
        while left:
            yield CreateUserRequest(email=f"nobody {left.pop()}")

    batch = asyncio.create_task(client.batch_create_users(users()))
    await sending.wait()
    assert await client.get_user(GetUserRequest(id=ann.id)) == ann
    assert left
    await batch


async def test_a_batch_may_be_refused_while_it_is_sent(client: UserServiceClient) -> None:
    """A server that answers early ends an endless batch with its error."""
    users = (CreateUserRequest(email=f"{number}@x") for number in itertools.count())
    with pytest.raises(RpcError) as error:
        await client.batch_create_users(users, metadata={"fail-with": "8", "echo-text": "one"})
    check_as_asked(error.value, 8)


async def test_a_chat_may_be_refused_while_it_is_sent(client: UserServiceClient) -> None:
    """A server that answers early ends an endless chat with its error."""
    lines = (ChatMessage(sender_id="ann", text=str(number)) for number in itertools.count())
    with pytest.raises(RpcError) as error:
        async for _ in client.chat(lines, metadata={"fail-with": "9", "echo-text": "one"}):
            pass
    check_as_asked(error.value, 9)


async def test_a_server_may_answer_with_ok_before_all_is_sent(client: UserServiceClient) -> None:
    """A server that wants no more requests ends an endless batch or chat, and no error comes."""
    early = {"answer-early": "yes"}
    users = (CreateUserRequest(email=f"{number}@x") for number in itertools.count())
    assert (await client.batch_create_users(users, metadata=early)).created_count == 0
    lines = (ChatMessage(sender_id="ann", text=str(number)) for number in itertools.count())
    assert [message async for message in client.chat(lines, metadata=early)] == []


async def test_a_chat_may_be_refused_while_it_is_silent(client: UserServiceClient) -> None:
    """The error of a server comes through although the client has nothing to send yet."""
    async with client.chat(Says("ann"), metadata={"fail-with": "10", "echo-text": "one"}) as chat:
        with pytest.raises(RpcError) as error:
            await anext(chat)
    check_as_asked(error.value, 10)


async def test_a_server_that_is_killed_is_unavailable(
    own_client: UserServiceClient, own_peer: ServerProgram
) -> None:
    """Every call under way is UNAVAILABLE when the server dies, and so is the next one."""
    ann = await own_client.create_user(CreateUserRequest(email="ann@example.com"))
    hanging = asyncio.create_task(own_client.get_user(GetUserRequest(id=ann.id), metadata=HANG))
    assert await next_line(own_peer) == "hanging"
    watch = own_client.watch_user(WatchUserRequest(id=ann.id))
    await anext(watch)
    async with own_client.chat(Says("ann")) as chat:
        await chat.initial_metadata()
        own_peer.kill()
        for call in (anext(watch), anext(chat), hanging):
            with pytest.raises(userservice.UnavailableError):
                await call
    with pytest.raises(userservice.UnavailableError):
        await own_client.get_user(GetUserRequest(id=ann.id))


async def test_nobody_listening_is_unavailable() -> None:
    """A connection that is refused makes every kind of call UNAVAILABLE."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and never listens
        host, port = bound.getsockname()
        async with UserServiceClient(f"{host}:{port}") as client:
            for call in (
                client.get_user(GetUserRequest(id=NOBODY)),
                client.batch_create_users([CreateUserRequest()]),
                anext(client.watch_user(WatchUserRequest(id=NOBODY))),
                anext(client.chat([])),
            ):
                with pytest.raises(userservice.UnavailableError, match=f"{host}:{port}"):
                    await call
