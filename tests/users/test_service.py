"""The eight methods, through a real client and server."""

import asyncio
import datetime
import uuid

import pytest

from userservice import (
    AlreadyExistsError,
    ChatMessage,
    CreateUserRequest,
    DeleteUserRequest,
    Empty,
    FieldMask,
    GetUserRequest,
    InvalidArgumentError,
    ListUsersRequest,
    NotFoundError,
    Role,
    RpcError,
    UpdateUserRequest,
    User,
    UserEventEventType,
    UserServiceClient,
    WatchUserRequest,
)
from userservice.rpc.details import BadRequest, ErrorInfo, ResourceInfo

NOBODY = str(uuid.uuid4())


async def create(client: UserServiceClient, email: str = "ann@example.com") -> User:
    """Create a user."""
    return await client.create_user(CreateUserRequest(email=email, name="Ann"))


def fields(error: RpcError) -> list[str]:
    """The fields that a BadRequest names."""
    bad = error.detail(BadRequest)
    assert bad is not None
    return [violation.field for violation in bad.field_violations]


async def test_a_user_lives_and_dies(client: UserServiceClient) -> None:
    """Created, read, changed, deleted, and then not found."""
    request = CreateUserRequest(
        email="Ann@Example.com", name=" Ann ", password="longenough", role=Role.MODERATOR
    )
    ann = await client.create_user(request)
    assert (ann.email, ann.name, ann.avatar, ann.role) == (
        "Ann@Example.com",
        "Ann",
        "",
        Role.MODERATOR,
    )
    assert ann.created_at is not None
    assert ann.created_at == ann.updated_at
    assert abs(datetime.datetime.now(datetime.UTC) - ann.created_at) < datetime.timedelta(minutes=1)
    assert await client.get_user(GetUserRequest(id=ann.id.upper())) == ann
    changed = await client.update_user(
        UpdateUserRequest(
            id=ann.id, name="Lee", role=Role.ADMIN, update_mask=FieldMask(paths=["role"])
        )
    )
    assert (changed.name, changed.role) == ("Ann", Role.ADMIN)
    assert await client.delete_user(DeleteUserRequest(id=ann.id)) == Empty()
    with pytest.raises(NotFoundError):
        await client.get_user(GetUserRequest(id=ann.id))


async def test_a_password_is_never_returned(client: UserServiceClient) -> None:
    """No reply has it, in any form."""
    ann = await client.create_user(
        CreateUserRequest(email="a@b.co", name="Ann", password="correct horse")
    )
    page = await client.list_users(ListUsersRequest())
    for reply in (ann, page):
        assert b"horse" not in bytes(reply)
        assert b"scrypt" not in bytes(reply)


async def test_nobody_is_not_found_with_the_resource(client: UserServiceClient) -> None:
    """GetUser, UpdateUser, DeleteUser and WatchUser say NOT_FOUND and which user."""
    calls = [
        client.get_user(GetUserRequest(id=NOBODY)),
        client.update_user(UpdateUserRequest(id=NOBODY, name="x")),
        client.delete_user(DeleteUserRequest(id=NOBODY)),
        anext(client.watch_user(WatchUserRequest(id=NOBODY))),
    ]
    for call in calls:
        with pytest.raises(NotFoundError) as missing:
            await call
        resource, info = missing.value.detail(ResourceInfo), missing.value.detail(ErrorInfo)
        assert resource is not None
        assert info is not None
        assert (resource.resource_name, info.reason) == (NOBODY, "USER_NOT_FOUND")


@pytest.mark.parametrize("user_id", ["", "1", "x" * 36, NOBODY + " "])
async def test_a_malformed_id_is_invalid(client: UserServiceClient, user_id: str) -> None:
    """An empty or malformed id is the caller's mistake, on every method."""
    calls = [
        client.get_user(GetUserRequest(id=user_id)),
        client.update_user(UpdateUserRequest(id=user_id, name="x")),
        client.delete_user(DeleteUserRequest(id=user_id)),
        anext(client.watch_user(WatchUserRequest(id=user_id))),
    ]
    for call in calls:
        with pytest.raises(InvalidArgumentError) as invalid:
            await call
        assert fields(invalid.value) == ["id"]


async def test_a_taken_email_already_exists(client: UserServiceClient) -> None:
    """Without regard to case, and with the resource."""
    await create(client, "ann@example.com")
    with pytest.raises(AlreadyExistsError) as taken:
        await create(client, "ANN@EXAMPLE.COM")
    resource = taken.value.detail(ResourceInfo)
    assert resource is not None
    assert resource.resource_name == "ANN@EXAMPLE.COM"


async def test_all_violations_are_told_at_once(client: UserServiceClient) -> None:
    """One answer names every field that is wrong."""
    request = CreateUserRequest(email="ann", name="\x00", password="short", role=Role(42))
    with pytest.raises(InvalidArgumentError) as invalid:
        await client.create_user(request)
    assert fields(invalid.value) == ["email", "name", "password", "role"]
    with pytest.raises(InvalidArgumentError) as invalid:
        await client.list_users(
            ListUsersRequest(page_size=-1, filter="nonsense", order_by="shoe", page_token="x")
        )
    assert fields(invalid.value) == ["page_size", "filter", "order_by", "page_token"]
    with pytest.raises(InvalidArgumentError) as invalid:
        await client.update_user(
            UpdateUserRequest(
                id="x", avatar="ftp://x", update_mask=FieldMask(paths=["avatar", "email"])
            )
        )
    assert sorted(fields(invalid.value)) == ["avatar", "id", "update_mask"]


async def test_an_unspecified_role_becomes_an_ordinary_user(client: UserServiceClient) -> None:
    """On creation, and where a mask names the role."""
    ann = await create(client)
    assert ann.role is Role.USER
    await client.update_user(UpdateUserRequest(id=ann.id, role=Role.ADMIN))
    reset = await client.update_user(
        UpdateUserRequest(id=ann.id, update_mask=FieldMask(paths=["role"]))
    )
    assert reset.role is Role.USER


async def test_a_list_is_paged_with_the_count_of_the_first_page(client: UserServiceClient) -> None:
    """20 users a page by default; total_count stays, whatever is written meanwhile."""
    for number in range(45):
        await create(client, f"user{number:02}@example.com")
    request = ListUsersRequest(order_by="email")
    sizes, totals, emails = [], [], []
    while True:
        page = await client.list_users(request)
        sizes.append(len(page.users))
        totals.append(page.total_count)
        emails += [user.email for user in page.users]
        await create(client, f"aaa{len(sizes)}@example.com")
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert (sizes, totals) == ([20, 20, 5], [45, 45, 45])
    assert emails == [f"user{number:02}@example.com" for number in range(45)]


async def test_a_page_may_have_another_size_but_not_another_filter(
    client: UserServiceClient,
) -> None:
    """A token belongs to its filter and order; sizes may change (AIP-158)."""
    for number in range(5):
        await create(client, f"user{number}@example.com")
    first = await client.list_users(ListUsersRequest(page_size=1, order_by="email"))
    rest = await client.list_users(
        ListUsersRequest(page_size=2000, order_by="email", page_token=first.next_page_token)
    )
    assert (len(rest.users), rest.next_page_token) == (4, "")
    for other in (
        ListUsersRequest(order_by="email desc", page_token=first.next_page_token),
        ListUsersRequest(order_by="email", filter="role=USER", page_token=first.next_page_token),
        ListUsersRequest(order_by="email", page_token=first.next_page_token[:-2] + "xx"),
    ):
        with pytest.raises(InvalidArgumentError) as invalid:
            await client.list_users(other)
        assert fields(invalid.value) == ["page_token"]


async def test_the_brief_s_examples_filter_and_order(client: UserServiceClient) -> None:
    """`role=ADMIN` and `created_at desc`, as the contract's comments have them."""
    for number, role in enumerate([Role.USER, Role.ADMIN, Role.ADMIN]):
        await client.create_user(CreateUserRequest(email=f"u{number}@b.co", name="N", role=role))
    page = await client.list_users(
        ListUsersRequest(filter="role=ADMIN", order_by="created_at desc")
    )
    assert [user.email for user in page.users] == ["u2@b.co", "u1@b.co"]
    assert page.total_count == 2


async def test_all_pages_can_be_iterated(client: UserServiceClient) -> None:
    """The client asks for page after page; the caller sees users."""
    for number in range(7):
        await create(client, f"user{number}@example.com")
    users = client.list_all_users(ListUsersRequest(page_size=2, order_by="email"))
    assert [user.email async for user in users] == [f"user{n}@example.com" for n in range(7)]


async def test_a_watch_pushes_revisions_and_resumes(client: UserServiceClient) -> None:
    """Current state first, then every change; a token goes on where another watch was left."""
    ann = await create(client)
    async with client.watch_user(WatchUserRequest(id=ann.id)) as events:
        first = await anext(events)
        assert (first.type, first.user) == (UserEventEventType.UPDATED, ann)
        lee = await client.update_user(UpdateUserRequest(id=ann.id, name="Lee"))
        assert (await anext(events)).user == lee
    await client.update_user(UpdateUserRequest(id=ann.id, avatar="https://example.com/a"))
    await client.delete_user(DeleteUserRequest(id=ann.id))
    request = WatchUserRequest(id=ann.id, resume_token=first.resume_token)
    rest = [event async for event in client.watch_user(request)]
    assert [(event.type.name, event.user and event.user.name) for event in rest] == [
        ("UPDATED", "Lee"),
        ("UPDATED", "Lee"),
        ("DELETED", "Lee"),
    ]
    assert all(event.timestamp is not None for event in rest)


async def test_a_watch_begins_with_its_initial_metadata(client: UserServiceClient) -> None:
    """Whoever has the initial metadata misses no change, even one that brings no event yet."""
    ann = await create(client)
    async with client.watch_user(WatchUserRequest(id=ann.id)) as events:
        token = (await anext(events)).resume_token
    request = WatchUserRequest(id=ann.id, resume_token=token)
    async with client.watch_user(request) as events:
        await events.initial_metadata()
        await client.update_user(UpdateUserRequest(id=ann.id, name="Lee"))
        assert (await anext(events)).user.name == "Lee"  # type: ignore[union-attr]  # always set


@pytest.mark.parametrize("token", ["x", "WyJhIiwxXQ.x"])
async def test_a_wrong_resume_token_is_invalid(client: UserServiceClient, token: str) -> None:
    """A token of another user, or none of ours, is the caller's mistake."""
    ann, bob = await create(client), await create(client, "bob@example.com")
    async with client.watch_user(WatchUserRequest(id=bob.id)) as events:
        of_bob = (await anext(events)).resume_token
    for wrong in (token, of_bob):
        with pytest.raises(InvalidArgumentError) as invalid:
            await anext(client.watch_user(WatchUserRequest(id=ann.id, resume_token=wrong)))
        assert fields(invalid.value) == ["resume_token"]


async def test_a_batch_says_what_it_did(client: UserServiceClient) -> None:
    """From any iterable, or any async iterable."""
    good = [CreateUserRequest(email=f"user{n}@example.com", name="N") for n in range(150)]
    first = await client.batch_create_users(good)
    assert (first.created_count, first.failed_count, first.failed_emails) == (150, 0, [])

    async def again() -> "object":
        for request in (*good[:2], CreateUserRequest(email="new@example.com", name="N")):
            yield request

    second = await client.batch_create_users(again())  # type: ignore[arg-type]  # an async generator of requests
    assert (second.created_count, second.failed_count) == (1, 2)
    assert second.failed_emails == ["user0@example.com", "user1@example.com"]


async def test_the_room_has_everyone(client: UserServiceClient, address: str) -> None:
    """Two connections hear both; a bad message ends its own stream with INVALID_ARGUMENT."""
    ann_says: asyncio.Queue[str] = asyncio.Queue()

    async def ann() -> "object":
        while text := await ann_says.get():
            yield ChatMessage(sender_id="ann", text=text)

    async with (
        UserServiceClient(address) as other,
        client.chat(ann()) as to_ann,  # type: ignore[arg-type]  # an async generator of messages
    ):
        await to_ann.initial_metadata()
        from_bob = [ChatMessage(sender_id="bob", text="hi"), ChatMessage(sender_id="bob")]
        with pytest.raises(InvalidArgumentError) as invalid:  # noqa: PT012  # lines come first
            async for line in other.chat(from_bob):
                assert line.text == "hi"
        assert fields(invalid.value) == ["text"]
        ann_says.put_nowait("hello")
        lines = [await anext(to_ann), await anext(to_ann)]
        assert [(line.sender_id, line.text) for line in lines] == [("bob", "hi"), ("ann", "hello")]
        assert all(line.timestamp is not None for line in lines)
        ann_says.put_nowait("")
        assert [line async for line in to_ann] == []
