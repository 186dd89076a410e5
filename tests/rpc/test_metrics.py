"""Metrics of calls: gRFC A66's instruments and labels, as a Prometheus parser reads them."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from tests.rpc.peers import Serve, Stock

from inventory._gen.inventory.v1 import (
    GetStockRequest,
    ListStockRequest,
    PickItemsRequest,
)
from inventory.client import InventoryClient
from userservice.rpc import PermissionDeniedError, RpcError, Server, UnknownError, connect
from userservice.rpc.call import Call
from userservice.rpc.middleware import Middleware
from userservice.rpc.middleware.histogram import COUNT_BOUNDS, LATENCY_BOUNDS, SIZE_BOUNDS
from userservice.rpc.middleware.metrics import ClientMetrics, ServerMetrics
from userservice.rpc.testing import ChannelFor

PACKAGE = "inventory.v1.InventoryService"


class Read:
    """What a Prometheus server would know after a scrape."""

    def __init__(self, collector: Collector) -> None:
        registry = CollectorRegistry()
        registry.register(collector)
        text = generate_latest(registry).decode()
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        """The value of exactly one series."""
        [sample] = [
            sample
            for sample in self.samples
            if sample.name == name and dict(sample.labels) == labels
        ]
        return sample.value

    def labels(self, name: str) -> list[dict[str, str]]:
        """The labels of each series of this name."""
        return [dict(sample.labels) for sample in self.samples if sample.name == name]

    def bounds(self, family: str) -> list[float]:
        """The boundaries of a histogram."""
        bounds = [
            float(sample.labels["le"])
            for sample in self.families[family].samples
            if sample.name.endswith("_bucket")
        ]
        return bounds[: bounds.index(float("inf"))]


async def test_a_server_s_calls_are_measured(stock: Stock) -> None:
    """Those that began, how long they took, and their sizes, by method and status."""
    metrics = ServerMetrics([stock])
    async with ChannelFor([stock], middleware=[metrics]) as channel:
        client = InventoryClient(channel)
        request = GetStockRequest(item="four")
        for _ in range(3):
            await client.get_stock(request)
        with pytest.raises(UnknownError):
            await client.get_stock(GetStockRequest(item="fails"))
        picks = [PickItemsRequest(item="nut", count=n) for n in (10, 20)]
        assert [picked.left async for picked in client.pick_items(picks)] == [10, 20]
    read = Read(metrics)
    get = f"{PACKAGE}/GetStock"
    assert read.value("grpc_server_call_started_total", grpc_method=get) == 4
    ok = {"grpc_method": get, "grpc_status": "OK"}
    assert read.value("grpc_server_call_duration_seconds_count", **ok) == 3
    assert 0 < read.value("grpc_server_call_duration_seconds_sum", **ok) < 5
    size = "total_compressed_message_size_bytes"
    received = 3 * len(bytes(request))
    assert read.value(f"grpc_server_call_rcvd_{size}_sum", **ok) == received
    assert read.value(f"grpc_server_call_sent_{size}_sum", **ok) == 6
    assert read.value(f"grpc_server_call_sent_{size}_bucket", **ok, le="0.0") == 0
    assert read.value(f"grpc_server_call_sent_{size}_bucket", **ok, le="1024.0") == 3
    failed = {"grpc_method": get, "grpc_status": "UNKNOWN"}
    assert read.value("grpc_server_call_duration_seconds_count", **failed) == 1
    stream = {"grpc_method": f"{PACKAGE}/PickItems", "grpc_status": "OK"}
    received = sum(len(bytes(pick)) for pick in picks)
    assert read.value(f"grpc_server_call_rcvd_{size}_sum", **stream) == received


def test_the_boundaries_are_those_of_the_proposal() -> None:
    """gRFC A66, "Units": 41 for times, 14 for sizes, and 18 for numbers."""
    assert (len(LATENCY_BOUNDS), len(SIZE_BOUNDS), len(COUNT_BOUNDS)) == (41, 14, 18)
    assert (LATENCY_BOUNDS[1], LATENCY_BOUNDS[-1]) == (0.00001, 100)
    assert SIZE_BOUNDS[-1] == 4 * 2**30
    assert COUNT_BOUNDS[-1] == 65536
    for bounds in (LATENCY_BOUNDS, SIZE_BOUNDS, COUNT_BOUNDS):
        assert list(bounds) == sorted(set(bounds))


async def test_the_boundaries_are_shown(stock: Stock) -> None:
    """All of them, and infinity."""
    metrics = ServerMetrics([stock])
    async with ChannelFor([stock], middleware=[metrics]) as channel:
        await InventoryClient(channel).get_stock(GetStockRequest(item="four"))
    read = Read(metrics)
    assert read.bounds("grpc_server_call_duration_seconds") == list(LATENCY_BOUNDS)
    size = "grpc_server_call_sent_total_compressed_message_size_bytes"
    assert read.bounds(size) == list(SIZE_BOUNDS)


async def test_a_method_is_there_before_it_is_called(stock: Stock) -> None:
    """At 0: a counter that appears with its first call cannot be seen to rise."""
    read = Read(ServerMetrics([stock]))
    assert read.value("grpc_server_call_started_total", grpc_method=f"{PACKAGE}/GetStock") == 0
    assert read.value("userservice_calls_under_way", grpc_method=f"{PACKAGE}/GetStock") == 0


async def test_names_that_nobody_serves_are_one(stock: Stock, serve: Serve) -> None:
    """Or a client could fill the memory with them."""
    metrics = ServerMetrics([stock])
    peer = serve(middleware=[metrics])
    for number in range(50):
        peer.call(f"Nothing{number}")
    while metrics._calls.under_way or metrics._calls.started[("other",)] < 50:
        await asyncio.sleep(0)
    read = Read(metrics)
    assert read.value("grpc_server_call_started_total", grpc_method="other") == 50
    ended = read.labels("grpc_server_call_duration_seconds_count")
    assert ended == [{"grpc_method": "other", "grpc_status": "UNIMPLEMENTED"}]


async def test_what_is_under_way_is_known(stock: Stock) -> None:
    """By method; and what a client leaves is CANCELLED."""
    metrics = ServerMetrics([stock])
    get = f"{PACKAGE}/GetStock"
    async with ChannelFor([stock], middleware=[metrics]) as channel:
        call = asyncio.create_task(InventoryClient(channel).get_stock(GetStockRequest(item="slow")))
        while not stock.seen:
            await asyncio.sleep(0)
        assert Read(metrics).value("userservice_calls_under_way", grpc_method=get) == 1
        call.cancel()
        while metrics._calls.under_way:
            await asyncio.sleep(0)
    read = Read(metrics)
    cancelled = {"grpc_method": get, "grpc_status": "CANCELLED"}
    assert read.value("grpc_server_call_duration_seconds_count", **cancelled) == 1
    assert read.value("userservice_calls_under_way", grpc_method=get) == 0


async def test_a_refused_call_has_begun_and_ended(stock: Stock) -> None:
    """Also one that was refused before anybody could be told of it."""

    class Guard(Middleware):
        def before(self, call: Call) -> None:
            raise PermissionDeniedError("nobody")

    for order in ([0, 1], [1, 0]):
        metrics = ServerMetrics([stock])
        middleware: list[Middleware] = [[metrics, Guard()][number] for number in order]
        async with ChannelFor([stock], middleware=middleware) as channel:
            with pytest.raises(PermissionDeniedError):
                await InventoryClient(channel).get_stock(GetStockRequest())
        read = Read(metrics)
        get = f"{PACKAGE}/GetStock"
        assert read.value("grpc_server_call_started_total", grpc_method=get) == 1
        refused = {"grpc_method": get, "grpc_status": "PERMISSION_DENIED"}
        assert read.value("grpc_server_call_duration_seconds_count", **refused) == 1


async def test_a_channel_s_calls_are_measured(stock: Stock) -> None:
    """By method, target and status; its target has a scheme, as other clients write it."""
    server = Server([stock])
    await server.start("127.0.0.1", 0)
    target = server.addresses[0]
    metrics = ClientMetrics()
    async with connect(target, middleware=[metrics]) as channel:
        client = InventoryClient(channel)
        request = GetStockRequest(item="four")
        await client.get_stock(request)
        with pytest.raises(RpcError):
            await client.get_stock(GetStockRequest(item="slow"), timeout=0.01)
        assert [line async for line in client.list_stock(ListStockRequest())]
    await server.drain(0)
    read = Read(metrics)
    labels = {"grpc_method": f"{PACKAGE}/GetStock", "grpc_target": f"dns:///{target}"}
    assert read.value("grpc_client_attempt_started_total", **labels) == 2
    for name in ("grpc_client_attempt_duration_seconds", "grpc_client_call_duration_seconds"):
        for status in ("OK", "DEADLINE_EXCEEDED"):
            assert read.value(f"{name}_count", **labels, grpc_status=status) == 1
    size = "total_compressed_message_size_bytes"
    sent = read.value(f"grpc_client_attempt_sent_{size}_sum", **labels, grpc_status="OK")
    assert sent == len(bytes(request))
    received = read.value(f"grpc_client_attempt_rcvd_{size}_sum", **labels, grpc_status="OK")
    assert received == 2


async def test_a_unix_target_keeps_its_scheme() -> None:
    """It has one."""
    metrics = ClientMetrics()
    async with connect("unix:/no/such.sock", middleware=[metrics]) as channel:
        with pytest.raises(RpcError):
            await InventoryClient(channel).get_stock(GetStockRequest())
    [labels] = Read(metrics).labels("grpc_client_call_duration_seconds_count")
    assert labels["grpc_target"] == "unix:/no/such.sock"
    assert labels["grpc_status"] == "UNAVAILABLE"


async def test_a_client_of_very_many_servers_does_not_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From some number on, they are one."""
    monkeypatch.setattr("userservice.rpc.middleware.metrics._PAIRS_MAX", 3)
    metrics = ClientMetrics()
    for number in range(6):
        async with connect(f"unix:/no/such-{number}.sock", middleware=[metrics]) as channel:
            with pytest.raises(RpcError):
                await InventoryClient(channel).get_stock(GetStockRequest())
    read = Read(metrics)
    targets = [labels["grpc_target"] for labels in read.labels("grpc_client_attempt_started_total")]
    assert targets == [*(f"unix:/no/such-{number}.sock" for number in range(3)), "other"]
    other = {"grpc_method": "other", "grpc_target": "other"}
    assert read.value("grpc_client_attempt_started_total", **other) == 3
