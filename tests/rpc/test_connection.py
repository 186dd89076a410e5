"""What peers do to a connection: nothing leaks, and the server always comes to its end."""

import asyncio
from collections.abc import AsyncIterator

import h2.config
import h2.connection
import h2.settings
import pytest

from inventory._gen.inventory.v1 import (
    GetStockRequest,
    GetStockResponse,
    InventoryServiceBase,
    ListStockRequest,
    ListStockResponse,
)
from inventory.client import InventoryClient
from userservice.rpc import (
    DeadlineExceededError,
    InternalError,
    NotFoundError,
    Server,
    UnimplementedError,
    connect,
)
from userservice.rpc.details import ErrorInfo


def headers(method: str) -> list[tuple[str, str]]:
    """What a gRPC client sends to call this method."""
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "test"),
        (":path", f"/inventory.v1.InventoryService/{method}"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ]


class Stocked(InventoryServiceBase):
    """Answers a call, streams without end, or fails in odd ways."""

    async def get_stock(self, message: GetStockRequest) -> GetStockResponse:
        if message.item == "slow":
            await asyncio.Event().wait()
        if message.item == "unsendable":
            raise NotFoundError("x", [message])  # no type that our details know
        return GetStockResponse(count=1)

    async def list_stock(self, message: ListStockRequest) -> AsyncIterator[ListStockResponse]:
        while True:
            yield ListStockResponse(item="x" * 10_000)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server that is running; the tests may close it."""
    running = Server([Stocked()])
    await running.start("127.0.0.1", 0)
    yield running
    running.close()
    await running.wait_closed()


class Peer:
    """A client of raw HTTP/2."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.http2 = h2.connection.H2Connection(h2.config.H2Configuration())
        self.http2.initiate_connection()
        self.http2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 2**30})
        self.http2.increment_flow_control_window(2**30)

    @classmethod
    async def of(cls, server: Server) -> "Peer":
        """Connect to a server."""
        host, port = server.addresses[0].split(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    def write(self) -> None:
        """Send all that is to be sent, at once."""
        self.writer.write(self.http2.data_to_send())


async def test_a_call_cancelled_before_it_began_gives_back_all_it_took(server: Server) -> None:
    """Headers, data and reset in one read: stream and flow-control credit are free again."""
    peer = await Peer.of(server)
    body = b"\x00" + (16_000).to_bytes(4) + b"\x0a\xfc\x7c" + b"x" * 15_996
    for _ in range(3):
        peer.http2.send_headers(
            stream := peer.http2.get_next_available_stream_id(), headers("GetStock")
        )
        peer.http2.send_data(stream, body[:16_000])
        peer.http2.reset_stream(stream)
    peer.write()
    async with asyncio.timeout(5):
        while not server._connections:
            await asyncio.sleep(0)
        [connection] = server._connections
        while connection.engine.receive_window == 4 * 2**20 or connection.calls:
            await asyncio.sleep(0)
    taken = 4 * 2**20 - connection.engine.receive_window
    assert taken == connection.engine._credit == 3 * 16_000
    assert not connection.engine.streams
    peer.writer.close()
    await peer.writer.wait_closed()


@pytest.mark.parametrize("goodbye", [False, True])
async def test_a_peer_that_does_not_read_does_not_hold_up_the_end(
    server: Server, *, goodbye: bool
) -> None:
    """Its connection is cut soon after the goodbye, also if it said its own before."""
    peer = await Peer.of(server)
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport has it
    for _ in range(3):
        peer.http2.send_headers(
            stream := peer.http2.get_next_available_stream_id(), headers("ListStock")
        )
        peer.http2.send_data(stream, b"\0\0\0\0\0", end_stream=True)
    peer.write()
    async with connect(server.addresses[0]) as channel:
        await InventoryClient(channel).get_stock(GetStockRequest())
    if goodbye:
        peer.http2.close_connection()
        peer.write()
        await asyncio.sleep(0.05)
    server.close()
    async with asyncio.timeout(5):
        await server.wait_closed()
    peer.writer.close()


async def test_a_status_that_cannot_be_sent_ends_the_call_all_the_same(server: Server) -> None:
    """The caller gets INTERNAL, not silence."""
    async with connect(server.addresses[0]) as channel:
        with pytest.raises(InternalError):
            await InventoryClient(channel, timeout_s=5).get_stock(
                GetStockRequest(item="unsendable")
            )


async def test_a_handled_deadline_leaves_no_cancellation_behind(server: Server) -> None:
    """Whoever catches the error goes on as if nothing had been: its task is not cancelled later."""
    async with connect(server.addresses[0]) as channel:
        client = InventoryClient(channel)
        await client.get_stock(GetStockRequest())
        with pytest.raises(DeadlineExceededError):
            await client.get_stock(GetStockRequest(item="slow"), timeout=0.05)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0


async def test_an_unknown_method_says_so_with_a_reason(server: Server) -> None:
    """UNIMPLEMENTED, and an ErrorInfo that a program can read."""
    async with connect(server.addresses[0]) as channel:
        client = InventoryClient(channel, timeout_s=5)
        with pytest.raises(UnimplementedError) as unknown:
            await client._unary_unary("/nobody.Knows/This", GetStockRequest(), GetStockResponse)
        info = unknown.value.detail(ErrorInfo)
        assert info is not None
        assert info.reason == "UNKNOWN_METHOD"
