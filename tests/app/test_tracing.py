"""Traces, as a collector gets them: from client to server to storage."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import grpc
import pytest
from click.testing import CliRunner
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from structlog.testing import capture_logs
from tests.app.collector import Collector, attributes_of, collecting
from tests.app.processes import Processes, address, stopped

from userservice import (
    CreateUserRequest,
    GetUserRequest,
    ListUsersRequest,
    User,
    UserServiceClient,
    WatchUserRequest,
)
from userservice.app.cli.serve import serve
from userservice.app.errors import ServeError
from userservice.app.serve import ServeSettings, running_server
from userservice.app.telemetry.settings import MetricsSettings, TracingSettings
from userservice.rpc import NotFoundError
from userservice.rpc.middleware.tracing import ClientTracing

SERVICE = "userservice.v1.UserService"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
NOBODY = "1b4e28ba-2fa1-41d2-883f-0016d3cca427"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans leave soon."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")


@pytest.fixture
def collector() -> Iterator[Collector]:
    """What receives the traces."""
    with collecting() as started:
        yield started


def settings_for(collector: Collector, ratio: float | None = None) -> ServeSettings:
    """Of a server whose calls are traced."""
    tracing = TracingSettings(collector.address, ratio)
    return ServeSettings(port=0, database="memory:", tracing=tracing)


def below(spans: list[Span], parent: Span | bytes) -> list[Span]:
    """The spans directly below another."""
    parent_id = parent if isinstance(parent, bytes) else parent.span_id
    return [span for span in spans if span.parent_span_id == parent_id]


async def test_a_trace_goes_from_the_client_to_the_storage(collector: Collector) -> None:
    """Each is below the one that asked for it; all reach the collector until the server ends."""
    kept = InMemorySpanExporter()
    ours = TracerProvider(shutdown_on_exit=False)
    ours.add_span_processor(SimpleSpanProcessor(kept))
    settings = replace(settings_for(collector), metrics=MetricsSettings())
    async with (
        running_server(settings) as server,
        UserServiceClient(server.addresses[0], middleware=[ClientTracing(ours)]) as client,
    ):
        user = await client.create_user(CreateUserRequest(email="a@example.com", name="Ann"))
        await client.get_user(GetUserRequest(id=user.id))
        await client.list_users(ListUsersRequest())
        async for _ in client.watch_user(WatchUserRequest(id=user.id)):
            break
    asked = {span.name.rpartition("/")[2]: span for span in kept.get_finished_spans()}
    storage = {
        "CreateUser": ["sqlite write"],
        "GetUser": ["sqlite point read"],
        "ListUsers": ["sqlite read"],
        "WatchUser": ["sqlite point read"],
    }
    for method, operations in storage.items():
        context = asked[method].context
        assert context is not None
        [served] = below(collector.spans, context.span_id.to_bytes(8))
        assert served.trace_id == context.trace_id.to_bytes(16)
        assert served.name == f"{SERVICE}/{method}"
        assert served.kind == Span.SPAN_KIND_SERVER
        found = below(collector.spans, served)
        assert [span.name for span in found] == operations
        assert {span.trace_id for span in found} == {served.trace_id}
        assert attributes_of(found[0])["db.system.name"] == "sqlite"
        assert served.start_time_unix_nano <= found[0].start_time_unix_nano
        assert found[0].end_time_unix_nano <= served.end_time_unix_nano
    # No health check, and nothing of the start: nobody asked for it.
    assert [span.name for span in collector.spans if span.name.startswith("sqlite")] == [
        operation for operations in storage.values() for operation in operations
    ]
    assert collector.resource["service.name"] == "userservice"
    assert collector.resource["service.version"]


async def test_grpcio_s_context_is_taken(collector: Collector) -> None:
    """With the headers that its instrumentation sends; and the status is in the span."""
    request = bytes(GetUserRequest(id=NOBODY))

    def call(target: str) -> grpc.StatusCode:
        with grpc.insecure_channel(target) as channel:
            get = channel.unary_unary(f"/{SERVICE}/GetUser")
            with pytest.raises(grpc.RpcError) as error:
                get(request, metadata=[("traceparent", f"00-{TRACE}-{SPAN}-01")], timeout=10)
            code: grpc.StatusCode = error.value.code()
            return code

    async with running_server(settings_for(collector)) as server:
        assert await asyncio.to_thread(call, server.addresses[0]) is grpc.StatusCode.NOT_FOUND
    [span] = below(collector.spans, bytes.fromhex(SPAN))
    assert span.trace_id == bytes.fromhex(TRACE)
    attributes = attributes_of(span)
    assert attributes["rpc.system"] == "grpc"
    assert attributes["rpc.service"] == SERVICE
    assert attributes["rpc.method"] == "GetUser"
    assert attributes["rpc.grpc.status_code"] == 5
    assert attributes["client.address"] == "127.0.0.1"
    assert span.status.code == Status.STATUS_CODE_UNSET  # the client's fault, not the server's
    assert [event.name for event in span.events] == ["message"]


async def test_the_ratio_counts_where_a_trace_begins(collector: Collector) -> None:
    """A caller that has decided is followed, either way."""
    async with (
        running_server(settings_for(collector, ratio=0.0)) as server,
        UserServiceClient(server.addresses[0]) as client,
    ):
        for metadata in ({}, {"traceparent": f"00-{TRACE}-{SPAN}-01"}):
            with pytest.raises(NotFoundError):
                await client.get_user(GetUserRequest(id=NOBODY), metadata=metadata)
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}


async def test_opentelemetry_s_variables_count(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collector, the name and what else is known of the service, and the sampler."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "people")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
    settings = ServeSettings(port=0, database="memory:", tracing=TracingSettings())
    async with (
        running_server(settings) as server,
        UserServiceClient(server.addresses[0]) as client,
    ):
        await client.list_users(ListUsersRequest())
    assert collector.resource["service.name"] == "people"
    assert collector.resource["deployment.environment"] == "test"
    seen = len(collector.spans)
    assert seen
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    async with (
        running_server(settings) as server,
        UserServiceClient(server.addresses[0]) as client,
    ):
        await client.list_users(ListUsersRequest())
    assert len(collector.spans) == seen


async def users_made(target: str, count: int) -> list[User]:
    """Make some users, one after the other."""
    async with UserServiceClient(target) as client:
        return [
            await client.create_user(CreateUserRequest(email=f"u{n}@example.com", name="Ann"))
            for n in range(count)
        ]


async def test_a_collector_that_does_not_answer_slows_nobody(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither calls nor, for long, the end; the spans that are lost are a line in the log."""
    monkeypatch.setattr("userservice.app.telemetry.tracing._FLUSH_S", 0.2)
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    collector.answers.clear()
    with capture_logs() as lines:
        async with asyncio.timeout(10), running_server(settings_for(collector)) as server:
            assert len(await users_made(server.addresses[0], 30)) == 30
    assert "the last spans are lost: the collector does not take them" in {
        line["event"] for line in lines
    }
    collector.answers.set()


async def test_a_collector_that_is_not_there_slows_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same."""
    monkeypatch.setattr("userservice.app.telemetry.tracing._FLUSH_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    tracing = TracingSettings(f"http://127.0.0.1:{port}/")
    settings = ServeSettings(port=0, database="memory:", tracing=tracing)
    async with asyncio.timeout(10), running_server(settings) as server:
        assert len(await users_made(server.addresses[0], 10)) == 10


async def test_a_collector_that_refuses_does_not_fill_the_log(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """However many batches are lost, it says so now and then."""
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
    monkeypatch.setattr("userservice.app.telemetry.tracing._SELDOM._next_at", 0.0)
    collector.status = 400
    async with running_server(settings_for(collector)) as server:
        assert len(await users_made(server.addresses[0], 5)) == 5
    assert len(collector.requests) == 10
    said = [record for record in caplog.records if record.name.startswith("opentelemetry")]
    assert [(record.levelname, "400" in record.getMessage()) for record in said] == [
        ("ERROR", True)
    ]


@pytest.fixture
def _not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is without the extra."""
    for name in ("sdk.resources", "exporter.otlp.proto.http.trace_exporter"):
        monkeypatch.setitem(sys.modules, f"opentelemetry.{name}", None)


@pytest.mark.usefixtures("_not_installed")
async def test_without_the_extra_it_does_not_start() -> None:
    """Where it was asked for: one line says what to install."""
    tracing = TracingSettings("http://127.0.0.1:4318")
    with pytest.raises(ServeError, match=r"traces need what pip install 'userservice\[otlp\]'"):
        async with running_server(ServeSettings(port=0, database="memory:", tracing=tracing)):
            pass


@pytest.mark.usefixtures("_not_installed")
async def test_without_the_extra_the_variables_of_a_machine_do_not_stop_it() -> None:
    """They are for every program; the log says what to install."""
    with capture_logs() as lines:
        settings = ServeSettings(port=0, database="memory:", tracing=TracingSettings())
        async with (
            running_server(settings) as server,
            UserServiceClient(server.addresses[0]) as client,
        ):
            await client.list_users(ListUsersRequest())
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == [
        "traces need what pip install 'userservice[otlp]' brings"
    ]


async def test_a_variable_of_opentelemetry_that_cannot_be_used_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In one line."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "0")
    tracing = TracingSettings("http://127.0.0.1:4318")
    with pytest.raises(ServeError, match=r"calls cannot be traced: max_queue_size must be"):
        async with running_server(ServeSettings(port=0, database="memory:", tracing=tracing)):
            pass


def test_the_service_sends_its_last_spans_when_it_stops(
    processes: Processes, collector: Collector
) -> None:
    """Those that waited for more of them; and the access log names them."""
    process = processes.start(
        *("--port=0", "--database=memory:", "--trace-ratio=1"),
        *("--access-log", "--log-format=json"),
        USERSERVICE_OTLP_ENDPOINT=collector.address,
        OTEL_BSP_SCHEDULE_DELAY="60000",
    )
    target = address(process)
    asyncio.run(users_made(target, 3))
    assert collector.spans == []
    _, logged = stopped(process, signal.SIGTERM)
    calls = [line for line in map(json.loads, logged.splitlines()) if line["event"] == "call"]
    assert [(call["trace_id"], call["span_id"]) for call in calls] == [
        (span.trace_id.hex(), span.span_id.hex())
        for span in collector.spans
        if span.kind == Span.SPAN_KIND_SERVER
    ]
    names = [span.name for span in collector.spans]
    assert names.count(f"{SERVICE}/CreateUser") == 3
    assert names.count("sqlite write") == 3


def chosen(*arguments: str, monkeypatch: pytest.MonkeyPatch, **environment: str) -> Any:
    """Return what the command line asks for, or the mistake in it."""
    asked: list[ServeSettings] = []

    async def keep(settings: ServeSettings, _ready: object) -> None:
        asked.append(settings)

    monkeypatch.setattr("userservice.app.cli.serve.serve_users", keep)
    monkeypatch.setattr("userservice.app.cli.serve.configure_logs", lambda *_: None)
    outcome = CliRunner().invoke(serve, arguments, env=environment)
    return asked[0].tracing if asked else outcome.output


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        ([], {}, None),
        (["--trace-ratio=0.5"], {}, None),
        (
            ["--otlp-endpoint=http://a:1", "--trace-ratio=0.5"],
            {},
            TracingSettings("http://a:1", 0.5),
        ),
        ([], {"USERSERVICE_OTLP_ENDPOINT": "https://a"}, TracingSettings("https://a")),
        ([], {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a"}, TracingSettings()),
        ([], {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a"}, TracingSettings()),
        (
            ["--otlp-endpoint=http://a"],
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://b"},
            TracingSettings("http://a"),
        ),
    ],
)
def test_what_is_traced_is_an_option_or_a_variable(
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    environment: dict[str, str],
    expected: TracingSettings | None,
) -> None:
    """Ours, or OpenTelemetry's own, of which the exporter reads the rest."""
    assert chosen(*arguments, monkeypatch=monkeypatch, **environment) == expected


@pytest.mark.parametrize(
    "url", ["collector:4318", "ftp://ann:hunter2@collector", "http://", "http://[", "http://x:0"]
)
def test_a_url_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Without the URL itself: it may hold a password."""
    said = chosen(f"--otlp-endpoint={url}", monkeypatch=monkeypatch)
    assert "Invalid value for '--otlp-endpoint'" in said
    assert "such as http://127.0.0.1:4318" in said
    assert "hunter2" not in said
