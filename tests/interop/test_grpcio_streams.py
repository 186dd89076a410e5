"""grpcio calls our server's streaming methods, sets deadlines, and cancels."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING, Any

import grpc
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.interop.conftest import Contract, ServerProgram


class Says:
    """What one participant of a chat says: grpcio takes it as an iterator of requests."""

    def __init__(self, contract: Contract, sender_id: str) -> None:
        self._message = contract.messages.ChatMessage
        self._sender_id = sender_id
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._queue.get, None)

    def say(self, text: str) -> None:
        """Send a message."""
        self._queue.put(self._message(sender_id=self._sender_id, text=text))

    def end(self) -> None:
        """Half-close: there is nothing more to say."""
        self._queue.put(None)


def test_a_watch_starts_with_the_state_and_ends_with_the_user(
    contract: Contract, stub: Any, domain: str
) -> None:
    """A watch sends the current state, each update, and DELETED, which ends it with OK."""
    pb = contract.messages
    user = stub.CreateUser(pb.CreateUserRequest(email=f"ann@{domain}", name="Ann"))
    watch = stub.WatchUser(pb.WatchUserRequest(id=user.id))

    state = next(watch)
    assert (state.type, state.user) == (pb.UserEvent.EVENT_TYPE_UPDATED, user)
    updated = stub.UpdateUser(pb.UpdateUserRequest(id=user.id, name="Anna"))
    event = next(watch)
    assert (event.type, event.user) == (pb.UserEvent.EVENT_TYPE_UPDATED, updated)
    assert event.timestamp == updated.updated_at
    stub.DeleteUser(pb.DeleteUserRequest(id=user.id))
    event = next(watch)
    assert (event.type, event.user) == (pb.UserEvent.EVENT_TYPE_DELETED, updated)
    assert list(watch) == []
    assert watch.code() is grpc.StatusCode.OK


def test_a_watch_of_nobody_is_not_found(contract: Contract, stub: Any) -> None:
    """Watching a user that is not there ends before the first event."""
    watch = stub.WatchUser(
        contract.messages.WatchUserRequest(id="00000000-0000-4000-8000-000000000000")
    )
    with pytest.raises(grpc.RpcError):
        next(watch)
    assert watch.code() is grpc.StatusCode.NOT_FOUND


def test_a_batch_stores_the_good_and_names_the_bad(
    contract: Contract, stub: Any, domain: str
) -> None:
    """Of 1,000 streamed users the bad ones are named, and all others stored."""
    pb = contract.messages
    emails = [f"user{number}{'@' if number % 100 else ' at '}{domain}" for number in range(1_000)]
    emails[500] = f"USER499@{domain}"  # the email of the one before, in other case
    response = stub.BatchCreateUsers(
        pb.CreateUserRequest(email=email, name="x" * 200) for email in emails
    )
    assert response.created_count == 990
    assert sorted(response.failed_emails) == sorted(emails[::100])

    listed = stub.ListUsers(
        pb.ListUsersRequest(page_size=1_000, filter=f'email:"@{domain}"', order_by="created_at")
    )
    # More than 300 KB in one message: it crosses HTTP/2's windows.
    assert len(listed.users) == listed.total_count == 990


def test_an_empty_batch_stores_nothing(contract: Contract, stub: Any) -> None:
    """A stream without a message is a batch of none."""
    response = stub.BatchCreateUsers(iter(()))
    assert response == contract.messages.BatchCreateUsersResponse()


def test_a_chat_is_heard_by_all_until_each_half_closes(contract: Contract, stub: Any) -> None:
    """Everyone hears everyone; who half-closes hears the end with OK, and the others go on."""
    ann, ben = Says(contract, "ann"), Says(contract, "ben")
    to_ann, to_ben = stub.Chat(iter(ann)), stub.Chat(iter(ben))
    # The initial metadata comes when one hears everyone.
    to_ann.initial_metadata()
    to_ben.initial_metadata()

    ann.say("Hello")
    heard = [next(to_ann), next(to_ben)]
    assert [(message.sender_id, message.text) for message in heard] == [("ann", "Hello")] * 2
    assert heard[0] == heard[1]
    assert heard[0].timestamp.ToNanoseconds() > 0

    ann.end()
    assert list(to_ann) == []
    assert to_ann.code() is grpc.StatusCode.OK
    ben.say("Still here")
    assert next(to_ben).text == "Still here"
    ben.end()
    assert list(to_ben) == []
    assert to_ben.code() is grpc.StatusCode.OK


def test_a_bad_message_ends_its_own_chat_only(contract: Contract, stub: Any) -> None:
    """An empty text is INVALID_ARGUMENT for who said it, and nothing to the others."""
    ann, ben = Says(contract, "ann"), Says(contract, "ben")
    to_ann, to_ben = stub.Chat(iter(ann)), stub.Chat(iter(ben))
    to_ann.initial_metadata()
    to_ben.initial_metadata()
    ann.say("")
    with pytest.raises(grpc.RpcError):
        next(to_ann)
    assert to_ann.code() is grpc.StatusCode.INVALID_ARGUMENT
    ann.end()
    ben.say("Unmoved")
    assert next(to_ben).text == "Unmoved"
    ben.end()


@pytest.fixture
def telling_stub(
    contract: Contract,
    telling_server: ServerProgram,
    channel_options: list[tuple[str, str]],
) -> Iterator[Any]:
    """A client, made by grpcio, of our server that tells."""
    with grpc.insecure_channel(telling_server.address, channel_options) as channel:
        yield contract.services.UserServiceStub(channel)


def test_a_deadline_ends_a_watch_on_both_sides(
    contract: Contract, telling_server: ServerProgram, telling_stub: Any
) -> None:
    """When its time is over, the client gets DEADLINE_EXCEEDED, and the server stops watching."""
    pb = contract.messages
    user = telling_stub.CreateUser(pb.CreateUserRequest(email="ann@example.com", name="Ann"))
    watch = telling_stub.WatchUser(pb.WatchUserRequest(id=user.id), timeout=0.5)
    assert next(watch).user == user
    assert telling_server.line() == f"listening users/{user.id}"
    with pytest.raises(grpc.RpcError):
        next(watch)
    assert watch.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert telling_server.line() == f"left users/{user.id}"


def test_cancelling_frees_the_watcher_and_the_server_goes_on(
    contract: Contract, telling_server: ServerProgram, telling_stub: Any
) -> None:
    """When a client cancels, the server stops watching for it, and serves the next call."""
    pb = contract.messages
    user = telling_stub.CreateUser(pb.CreateUserRequest(email="ann@example.com", name="Ann"))
    watch = telling_stub.WatchUser(pb.WatchUserRequest(id=user.id))
    assert next(watch).user == user
    assert telling_server.line() == f"listening users/{user.id}"
    watch.cancel()
    assert telling_server.line() == f"left users/{user.id}"
    assert watch.code() is grpc.StatusCode.CANCELLED
    assert telling_stub.GetUser(pb.GetUserRequest(id=user.id)) == user


def test_a_lost_connection_frees_every_watcher(
    contract: Contract,
    telling_server: ServerProgram,
    channel_options: list[tuple[str, str]],
) -> None:
    """When the channel is closed, whoever watched through it is gone from the server."""
    pb = contract.messages
    options = [*channel_options, ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(telling_server.address, options) as channel:
        stub = contract.services.UserServiceStub(channel)
        user = stub.CreateUser(pb.CreateUserRequest(email="ann@example.com", name="Ann"))
        watches = [stub.WatchUser(pb.WatchUserRequest(id=user.id)) for _ in range(3)]
        for watch in watches:
            next(watch)
        assert [telling_server.line() for _ in range(3)] == [f"listening users/{user.id}"] * 3
    assert [telling_server.line() for _ in range(3)] == [f"left users/{user.id}"] * 3


def test_a_server_that_is_stopped_ends_its_streams(
    contract: Contract, own_server: ServerProgram, channel_options: list[tuple[str, str]]
) -> None:
    """SIGTERM ends open streams with a status, and the process with 0."""
    pb = contract.messages
    with grpc.insecure_channel(own_server.address, channel_options) as channel:
        stub = contract.services.UserServiceStub(channel)
        user = stub.CreateUser(pb.CreateUserRequest(email="ann@example.com", name="Ann"))
        watch = stub.WatchUser(pb.WatchUserRequest(id=user.id))
        next(watch)
        assert own_server.stop() == 0
        with pytest.raises(grpc.RpcError):
            next(watch)
        assert watch.code() is grpc.StatusCode.UNAVAILABLE


def test_metadata_goes_both_ways(
    contract: Contract, telling_server: ServerProgram, telling_stub: Any
) -> None:
    """Repeated keys and bytes reach the server, and come back before and after the message."""
    pb = contract.messages
    user = telling_stub.CreateUser(pb.CreateUserRequest(email="ann@example.com", name="Ann"))
    sent = (("echo-text", "one"), ("echo-text", "two"), ("echo-bin", b"\x00\xff, \n"))
    answer, call = telling_stub.GetUser.with_call(
        pb.GetUserRequest(id=user.id), metadata=sent, timeout=15
    )
    assert answer == user
    initial, trailing = (
        [(key, value) for key, value in metadata if key.startswith("echo-")]
        for metadata in (call.initial_metadata(), call.trailing_metadata())
    )
    assert sorted(initial) == sorted(trailing) == sorted(sent)
    assert [value for key, value in initial if key == "echo-text"] == ["one", "two"]

    seen = dict(call.trailing_metadata())
    assert seen["method"] == "/userservice.v1.UserService/GetUser"
    assert seen["peer"].startswith("127.0.0.1:")
    assert 0 < float(seen["time-left"]) < 16  # grpcio rounds up what it sends
