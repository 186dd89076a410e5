"""What each middleware costs a call: ``python tests/bench/middleware.py [ROUNDS]``.

A server in this process gets the bytes of unary calls, as a socket would give them, 16 at a time.
What is measured is the time of the processor, of all threads: also what a middleware does later
counts. In each round all of them are measured, one after the other, and what is told is the median
of what each took more than none in the same round.

Each has its line in `MIDDLEWARE`; what is new, too.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

from tests.bench import contract  # noqa: E402  # needs the path
from tests.bench.servers.betterproto_handlers import Constant  # noqa: E402  # likewise
from tests.bench.servers.everything import tracer_provider  # noqa: E402  # likewise

from userservice.app.logs import LogFormat, line_renderer  # noqa: E402  # likewise
from userservice.rpc import Server  # noqa: E402  # likewise
from userservice.rpc.jwt import HS256, JwtIssuer, JwtVerifier, Keys, VerifyingKey  # noqa: E402
from userservice.rpc.middleware import Middleware  # noqa: E402  # likewise
from userservice.rpc.middleware.access_log import AccessLog, Entry  # noqa: E402  # likewise
from userservice.rpc.middleware.authentication import Authentication, Jwts  # noqa: E402
from userservice.rpc.middleware.concurrency_limit import ConcurrencyLimit  # noqa: E402  # likewise
from userservice.rpc.middleware.line_writer import LineWriter  # noqa: E402  # likewise
from userservice.rpc.middleware.load_shedding import LoadShedding  # noqa: E402  # likewise
from userservice.rpc.middleware.metrics import ServerMetrics  # noqa: E402  # likewise
from userservice.rpc.middleware.rate_limits import RateTable, around_authentication  # noqa: E402
from userservice.rpc.middleware.rates import Rate  # noqa: E402  # likewise
from userservice.rpc.middleware.tracing import ServerTracing  # noqa: E402  # likewise
from userservice.wire import http2  # noqa: E402  # likewise

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from userservice.rpc.call import Call
    from userservice.rpc.middleware import Outcome

ROUNDS = 15
CALLS = 1_600  # of each in a round
TOGETHER = 16
NONE = "none"


class Silent(Middleware):
    """Hears of nothing."""


class Deaf(Middleware):
    """Hears of everything, and does nothing."""

    def before(self, call: Call) -> None:
        """Do nothing."""

    def received(self, call: Call, message: Any) -> None:
        """Do nothing."""

    def sent(self, call: Call, message: Any) -> None:
        """Do nothing."""

    def ended(self, call: Call, outcome: Outcome) -> None:
        """Do nothing."""


Made = Callable[[], AbstractAsyncContextManager["Sequence[Middleware]"]]
"""Makes middleware, and keeps what it needs for as long as it is used."""


def plain(make: Callable[[], Sequence[Middleware]]) -> Made:
    """Return how to make middleware that nothing has to be done for."""

    @asynccontextmanager
    async def made() -> AsyncIterator[Sequence[Middleware]]:
        yield make()

    return made


def access_log(log_format: LogFormat, sample: int = 1) -> Made:
    """Return how to make an access log that nobody reads."""

    @asynccontextmanager
    async def made() -> AsyncIterator[Sequence[Middleware]]:
        line = line_renderer("bench", log_format)
        nowhere = os.open(os.devnull, os.O_WRONLY)

        def write(lines: bytes) -> None:
            os.write(nowhere, lines)

        async with LineWriter(write, str) as writer:

            def log(entry: Entry) -> None:
                writer.add(line("info", "call", entry))

            yield [AccessLog(log, sample=sample)]
        os.close(nowhere)

    return made


def rate_limits() -> Sequence[Middleware]:
    """Return rate limits that limit nobody, as many as there are without a subject."""
    before, after = around_authentication(RateTable([Rate("*", 1e9, 10**9)]))
    return [*before, *after]


def tracing(ratio: float) -> Made:
    """Return how to trace a share of the calls; what is traced goes nowhere, in batches."""

    @asynccontextmanager
    async def made() -> AsyncIterator[Sequence[Middleware]]:
        provider = tracer_provider(ratio)
        yield [ServerTracing([Constant()], provider)]
        provider.shutdown()

    return made


KEY = bytes(32)
ISSUER = JwtIssuer(KEY, issuer="bench", audience="bench", lifetime_s=3_600, kid="bench")


def authentication() -> Sequence[Middleware]:
    """Return authentication by signed tokens; after the first call, the token is known."""
    keys = Keys([VerifyingKey("bench", HS256, KEY)])
    verifier = JwtVerifier(keys, issuer="bench", audience="bench")
    return [Authentication([Jwts([verifier])], domain="bench")]


MIDDLEWARE: Mapping[str, Made] = {
    NONE: plain(list),
    "one that hears nothing": plain(lambda: [Silent()]),
    "one that hears everything": plain(lambda: [Deaf()]),
    "authentication": plain(authentication),
    "access log, JSON": access_log(LogFormat.JSON),
    "access log, text": access_log(LogFormat.TEXT),
    "access log, one of 100": access_log(LogFormat.JSON, 100),
    "rate limits": plain(rate_limits),
    "calls under way": plain(lambda: [ConcurrencyLimit(1_000)]),
    "load shedding": plain(lambda: [LoadShedding(1)]),
    "metrics": plain(lambda: [ServerMetrics([Constant()])]),
    "traces, none kept": tracing(0),
    "traces, one of 100 kept": tracing(0.01),
    "traces, all kept": tracing(1),
}

METADATA: Mapping[str, tuple[tuple[str, str], ...]] = {
    "authentication": (("authorization", f"Bearer {ISSUER.issue(contract.USER_ID)}"),),
}
"""What calls bring with them for a middleware that wants something."""


class Socket(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 50_000)})
        self.written: list[bytes] = []

    def write(self, data: Any) -> None:
        """Keep the data."""
        self.written.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        """Return that all was taken."""
        return 0

    def is_closing(self) -> bool:
        """Return that it is open."""
        return False

    def close(self) -> None:
        """Do nothing: it holds nothing."""

    def abort(self) -> None:
        """Do nothing."""


class Line:
    """A connection of a server, and who calls it; every answer is looked at."""

    def __init__(self, server: Server, metadata: tuple[tuple[str, str], ...]) -> None:
        self._socket = Socket()
        self._connection = server.new_connection()
        self._connection.connection_made(self._socket)
        self._client = http2.Connection(
            http2.Role.CLIENT, http2.Settings(enable_push=0), window=2**31 - 1
        )
        self._exchange = contract.get_user()
        self._fields = (
            (":method", "POST"),
            (":scheme", "http"),
            (":path", self._exchange.path),
            (":authority", "127.0.0.1:50051"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "grpc-python-asyncio/1.85.1 grpc-c/54.0.0 (linux; chttp2)"),
            *metadata,
        )

    async def call(self, count: int) -> float:
        """Make calls, and return how much of the processor each took, in seconds."""
        spent = 0.0
        for _ in range(count // TOGETHER):
            for _ in range(TOGETHER):
                stream = self._client.open_stream(self._fields)
                self._client.send_data(stream, self._exchange.request, end_stream=True)
            data = self._client.take_output()
            before = time.process_time()
            self._connection.data_received(data)
            while self._connection.calls:
                await asyncio.sleep(0)
            await asyncio.sleep(0)  # what is to be sent leaves at the end of a turn
            spent += time.process_time() - before
            self._look_at_answers()
        return spent / count

    def _look_at_answers(self) -> None:
        answers = b"".join(self._socket.written)
        self._socket.written.clear()
        events = self._client.receive(answers)
        ended = [event for event in events if isinstance(event, http2.TrailersReceived)]
        replies = b"".join(e.data for e in events if isinstance(e, http2.DataReceived))
        assert replies == self._exchange.reply * TOGETHER
        assert [event.headers.get("grpc-status") for event in ended] == ["0"] * TOGETHER

    def end(self) -> None:
        """Close the connection."""
        self._connection.connection_lost(None)


async def costs(middleware: Mapping[str, Made], rounds: int, calls: int) -> dict[str, list[float]]:
    """Return what a call costs with each middleware, in each round, in microseconds."""
    found: dict[str, list[float]] = {name: [] for name in middleware}
    async with AsyncExitStack() as running:
        lines = {}
        for name, make in middleware.items():
            made = await running.enter_async_context(make())
            lines[name] = Line(Server([Constant()], middleware=made), METADATA.get(name, ()))
            running.callback(lines[name].end)
            await lines[name].call(TOGETHER)
        for _ in range(rounds):
            for name, line in lines.items():
                found[name].append(await line.call(calls) * 1e6)
    return found


def table(found: Mapping[str, Sequence[float]]) -> list[str]:
    """Return a line for each middleware: a call with it, and what that is more than with none."""
    lines = [f"  {'':28}{'us a call':>10}{'more':>10}   min..max"]
    for name, each in found.items():
        more = [one - none for one, none in zip(each, found[NONE], strict=True)]
        lines.append(
            f"  {name:28}{statistics.median(each):10.1f}{statistics.median(more):10.1f}"
            f"   {min(more):.1f}..{max(more):.1f}"
        )
    return lines


def main(rounds: int, calls: int = CALLS) -> None:
    """Print the table."""
    print(f"Python {sys.version.split()[0]}, {rounds} rounds of {calls} unary calls")
    print(*table(asyncio.run(costs(MIDDLEWARE, rounds, calls))), sep="\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
