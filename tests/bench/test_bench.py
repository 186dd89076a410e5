"""The benchmark's own parts, on servers that every environment for tests has: no h2load."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.bench import chart, command, contract, headers, middleware, peers
from tests.bench.check import Relay, WrongAnswerError, verify_all
from tests.bench.load import IdleConnections, Plan, ask
from tests.bench.processes import BenchError, Program, environment
from tests.bench.results import Results
from tests.bench.servers.everything import token

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONNECTIONS, STREAMS = 2, 4
SECONDS = 0.08
RING = 3  # shorter than what is sent: it starts again
SERVERS = ["ours", "bare_grpclib", "grpcio_aio"]
EVERYTHING = ["ours_everything", "grpcio_aio_everything"]

LINES_S = 5.0  # how long a line of a log may take, at most
LOGGED = {
    "event": "call",
    "level": "info",
    "method": contract.get_user().path,
    "status": "OK",
    "received": 1,
    "received_bytes": len(contract.get_user().request) - 5,
    "sent": 1,
    "sent_bytes": len(contract.get_user().reply) - 5,
    "request_id": "one-of-many",
    "subject": contract.USER_ID,
    "subject_kind": "user",
}


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the code of the peers."""
    folder = tmp_path_factory.mktemp("bench")
    peers.compile_contract(folder)
    return folder


@pytest.fixture(scope="session")
def servers(generated: Path) -> Iterator[dict[str, Program]]:
    """Every server, each started when it is first asked for."""
    started = _Started(generated)
    yield started
    for program in started.values():
        program.end()


class _Started(dict[str, Program]):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def __missing__(self, name: str) -> Program:
        program = Program(
            peers.PEERS[name].command(self._folder / "unused.db"),
            self._folder / f"{name}.log",
            environment(self._folder),
        )
        self[name] = program
        return program


def unary(style: str, exchange: contract.Exchange) -> Plan:
    """Return a load of unary calls, with headers in the style of a client."""
    encode = {"grpcio": headers.grpcio, "go": headers.go}[style]
    blocks = [encode(exchange.path, RING, number) for number in range(CONNECTIONS)]
    return Plan(blocks, [[exchange.request]] * CONNECTIONS, exchange, STREAMS)


@pytest.mark.parametrize("name", [*SERVERS, "floor"])
def test_server_answers_right(servers: dict[str, Program], name: str) -> None:
    """Every server answers GetUser with the status 0 and the expected bytes."""
    exchange = contract.get_user()
    replies = ask(servers[name].port, exchange.path, [exchange.request] * 10)
    assert replies == [exchange.reply] * 10


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize("size", [contract.SMALL, contract.LARGE])
def test_server_streams_right(servers: dict[str, Program], name: str, size: str) -> None:
    """Every server sends the expected events, and counts the users sent to it."""
    for exchange in (contract.events(3, size), contract.batch(3)):
        [reply] = ask(servers[name].port, exchange.path, [exchange.request])
        assert exchange.is_right(reply)


@pytest.mark.parametrize("name", [*SERVERS, "floor"])
@pytest.mark.parametrize("style", ["grpcio", "go"])
def test_load_counts_right_answers(servers: dict[str, Program], name: str, style: str) -> None:
    """The load with headers that change gets many answers, all of them right."""
    result = unary(style, contract.get_user()).run(servers[name].port, SECONDS)
    assert result.answers > CONNECTIONS * RING
    assert 0 < result.p50_us <= result.p99_us


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize("size", [contract.SMALL, contract.LARGE])
def test_load_plays_ping_pong(servers: dict[str, Program], name: str, size: str) -> None:
    """The load sends the next message when the last one came back as it was."""
    exchange = contract.chat(size)
    plan = Plan([[headers.plain(exchange.path)]] * CONNECTIONS, [], exchange, 1)
    assert plan.run(servers[name].port, SECONDS).answers > CONNECTIONS


def test_load_notices_wrong_bytes(servers: dict[str, Program]) -> None:
    """A reply with other bytes than expected ends the measurement."""
    exchange = contract.get_user()
    wrong = replace(exchange, reply=exchange.reply[:-1] + b"\xff")
    with pytest.raises(WrongAnswerError, match="not what was expected"):
        unary("grpcio", wrong).run(servers["ours"].port, SECONDS)


def test_load_notices_wrong_message(servers: dict[str, Program]) -> None:
    """A message that comes back changed ends the measurement."""
    exchange = replace(contract.chat(), reply=contract.chat().reply[:-1] + b"!")
    plan = Plan([[headers.plain(exchange.path)]], [], exchange, 1)
    with pytest.raises(WrongAnswerError, match="not what was expected"):
        plan.run(servers["ours"].port, SECONDS)


@pytest.mark.parametrize("name", SERVERS)
def test_load_notices_wrong_status(servers: dict[str, Program], name: str) -> None:
    """An answer with HTTP status 200 and another grpc-status than 0 ends the measurement."""
    unknown = replace(contract.get_user(), method="GetNobody")
    with pytest.raises(WrongAnswerError, match="grpc-status 12"):
        unary("go", unknown).run(servers[name].port, SECONDS)


def everything_on(metadata: tuple[tuple[str, str], ...]) -> Plan:
    """Return a load of calls with this metadata."""
    exchange = contract.get_user()
    block = headers.plain(exchange.path, metadata)
    return Plan([[block]] * CONNECTIONS, [[exchange.request]] * CONNECTIONS, exchange, STREAMS)


@pytest.mark.parametrize("name", EVERYTHING)
def test_everything_is_on(servers: dict[str, Program], name: str) -> None:
    """Each call with a token is answered right, and has a line that says who made it."""
    server = servers[name]
    bearer = (("authorization", f"Bearer {token()}"), ("x-request-id", "one-of-many"))
    assert everything_on(bearer).run(server.port, SECONDS).answers > CONNECTIONS
    limit = time.monotonic() + LINES_S
    while not (text := server.log.read_text()).endswith("\n"):
        assert time.monotonic() < limit, "no line was written"
        time.sleep(0.01)  # the lines are written a moment after the answers
    entries = map(json.loads, text.splitlines())
    entry = next(entry for entry in entries if entry["status"] == "OK")
    assert entry.items() >= LOGGED.items()
    assert {"duration_ms", "peer", "trace_id", "span_id", "timestamp"} <= set(entry)


@pytest.mark.parametrize("name", EVERYTHING)
def test_everything_on_wants_a_token(servers: dict[str, Program], name: str) -> None:
    """A call without a token, or with another, is refused."""
    for metadata in ((), (("authorization", f"Bearer {token()}x"),)):
        with pytest.raises(WrongAnswerError, match="grpc-status 16"):
            everything_on(metadata).run(servers[name].port, SECONDS)


def test_check_accepts_and_refuses(servers: dict[str, Program]) -> None:
    """The check of what went through the relay passes right answers, and no others."""
    exchange = contract.get_user()
    with Relay(servers["ours"].port) as relay:
        ask(relay.port, exchange.path, [exchange.request] * 3)
        received = relay.received()
    verify_all(received, exchange, 3)
    with pytest.raises(WrongAnswerError, match="3 answers to 4 requests"):
        verify_all(received, exchange, 4)
    with pytest.raises(WrongAnswerError, match="not what was expected"):
        verify_all(received, replace(exchange, reply=b""), 3)


def test_check_refuses_a_status(servers: dict[str, Program]) -> None:
    """The check does not take HTTP status 200 for success."""
    unknown = replace(contract.get_user(), method="GetNobody")
    with Relay(servers["ours"].port) as relay:
        with pytest.raises(WrongAnswerError):
            ask(relay.port, unknown.path, [unknown.request])
        received = relay.received()
    with pytest.raises(WrongAnswerError, match="grpc-status 12"):
        verify_all(received, unknown, 1)


def test_calls_are_held_open(servers: dict[str, Program]) -> None:
    """Calls that say nothing stay open on as many connections as they need."""
    with IdleConnections(servers["ours"].port) as idle:
        idle.hold_open(150, contract.events(contract.HELD_OPEN), contract.get_user())
        idle.verify_open(150)


def test_program_that_ends_is_reported(generated: Path) -> None:
    """A server that does not start is one line, and no traceback."""
    with pytest.raises(BenchError, match="did not start: ModuleNotFoundError"):
        Program([sys.executable, "-c", "import no_such_module"], generated / "log", {})


async def test_every_middleware_has_a_cost() -> None:
    """Each answers every call right, and is a line of the table."""
    found = await middleware.costs(middleware.MIDDLEWARE, rounds=2, calls=middleware.TOGETHER)
    assert all(cost > 0 for each in found.values() for cost in each)
    head, *lines = middleware.table(found)
    assert head.split() == ["us", "a", "call", "more", "min..max"]
    assert [line[2:30].rstrip() for line in lines] == list(middleware.MIDDLEWARE)
    assert lines[0].split()[2:] == ["0.0", "0.0..0.0"]


def test_targets_have_verdicts() -> None:
    """A target passes or fails by the median of the ratios of all rounds."""
    results = Results({})
    for turn, calls in enumerate((900.0, 1100.0, 1000.0)):
        results.add("unary", "ours", turn, {"many": 10 * calls, "one_p50": 2})
        results.add("unary", "grpcio_aio", turn, {"many": calls, "one_p50": 1})
    lines = "\n".join(results.tables()).splitlines()
    [many] = [line for line in lines if line.startswith("| Unary 8 x 8, against grpcio.aio")]
    assert [cell.strip() for cell in many.split("|")[2:5]] == ["10", "10", "pass"]
    [p50] = [line for line in lines if line.startswith("| Unary 1 x 1, p50")]
    assert [cell.strip() for cell in p50.split("|")[2:5]] == ["0.5", "1", "**fail**"]
    assert any("10,000 (9,000 … 11,000)" in line for line in lines)


def test_chart_is_drawn() -> None:
    """The chart is a well-formed picture of what was measured."""
    results = Results({})
    for subject, calls in (("ours", 1000.0), ("grpcio_aio", 100.0)):
        results.add("unary", subject, 0, {"many": calls})
    root = ET.fromstring(chart.svg(results))
    bars = list(root.iter("{http://www.w3.org/2000/svg}rect"))[1:]
    assert [bar.get("width") for bar in bars] == ["280.0", "28.0"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only=unary"], "bench: h2load is missing; install it with: apt-get install "),
        (["--only=nothing"], "bench: there is no nothing"),
    ],
)
def test_errors_are_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    """What keeps the benchmark from starting is one line, and the status 1."""
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    monkeypatch.setattr(command, "cores", lambda: (0, 0))
    before = signal.getsignal(signal.SIGTERM)
    assert command.main(arguments) == 1
    assert signal.getsignal(signal.SIGTERM) is before
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(said)
