"""Traces of calls: spans as OpenTelemetry's conventions have them, and contexts in and out."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from tests.rpc.peers import Serve, Stock

from inventory._gen.inventory.v1 import (
    GetStockRequest,
    GetStockResponse,
    ListStockRequest,
    PickItemsRequest,
)
from inventory.client import InventoryClient
from userservice.rpc import (
    Call,
    CancelledError,
    InternalError,
    NotFoundError,
    RpcError,
    Server,
    UnavailableError,
    UnknownError,
    connect,
    current_call,
)
from userservice.rpc.client_call import ClientCall
from userservice.rpc.middleware import ClientMiddleware, Middleware
from userservice.rpc.middleware.tracing import ClientTracing, ServerTracing
from userservice.rpc.testing import ChannelFor

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"


class Spans:
    """A provider that keeps the spans."""

    def __init__(self) -> None:
        self._kept = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._kept))

    @property
    def ended(self) -> list[ReadableSpan]:
        """Those that have ended, in that order."""
        return list(self._kept.get_finished_spans())

    def of_kind(self, kind: trace.SpanKind) -> list[ReadableSpan]:
        """Those of clients, or of servers."""
        return [span for span in self.ended if span.kind is kind]

    async def until(self, count: int) -> list[ReadableSpan]:
        """Wait for so many to end."""
        async with asyncio.timeout(5):
            while len(self.ended) < count:
                await asyncio.sleep(0)
        return self.ended


@pytest.fixture
def spans() -> Spans:
    """The spans of a test."""
    return Spans()


@pytest.fixture
async def address(stock: Stock, spans: Spans) -> AsyncIterator[str]:
    """Where the stock is served, and traced."""
    server = Server([stock], middleware=[ServerTracing([stock], spans.provider)])
    await server.start("127.0.0.1", 0)
    yield server.addresses[0]
    await server.drain(0)


def hexadecimal(span: ReadableSpan) -> tuple[str, str | None]:
    """A span's trace, and its parent, as they go over the wire."""
    assert span.context is not None
    parent = None if span.parent is None else trace.format_span_id(span.parent.span_id)
    return trace.format_trace_id(span.context.trace_id), parent


def events(span: ReadableSpan) -> list[tuple[object, object]]:
    """Which messages a span tells of."""
    return [
        (
            (event.attributes or {}).get("rpc.message.type"),
            (event.attributes or {}).get("rpc.message.id"),
        )
        for event in span.events
        if event.name == "message"
    ]


async def test_a_call_is_a_span_of_each_side(spans: Spans, address: str) -> None:
    """The server's is below the client's; both have the names of the conventions."""
    host, _, port = address.partition(":")
    async with connect(address, middleware=[ClientTracing(spans.provider)]) as channel:
        await InventoryClient(channel).get_stock(GetStockRequest(item="four"))
    await spans.until(2)
    [client] = spans.of_kind(trace.SpanKind.CLIENT)
    [server] = spans.of_kind(trace.SpanKind.SERVER)
    assert client.name == server.name == "inventory.v1.InventoryService/GetStock"
    assert client.context is not None
    assert hexadecimal(server) == (
        trace.format_trace_id(client.context.trace_id),
        trace.format_span_id(client.context.span_id),
    )
    assert client.parent is None
    common = {
        "rpc.system": "grpc",
        "rpc.service": "inventory.v1.InventoryService",
        "rpc.method": "GetStock",
        "rpc.grpc.status_code": 0,
    }
    assert client.attributes == common | {"server.address": host, "server.port": int(port)}
    client_port = (server.attributes or {})["client.port"]
    assert server.attributes == common | {"client.address": host, "client.port": client_port}
    assert events(client) == [("SENT", 1), ("RECEIVED", 1)]
    assert events(server) == [("RECEIVED", 1), ("SENT", 1)]
    assert client.status.status_code is server.status.status_code is trace.StatusCode.UNSET


async def test_a_unix_socket_has_no_port(spans: Spans, stock: Stock, tmp_path: Path) -> None:
    """Its path is the server's address; the client has none."""
    path = f"{tmp_path}/stock.sock"
    server = Server([stock], middleware=[ServerTracing([stock], spans.provider)])
    await server.start(path=path)
    async with connect(f"unix:{path}", middleware=[ClientTracing(spans.provider)]) as channel:
        await InventoryClient(channel).get_stock(GetStockRequest())
    await server.drain(0)
    of_client, of_server = (
        spans.of_kind(kind)[0].attributes or {}
        for kind in (trace.SpanKind.CLIENT, trace.SpanKind.SERVER)
    )
    assert of_client["server.address"] == path
    assert of_client["network.transport"] == of_server["network.transport"] == "unix"
    assert "client.address" not in of_server


async def test_streams_are_spans_from_their_begin_to_their_end(spans: Spans, address: str) -> None:
    """With an event for each message."""
    async with connect(address, middleware=[ClientTracing(spans.provider)]) as channel:
        picks = [PickItemsRequest(count=n) for n in (1, 2)]
        assert [picked.left async for picked in InventoryClient(channel).pick_items(picks)]
    await spans.until(2)
    [server] = spans.of_kind(trace.SpanKind.SERVER)
    assert sorted(events(server)) == [
        ("RECEIVED", 1),
        ("RECEIVED", 2),
        ("SENT", 1),
        ("SENT", 2),
    ]
    [client] = spans.of_kind(trace.SpanKind.CLIENT)
    assert len(events(client)) == 4


async def test_a_client_s_span_is_below_the_caller_s_and_leaves_it_alone(
    spans: Spans, address: str
) -> None:
    """While a stream is read, and after one that was left, the caller's span is the current one."""
    tracer = spans.provider.get_tracer("test")
    async with connect(address, middleware=[ClientTracing(spans.provider)]) as channel:
        client = InventoryClient(channel)
        with tracer.start_as_current_span("mine") as mine:
            lines = client.list_stock(ListStockRequest())
            await anext(lines)
            assert trace.get_current_span() is mine
            del lines
            await client.get_stock(GetStockRequest())
            assert trace.get_current_span() is mine
        assert trace.get_current_span() is trace.INVALID_SPAN
    await spans.until(5)
    for span in spans.of_kind(trace.SpanKind.CLIENT):
        assert span.parent is not None
        assert span.parent.span_id == mine.get_span_context().span_id


async def test_a_handler_s_calls_are_below_its_own(spans: Spans, stock: Stock) -> None:
    """A trace goes through services."""

    class Front(Stock):
        async def get_stock(self, message: GetStockRequest) -> GetStockResponse:
            assert current_call().metadata["traceparent"]
            return await behind.get_stock(message)

    inner = Server([stock], middleware=[ServerTracing([stock], spans.provider)])
    await inner.start("127.0.0.1", 0)
    tracing = ClientTracing(spans.provider)
    front = Front()
    async with connect(inner.addresses[0], middleware=[tracing]) as to_inner:
        behind = InventoryClient(to_inner)
        outer = Server([front], middleware=[ServerTracing([front], spans.provider)])
        await outer.start("127.0.0.1", 0)
        async with connect(outer.addresses[0], middleware=[tracing]) as channel:
            await InventoryClient(channel).get_stock(GetStockRequest())
        await outer.drain(0)
    await inner.drain(0)
    by_id = {span.context.span_id: span for span in await spans.until(4) if span.context}
    [root] = [span for span in by_id.values() if span.parent is None]
    chain = [root]
    while below := [
        span
        for span in by_id.values()
        if span.parent and chain[-1].context and span.parent.span_id == chain[-1].context.span_id
    ]:
        chain += below
    kinds = [span.kind.name for span in chain]
    assert kinds == ["CLIENT", "SERVER", "CLIENT", "SERVER"]
    assert len({hexadecimal(span)[0] for span in chain}) == 1


async def test_a_context_that_comes_is_taken(spans: Spans, stock: Stock) -> None:
    """As the W3C writes it; what is none begins a trace of its own, and nothing is logged."""
    tracing = ServerTracing([stock], spans.provider)
    async with ChannelFor([stock], middleware=[tracing]) as channel:
        client = InventoryClient(channel)
        with spans.provider.get_tracer("test").start_as_current_span("not the server's"):
            await client.get_stock(
                GetStockRequest(),
                metadata=[
                    ("traceparent", TRACEPARENT),
                    ("tracestate", "a=1"),
                    ("tracestate", "b=2"),
                ],
            )
            await client.get_stock(GetStockRequest())
    first, second, _ = spans.ended
    assert hexadecimal(first) == (TRACE, SPAN)
    assert first.context is not None
    assert dict(first.context.trace_state) == {"a": "1", "b": "2"}
    assert second.parent is None
    assert hexadecimal(second)[0] != TRACE


@pytest.mark.parametrize(
    "metadata",
    [
        [("traceparent", "")],
        [("traceparent", "nonsense")],
        [("traceparent", "00-" + "0" * 32 + "-" + "0" * 16 + "-01")],
        [("traceparent", TRACEPARENT + "-more")],
        [("traceparent", "ff" + TRACEPARENT[2:])],
        [("traceparent", TRACEPARENT + "x" * 5_000)],
        [("traceparent", TRACEPARENT), ("tracestate", "=,;=x" * 50)],
        [("traceparent", TRACEPARENT), ("tracestate", "a=" + "1" * 9_000)],
        [("traceparent", TRACEPARENT), ("tracestate", "a=1,a=2")],
    ],
    ids=lambda metadata: metadata[-1][1][:20],
)
async def test_a_hostile_context_does_no_harm(
    spans: Spans, stock: Stock, caplog: pytest.LogCaptureFixture, metadata: list[tuple[str, str]]
) -> None:
    """The call is served, and traced; and no client can fill the log."""
    tracing = ServerTracing([stock], spans.provider)
    async with ChannelFor([stock], middleware=[tracing]) as channel:
        client = InventoryClient(channel)
        await client.get_stock(GetStockRequest(item="four"), metadata=metadata)
    assert len(spans.ended) == 1
    said = [record for record in caplog.records if record.name.startswith("opentelemetry")]
    assert said == []


async def test_a_method_that_nobody_serves_has_no_name(
    spans: Spans, stock: Stock, serve: Serve
) -> None:
    """Its name is the client's; spans have few names."""
    serve(middleware=[ServerTracing([stock], spans.provider)]).call("Whatever")
    [span] = await spans.until(1)
    assert span.name == "_OTHER"
    assert span.attributes is not None
    assert span.attributes["rpc.method"] == "_OTHER"
    assert span.status.status_code is trace.StatusCode.ERROR


@pytest.mark.parametrize(
    ("error", "server_s", "client_s"),
    [
        (NotFoundError("no such item"), False, True),
        (InternalError("broken"), True, True),
        (UnavailableError("later"), True, True),
        (CancelledError("no"), False, True),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_status_is_an_error_by_the_conventions(
    spans: Spans, error: RpcError, server_s: bool, client_s: bool
) -> None:
    """A server's span only where it was the server's fault; a client's always."""

    class Failing(Stock):
        async def get_stock(self, message: GetStockRequest) -> GetStockResponse:
            raise error

    failing = Failing()
    server = Server([failing], middleware=[ServerTracing([failing], spans.provider)])
    await server.start("127.0.0.1", 0)
    async with connect(server.addresses[0], middleware=[ClientTracing(spans.provider)]) as channel:
        with pytest.raises(type(error)):
            await InventoryClient(channel).get_stock(GetStockRequest())
    await server.drain(0)
    await spans.until(2)
    for kind, is_error in ((trace.SpanKind.SERVER, server_s), (trace.SpanKind.CLIENT, client_s)):
        [span] = spans.of_kind(kind)
        assert span.attributes is not None
        assert span.attributes["rpc.grpc.status_code"] == error.status.value
        assert (span.status.status_code is trace.StatusCode.ERROR) is is_error
        assert span.status.description == (error.message if is_error else None)
        assert span.events[-1:] == () or span.events[-1].name == "message"


async def test_what_nobody_expected_is_an_event(spans: Spans, stock: Stock) -> None:
    """With its traceback; the client is told an id only."""
    tracing = ServerTracing([stock], spans.provider)
    async with ChannelFor([stock], middleware=[tracing]) as channel:
        with pytest.raises(UnknownError):
            await InventoryClient(channel).get_stock(GetStockRequest(item="fails"))
    [span] = spans.ended
    event = span.events[-1]
    assert event.name == "exception"
    assert event.attributes is not None
    assert event.attributes["exception.type"] == "LookupError"


async def test_every_end_ends_the_span(spans: Spans, stock: Stock, address: str) -> None:
    """A deadline, a caller that leaves: no span is kept."""
    tracing = ClientTracing(spans.provider)
    async with connect(address, middleware=[tracing]) as channel:
        client = InventoryClient(channel)
        with pytest.raises(RpcError):
            await client.get_stock(GetStockRequest(item="slow"), timeout=0.05)
        leaving = asyncio.create_task(client.get_stock(GetStockRequest(item="slow")))
        while stock.seen.count("slow") < 2:
            await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait([leaving])
        await spans.until(4)
    codes = [
        (span.attributes or {})["rpc.grpc.status_code"]
        for span in spans.of_kind(trace.SpanKind.CLIENT)
    ]
    assert codes == [4, 1]
    assert tracing._calls == {}


async def test_the_span_is_the_current_one_in_the_handler_and_further_in(
    spans: Spans, stock: Stock
) -> None:
    """So that logs can name it; not outside of the call."""
    seen: list[trace.Span] = []

    class Inner(Middleware):
        def before(self, call: Call) -> None:
            seen.append(trace.get_current_span())

    async with ChannelFor(
        [stock], middleware=[ServerTracing([stock], spans.provider), Inner()]
    ) as channel:
        await InventoryClient(channel).get_stock(GetStockRequest())
    [span] = spans.ended
    assert [one.get_span_context() for one in seen] == [span.context]
    assert trace.get_current_span() is trace.INVALID_SPAN


async def test_without_a_provider_contexts_are_handed_on(stock: Stock) -> None:
    """As OpenTelemetry wants it: whoever does not trace breaks no trace."""
    sent: list[object] = []

    class Reader(ClientMiddleware):
        def before(self, call: ClientCall) -> None:
            sent.append(call.metadata.get("traceparent"))

    class Front(Stock):
        async def get_stock(self, message: GetStockRequest) -> GetStockResponse:
            return await behind.get_stock(message)

    inner = Server([stock])
    await inner.start("127.0.0.1", 0)
    front = Front()
    async with connect(inner.addresses[0], middleware=[ClientTracing(), Reader()]) as to_inner:
        behind = InventoryClient(to_inner)
        async with ChannelFor([front], middleware=[ServerTracing([front])]) as channel:
            await InventoryClient(channel).get_stock(
                GetStockRequest(), metadata={"traceparent": TRACEPARENT}
            )
            await InventoryClient(channel).get_stock(GetStockRequest())
    await inner.drain(0)
    assert sent == [TRACEPARENT, None]


async def test_what_is_not_sampled_leaves_nothing(stock: Stock) -> None:
    """Neither a span, nor anything that is kept."""
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    tracing = ServerTracing([stock], provider)
    async with ChannelFor([stock], middleware=[tracing]) as channel:
        await InventoryClient(channel).get_stock(GetStockRequest())
        assert tracing._calls == {}
