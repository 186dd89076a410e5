"""Every failure of a call has a status, and says what could not be done."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from grpclib.const import Cardinality, Status
from tests.rpc.peers import Peer

from inventory.__main__ import inventory_server
from inventory._gen.inventory.v1 import (
    GetStockRequest,
    GetStockResponse,
    ListStockRequest,
    PickItemsRequest,
    PickItemsResponse,
    ReceiveDeliveriesRequest,
)
from inventory.client import InventoryClient
from userservice.rpc import (
    CancelledError,
    Channel,
    DeadlineExceededError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    UnavailableError,
    connect,
    reply_metadata,
)
from userservice.rpc.client_connection import ClientConnection
from userservice.rpc.client_stream import reset_error
from userservice.rpc.details import BadRequest
from userservice.rpc.testing import join
from userservice.wire import http2


async def test_a_refused_connection_is_unavailable() -> None:
    """The error names the target and the reason; a channel may be used again."""
    async with connect("127.0.0.1:1") as channel:
        for _ in range(2):
            with pytest.raises(UnavailableError, match=r"cannot reach 127\.0\.0\.1:1"):
                await InventoryClient(channel).get_stock(GetStockRequest())


async def test_an_unknown_host_is_unavailable() -> None:
    """A name that nobody knows is as unreachable as a closed port."""
    async with connect("no-such-host.invalid:1") as channel:
        with pytest.raises(UnavailableError, match=r"cannot reach no-such-host\.invalid:1"):
            await InventoryClient(channel).get_stock(GetStockRequest())


async def test_a_missing_socket_is_unavailable(tmp_path: Path) -> None:
    """So is a Unix socket that is not there."""
    async with connect(f"unix:{tmp_path}/none.sock") as channel:
        with pytest.raises(UnavailableError, match=r"none\.sock"):
            await InventoryClient(channel).get_stock(GetStockRequest())


@asynccontextmanager
async def tcp_server(greeting: bytes, *, hang_up: bool = False) -> AsyncIterator[str]:
    """Run a server that is no gRPC server: it says its greeting, and then nothing."""
    gone = asyncio.Event()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        if not hang_up:
            await reader.read()
        writer.close()
        gone.set()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await gone.wait()


async def test_a_server_that_hangs_up_is_unavailable() -> None:
    """A connection that ends without a word ends the call, not the program."""
    async with tcp_server(b"", hang_up=True) as target, connect(target) as channel:
        with pytest.raises(UnavailableError):
            await InventoryClient(channel).get_stock(GetStockRequest())


async def test_a_server_of_another_protocol_is_unavailable() -> None:
    """Bytes that are no HTTP/2 end the call."""
    reply = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
    async with tcp_server(reply, hang_up=True) as target, connect(target) as channel:
        with pytest.raises(UnavailableError):
            await InventoryClient(channel).get_stock(GetStockRequest())


async def test_a_silent_server_meets_the_deadline() -> None:
    """The deadline also ends a call that nobody answers."""
    async with tcp_server(b"") as target, connect(target) as channel:
        with pytest.raises(DeadlineExceededError):
            await InventoryClient(channel, timeout_s=0.05).get_stock(GetStockRequest())


async def test_a_deadline_that_is_over_sends_nothing() -> None:
    """No connection is made for a call that has no time left."""
    async with connect("127.0.0.1:1") as channel:
        with pytest.raises(DeadlineExceededError):
            await InventoryClient(channel).get_stock(GetStockRequest(), timeout=0)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (0x0, Status.INTERNAL),
        (0x1, Status.INTERNAL),
        (0x7, Status.UNAVAILABLE),
        (0x8, Status.CANCELLED),
        (0xB, Status.RESOURCE_EXHAUSTED),
        (0xC, Status.PERMISSION_DENIED),
        (0xD, Status.INTERNAL),
        (0xFF, Status.INTERNAL),
    ],
)
def test_a_reset_has_the_status_of_its_code(code: int, status: Status) -> None:
    """gRPC over HTTP/2, "Errors": the table of RST_STREAM codes."""
    assert reset_error(code).status is status


async def test_the_caller_s_own_error_comes_back_as_it_is(inventory: InventoryClient) -> None:
    """A request iterable that raises ends the call with its own exception, of any kind."""

    async def broken() -> AsyncIterator[PickItemsRequest]:
        for number in (1, 0):
            yield PickItemsRequest(item="x", count=1 // number)

    def broken_too() -> Iterator[ReceiveDeliveriesRequest]:
        yield ReceiveDeliveriesRequest(item="x", count=1)
        raise OSError("the disk of the caller")

    await inventory.receive_deliveries([ReceiveDeliveriesRequest(item="x", count=1)])
    with pytest.raises(ZeroDivisionError):
        _ = [picked async for picked in inventory.pick_items(broken())]
    with pytest.raises(OSError, match="the disk of the caller"):
        await inventory.receive_deliveries(broken_too())


async def test_an_answer_before_the_last_request_is_the_answer(inventory: InventoryClient) -> None:
    """A server may refuse early: the client stops sending, and gets the status."""
    taken = []

    async def endless() -> AsyncIterator[ReceiveDeliveriesRequest]:
        while True:
            taken.append(1)
            yield ReceiveDeliveriesRequest(item="x" * 1000, count=0)
            await asyncio.sleep(0)

    async with asyncio.timeout(10):
        with pytest.raises(InvalidArgumentError, match="at least 1"):
            await inventory.receive_deliveries(endless())


@pytest.mark.parametrize("attempt", range(20))
async def test_what_came_before_an_early_status_is_not_lost(
    inventory: InventoryClient, attempt: int
) -> None:
    """Messages, then an error and a reset, all at once: the messages come first, every time."""
    await inventory.receive_deliveries([ReceiveDeliveriesRequest(item="x", count=5)])
    after_the_answer = asyncio.Event()

    async def picks() -> AsyncIterator[PickItemsRequest]:
        for _ in range(6):
            yield PickItemsRequest(item="x", count=1)
        await after_the_answer.wait()  # our side stays open: the server resets it

    picked = inventory.pick_items(picks())
    left = [(await anext(picked)).left for _ in range(attempt % 4)]
    await asyncio.sleep(0.01)  # the rest has come, with the status
    with pytest.raises(FailedPreconditionError):  # noqa: PT012  # the messages before count
        async for each in picked:
            left.append(each.left)  # noqa: PERF401  # it ends with an error
    assert left == [4, 3, 2, 1, 0]


async def test_a_wrong_message_type_is_the_caller_s_mistake(inventory: InventoryClient) -> None:
    """It is told as a TypeError, before anything is sent."""
    async with inventory.channel.request(
        "/inventory.v1.InventoryService/GetStock",
        Cardinality.UNARY_UNARY,
        GetStockRequest,
        GetStockResponse,
    ) as stream:
        with pytest.raises(TypeError, match="GetStockRequest belongs here"):
            await stream.send_message(PickItemsRequest())  # type: ignore[arg-type]  # on purpose


async def test_a_reply_that_is_none_is_internal(inventory: InventoryClient) -> None:
    """Bytes that do not parse as the reply are the server's fault, with a status."""
    await inventory.receive_deliveries([ReceiveDeliveriesRequest(item="abc", count=2)])
    async with inventory.channel.request(
        "/inventory.v1.InventoryService/ListStock",
        Cardinality.UNARY_STREAM,
        ListStockRequest,
        BadRequest,  # its field 1 is a message, which "abc" is not
    ) as stream:
        await stream.send_message(ListStockRequest(), end=True)
        with pytest.raises(InternalError, match="no valid BadRequest"):
            await stream.recv_message()
        await stream.cancel()


async def test_whoever_waits_for_a_cancelled_call_hears_of_it(inventory: InventoryClient) -> None:
    """The server says nothing more, so that its reader would wait for ever."""
    async with inventory.channel.request(
        "/inventory.v1.InventoryService/PickItems",
        Cardinality.STREAM_STREAM,
        PickItemsRequest,
        PickItemsResponse,
    ) as stream:
        await stream.send_request()
        reading = asyncio.create_task(stream.recv_message())
        await asyncio.sleep(0)  # it waits now
        await stream.cancel()
        for reader in (reading, stream.recv_message()):
            with pytest.raises(CancelledError, match="cancelled the call"):
                await reader
        with pytest.raises(CancelledError):
            await stream.send_message(PickItemsRequest())


async def test_no_task_is_left_behind(inventory: InventoryClient) -> None:
    """Calls that end well, badly or early leave no task."""
    await inventory.receive_deliveries([ReceiveDeliveriesRequest(item="x", count=2)])
    before = asyncio.all_tasks()

    async def endless() -> AsyncIterator[PickItemsRequest]:
        yield PickItemsRequest(item="x", count=1)
        await asyncio.Event().wait()

    picks = inventory.pick_items(endless())
    assert (await anext(picks)).left == 1
    await picks.aclose()  # type: ignore[attr-defined]  # an async generator
    with pytest.raises(InvalidArgumentError):
        await inventory.receive_deliveries([ReceiveDeliveriesRequest()])
    async with asyncio.timeout(5):  # the server's side of the calls lives here too
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0)


async def test_metadata_of_client_and_call_are_merged(channel: Channel) -> None:
    """A key of the call replaces the client's; other keys stay."""
    client = InventoryClient(channel, metadata={"x-app": "shop", "x-user": "ann"})
    merged = client._merged([("x-user", "bob"), ("x-bin", b"\x00")])
    assert merged is not None
    assert sorted(merged.items()) == [
        ("x-app", "shop"),
        ("x-bin", b"\x00"),
        ("x-user", "bob"),
    ]
    merged = client._merged(None)
    assert merged is not None
    assert sorted(merged) == ["x-app", "x-user"]


async def test_reply_metadata_is_of_the_calls_in_its_block(inventory: InventoryClient) -> None:
    """Calls outside of the block leave it alone."""
    with reply_metadata() as reply:
        _ = [line async for line in inventory.list_stock(ListStockRequest())]
    assert reply.trailing["items"] == "0"
    await inventory.receive_deliveries([ReceiveDeliveriesRequest(item="x", count=2)])
    _ = [line async for line in inventory.list_stock(ListStockRequest())]
    assert reply.trailing["items"] == "0"


async def test_a_channel_that_is_not_closed_is_told() -> None:
    """A forgotten channel is closed, with a warning that names it."""
    with pytest.warns(ResourceWarning, match=re.escape("Channel('127.0.0.1', ")):
        await _forgotten()


async def _forgotten() -> None:
    server = inventory_server()
    await server.start("127.0.0.1", 0)
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # grpclib tells it twice
    async with server:
        channel = connect(server.addresses[0])
        _ = [line async for line in InventoryClient(channel).list_stock(ListStockRequest())]
        del channel


class _LateChannel(Channel):
    """Its connection has heard or lost the server before `connect` returns, as with TLS 1.2."""

    def __init__(self, *, lost: bool) -> None:
        super().__init__("in-memory:1")
        self._lost_first = lost

    async def connect(self) -> ClientConnection:
        connection = self.new_connection()
        self.peer = Peer(http2.Role.SERVER)
        join(self.peer, connection)
        if self._lost_first:
            self._lost_first = False
            self.peer.transport.close()
        async with asyncio.timeout(5):
            while not (connection.closed or self.peer.of(http2.SettingsAcknowledged)):
                await asyncio.sleep(0)
        self.use_connection(connection)
        return connection


@pytest.mark.parametrize("lost", [False, True], ids=["settings are here", "it was lost"])
async def test_what_was_told_before_a_call_stands_in_line_is_not_waited_for(*, lost: bool) -> None:
    """The settings come with the end of the handshake; or the server hangs up right after it."""
    async with _LateChannel(lost=lost) as channel:
        call = asyncio.create_task(
            InventoryClient(channel, timeout_s=5).get_stock(GetStockRequest(item="bolt"))
        )
        async with asyncio.timeout(5):
            while not (hasattr(channel, "peer") and channel.peer.of(http2.RequestReceived)):
                await asyncio.sleep(0)
        request = channel.peer.of(http2.RequestReceived)[0]
        channel.peer.answer(request.stream, GetStockResponse(count=4))
        assert (await call).count == 4
