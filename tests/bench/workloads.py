"""The workloads: what is done to whom, and which numbers come of it."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tests.bench import contract
from tests.bench.h2load import Load, NoAnswerError
from tests.bench.headers import plain
from tests.bench.load import IdleConnections, Plan, ask
from tests.bench.peers import PEERS
from tests.bench.processes import BenchError, on_core
from tests.bench.servers.everything import token

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.bench.bench import Bench
    from tests.bench.processes import Program

MANY = Load(8, 8)
ONE = Load(1, 1)
WORKERS_SINGLE, WORKERS_MANY = Load(64, 1), Load(64, 32)
# Streams: one on each connection.
STREAMS = Load(8, 1)
SMALL_COUNT = 500
LARGE_COUNT = 32
ENDLESS = 10_000_000
BESIDE_S = 2.0
MEGABYTE = 1_000_000
STORED_USERS = 100
PAGE = 20
CREATED_A_SECOND = 20_000  # more than any server stores
IDLE_CONNECTIONS = 500
OPEN_STREAMS = (1, 100, 1000, 10_000)
IMPORTS = {
    "ours": "import userservice.rpc, userservice._gen.userservice.v1",
    "grpcio_aio": "import grpc.aio, user_service_pb2_grpc",
}
IMPORT_RUNS = 3


@dataclass(frozen=True, slots=True)
class Column:
    """One number of a workload.

    Args:
        label: what it is called in the tables.
        unit: of what.
        less_is_better: whether it is a cost.
    """

    label: str
    unit: str
    less_is_better: bool = False


Metrics = dict[str, float]


@dataclass(frozen=True, slots=True)
class Workload:
    """Something that is measured.

    Args:
        title: what it is, in the tables.
        subjects: who is measured, and the server that is up meanwhile.
        columns: the numbers that come of it.
        measure: measures one subject.
        labels: what the subjects are called.
    """

    title: str
    subjects: Mapping[str, str]
    columns: Mapping[str, Column]
    measure: Callable[[Bench, str, Program], Metrics]
    labels: Mapping[str, str]


def _workload(
    title: str,
    subjects: Mapping[str, str],
    columns: Mapping[str, Column],
    measure: Callable[[Bench, str, Program], Metrics],
    labels: Mapping[str, str] | None = None,
) -> Workload:
    names = {subject: PEERS[server].label for subject, server in subjects.items()}
    return Workload(title, subjects, columns, measure, names | dict(labels or {}))


def unary(bench: Bench, _subject: str, server: Program) -> Metrics:
    """GetUser with a constant handler."""
    exchange = contract.get_user()
    many = bench.check_and_measure(server, exchange, MANY)
    one = bench.check_and_measure(server, exchange, ONE)
    return many.metrics("many") | one.metrics("one")


def everything_on(bench: Bench, _subject: str, server: Program) -> Metrics:
    """The same with a token on each call, of servers with all middleware."""
    exchange = replace(contract.get_user(), metadata=(("authorization", f"Bearer {token()}"),))
    return bench.check_and_measure(server, exchange, MANY).metrics("many")


def headers(bench: Bench, _subject: str, server: Program) -> Metrics:
    """The same with headers that change, as real clients send them."""
    exchange = contract.get_user()
    metrics: Metrics = {}
    for style in ("grpcio", "go"):
        blocks = bench.rings(style, exchange.path, MANY.connections)
        bodies = [[exchange.request]] * MANY.connections
        plan = Plan(blocks, bodies, exchange, MANY.streams)
        metrics |= bench.run_plan(server, plan).metrics(style)
    return metrics


def streaming(bench: Bench, _subject: str, server: Program) -> Metrics:
    """The three kinds of streams, with small messages and with large ones."""
    metrics: Metrics = {}
    for size, count, unit in (
        (contract.SMALL, SMALL_COUNT, 1.0),
        (contract.LARGE, LARGE_COUNT, len(contract.LARGE_TEXT) / MEGABYTE),
    ):
        for kind, exchange in (
            ("server", contract.events(count, size)),
            ("client", contract.batch(count, size)),
        ):
            speed = bench.messages_per_second(server, exchange, STREAMS)
            metrics[f"{kind}_{size}"] = speed * unit
        exchange = contract.chat(size)
        blocks = [[plain(exchange.path)]] * STREAMS.connections
        result = bench.run_plan(server, Plan(blocks, [], exchange, STREAMS.streams))
        metrics[f"bidi_{size}"] = result.per_second * unit
    return metrics


def client(bench: Bench, subject: str, server: Program) -> Metrics:
    """GetUser by a client, from a server that is not the limit."""
    many = bench.run_client(server, subject, 64)
    one = bench.run_client(server, subject, 1)
    return many.metrics("many") | one.metrics("one")


def sqlite(bench: Bench, _subject: str, server: Program) -> Metrics:
    """The whole service on SQLite."""
    emails = (f"{number}@first.example" for number in range(STORED_USERS))
    path = contract.SERVICE + "CreateUser"
    stored = ask(server.port, path, [contract.create_user(email) for email in emails])
    if not all(map(contract.created, stored)):
        raise BenchError("a user was not stored as asked")
    [page] = ask(server.port, contract.SERVICE + "ListUsers", [contract.page_of_users(PAGE)])
    try:
        listed = contract.listed_users(PAGE, page, stored)
    except ValueError as error:
        raise BenchError(str(error)) from error
    each = int((bench.seconds + bench.warm_up) * CREATED_A_SECOND / MANY.connections)
    bodies = [
        [contract.create_user(f"{number}@{part}.example") for number in range(each)]
        for part in range(MANY.connections)
    ]
    creation = contract.Creation("CreateUser", b"", b"")
    blocks = [[plain(creation.path)]] * MANY.connections
    return (
        bench.check_and_measure(server, contract.stored_user(stored[0]), MANY).metrics("get")
        | bench.check_and_measure(server, listed, MANY).metrics("list")
        | bench.run_plan(server, Plan(blocks, bodies, creation, MANY.streams)).metrics("create")
    )


def workers(bench: Bench, _subject: str, server: Program) -> Metrics:
    """GetUser of the whole service, which shares all cores with the load."""
    [stored] = ask(
        server.port, contract.SERVICE + "CreateUser", [contract.create_user("a@first.example")]
    )
    exchange = contract.stored_user(stored)
    metrics: Metrics = {}
    for name, load in (("single", WORKERS_SINGLE), ("many", WORKERS_MANY)):
        found, load_share = bench.measure_everywhere(server, exchange, load)
        metrics |= found.metrics(name) | {f"{name}_load": 100 * load_share}
    return metrics


def start(bench: Bench, subject: str, _server: Program) -> Metrics:
    """What it takes to be there: time, and memory."""
    exchange = contract.get_user()
    alone, imported = (
        statistics.median(_import_s(bench, text) for _ in range(IMPORT_RUNS))
        for text in ("pass", IMPORTS[subject])
    )
    with bench.start(subject) as server:
        [reply] = ask(server.port, exchange.path, [exchange.request])
        ready = time.perf_counter() - server.started_at
        if not exchange.is_right(reply):
            raise BenchError("the first answer is not right")
        before = server.resident_kib()
        with IdleConnections(server.port) as idle:
            idle.connect(IDLE_CONNECTIONS)
            idle.settle()
            after = server.resident_kib()
    return {
        "import": (imported - alone) * 1000,
        "ready": ready * 1000,
        "memory": before / 1024,
        "connection": (after - before) / IDLE_CONNECTIONS,
    }


def _import_s(bench: Bench, program: str) -> float:
    with on_core(bench.server_core):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True, env=bench.environment)
        return time.perf_counter() - began


def open_streams(bench: Bench, _subject: str, server: Program) -> Metrics:
    """GetUser beside calls that are open, and say nothing."""
    metrics: Metrics = {}
    exchange = contract.get_user()
    with IdleConnections(server.port) as idle:
        for count in OPEN_STREAMS:
            idle.hold_open(count, contract.events(contract.HELD_OPEN), exchange)
            measured = bench.check_and_measure(server, exchange, MANY)
            idle.verify_open(count)
            metrics[f"open_{count}"] = measured.per_second
    return metrics


def neighbour(bench: Bench, _subject: str, server: Program) -> Metrics:
    """GetUser, one call at a time, beside a stream at full speed on another connection."""
    exchange = contract.get_user()
    alone = bench.check_and_measure(server, exchange, ONE)
    seconds = max(bench.seconds, BESIDE_S)
    with bench.h2load.background(server.port, contract.endless(ENDLESS)):
        try:
            beside = bench.h2load.measure(server.port, exchange, ONE, seconds)
        except NoAnswerError:
            # At least so long: the call did not come through.
            p50 = p99 = seconds * 1000
        else:
            p50, p99 = beside.p50_us / 1000, beside.p99_us / 1000
    return {
        "alone_p50": alone.p50_us / 1000,
        "alone_p99": alone.p99_us / 1000,
        "beside_p50": p50,
        "beside_p99": p99,
    }


def multidict(bench: Bench, _subject: str, server: Program) -> Metrics:
    """GetUser with a constant handler, 8 x 8."""
    return bench.check_and_measure(server, contract.get_user(), MANY).metrics("many")


CLIENTS = {"ours": "userservice", "grpcio_aio": "grpcio.aio"}
SERVERS = ("ours", "grpcio_aio", "grpcio_threads", "connect_pyvoy", "bare_grpclib")


def _themselves(*names: str) -> dict[str, str]:
    return {name: name for name in names}


def _rate(label: str) -> Column:
    return Column(label, "/s")


def _calls(name: str, label: str) -> dict[str, Column]:
    """Return the columns of a measurement of calls."""
    return {
        name: _rate(label),
        f"{name}_p50": _latency("p50"),
        f"{name}_p99": _latency("p99"),
        f"{name}_cpu": Column("CPU a call", "µs", less_is_better=True),
    }


def _latency(label: str) -> Column:
    return Column(label, "ms", less_is_better=True)


WORKLOADS: dict[str, Workload] = {
    "unary": _workload(
        "Unary, constant handler",
        _themselves(*SERVERS, "floor"),
        {
            **_calls("many", "8 connections x 8 streams"),
            **_calls("one", "1 x 1"),
        },
        unary,
    ),
    "everything_on": _workload(
        "Unary, constant handler, 8 x 8, with everything on",
        {"ours": "ours_everything", "grpcio_aio": "grpcio_aio_everything"},
        _calls("many", "8 x 8"),
        everything_on,
    ),
    "headers": _workload(
        "Unary, constant handler, 8 x 8, with headers that change",
        _themselves(*SERVERS),
        {
            **_calls("grpcio", "as grpcio sends them"),
            **_calls("go", "as grpc-go sends them"),
        },
        headers,
    ),
    "streaming": _workload(
        "Streams, one on each of 8 connections",
        _themselves(*SERVERS),
        {
            "server_small": Column("server streaming, small", "messages/s"),
            "client_small": Column("client streaming, small", "messages/s"),
            "bidi_small": Column("ping-pong, small", "messages/s"),
            "server_large": Column("server streaming, 64 KiB", "MB/s"),
            "client_large": Column("client streaming, 64 KiB", "MB/s"),
            "bidi_large": Column("ping-pong, 64 KiB", "MB/s"),
        },
        streaming,
    ),
    "client": _workload(
        "Clients, unary, against the floor server",
        {"ours": "floor", "grpcio_aio": "floor"},
        {
            **_calls("many", "64 in flight"),
            **_calls("one", "1 in flight"),
        },
        client,
        CLIENTS,
    ),
    "sqlite": _workload(
        "The whole service on SQLite, 8 x 8",
        {"ours": "ours_sqlite", "grpcio_aio": "grpcio_aio_sqlite"},
        {
            **_calls("get", "GetUser"),
            **_calls("create", "CreateUser"),
            **_calls("list", f"ListUsers, {PAGE} of them"),
        },
        sqlite,
    ),
    "workers": _workload(
        "GetUser on SQLite, 64 connections, with as many workers; the load shares the cores",
        {"one": "one_worker", "two": "two_workers"},
        {
            **_calls("single", "64 x 1"),
            "single_load": Column("h2load, of a core", "%"),
            **_calls("many", "64 x 32"),
            "many_load": Column("h2load, of a core", "%"),
        },
        workers,
    ),
    "start": _workload(
        "Start and memory",
        # They are started by the measurement; the one that is up has nothing to do.
        {"ours": "floor", "grpcio_aio": "floor"},
        {
            "import": _latency("import"),
            "ready": _latency("time to the first answer"),
            "memory": Column("memory then", "MiB", less_is_better=True),
            "connection": Column("each idle connection", "KiB", less_is_better=True),
        },
        start,
        CLIENTS,
    ),
    "multidict": _workload(
        "Unary, constant handler, 8 x 8, without native code in multidict",
        {"ours": "ours", "pure": "ours_pure_multidict"},
        _calls("many", "8 x 8"),
        multidict,
        {"ours": "userservice, multidict in C"},
    ),
    "neighbour": _workload(
        "Unary, 1 x 1, beside a stream at full speed on another connection",
        _themselves("ours", "grpcio_aio", "bare_grpclib"),
        {
            "alone_p50": _latency("alone, p50"),
            "alone_p99": _latency("alone, p99"),
            "beside_p50": _latency("beside the stream, p50"),
            "beside_p99": _latency("beside the stream, p99"),
        },
        neighbour,
    ),
    "open_streams": _workload(
        "Unary, constant handler, 8 x 8, while other calls are open",
        _themselves("ours", "grpcio_aio"),
        {f"open_{count}": _rate(f"{count:,} open") for count in OPEN_STREAMS},
        open_streams,
    ),
}
