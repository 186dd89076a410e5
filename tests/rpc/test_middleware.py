"""Middleware: it hears of each call, in order, and what it does not want to hear costs nothing."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from grpclib.const import Status
from tests.rpc.peers import Stock

from inventory._gen.inventory.v1 import (
    GetStockRequest,
    GetStockResponse,
    ListStockRequest,
    PickItemsRequest,
)
from inventory.client import InventoryClient
from userservice.rpc import (
    Call,
    Limits,
    PermissionDeniedError,
    RpcError,
    Server,
    UnknownError,
    connect,
    current_call,
    reply_metadata,
)
from userservice.rpc.client_call import ClientCall
from userservice.rpc.details import ErrorInfo
from userservice.rpc.middleware import ClientMiddleware, Middleware, Outcome
from userservice.rpc.testing import ChannelFor

GET = "/inventory.v1.InventoryService/GetStock"


class Diary(Middleware):
    """Writes down all that it hears."""

    def __init__(self, name: str, lines: list[str]) -> None:
        self.name = name
        self.lines = lines
        self.outcomes: list[Outcome] = []

    def write(self, line: str) -> None:
        self.lines.append(f"{self.name} {line}")

    async def before(self, call: Call) -> None:
        self.write(f"before {call.method.rpartition('/')[2]}")

    @contextmanager
    def around(self, call: Call) -> Iterator[None]:
        self.write("in")
        try:
            yield
        finally:
            self.write("out")

    def received(self, call: Call, message: Any) -> None:
        self.write(f"received {type(message).__name__}")

    def sent(self, call: Call, message: Any) -> None:
        self.write(f"sent {type(message).__name__}")

    def ended(self, call: Call, outcome: Outcome) -> None:
        self.write(f"ended {outcome.status.name}")
        self.outcomes.append(outcome)


async def test_they_hear_in_order_and_at_the_end_in_the_opposite_one(stock: Stock) -> None:
    """Like layers: the first is the outermost."""
    lines: list[str] = []
    first, second = Diary("first", lines), Diary("second", lines)
    async with ChannelFor([stock], middleware=[first, second]) as channel:
        await InventoryClient(channel).get_stock(GetStockRequest(item="four"))
    assert lines == [
        "first before GetStock",
        "first in",
        "second before GetStock",
        "second in",
        "first received GetStockRequest",
        "second received GetStockRequest",
        "second sent GetStockResponse",
        "first sent GetStockResponse",
        "second out",
        "first out",
        "second ended OK",
        "first ended OK",
    ]


async def test_streams_are_heard_message_by_message(stock: Stock) -> None:
    """With how many there were, their sizes, and how long the call took."""
    diary = Diary("it", [])
    async with ChannelFor([stock], middleware=[diary]) as channel:
        picks = [PickItemsRequest(item="nut", count=n) for n in (10, 20)]
        assert [picked.left async for picked in InventoryClient(channel).pick_items(picks)] == [
            10,
            20,
        ]
    assert diary.lines.count("it received PickItemsRequest") == 2
    assert diary.lines.count("it sent PickItemsResponse") == 2
    (outcome,) = diary.outcomes
    assert (outcome.received, outcome.sent) == (2, 2)
    assert outcome.received_bytes == sum(len(bytes(pick)) for pick in picks)
    assert outcome.sent_bytes == 4
    assert 0 < outcome.duration_s < 5


async def test_a_call_can_be_refused(stock: Stock) -> None:
    """Its handler does not hear of it; who is further out hears how it ended."""

    class Guard(Middleware):
        def before(self, call: Call) -> None:
            if call.metadata.get("x-key") != "open":
                raise PermissionDeniedError("the key is missing")

    diary = Diary("it", [])
    async with ChannelFor([stock], middleware=[diary, Guard()]) as channel:
        client = InventoryClient(channel)
        with pytest.raises(PermissionDeniedError, match="the key is missing"):
            await client.get_stock(GetStockRequest(item="four"))
        assert stock.seen == []
        await client.get_stock(GetStockRequest(item="four"), metadata={"x-key": "open"})
    assert [outcome.status for outcome in diary.outcomes] == [Status.PERMISSION_DENIED, Status.OK]
    assert diary.outcomes[0].message == "the key is missing"


async def test_a_message_can_be_refused(stock: Stock) -> None:
    """Whichever way it goes."""

    class Censor(Middleware):
        def received(self, call: Call, message: Any) -> None:
            if message.item == "secret":
                raise PermissionDeniedError("nobody may ask")

        def sent(self, call: Call, message: Any) -> None:
            if message.count == 5:
                raise PermissionDeniedError("nobody may know")

    async with ChannelFor([stock], middleware=[Censor()]) as channel:
        client = InventoryClient(channel)
        with pytest.raises(PermissionDeniedError, match="may ask"):
            await client.get_stock(GetStockRequest(item="secret"))
        with pytest.raises(PermissionDeniedError, match="may know"):
            await client.get_stock(GetStockRequest(item="fives"))
        assert await client.get_stock(GetStockRequest(item="four")) == GetStockResponse(count=4)


async def test_every_end_is_heard(stock: Stock) -> None:
    """An error, a deadline, a client that leaves, a method that is not there, a drain."""
    diary = Diary("it", [])
    async with ChannelFor([stock], middleware=[diary]) as channel:
        client = InventoryClient(channel)
        with pytest.raises(UnknownError):
            await client.get_stock(GetStockRequest(item="fails"))
        # A client with the same deadline might leave first.
        limits = Limits(max_call_s=0.05)
        async with ChannelFor([stock], middleware=[diary], limits=limits) as hasty:
            with pytest.raises(RpcError):
                await InventoryClient(hasty).get_stock(GetStockRequest(item="slow"))
        leaving = asyncio.create_task(client.get_stock(GetStockRequest(item="slow")))
        while stock.seen.count("slow") < 2:
            await asyncio.sleep(0)
        leaving.cancel()
        while len(diary.outcomes) < 3:
            await asyncio.sleep(0)
        staying = asyncio.create_task(client.get_stock(GetStockRequest(item="slow")))
        while stock.seen.count("slow") < 3:
            await asyncio.sleep(0)
    with pytest.raises(RpcError):
        await staying
    assert [outcome.status.name for outcome in diary.outcomes] == [
        "UNKNOWN",
        "DEADLINE_EXCEEDED",
        "CANCELLED",
        "CANCELLED",
    ]


async def test_a_handler_s_metadata_is_sent_with_middleware_too(stock: Stock) -> None:
    """A middleware may add its own."""

    class Signature(Middleware):
        def before(self, call: Call) -> None:
            call.initial_metadata["x-by"] = "us"
            call.trailing_metadata["x-end"] = current_call().method

    async with ChannelFor([stock], middleware=[Signature()]) as channel:
        with reply_metadata() as reply:
            await InventoryClient(channel).get_stock(GetStockRequest(item="four"))
    assert reply.initial["x-by"] == "us"
    assert reply.trailing["x-end"] == GET


async def test_one_that_fails_at_the_end_hurts_nobody(
    stock: Stock, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged; the others hear all the same."""

    class Clumsy(Middleware):
        def ended(self, call: Call, outcome: Outcome) -> None:
            raise ZeroDivisionError

    diary = Diary("it", [])
    async with ChannelFor([stock], middleware=[diary, Clumsy()]) as channel:
        await InventoryClient(channel).get_stock(GetStockRequest(item="four"))
    assert "it ended OK" in diary.lines
    assert "a middleware failed" in caplog.text


async def test_one_that_fails_before_fails_the_call(stock: Stock) -> None:
    """Like a handler: what the client must not see is logged, and has an id."""

    class Clumsy(Middleware):
        def before(self, call: Call) -> None:
            raise ZeroDivisionError("a secret")

    async with ChannelFor([stock], middleware=[Clumsy()]) as channel:
        with pytest.raises(UnknownError, match="error id"):
            await InventoryClient(channel).get_stock(GetStockRequest(item="four"))


async def test_a_list_is_counted_once_it_leaves(stock: Stock) -> None:
    """Sizes are those of messages, without the five bytes in front."""
    diary = Diary("it", [])
    async with ChannelFor([stock], middleware=[diary]) as channel:
        lines = [line async for line in InventoryClient(channel).list_stock(ListStockRequest())]
    assert diary.outcomes[0].sent_bytes == sum(len(bytes(line)) for line in lines)


# The client's


class ClientDiary(ClientMiddleware):
    """Writes down all that it hears of a client's calls."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.outcomes: list[Outcome] = []

    async def before(self, call: ClientCall) -> None:
        self.lines.append(f"before {call.method.rpartition('/')[2]}")
        call.metadata["x-key"] = "open"

    @contextmanager
    def around(self, call: ClientCall) -> Iterator[None]:
        self.lines.append("in")
        try:
            yield
        except BaseException as error:
            self.lines.append(f"out with {type(error).__name__}")
            raise
        else:
            self.lines.append("out")

    def received(self, call: ClientCall, message: Any) -> None:
        self.lines.append(f"received {type(message).__name__}")

    def sent(self, call: ClientCall, message: Any) -> None:
        self.lines.append(f"sent {type(message).__name__}")

    def ended(self, call: ClientCall, outcome: Outcome) -> None:
        self.lines.append(f"ended {outcome.status.name}")
        self.outcomes.append(outcome)


@pytest.fixture
async def address(stock: Stock) -> AsyncIterator[str]:
    """Where the stock is served."""
    server = Server([stock])
    await server.start("127.0.0.1", 0)
    yield server.addresses[0]
    await server.drain(0)


async def test_a_channel_s_middleware_hears_of_its_calls(address: str) -> None:
    """In the same way; and it may add metadata."""
    diary = ClientDiary()
    async with connect(address, middleware=[diary]) as channel:
        await InventoryClient(channel).get_stock(GetStockRequest(item="four"))
    assert diary.lines == [
        "before GetStock",
        "in",
        "sent GetStockRequest",
        "received GetStockResponse",
        "out",
        "ended OK",
    ]
    (outcome,) = diary.outcomes
    assert (outcome.sent, outcome.sent_bytes) == (1, len(bytes(GetStockRequest(item="four"))))
    assert (outcome.received, outcome.received_bytes) == (1, 2)


async def test_its_metadata_reaches_the_server(stock: Stock) -> None:
    """As if the caller had sent it."""
    keys: list[Any] = []

    class Reader(Middleware):
        def before(self, call: Call) -> None:
            keys.append((call.metadata.get("x-key"), call.metadata.get("x-mine")))

    server = Server([stock], middleware=[Reader()])
    await server.start("127.0.0.1", 0)
    async with connect(server.addresses[0], middleware=[ClientDiary()]) as channel:
        client = InventoryClient(channel)
        await client.get_stock(GetStockRequest(), metadata={"x-mine": "1"})
        picks = [PickItemsRequest(count=1)]
        assert [picked.left async for picked in client.pick_items(picks)] == [1]
    await server.drain(0)
    assert keys == [("open", "1"), ("open", None)]


async def test_a_channel_s_middleware_hears_every_end(address: str) -> None:
    """An error of the server, a deadline, a caller that leaves; a stream, to its end or not."""
    diary = ClientDiary()
    async with connect(address, middleware=[diary]) as channel:
        client = InventoryClient(channel)
        with pytest.raises(UnknownError):
            await client.get_stock(GetStockRequest(item="fails"))
        with pytest.raises(RpcError):
            await client.get_stock(GetStockRequest(item="slow"), timeout=0.05)
        leaving = asyncio.create_task(client.get_stock(GetStockRequest(item="slow")))
        await asyncio.sleep(0.01)
        leaving.cancel()
        await asyncio.wait([leaving])
        assert [line async for line in client.list_stock(ListStockRequest())]
        lines = client.list_stock(ListStockRequest())
        await anext(lines)
        del lines
        while len(diary.outcomes) < 5:
            await asyncio.sleep(0)
    assert [outcome.status.name for outcome in diary.outcomes] == [
        "UNKNOWN",
        "DEADLINE_EXCEEDED",
        "CANCELLED",
        "OK",
        "CANCELLED",
    ]
    assert diary.lines.count("out with UnknownError") == 1
    assert diary.lines.count("out with CancelledError") == 1
    assert diary.lines.count("in") == 5


async def test_a_client_s_call_can_be_refused_here(stock: Stock, address: str) -> None:
    """Nothing is sent."""

    class Guard(ClientMiddleware):
        def before(self, call: ClientCall) -> None:
            raise PermissionDeniedError("not from here")

    diary = ClientDiary()
    async with connect(address, middleware=[diary, Guard()]) as channel:
        with pytest.raises(PermissionDeniedError, match="not from here"):
            await InventoryClient(channel).get_stock(GetStockRequest())
    assert stock.seen == []
    assert diary.lines[-2:] == ["out with PermissionDeniedError", "ended PERMISSION_DENIED"]


async def test_a_call_can_be_ended_from_outside_of_its_handler(stock: Stock) -> None:
    """With a status and its details, whatever the handler waits for; a call that is over stays."""
    calls: list[Call] = []

    class Keeper(Middleware):
        def before(self, call: Call) -> None:
            calls.append(call)

    diary = Diary("it", [])
    async with ChannelFor([stock], middleware=[diary, Keeper()]) as channel:
        client = InventoryClient(channel)
        waiting = asyncio.create_task(client.get_stock(GetStockRequest(item="slow")))
        while "slow" not in stock.seen:
            await asyncio.sleep(0)
        info = ErrorInfo(reason="ENOUGH", domain="example.com")
        calls[0].end(PermissionDeniedError("that is enough", [info]))
        calls[0].end(UnknownError("too late"))
        with pytest.raises(PermissionDeniedError, match="that is enough") as error:
            await waiting
        assert error.value.detail(ErrorInfo) == info
        assert await client.get_stock(GetStockRequest(item="four")) == GetStockResponse(count=4)
        calls[1].end(PermissionDeniedError("it is over"))
        assert await client.get_stock(GetStockRequest(item="four")) == GetStockResponse(count=4)
    assert diary.outcomes[0].status is Status.PERMISSION_DENIED


async def test_what_its_caller_handles_meanwhile_is_not_its_error(address: str) -> None:
    """A call that succeeds while an exception is being handled has succeeded."""
    diary = ClientDiary()
    async with connect(address, middleware=[diary]) as channel:
        client = InventoryClient(channel)
        try:
            int("no number")
        except ValueError:
            await client.get_stock(GetStockRequest(item="four"))
            assert [line async for line in client.list_stock(ListStockRequest())]
    assert diary.lines.count("ended OK") == 2
    assert diary.lines.count("out") == 2
