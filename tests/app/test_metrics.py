"""The page for Prometheus: what it has, what it refuses, and that it holds up nobody."""

import asyncio
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from structlog.testing import capture_logs
from tests.app.processes import PATIENCE_S, Processes, address, stopped

from userservice import CreateUserRequest, GetUserRequest, ListUsersRequest, UserServiceClient
from userservice.app.errors import ServeError
from userservice.app.serve import ServeSettings, running_server
from userservice.app.telemetry.page import metrics_page
from userservice.app.telemetry.settings import MetricsSettings
from userservice.rpc import NotFoundError
from userservice.rpc.loop_lag import measured_lag
from userservice.rpc.middleware.histogram import LATENCY_BOUNDS, Histogram
from userservice.rpc.middleware.metrics import ClientMetrics

ROOT = Path(__file__).parents[2]
SETTINGS = ServeSettings(port=0, database="memory:", metrics=MetricsSettings())
METHOD = "userservice.v1.UserService"


@asynccontextmanager
async def served(settings: ServeSettings = SETTINGS) -> AsyncIterator[tuple[str, str]]:
    """A server in this process: where it serves, and where its metrics are."""
    with capture_logs() as lines:
        async with running_server(settings) as server:
            [shown] = [line["addresses"] for line in lines if line["event"] == "metrics"]
            yield server.addresses[0], shown[0]


async def visit(page: str, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send a request to a page, and return the status, the fields, and the body."""
    host, _, port = page.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    line, *fields = head.decode("ascii").split("\r\n")
    return int(line.split()[1]), dict(field.split(": ", 1) for field in fields), body


async def scrape(page: str) -> dict[str, float]:
    """Return what a Prometheus server reads: each series with its value."""
    status, fields, body = await visit(page, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status == 200
    assert fields["Content-Type"].startswith("text/plain; version=0.0.4")
    return series_of(body.decode())


def series_of(text: str) -> dict[str, float]:
    """Return each series of a page with its value."""
    return {
        sample.name + "".join(f" {key}={value}" for key, value in sorted(sample.labels.items())): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_a_page_tells_of_calls_connections_storage_and_the_process() -> None:
    """All that is promised, with values that fit what was done."""
    async with served() as (target, page), UserServiceClient(target) as client:
        user = await client.create_user(CreateUserRequest(email="ann@example.com", name="Ann"))
        for _ in range(3):
            await client.get_user(GetUserRequest(id=user.id))
        with pytest.raises(NotFoundError):
            await client.get_user(GetUserRequest(id="1b4e28ba-2fa1-41d2-883f-0016d3cca427"))
        await client.list_users(ListUsersRequest())
        read = await scrape(page)
    get = f"grpc_method={METHOD}/GetUser"
    assert read[f"grpc_server_call_started_total {get}"] == 4
    assert read[f"grpc_server_call_duration_seconds_count {get} grpc_status=OK"] == 3
    assert read[f"grpc_server_call_duration_seconds_count {get} grpc_status=NOT_FOUND"] == 1
    assert read["grpc_server_call_started_total grpc_method=other"] == 0
    assert read["userservice_connections"] == 1
    assert read["userservice_connections_made_total"] == 1
    assert read["userservice_connections_refused_total"] == 0
    operation = "userservice_storage_operation_duration_seconds_count operation"
    assert read[f"{operation}=point_read"] == 4
    assert read[f"{operation}=read"] == 1
    assert read[f"{operation}=write"] >= 2  # the user, and a secret
    assert read["userservice_storage_commit_duration_seconds_count"] >= 2
    assert read["userservice_storage_commit_writes_sum"] >= 2
    assert read["userservice_storage_operations_under_way operation=write"] == 0
    assert read["userservice_loop_lag_seconds_count"] >= 0
    assert read["process_resident_memory_bytes"] > 0
    assert [name for name in read if name.startswith("userservice_info version=")]
    assert [name for name in read if name.startswith("python_info ")]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"GET /metrics/ HTTP/1.1\r\n\r\n", 404),
        (b"GET /favicon.ico HTTP/1.0\r\n\r\n", 404),
        (b"GET /metrics?name=x HTTP/1.1\r\n\r\n", 200),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 405),
        (b"PRI * HTTP/2.0\r\n\r\n", 404),
        (b"\r\n\r\n", 400),
        (b"GET /metrics\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 5_000 + b"\r\n", 400),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nX: \xff\xfe\r\n\r\n", 200),
    ],
    ids=lambda value: value[:24] if isinstance(value, bytes) else value,
)
async def test_only_the_page_is_there(request_: bytes, expected: int) -> None:
    """Another path is 404, another method 405, and what is no request 400."""
    async with metrics_page(CollectorRegistry(), "127.0.0.1", 0) as [page]:
        status, fields, body = await visit(page, request_)
    assert status == expected
    assert int(fields["Content-Length"]) == len(body)
    assert (expected == 405) == ("Allow" in fields)


async def test_head_has_no_body() -> None:
    """But its length."""
    async with served() as (_, page):
        status, fields, body = await visit(page, b"HEAD /metrics HTTP/1.1\r\n\r\n")
    assert status == 200
    assert int(fields["Content-Length"]) > 1_000
    assert body == b""


async def test_visitors_that_say_nothing_hold_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are few, have a time, and do not keep the service from stopping."""
    monkeypatch.setattr("userservice.app.telemetry.page._PATIENCE_S", 0.1)
    monkeypatch.setattr("userservice.app.telemetry.page._VISITORS_MAX", 2)
    async with metrics_page(CollectorRegistry(), "127.0.0.1", 0) as [page]:
        host, _, port = page.rpartition(":")
        silent = [await asyncio.open_connection(host, int(port)) for _ in range(3)]
        ends = [asyncio.create_task(reader.read()) for reader, _ in silent]
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        assert done == {ends[2]}  # one too many
        await asyncio.wait(ends)  # the others, in their time
        status, _, _ = await visit(page, b"GET /metrics HTTP/1.1\r\n\r\n")
        assert status == 200
        monkeypatch.setattr("userservice.app.telemetry.page._PATIENCE_S", 60)
        last = await asyncio.open_connection(host, int(port))
        await asyncio.sleep(0)
        began_at = time.monotonic()
    assert time.monotonic() - began_at < 5
    with suppress(ConnectionError):
        assert await last[0].read() == b""
    for _, writer in (*silent, last):
        writer.close()


async def test_the_loop_goes_on_while_the_page_is_made() -> None:
    """Calls are served in between."""
    began, may_end = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    class Slow(Collector):
        def collect(self) -> Iterator[Metric]:
            loop.call_soon_threadsafe(began.set)
            assert may_end.wait(PATIENCE_S)
            yield from ()

    registry = CollectorRegistry()
    async with metrics_page(registry, "127.0.0.1", 0) as [page]:
        registry.register(slow := Slow())
        reading = asyncio.create_task(visit(page, b"GET /metrics HTTP/1.1\r\n\r\n"))
        await began.wait()
        may_end.set()
        assert (await reading)[0] == 200
        registry.unregister(slow)


async def test_a_page_that_cannot_be_made_is_logged() -> None:
    """The visitor is told so much, and the next one is answered."""

    class Broken(Collector):
        def collect(self) -> Iterator[Metric]:
            raise ZeroDivisionError

    registry = CollectorRegistry()
    async with metrics_page(registry, "127.0.0.1", 0) as [page]:
        registry._collector_to_names[broken := Broken()] = []
        with capture_logs() as lines:
            assert (await visit(page, b"GET /metrics HTTP/1.1\r\n\r\n"))[0] == 500
        assert [line["event"] for line in lines] == ["the metrics cannot be shown"]
        registry.unregister(broken)
        assert (await visit(page, b"GET /metrics HTTP/1.1\r\n\r\n"))[0] == 200


async def test_the_lag_of_the_loop_is_seen() -> None:
    """Whoever keeps it shows in the histogram."""
    lag = Histogram(LATENCY_BOUNDS)
    with measured_lag(0.1, lag.observe):
        async with asyncio.timeout(PATIENCE_S):
            while lag._sum < 0.05:
                time.sleep(0.15)  # noqa: ASYNC251  # that is the fault
                await asyncio.sleep(0.01)
    assert sum(lag._counts) >= 1


async def test_a_port_that_is_taken_is_said() -> None:
    """In one line."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = ServeSettings(port=0, database="memory:", metrics=MetricsSettings(port=port))
        with pytest.raises(ServeError) as error:
            async with running_server(settings):
                pass
    assert str(error.value) == f"cannot show metrics on 127.0.0.1:{port}: Address already in use"


async def test_a_worker_s_port_may_be_too_high() -> None:
    """That is said in one line as well."""
    metrics = MetricsSettings(port=65535).of_worker(2)
    with pytest.raises(ServeError, match=r"cannot show metrics on 127\.0\.0\.1:65536"):
        async with running_server(ServeSettings(port=0, database="memory:", metrics=metrics)):
            pass


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
async def test_promtool_finds_nothing_to_complain_of() -> None:
    """Prometheus's own check of names, types and help texts."""
    async with served() as (target, page), UserServiceClient(target) as client:
        await client.list_users(ListUsersRequest())
        _, _, body = await visit(page, b"GET /metrics HTTP/1.1\r\n\r\n")
    check = await asyncio.create_subprocess_exec(
        *("promtool", "check", "metrics"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said, _ = await check.communicate(body)
    assert (check.returncode, said) == (0, b"")


def test_workers_have_a_port_each() -> None:
    """The first has the one that was asked for; any free one stays that."""
    assert [MetricsSettings(port=9464).of_worker(number).port for number in (1, 2)] == [9464, 9465]
    assert MetricsSettings(port=0).of_worker(2).port == 0


def test_the_service_shows_its_metrics_where_it_is_told_to(processes: Processes) -> None:
    """By option or variable; nowhere without; and it stops as before."""
    process = processes.start(
        "--port=0", "--database=memory:", "--log-format=json", USERSERVICE_METRICS_PORT="0"
    )
    address(process)
    assert process.stderr is not None
    shown = next(line for line in map(json.loads, process.stderr) if line["event"] == "metrics")
    with urllib.request.urlopen(f"http://{shown['addresses'][0]}/metrics", timeout=10) as reply:
        read = series_of(reply.read().decode())
    assert read[f"grpc_server_call_started_total grpc_method={METHOD}/GetUser"] == 0
    stopped(process, signal.SIGTERM)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = processes.refused("--port=0", "--database=memory:", f"--metrics-port={port}")
        assert f"cannot show metrics on 127.0.0.1:{port}: Address already in use" in line


async def test_every_metric_is_in_the_reference() -> None:
    """Its name, kind and labels; and nothing else is there."""
    reference = (ROOT / "docs/reference/metrics.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|(.*?)\|", reference, re.MULTILINE)
    written = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    kept = ClientMetrics()
    async with (
        served() as (target, page),
        UserServiceClient(target, middleware=[kept]) as client,
    ):
        await client.list_users(ListUsersRequest())
        status, _, body = await visit(page, b"GET /metrics HTTP/1.1\r\n\r\n")
    assert status == 200
    registry = CollectorRegistry()
    registry.register(kept)
    text = body.decode() + generate_latest(registry).decode()
    shown = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        shown[name] = family.type, labels
    assert shown == written


async def test_the_dashboard_queries_what_there_is() -> None:
    """Each name in it is a series of the page."""
    dashboard = json.loads((ROOT / "deploy/grafana/userservice.json").read_text("utf-8"))
    queries = [
        target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])
    ]
    assert len(queries) >= 10
    async with served() as (target, page), UserServiceClient(target) as client:
        await client.list_users(ListUsersRequest())
        read = {name.split()[0] for name in await scrape(page)}
    words = {word for query in queries for word in re.findall(r"[a-z_]+_[a-z_]+", query)}
    labels = {"grpc_method", "grpc_status", "histogram_quantile", "__rate_interval"}
    assert words - labels - read == set()


def test_without_metrics_nothing_is_imported() -> None:
    """Neither for metrics nor for traces."""
    program = (
        "import sys, userservice.app.cli.serve;"
        "print([name for name in sys.modules if name.startswith(('prometheus', 'opentelemetry'))])"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert printed.stdout == "[]\n"
