"""How much one side takes of the other, and what it says where that was too much."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from grpclib.const import Cardinality

from inventory._gen.inventory.v1 import (
    GetStockRequest,
    GetStockResponse,
    InventoryServiceBase,
    ListStockRequest,
    ListStockResponse,
    ReceiveDeliveriesRequest,
    ReceiveDeliveriesResponse,
)
from inventory.client import InventoryClient
from userservice.rpc import (
    Channel,
    DeadlineExceededError,
    Encoding,
    Limits,
    ResourceExhaustedError,
    Server,
    UnavailableError,
    UnknownError,
    connect,
    current_call,
)
from userservice.rpc.details import ErrorInfo

LARGE = "x" * 200_000  # more than is worked on at once


class Stock(InventoryServiceBase):
    """Handlers that note what they saw."""

    def __init__(self, behind: InventoryClient | None = None) -> None:
        self.behind = behind
        self.seen: list[Any] = []

    async def get_stock(self, message: GetStockRequest) -> GetStockResponse:
        self.seen.append(message.item)
        if message.item == "broken":
            raise KeyError("a secret")
        if message.item == "slow":
            self.seen.append(current_call().time_remaining_s)
            await asyncio.Event().wait()
        if message.item == "behind":
            assert self.behind is not None
            return await self.behind.get_stock(GetStockRequest(item="slow"), timeout=60)
        return GetStockResponse(count=len(message.item))

    async def list_stock(self, message: ListStockRequest) -> AsyncIterator[ListStockResponse]:
        for number, item in enumerate(ITEMS):
            current_call().compresses = number != 1
            yield ListStockResponse(item=item)

    async def receive_deliveries(
        self, messages: AsyncIterator[ReceiveDeliveriesRequest]
    ) -> ReceiveDeliveriesResponse:
        return ReceiveDeliveriesResponse(count=len([message async for message in messages]))


ITEMS = ["y" * 5_000, "y" * 5_000, LARGE, "z"]

Start = Callable[..., Awaitable[tuple[Stock, InventoryClient]]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start a server with these options, and a client with those that begin with ``client_``."""
    started: list[tuple[Server, Channel]] = []

    async def both(
        behind: InventoryClient | None = None, **options: Any
    ) -> tuple[Stock, InventoryClient]:
        of_client = {
            name.removeprefix("client_"): options.pop(name)
            for name in [*options]
            if name.startswith("client_")
        }
        stock = Stock(behind)
        server = Server([stock], **options)
        await server.start("127.0.0.1", 0)
        channel = connect(server.addresses[0], **of_client)
        started.append((server, channel))
        return stock, InventoryClient(channel, timeout_s=10)

    yield both
    for server, channel in started:
        channel.close()
        server.close()
        await server.wait_closed()


# Compression


@pytest.mark.parametrize("of_client", [None, *Encoding])
@pytest.mark.parametrize("of_server", [None, *Encoding])
async def test_messages_are_compressed_both_ways(
    start: Start, of_client: Encoding | None, of_server: Encoding | None
) -> None:
    """Whatever either side compresses with, the other reads: small, large, and not at all."""
    _, client = await start(compression=of_server, client_compression=of_client)
    for item in ("", "x", "x" * 1_000, LARGE):
        assert (await client.get_stock(GetStockRequest(item=item))).count == len(item)
    assert [reply.item async for reply in client.list_stock(ListStockRequest())] == ITEMS


# The size of messages


@pytest.mark.parametrize("encoding", [None, *Encoding])
async def test_a_request_over_the_limit_is_refused(start: Start, encoding: Encoding | None) -> None:
    """RESOURCE_EXHAUSTED, and its handler is not called; the limit is that of what is inflated."""
    limits = Limits(max_receive_message_bytes=1_000)
    stock, client = await start(limits=limits, client_compression=encoding)
    with pytest.raises(ResourceExhaustedError, match="1000"):
        await client.get_stock(GetStockRequest(item="x" * 1_000))
    assert not stock.seen
    assert (await client.get_stock(GetStockRequest(item="x" * 900))).count == 900


@pytest.mark.parametrize("encoding", [None, *Encoding])
async def test_a_reply_over_the_limit_is_refused(start: Start, encoding: Encoding | None) -> None:
    """By the client, which leaves the call; messages before it were delivered."""
    limits = Limits(max_receive_message_bytes=6_000)
    _, client = await start(compression=encoding, client_limits=limits)
    received = []
    with pytest.raises(ResourceExhaustedError):  # noqa: PT012  # the messages before count
        async for reply in client.list_stock(ListStockRequest()):
            received.append(reply.item)  # noqa: PERF401  # it ends with an error
    assert received == ITEMS[:2]
    assert (await client.get_stock(GetStockRequest(item="x"))).count == 1


async def test_a_larger_limit_is_enough_for_a_larger_message(start: Start) -> None:
    """One message may be as large as its own limit says, whatever the others may hold."""
    limits = Limits(max_receive_message_bytes=40 * 2**20)
    _, client = await start(limits=limits)
    item = "x" * (36 * 2**20)
    assert (await client.get_stock(GetStockRequest(item=item))).count == len(item)


async def test_what_is_too_large_to_be_sent_is_not_sent(start: Start) -> None:
    """The client is told at once, and so is the caller of a handler whose reply it is."""
    limits = Limits(max_send_message_bytes=20)
    stock, client = await start(limits=limits, client_limits=limits)
    with pytest.raises(ResourceExhaustedError, match="20 may be sent"):
        await client.get_stock(GetStockRequest(item="x" * 30))
    assert not stock.seen
    with pytest.raises(ResourceExhaustedError, match="20 may be sent"):
        [_ async for _ in client.list_stock(ListStockRequest())]


async def test_a_large_message_does_not_hold_up_the_others(start: Start) -> None:
    """Two million fields are read in a thread, and a small call is answered meanwhile."""
    _, client = await start()
    method = "/inventory.v1.InventoryService/GetStock"
    async with client.channel.request(
        method, Cardinality.UNARY_UNARY, Many, GetStockResponse
    ) as large:
        await large.send_message(Many(), end=True)
        reply = asyncio.create_task(large.recv_message())
        await asyncio.sleep(0)
        small = 0
        while not reply.done():
            await client.get_stock(GetStockRequest(item="x"))
            small += 1
        await reply
    assert small > 2  # one, where the loop is held up


class Many:
    """Looks like a message of Google's runtime: two million times the empty name of an item."""

    def SerializeToString(self) -> bytes:  # noqa: N802  # Google's name
        return b"\x0a\x00" * 2_000_000


# Time


async def test_a_server_has_a_longest_time_for_calls(start: Start) -> None:
    """Whatever the client allows, or if it does not say."""
    stock, client = await start(limits=Limits(max_call_s=0.05))
    with pytest.raises(DeadlineExceededError):
        await client.get_stock(GetStockRequest(item="slow"), timeout=60)
    assert 0 < stock.seen[1] <= 0.05
    with pytest.raises(DeadlineExceededError):
        await InventoryClient(client.channel).get_stock(GetStockRequest(item="slow"))


async def test_a_deadline_goes_with_the_calls_that_a_handler_makes(start: Start) -> None:
    """The service behind has as much time as is left, however much the handler would give it."""
    behind, inner = await start()
    _, outer = await start(behind=inner)
    with pytest.raises(DeadlineExceededError):
        await outer.get_stock(GetStockRequest(item="behind"), timeout=0.2)
    assert behind.seen[0] == "slow"
    assert 0 < behind.seen[1] <= 0.2


# What a handler did not mean to say


async def test_an_unexpected_error_has_an_id_that_is_in_the_log(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """Who is told of the one finds the other; the text of the exception is in the log only."""
    _, client = await start()
    with caplog.at_level(logging.ERROR), pytest.raises(UnknownError) as told:
        await client.get_stock(GetStockRequest(item="broken"))
    info = told.value.detail(ErrorInfo)
    assert info is not None
    assert info.reason == "UNEXPECTED_ERROR"
    error_id = info.metadata["error_id"]
    assert re.fullmatch("[0-9a-f]{32}", error_id)
    assert str(told.value) == f"UNKNOWN: Internal Server Error, error id {error_id}"
    [record] = caplog.records
    assert error_id in record.getMessage()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)


# Connections


async def test_one_connection_too_many_is_turned_away(start: Start) -> None:
    """It is told why, and those that are there go on; when one of them leaves, another may come."""
    _, first = await start(limits=Limits(max_connections=1))
    await first.get_stock(GetStockRequest(item="x"))
    second = InventoryClient(connect(first.channel.target), timeout_s=5)
    with pytest.raises(UnavailableError):
        await second.get_stock(GetStockRequest(item="x"))
    assert (await first.get_stock(GetStockRequest(item="x"))).count == 1
    first.channel.close()
    async with asyncio.timeout(5):
        while True:
            try:
                await second.get_stock(GetStockRequest(item="x"))
                break
            except UnavailableError:
                await asyncio.sleep(0)
    second.channel.close()


@pytest.mark.parametrize("name", ["max_connections", "max_call_s", "reset_burst"])
def test_a_limit_is_a_number(name: str) -> None:
    """What is none is refused when it is set, and not when it is met."""
    for value in (-1, float("nan")):
        options: dict[str, Any] = {name: value}
        with pytest.raises(ValueError, match=name):
            Limits(**options)
