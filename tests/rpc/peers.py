"""A peer that is driven frame by frame, and the service that it is joined to."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from inventory._gen.inventory.v1 import (
    GetStockRequest,
    GetStockResponse,
    InventoryServiceBase,
    ListStockRequest,
    ListStockResponse,
    PickItemsRequest,
    PickItemsResponse,
    ReceiveDeliveriesRequest,
    ReceiveDeliveriesResponse,
)
from inventory.client import InventoryClient
from userservice.wire import framing, http2
from userservice.wire.protobuf import encode

E = TypeVar("E")
PATH = "/inventory.v1.InventoryService/"
REPLY = ((":status", "200"), ("content-type", "application/grpc"))
OK = (("grpc-status", "0"),)


def request_fields(method: str, **others: str) -> tuple[tuple[str, str], ...]:
    """What a gRPC client sends to call this method; others replace or add fields."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": PATH + method,
        ":authority": "test",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    for name, value in others.items():
        fields[name.replace("_", "-").replace("-method", ":method", 1)] = value
    return tuple(fields.items())


def data_frame(stream: http2.Stream, payload: bytes = b"", flags: int = 0) -> bytes:
    """A DATA frame as it goes on the wire, whatever the engine would send."""
    return http2.frames.frame(http2.FrameType.DATA, flags, stream.id, payload)


class Peer(asyncio.Protocol):
    """A peer that does only what a test tells it to; the engine answers by itself."""

    def __init__(self, role: http2.Role, **settings: int) -> None:
        self.engine = http2.Connection(role, http2.Settings(**settings))
        self.events: list[http2.Event] = []
        self.writes: list[bytes] = []
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.flush()

    def data_received(self, data: bytes) -> None:
        self.writes.append(data)
        self.events += self.engine.receive(data)
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True

    def flush(self) -> None:
        """Send what is to be sent."""
        if self.engine.has_output:
            self.transport.write(self.engine.take_output())

    def of(self, kind: type[E]) -> list[E]:
        """The events of this kind, so far."""
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, kind: type[E], count: int = 1) -> E:
        """Wait for so many events of a kind, and return the last one."""
        async with asyncio.timeout(5):
            while len(self.of(kind)) < count:
                await asyncio.sleep(0)
        return self.of(kind)[count - 1]

    async def until_lost(self) -> None:
        """Wait until the other side has closed."""
        async with asyncio.timeout(5):
            while not self.lost:
                await asyncio.sleep(0.001)

    def call(self, method: str, *messages: Any, **fields: str) -> http2.Stream:
        """Call a method with these messages."""
        stream = self.engine.open_stream(request_fields(method, **fields))
        data = b"".join(framing.frame(encode(message)) for message in messages)
        self.engine.send_data(stream, data, end_stream=True)
        self.flush()
        return stream

    def answer(self, stream: http2.Stream, *messages: Any) -> None:
        """Answer a call with these messages, and OK."""
        self.engine.send_headers(stream, REPLY)
        for message in messages:
            self.engine.send_data(stream, framing.frame(encode(message)))
        self.engine.send_headers(stream, OK, end_stream=True)
        self.flush()


class Stock(InventoryServiceBase):
    """Handlers that a test can hold up."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.seen: list[str] = []

    async def get_stock(self, message: GetStockRequest) -> GetStockResponse:
        self.seen.append(message.item)
        if message.item == "stubborn":
            try:
                await self.go_on.wait()
            except asyncio.CancelledError:
                return GetStockResponse(count=9)
        if message.item == "slow":
            await self.go_on.wait()
        if message.item == "fails":
            raise LookupError(message.item)
        return GetStockResponse(count=len(message.item))

    async def list_stock(self, message: ListStockRequest) -> AsyncIterator[ListStockResponse]:
        for item in ("x" * 500, "y"):
            yield ListStockResponse(item=item)

    async def pick_items(
        self, messages: AsyncIterator[PickItemsRequest]
    ) -> AsyncIterator[PickItemsResponse]:
        async for message in messages:
            yield PickItemsResponse(left=message.count)

    async def receive_deliveries(
        self, messages: AsyncIterator[ReceiveDeliveriesRequest]
    ) -> ReceiveDeliveriesResponse:
        await anext(aiter(messages))
        await self.go_on.wait()
        return ReceiveDeliveriesResponse(count=1)


Serve = Callable[..., Peer]
"""Starts a server with these options, and returns a raw client that is joined to it."""

Start = Callable[..., tuple[Peer, InventoryClient]]
"""Starts a raw server with these settings, and returns it with a client that calls it."""


def status_of(trailers: http2.TrailersReceived | http2.ResponseReceived) -> str:
    """The grpc-status of a reply's last header block."""
    return trailers.headers.get("grpc-status") or ""


def kinds_of(data: bytes) -> list[int]:
    """The types of the frames in these bytes, which must be whole."""
    kinds = []
    while data:
        size = int.from_bytes(data[:3])
        kinds.append(data[3])
        assert len(data) >= 9 + size
        data = data[9 + size :]
    return kinds
