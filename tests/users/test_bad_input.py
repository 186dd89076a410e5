"""Every field of every request, with every kind of bad value: a clear status, nothing stored."""

import copy
import inspect
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import betterproto2
import pytest
from grpclib.const import Cardinality

from userservice import (
    BatchCreateUsersResponse,
    ChatMessage,
    CreateUserRequest,
    DeleteUserRequest,
    Empty,
    FieldMask,
    GetUserRequest,
    InternalError,
    InvalidArgumentError,
    ListUsersRequest,
    ListUsersResponse,
    Role,
    UnimplementedError,
    UpdateUserRequest,
    User,
    UserEvent,
    UserServiceClient,
    WatchUserRequest,
)
from userservice.rpc.details import BadRequest, ErrorInfo

NOBODY = str(uuid.uuid4())
MEBIBYTE = 2**20

# The texts that no field of the contract takes, whatever it is for.
HOSTILE = {
    "control characters": "a\x00b\x1b[31mc",
    "a direction override": "ann\u202egnp.exe",
    # As much as a message may hold: what is more is refused before it is read.
    "4 MiB": "x" * (4 * MEBIBYTE - 1_024),
    "4 MiB of SQL": "' OR 1=1; DROP TABLE users; --" * ((4 * MEBIBYTE - 1_024) // 30),
}

# One good request of each method: bad values are put into it, field by field.
GOOD: dict[str, betterproto2.Message] = {
    "GetUser": GetUserRequest(id=NOBODY),
    "CreateUser": CreateUserRequest(email="a@b.co", name="Ann", password="longenough"),
    "UpdateUser": UpdateUserRequest(
        id=NOBODY, name="Ann", avatar="", update_mask=FieldMask(paths=["name", "avatar", "role"])
    ),
    "DeleteUser": DeleteUserRequest(id=NOBODY),
    "ListUsers": ListUsersRequest(),
    "WatchUser": WatchUserRequest(id=NOBODY),
    "Chat": ChatMessage(sender_id="ann", text="hi"),
}
REPLIES: dict[str, type[betterproto2.Message]] = {
    "GetUser": User,
    "CreateUser": User,
    "UpdateUser": User,
    "DeleteUser": Empty,
    "ListUsers": ListUsersResponse,
    "WatchUser": UserEvent,
    "BatchCreateUsers": BatchCreateUsersResponse,
    "Chat": ChatMessage,
}
# What a field may hold although it looks bad: text of any kind is said in the room,
# and a password is only ever hashed.
HARMLESS = {
    ("Chat", "text", "control characters"),
    ("Chat", "text", "a direction override"),
    ("CreateUser", "password", "control characters"),
    ("CreateUser", "password", "a direction override"),
}


def changed(message: betterproto2.Message, field: str, value: str) -> betterproto2.Message:
    """A copy of the message with another value in one field."""
    other = copy.copy(message)
    setattr(other, field, value)
    return other


def cases() -> Iterator[Any]:
    """Every field of every request, with every kind of bad value."""
    for method, good in GOOD.items():
        for field in inspect.get_annotations(type(good)):
            if isinstance(getattr(good, field), str):
                for kind, text in HOSTILE.items():
                    if (method, field, kind) not in HARMLESS:
                        bad = changed(good, field, text)
                        yield pytest.param(method, bad, field, id=f"{method}-{field}-{kind}")
    numbers = [
        ("ListUsers", ListUsersRequest(page_size=-1), "page_size"),
        ("ListUsers", ListUsersRequest(page_size=-(2**31)), "page_size"),
        ("CreateUser", CreateUserRequest(email="a@b.co", name="A", role=Role(4)), "role"),
        ("CreateUser", CreateUserRequest(email="a@b.co", name="A", role=Role(-1)), "role"),
        ("UpdateUser", UpdateUserRequest(id=NOBODY, role=Role(2**31 - 1)), "role"),
    ]
    for method, request, name in numbers:
        yield pytest.param(method, request, name, id=f"{method}-{name}-{getattr(request, name)}")
    for kind, text in (HOSTILE | {"empty": ""}).items():
        masked = UpdateUserRequest(id=NOBODY, update_mask=FieldMask(paths=["name", text]), name="A")
        yield pytest.param("UpdateUser", masked, "update_mask", id=f"UpdateUser-update_mask-{kind}")
    for method, required in (
        ("GetUser", "id"),
        ("DeleteUser", "id"),
        ("UpdateUser", "id"),
        ("WatchUser", "id"),
        ("CreateUser", "email"),
        ("CreateUser", "name"),
        ("UpdateUser", "name"),
        ("Chat", "sender_id"),
        ("Chat", "text"),
    ):
        empty = changed(GOOD[method], required, "")
        yield pytest.param(method, empty, required, id=f"{method}-{required}-empty")


async def answer(client: UserServiceClient, method: str, request: betterproto2.Message) -> Any:
    """Make the call, and return its one or its first reply."""
    async with client.channel.request(
        f"/userservice.v1.UserService/{method}",
        Cardinality.STREAM_STREAM,
        type(request),
        REPLIES[method],
        timeout=20,
    ) as stream:
        await stream.send_message(request, end=True)
        reply = await stream.recv_message()
        if reply is None:
            await stream.recv_trailing_metadata()
        await stream.cancel()
        return reply


@pytest.fixture
async def stored(client: UserServiceClient) -> AsyncIterator[None]:
    """After the test, nothing is stored, and the server answers."""
    yield
    page = await client.list_users(ListUsersRequest())
    assert page.total_count == 0


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(("method", "request_", "field"), list(cases()))
async def test_a_bad_value_is_invalid_and_named(
    client: UserServiceClient,
    method: str,
    request_: betterproto2.Message,
    field: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """INVALID_ARGUMENT with the field, in a short message; nothing is stored or logged."""
    with pytest.raises(InvalidArgumentError) as invalid:
        await answer(client, method, request_)
    bad = invalid.value.detail(BadRequest)
    assert bad is not None
    assert [violation.field for violation in bad.field_violations] == [field]
    info = invalid.value.detail(ErrorInfo)
    assert info is not None
    assert info.domain == "userservice.v1"
    assert len(invalid.value.message or "") < 500
    assert (invalid.value.message or "").isprintable()
    assert "Error" not in caplog.text


def send_raw(client: UserServiceClient, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Make the client send these bytes in the place of every message."""
    monkeypatch.setattr(client.channel.codec, "encode", lambda _message, _type: data)


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("method", REPLIES)
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x0a\x02\xff\xfe\x12\x02\xff\xfe", id="no UTF-8"),
        pytest.param(b"\xff\xff\xff", id="garbage"),
        pytest.param(b"\x0a\x7fab", id="cut off"),
        pytest.param(b"\x02\x00", id="field number 0"),
    ],
)
async def test_bytes_that_are_no_message_are_internal(
    client: UserServiceClient, method: str, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """INTERNAL, as gRPC's status codes have it, with a reason; nothing is stored."""
    request = GOOD.get(method, GOOD["CreateUser"])
    if isinstance(request, ListUsersRequest):
        data = b"\x12\x02\xff\xfe" if data[1] == 2 else data
    send_raw(client, monkeypatch, data)
    with pytest.raises(InternalError) as refused:
        await answer(client, method, request)
    info = refused.value.detail(ErrorInfo)
    assert info is not None
    assert info.reason == "MALFORMED_MESSAGE"


@pytest.mark.parametrize("method", ["GetUser", "CreateUser", "UpdateUser", "DeleteUser"])
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x08\x01\x10\x01\x18\x01", id="numbers for strings"),
        pytest.param(b"\x0d\x01\x02\x03\x04\x15\x01\x02\x03\x04", id="floats for strings"),
    ],
)
async def test_a_value_of_another_wire_type_is_no_value(
    client: UserServiceClient, method: str, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in Google's runtimes it is an unknown field: what is required is then missing."""
    send_raw(client, monkeypatch, data)
    with pytest.raises(InvalidArgumentError):
        await answer(client, method, GOOD[method])


async def test_an_unknown_method_is_unimplemented(client: UserServiceClient) -> None:
    """A path that the server does not serve has a status like everything else."""
    async with client.channel.request(
        "/userservice.v1.UserService/Nothing", Cardinality.UNARY_UNARY, User, User
    ) as stream:
        await stream.send_message(User(), end=True)
        with pytest.raises(UnimplementedError):
            await stream.recv_message()


async def test_hostile_texts_that_are_harmless_are_kept_as_they_are(
    client: UserServiceClient,
) -> None:
    """SQL in a name is a name, and text of any kind can be said."""
    name = "Robert'); DROP TABLE users; --"
    user = await client.create_user(CreateUserRequest(email="a@b.co", name=name))
    assert user.name == name
    page = await client.list_users(ListUsersRequest(filter=f'name="{name}"'))
    assert [found.name for found in page.users] == [name]
    said = ChatMessage(sender_id="ann", text="\x00\x1b[31m\u202e'; --")
    assert (await anext(client.chat([said]))).text == said.text
