"""The server serves any betterproto2 service: handlers, errors, metadata, deadlines, goodbyes."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from grpclib.events import RecvRequest, listen
from grpclib.exceptions import GRPCError

from inventory._gen.inventory.v1 import (
    GetStockRequest,
    GetStockResponse,
    InventoryServiceBase,
    ListStockRequest,
    ListStockResponse,
    PickItemsRequest,
    ReceiveDeliveriesRequest,
)
from inventory.client import InventoryClient
from userservice.rpc import (
    DeadlineExceededError,
    FailedPreconditionError,
    NotFoundError,
    RpcError,
    Server,
    UnavailableError,
    UnimplementedError,
    UnknownError,
    connect,
    current_call,
    reply_metadata,
)


async def test_all_cardinalities_work(inventory: InventoryClient) -> None:
    """Client streaming, unary, bidirectional and server streaming, one after the other."""
    deliveries = [ReceiveDeliveriesRequest(item="bolt", count=n) for n in (1, 2, 3)]
    assert (await inventory.receive_deliveries(deliveries)).count == 6
    assert (await inventory.get_stock(GetStockRequest(item="bolt"))).count == 6
    picks = [PickItemsRequest(item="bolt", count=n) for n in (1, 2)]
    assert [left.left async for left in inventory.pick_items(picks)] == [5, 3]
    lines = [line async for line in inventory.list_stock(ListStockRequest())]
    assert lines == [ListStockResponse(item="bolt", count=3)]


async def test_an_error_in_a_stream_comes_after_its_messages(inventory: InventoryClient) -> None:
    """What was answered before the fault arrives; then the status."""
    await inventory.receive_deliveries([ReceiveDeliveriesRequest(item="nut", count=5)])
    picks = [PickItemsRequest(item="nut", count=n) for n in (2, 9)]
    left = []
    with pytest.raises(FailedPreconditionError):  # noqa: PT012  # the messages before count
        async for picked in inventory.pick_items(picks):
            left.append(picked.left)  # noqa: PERF401  # it ends with an error
    assert left == [3]


class Probe(InventoryServiceBase):
    """A service whose handlers the tests exchange."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def list_stock(self, message: ListStockRequest) -> AsyncIterator[ListStockResponse]:
        try:
            while True:
                yield ListStockResponse(item="x" * 10_000)
        finally:
            self.closed.set()


class Domain(Exception):  # noqa: N818  # a test's own
    """An error that the domain knows."""


def domain_status(error: Exception) -> RpcError | None:
    """Say which status the domain's error has."""
    return NotFoundError("mapped") if isinstance(error, Domain) else None


@pytest.fixture
def probe() -> Probe:
    """The service under test."""
    return Probe()


@pytest.fixture
async def probed(probe: Probe) -> AsyncIterator[InventoryClient]:
    """A client of the service under test."""
    server = Server([probe], error_mapping=domain_status)
    await server.start("127.0.0.1", 0)
    async with server, connect(server.addresses[0]) as channel:
        yield InventoryClient(channel, timeout_s=10)


def handler(probe: Probe, get_stock: object) -> None:
    """Exchange the unary handler."""
    probe.get_stock = get_stock  # type: ignore[method-assign,assignment]  # what the fixture is for


async def test_the_domain_s_errors_get_their_status(probe: Probe, probed: InventoryClient) -> None:
    """error_mapping says which status an exception of the domain ends a call with."""

    async def get_stock(_: GetStockRequest) -> GetStockResponse:
        raise Domain

    handler(probe, get_stock)
    with pytest.raises(NotFoundError, match="mapped"):
        await probed.get_stock(GetStockRequest())


async def test_an_unknown_error_is_logged_and_hidden(
    probe: Probe, probed: InventoryClient, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller gets UNKNOWN without the exception's text; the log has it."""

    async def get_stock(_: GetStockRequest) -> GetStockResponse:
        raise ValueError("the secret of the house")

    handler(probe, get_stock)
    with caplog.at_level(logging.ERROR), pytest.raises(UnknownError) as hidden:
        await probed.get_stock(GetStockRequest())
    assert "secret" not in str(hidden.value)
    assert "the secret of the house" in caplog.text


async def test_a_missing_handler_is_unimplemented(probed: InventoryClient) -> None:
    """A method that nobody wrote says so."""
    with pytest.raises(UnimplementedError):
        await probed.get_stock(GetStockRequest())


async def test_a_handler_sees_its_call(probe: Probe, probed: InventoryClient) -> None:
    """Metadata in order, with repeated and binary keys; deadline, peer and method."""
    seen: list[object] = []

    async def get_stock(_: GetStockRequest) -> GetStockResponse:
        call = current_call()
        remaining = call.time_remaining_s
        assert remaining is not None
        assert call.deadline is not None
        seen.extend(
            [
                call.method,
                call.peer.rpartition(":")[0],
                3 < remaining <= 4,
                call.metadata.getall("x-many"),
                call.metadata["x-bytes-bin"],
            ]
        )
        return GetStockResponse()

    handler(probe, get_stock)
    await probed.get_stock(
        GetStockRequest(),
        timeout=4,
        metadata=[("x-many", "1"), ("x-bytes-bin", b"\x00\xff"), ("x-many", "2")],
    )
    assert seen == [
        "/inventory.v1.InventoryService/GetStock",
        "127.0.0.1",
        True,
        ["1", "2"],
        b"\x00\xff",
    ]


async def test_a_call_without_a_deadline_has_none(probe: Probe, probed: InventoryClient) -> None:
    """No limit set, no time remaining to tell."""
    seen: list[object] = []

    async def get_stock(_: GetStockRequest) -> GetStockResponse:
        seen.extend([current_call().deadline, current_call().time_remaining_s])
        return GetStockResponse()

    handler(probe, get_stock)
    client = InventoryClient(probed.channel)
    await client.get_stock(GetStockRequest())
    assert seen == [None, None]


async def test_a_handler_sets_response_metadata(probe: Probe, probed: InventoryClient) -> None:
    """Initial and trailing metadata reach the client, of a good call and of a failed one."""

    async def get_stock(message: GetStockRequest) -> GetStockResponse:
        call = current_call()
        call.initial_metadata.add("x-first", "1")
        call.trailing_metadata.add("x-last", "2")
        call.trailing_metadata.add("x-last", "3")
        call.trailing_metadata.add("x-last-bin", b"\x00")
        if message.item:
            raise NotFoundError("no")
        return GetStockResponse()

    handler(probe, get_stock)
    with reply_metadata() as reply:
        await probed.get_stock(GetStockRequest())
    assert reply.initial["x-first"] == "1"
    assert reply.trailing.getall("x-last") == ["2", "3"]
    assert reply.trailing["x-last-bin"] == b"\x00"
    with pytest.raises(NotFoundError) as failed:
        await probed.get_stock(GetStockRequest(item="x"))
    assert failed.value.trailing_metadata.getall("x-last") == ["2", "3"]


async def test_there_is_no_current_call_outside_of_a_handler() -> None:
    """The error says what is wrong."""
    with pytest.raises(LookupError, match="outside of a handler"):
        current_call()


async def test_each_call_has_its_own_context(probe: Probe, probed: InventoryClient) -> None:
    """Calls side by side do not see each other's metadata."""
    both = asyncio.Barrier(2)

    async def get_stock(_: GetStockRequest) -> GetStockResponse:
        await both.wait()
        return GetStockResponse(count=int(str(current_call().metadata["x-number"])))

    handler(probe, get_stock)
    replies = await asyncio.gather(
        *(probed.get_stock(GetStockRequest(), metadata={"x-number": str(n)}) for n in (1, 2))
    )
    assert [reply.count for reply in replies] == [1, 2]


async def test_a_deadline_cancels_the_handler(probe: Probe, probed: InventoryClient) -> None:
    """The client gets DEADLINE_EXCEEDED, and the handler can clean up."""
    cleaned = asyncio.Event()

    async def get_stock(message: GetStockRequest) -> GetStockResponse:
        if message.item:
            return GetStockResponse()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()
        raise AssertionError

    handler(probe, get_stock)
    await probed.get_stock(GetStockRequest(item="connects"))
    with pytest.raises(DeadlineExceededError):
        await probed.get_stock(GetStockRequest(), timeout=0.5)
    async with asyncio.timeout(5):
        await cleaned.wait()


async def test_a_client_that_leaves_a_stream_closes_its_generator(
    probe: Probe, probed: InventoryClient
) -> None:
    """Also while the server is held up by a full window: the handler's finally runs at once."""
    lines = probed.list_stock(ListStockRequest())
    await anext(lines)
    await lines.aclose()  # type: ignore[attr-defined]  # an async generator
    async with asyncio.timeout(5):
        await probe.closed.wait()


async def test_grpclib_s_events_are_heard(probe: Probe) -> None:
    """The server is a grpclib Server: its events can be listened to."""
    server = Server([probe])
    heard: list[str] = []

    async def on_request(event: RecvRequest) -> None:
        heard.append(event.method_name)

    listen(server, RecvRequest, on_request)
    await server.start("127.0.0.1", 0)
    async with server, connect(server.addresses[0]) as channel:
        with pytest.raises(GRPCError):
            await InventoryClient(channel).get_stock(GetStockRequest())
    assert heard == ["/inventory.v1.InventoryService/GetStock"]


async def test_addresses_name_what_is_bound(probe: Probe, tmp_path: Path) -> None:
    """IPv4, IPv6 where there is one, and Unix sockets; clients can call all of them."""
    families: list[dict[str, object]] = [{"host": "127.0.0.1", "port": 0}]
    families.append({"path": f"{tmp_path}/s.sock"})
    if socket.has_ipv6 and _has_loopback6():
        families.append({"host": "::1", "port": 0})
    for family in families:
        server = Server([probe])
        await server.start(**family)  # type: ignore[arg-type]  # host and port, or path
        async with server, connect(server.addresses[0]) as channel:
            with pytest.raises(UnimplementedError):
                await InventoryClient(channel).get_stock(GetStockRequest())


def _has_loopback6() -> bool:
    with socket.socket(socket.AF_INET6) as probe_socket:
        try:
            probe_socket.bind(("::1", 0))
        except OSError:
            return False
    return True


async def test_what_came_before_the_server_closed_is_not_lost(probe: Probe) -> None:
    """Messages that were received are read first; then the call is UNAVAILABLE."""
    sent = asyncio.Event()

    async def list_stock(_: ListStockRequest) -> AsyncIterator[ListStockResponse]:
        for number in range(3):
            yield ListStockResponse(count=number)
        sent.set()
        await asyncio.Event().wait()

    probe.list_stock = list_stock  # type: ignore[method-assign,assignment]  # a double
    server = Server([probe])
    await server.start("127.0.0.1", 0)
    counts = []
    async with connect(server.addresses[0]) as channel:
        lines = InventoryClient(channel).list_stock(ListStockRequest())
        counts.append((await anext(lines)).count)
        await sent.wait()
        server.close()
        await server.wait_closed()
        with pytest.raises(UnavailableError):  # noqa: PT012  # the messages before count
            async for line in lines:
                counts.append(line.count)  # noqa: PERF401  # it ends with an error
    assert counts == [0, 1, 2]


async def test_closing_says_goodbye_and_cancels_what_runs(probe: Probe) -> None:
    """Clients get UNAVAILABLE, handlers clean up undisturbed, and closing does not hang."""
    started, cleaned = asyncio.Event(), asyncio.Event()

    async def get_stock(_: GetStockRequest) -> GetStockResponse:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            cleaned.set()
        raise AssertionError

    handler(probe, get_stock)
    server = Server([probe])
    await server.start("127.0.0.1", 0)
    async with connect(server.addresses[0]) as channel:
        call = asyncio.create_task(InventoryClient(channel).get_stock(GetStockRequest()))
        await started.wait()
        server.close()
        async with asyncio.timeout(5):
            await server.wait_closed()
        with pytest.raises(UnavailableError):
            await call
    assert cleaned.is_set()
