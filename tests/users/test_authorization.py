"""The policy on a real server, with real tokens, on calls that come and calls that are open."""

import asyncio
import datetime
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.users.fast_hasher import FastHasher

from userservice import (
    AuthServiceClient,
    ChangePasswordRequest,
    ChatMessage,
    CreateUserRequest,
    DeleteUserRequest,
    GetUserRequest,
    ListUsersRequest,
    PermissionDeniedError,
    RefreshRequest,
    ResourceExhaustedError,
    Role,
    RpcError,
    SignInRequest,
    SignOutRequest,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
    UpdateUserRequest,
    UserEventEventType,
    UserServiceClient,
    WatchUserRequest,
)
from userservice import User as UserMessage
from userservice._gen.userservice.v1 import UserServiceStub
from userservice.rpc import Call, Server, Stub
from userservice.rpc.details import ErrorInfo, RetryInfo
from userservice.rpc.jwt import HS256, JwtIssuer, JwtVerifier, Keys, VerifyingKey
from userservice.rpc.middleware import Middleware
from userservice.rpc.middleware.authentication import NO_SECRETS, Authentication, Jwts
from userservice.rpc.subject import Subject, SubjectKind
from userservice.rpc.testing import ChannelFor
from userservice.users import model, policy
from userservice.users.auth_service import AuthService
from userservice.users.authorization import Authorization
from userservice.users.feed import LocalFeed
from userservice.users.model import NewUser, User, UserUpdate
from userservice.users.service import UserService
from userservice.users.sessions import OF_EMAIL, Sessions
from userservice.users.status import rpc_error
from userservice.users.storage.urls import Repository
from userservice.users.tokens import Tokens
from userservice.users.watch import Gap, user_topic

KEY = b"k" * 32
PASSWORD = "correct horse battery"


class Certificates(Middleware):
    """Takes the metadata x-certificate for a certificate, as authentication would take one."""

    def before(self, call: Call) -> None:
        name = call.metadata.get("x-certificate")
        if isinstance(name, str):
            call.subject = Subject(name, SubjectKind.CERTIFICATE, {})


@dataclass
class Stand:
    """A server with authentication and the policy, and clients of it."""

    repository: Repository
    feed: LocalFeed
    running: AsyncExitStack
    hasher: FastHasher = field(default_factory=FastHasher)
    address: str = ""

    async def start(self) -> None:
        """Serve."""
        issuer = JwtIssuer(KEY, issuer="us", audience="us", lifetime_s=900, kid="1")
        verifier = JwtVerifier(Keys([VerifyingKey("1", HS256, KEY)]), issuer="us", audience="us")

        self.sessions = Sessions(
            self.repository,
            self.hasher,
            issuer,  # type: ignore[arg-type]  # its parameter has a name
            lambda user_id: self.feed.publish(user_topic(user_id), Gap.GAP),
        )
        self.authorization = Authorization(
            self.repository,
            self.feed,
            exempt=[*NO_SECRETS, *policy.OPEN],
            certificates={"spiffe://example.com/backup": model.Role.MODERATOR},
        )
        server = Server(
            [
                UserService(self.repository, self.feed, self.hasher, Tokens(KEY)),
                AuthService(self.sessions),
            ],
            error_mapping=rpc_error,
            middleware=[
                Authentication([Jwts([verifier])], exempt=[*NO_SECRETS, *policy.OPEN]),
                Certificates(),
                self.authorization,
            ],
        )
        await server.start("127.0.0.1", 0)
        self.running.push_async_callback(self.authorization.close)
        self.running.push_async_callback(server.drain, 0)
        self.address = server.addresses[0]
        self.anybody = await self.client({})

    async def client(self, metadata: dict[str, str]) -> UserServiceClient:
        """Return a client that sends this with each call."""
        client = UserServiceClient(self.address, timeout_s=10, metadata=metadata)
        return await self.running.enter_async_context(client)

    def auth(self, client: UserServiceClient) -> AuthServiceClient:
        """Return a client of sign-in on the same connection."""
        return AuthServiceClient(client.channel, timeout_s=10)

    async def user(self, name: str, role: model.Role = model.Role.USER) -> User:
        """Store a user."""
        [user] = await self.repository.create(
            [NewUser(f"{name}@example.com", name, role, f"hash of {PASSWORD}")]
        )
        assert user is not None
        return user

    async def sign_in(self, user: User) -> UserServiceClient:
        """Return a client that is signed in as this user."""
        request = SignInRequest(email=user.email, password=PASSWORD)
        answer = await self.auth(self.anybody).sign_in(request)
        return await self.client({"authorization": f"Bearer {answer.access_token}"})


@pytest.fixture
async def stand(repository: Repository, feed: LocalFeed) -> AsyncIterator[Stand]:
    """A server that keeps its users in memory."""
    async with AsyncExitStack() as running:
        made = Stand(repository, feed, running)
        await made.start()
        yield made
    made.hasher.close()


def reason(error: RpcError) -> str:
    """Return why a call failed, as a program reads it."""
    info = error.detail(ErrorInfo)
    assert info is not None
    return info.reason


# Calls


async def test_each_may_do_what_its_role_may(stand: Stand) -> None:
    """From the token to the database: the role is that of the user, now."""
    ann, bob = await stand.user("ann"), await stand.user("bob")
    client = await stand.sign_in(ann)
    assert (await client.get_user(GetUserRequest(id=ann.id))).email == ann.email
    with pytest.raises(PermissionDeniedError) as refusal:
        await client.get_user(GetUserRequest(id=bob.id))
    assert reason(refusal.value) == "NOT_ALLOWED"
    info = refusal.value.detail(ErrorInfo)
    assert info is not None
    assert info.domain == "userservice.v1"
    assert info.metadata == {"allowed": "users for themselves, moderators for all, admins for all"}
    with pytest.raises(PermissionDeniedError):
        await client.update_user(UpdateUserRequest(id=ann.id, role=Role.ADMIN))
    with pytest.raises(PermissionDeniedError):
        await client.list_users(ListUsersRequest())
    await stand.repository.update(ann.id, UserUpdate(role=model.Role.ADMIN))
    await client.list_users(ListUsersRequest())
    await client.update_user(UpdateUserRequest(id=bob.id, role=Role.MODERATOR))
    await stand.repository.update(ann.id, UserUpdate(role=model.Role.MODERATOR))
    with pytest.raises(PermissionDeniedError):
        await client.update_user(UpdateUserRequest(id=bob.id, name="Robert"))
    await client.delete_user(DeleteUserRequest(id=ann.id))
    with pytest.raises(UnauthenticatedError):
        await client.get_user(GetUserRequest(id=bob.id))


async def test_without_a_token_there_is_sign_in_alone(stand: Stand) -> None:
    """Everything else asks for one."""
    with pytest.raises(UnauthenticatedError):
        await stand.anybody.list_users(ListUsersRequest())
    with pytest.raises(UnauthenticatedError):
        await stand.auth(stand.anybody).change_password(ChangePasswordRequest())
    with pytest.raises(UnauthenticatedError) as failure:
        await stand.auth(stand.anybody).sign_in(
            SignInRequest(email="ann@example.com", password="wrong")
        )
    assert reason(failure.value) == "SIGN_IN_FAILED"
    with pytest.raises(UnauthenticatedError) as failure:
        await stand.auth(stand.anybody).refresh(RefreshRequest(refresh_token="wrong"))
    assert reason(failure.value) == "SESSION_ENDED"
    await stand.auth(stand.anybody).sign_out(SignOutRequest(refresh_token="wrong"))


async def test_without_authentication_before_it_nobody_is_let_in(
    repository: Repository, feed: LocalFeed
) -> None:
    """But for what anybody may call."""
    authorization = Authorization(repository, feed, exempt=policy.OPEN, certificates={})
    users = UserService(repository, feed, FastHasher(), Tokens(KEY))

    class Users(Stub, UserServiceStub):
        """Every method of the contract."""

    options = {"error_mapping": rpc_error, "middleware": [authorization]}
    async with ChannelFor([users], **options) as channel:
        with pytest.raises(UnauthenticatedError):
            await Users(channel).list_users(ListUsersRequest())


async def test_a_refused_batch_ends_before_its_first_item(stand: Stand) -> None:
    """And one that grants too much ends at that item; what came before it may be stored."""
    client = await stand.sign_in(await stand.user("ann"))
    with pytest.raises(PermissionDeniedError, match="call BatchCreateUsers"):
        await client.batch_create_users([])
    moderator = await stand.sign_in(await stand.user("bob", model.Role.MODERATOR))
    items = [CreateUserRequest(email=f"u{n}@example.com", name="U") for n in range(3)]
    assert (await moderator.batch_create_users(items)).created_count == 3
    admin = CreateUserRequest(email="x@example.com", name="X", role=Role.ADMIN)
    with pytest.raises(PermissionDeniedError, match="grant ADMIN"):
        await moderator.batch_create_users([admin])


async def test_chat_is_in_one_s_own_name(stand: Stand) -> None:
    """Somebody else's ends the stream, and nobody hears it."""
    ann, bob = await stand.user("ann"), await stand.user("bob")
    listener = await stand.sign_in(bob)
    heard: list[str] = []

    async def nothing() -> AsyncIterator[ChatMessage]:
        await asyncio.Event().wait()
        yield ChatMessage()

    async with listener.chat(nothing()) as room:
        await room.initial_metadata()
        client = await stand.sign_in(ann)
        said = [ChatMessage(sender_id=ann.id, text="hi"), ChatMessage(sender_id=bob.id, text="ha")]
        with pytest.raises(PermissionDeniedError):
            _ = [line async for line in client.chat(said)]
        _ = [line async for line in client.chat([ChatMessage(sender_id=ann.id, text="end")])]
        async for line in room:
            assert line.sender_id == ann.id
            heard.append(line.text)
            if line.text == "end":
                break
    assert heard == ["hi", "end"]


async def test_a_certificate_has_the_role_that_it_is_given(stand: Stand) -> None:
    """By its name; one without a role may do nothing, and it is nobody's own."""
    ann = await stand.user("ann")
    token = {"authorization": f"Bearer {stand.sessions._access_tokens.issue(ann.id)}"}
    backup = await stand.client(token | {"x-certificate": "spiffe://example.com/backup"})
    assert (await backup.list_users(ListUsersRequest())).total_count == 1
    with pytest.raises(PermissionDeniedError):
        await backup.delete_user(DeleteUserRequest(id=ann.id))
    with pytest.raises(UnauthenticatedError):
        await stand.auth(backup).change_password(
            ChangePasswordRequest(old_password=PASSWORD, new_password="another one"),
            metadata=token | {"x-certificate": "spiffe://example.com/backup"},
        )
    other = await stand.client(token | {"x-certificate": "spiffe://example.com/other"})
    with pytest.raises(PermissionDeniedError, match="certificate"):
        await other.get_user(GetUserRequest(id=ann.id))


async def test_a_token_of_a_user_who_is_not_here(stand: Stand) -> None:
    """Somebody may sign tokens for users of elsewhere."""
    token = stand.sessions._access_tokens.issue("somebody@elsewhere")
    client = await stand.client({"authorization": f"Bearer {token}"})
    with pytest.raises(UnauthenticatedError) as failure:
        await client.list_users(ListUsersRequest())
    assert reason(failure.value) == "USER_GONE"


async def test_what_is_not_in_the_table_is_not_told_of(stand: Stand) -> None:
    """A user may not even ask for a method that is not there; an admin hears that it is not."""
    for role, error in [
        (model.Role.USER, PermissionDeniedError),
        (model.Role.ADMIN, UnimplementedError),
    ]:
        client = await stand.sign_in(await stand.user(role.name.lower(), role))
        with pytest.raises(error):
            await client._unary_unary(
                "/userservice.v1.UserService/Nothing", GetUserRequest(), GetUserRequest
            )


async def test_without_the_database_nobody_is_let_in(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call fails as others that need it do."""
    client = await stand.sign_in(await stand.user("ann"))
    await stand.repository.close()
    with pytest.raises(UnavailableError):
        await client.list_users(ListUsersRequest())


# Sessions


async def test_tokens_are_refreshed_and_sessions_end(stand: Stand) -> None:
    """A session that is over ends its access tokens too, at once."""
    ann = await stand.user("ann")
    auth = stand.auth(stand.anybody)
    first = await auth.sign_in(SignInRequest(email=ann.email, password=PASSWORD))
    assert first.user_id == ann.id
    assert first.expires_in == datetime.timedelta(minutes=15)
    second = await auth.refresh(RefreshRequest(refresh_token=first.refresh_token))
    clients = [
        await stand.client({"authorization": f"Bearer {answer.access_token}"})
        for answer in (first, second)
    ]
    for client in clients:
        await client.get_user(GetUserRequest(id=ann.id))
    await auth.sign_out(SignOutRequest(refresh_token=second.refresh_token))
    for client in clients:
        with pytest.raises(UnauthenticatedError) as failure:
            await client.get_user(GetUserRequest(id=ann.id))
        assert reason(failure.value) == "SESSION_ENDED"


async def test_a_new_password_ends_the_other_sessions(stand: Stand) -> None:
    """Not the one that changed it."""
    ann = await stand.user("ann")
    there = await stand.sign_in(ann)
    auth = stand.auth(stand.anybody)
    answer = await auth.sign_in(SignInRequest(email=ann.email, password=PASSWORD))
    metadata = {"authorization": f"Bearer {answer.access_token}"}
    here = await stand.client(metadata)
    change = ChangePasswordRequest(old_password=PASSWORD, new_password="another one")
    await auth.change_password(change, metadata=metadata)
    await here.get_user(GetUserRequest(id=ann.id))
    with pytest.raises(UnauthenticatedError):
        await there.get_user(GetUserRequest(id=ann.id))


async def test_who_guesses_is_stopped_and_told_for_how_long(stand: Stand) -> None:
    """Beside the right password, which does not help any more."""
    ann = await stand.user("ann")
    auth = stand.auth(stand.anybody)
    for _ in range(OF_EMAIL.at_once):
        with pytest.raises(UnauthenticatedError):
            await auth.sign_in(SignInRequest(email=ann.email, password="a guess"))
    with pytest.raises(ResourceExhaustedError) as refusal:
        await auth.sign_in(SignInRequest(email=ann.email, password=PASSWORD))
    assert reason(refusal.value) == "TOO_MANY_ATTEMPTS"
    retry = refusal.value.detail(RetryInfo)
    assert retry is not None
    assert retry.retry_delay is not None
    assert 0 < retry.retry_delay.total_seconds() <= OF_EMAIL.every_s
    assert len(stand.hasher.verified) == OF_EMAIL.at_once


# Open calls

Open = Callable[[UserServiceClient, User], Any]


async def silence() -> AsyncIterator[Any]:
    """Say nothing, for ever."""
    await asyncio.Event().wait()
    yield None


async def ended(stream: Any) -> RpcError:
    """Iterate until the stream fails, and return its error."""
    try:
        async with asyncio.timeout(5):
            async for _ in stream:
                pass
    except RpcError as error:
        return error
    pytest.fail("it ended with OK")


async def event_of(watch: Any) -> UserMessage:
    """Return the user of the next event."""
    user: UserMessage = (await anext(watch)).user
    return user


async def test_an_open_call_of_a_deleted_user_ends(stand: Stand) -> None:
    """Watch, chat and batch; at once, with the reason."""
    ann = await stand.user("ann", model.Role.ADMIN)
    bob = await stand.user("bob")
    client = await stand.sign_in(ann)
    watch = client.watch_user(WatchUserRequest(id=bob.id))
    await anext(watch)
    chat = client.chat(silence())
    await chat.initial_metadata()
    batch = asyncio.create_task(client.batch_create_users(silence()))
    while len(stand.authorization._watching) < 3:
        await asyncio.sleep(0)
    await stand.repository.delete(ann.id)
    for stream in (watch, chat):
        error = await ended(stream)
        assert isinstance(error, UnauthenticatedError)
        assert reason(error) == "SESSION_ENDED"
    with pytest.raises(UnauthenticatedError):
        await batch
    while stand.authorization._watching:
        await asyncio.sleep(0)


async def test_an_open_call_of_a_session_that_ended_ends(stand: Stand) -> None:
    """Also a watch of oneself; those of another session go on, and miss nothing."""
    ann = await stand.user("ann")
    auth = stand.auth(stand.anybody)
    answer = await auth.sign_in(SignInRequest(email=ann.email, password=PASSWORD))
    here = await stand.client({"authorization": f"Bearer {answer.access_token}"})
    there = await stand.sign_in(ann)
    watches = [client.watch_user(WatchUserRequest(id=ann.id)) for client in (here, there)]
    for watch in watches:
        await anext(watch)
    await auth.sign_out(SignOutRequest(refresh_token=answer.refresh_token))
    error = await ended(watches[0])
    assert isinstance(error, UnauthenticatedError)
    assert reason(error) == "SESSION_ENDED"
    await stand.repository.update(ann.id, UserUpdate(name="Ann"))
    assert (await event_of(watches[1])).name == "Ann"
    await watches[1].aclose()


async def test_a_watch_of_oneself_ends_with_the_deletion(stand: Stand) -> None:
    """As the contract says: the last event, and OK."""
    ann = await stand.user("ann")
    client = await stand.sign_in(ann)
    watch = client.watch_user(WatchUserRequest(id=ann.id))
    await anext(watch)
    await client.delete_user(DeleteUserRequest(id=ann.id))
    assert [event.type async for event in watch] == [UserEventEventType.DELETED]


async def test_an_open_call_of_a_demoted_user_ends_if_it_may_not_go_on(stand: Stand) -> None:
    """A watch of somebody else ends; a watch of oneself, and the chat, go on."""
    ann = await stand.user("ann", model.Role.MODERATOR)
    bob = await stand.user("bob")
    client = await stand.sign_in(ann)
    other = client.watch_user(WatchUserRequest(id=bob.id))
    own = client.watch_user(WatchUserRequest(id=ann.id))
    chat = client.chat(silence())
    for watch in (other, own):
        await anext(watch)
    await chat.initial_metadata()
    await stand.repository.update(ann.id, UserUpdate(name="Ann"))
    assert (await event_of(own)).name == "Ann"
    await stand.repository.update(bob.id, UserUpdate(name="Bob"))
    assert (await event_of(other)).name == "Bob"
    await stand.repository.update(ann.id, UserUpdate(role=model.Role.USER))
    error = await ended(other)
    assert isinstance(error, PermissionDeniedError)
    assert reason(error) == "NOT_ALLOWED"
    assert (await event_of(own)).role == Role.USER
    line = ChatMessage(sender_id=ann.id, text="still here")
    _ = [heard async for heard in client.chat([line])]
    assert (await anext(chat)).text == "still here"
    await chat.aclose()
    await own.aclose()


async def test_what_a_batch_may_grant_changes_while_it_goes_on(stand: Stand) -> None:
    """The role counts that the caller has when an item comes."""
    ann = await stand.user("ann", model.Role.ADMIN)
    client = await stand.sign_in(ann)
    demoted = asyncio.Event()

    async def items() -> AsyncIterator[CreateUserRequest]:
        yield CreateUserRequest(email="a@example.com", name="A", role=Role.MODERATOR)
        await demoted.wait()
        yield CreateUserRequest(email="b@example.com", name="B", role=Role.ADMIN)

    batch = asyncio.create_task(client.batch_create_users(items()))
    while not stand.authorization._watching:
        await asyncio.sleep(0)
    await stand.repository.update(ann.id, UserUpdate(role=model.Role.MODERATOR))
    demoted.set()
    with pytest.raises(PermissionDeniedError, match="grant ADMIN"):
        await batch


async def test_who_leaves_an_open_call_leaves_nothing(stand: Stand) -> None:
    """No task, and nobody who listens."""
    ann = await stand.user("ann")
    client = await stand.sign_in(ann)
    for _ in range(3):
        watch = client.watch_user(WatchUserRequest(id=ann.id))
        await anext(watch)
        await watch.aclose()
    async with asyncio.timeout(5):
        while stand.authorization._watching or user_topic(ann.id).name in stand.feed._mailboxes:
            await asyncio.sleep(0)
