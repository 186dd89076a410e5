"""A fault is put on our server, beside a healthy client: what it costs that one, and the server.

The server is a process of its own, and so are the hostile peers. The healthy client makes a
call every other millisecond, or as soon as the last one ended. One that takes longer stands for
all that others would have made meanwhile: each of them waits for what is left of it. So the p99
is one of time, and a server that stands still is not forgiven because it is asked less often.

Each call is measured twice: by the clock, and by the time of the processor that the server used
until it was answered. That is how long the server lets it wait on a machine of its own; what
other programs on the machine take is not the server's doing.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import select
import socket
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from tests.bench import contract
from tests.bench.headers import plain
from tests.bench.load import STALLED_S, Tally, UnaryConnection
from tests.bench.processes import BenchError, Program, environment
from tests.faults.attacks import Saw, Target
from tests.faults.catalog import P99_MAX_MS, Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future
    from types import TracebackType

INTERVAL_S: Final = 0.002
# Before the fault: to warm up, and to compare with.
CALLS_BEFORE: Final = {True: 300, False: 50}
# A full run repeats an attack for as long as this; a small one puts it once.
FULL_S: Final = 3.0
# The server cuts a peer off that does not close its side a second after it was told to.
QUIET_S: Final = 10.0
_NICE: Final = 10
_KIB_PER_MIB: Final = 1024


@dataclass(frozen=True, slots=True)
class Latencies:
    """How long the calls of healthy clients took, in milliseconds.

    Args:
        calls: how many one client made.
        p99_ms: by the processor's time.
        longest_ms: the longest, likewise.
        clock_p99_ms: by the clock.
    """

    calls: int
    p99_ms: float
    longest_ms: float
    clock_p99_ms: float

    @classmethod
    def of(cls, took: list[float], by_clock: list[float]) -> Latencies:
        """Return those of the calls of one client, given in seconds."""
        return cls(len(took), _p99(took) * 1e3, max(took) * 1e3, _p99(by_clock) * 1e3)


def _p99(took: list[float]) -> float:
    """Return the p99 of what calls take that are made at all times."""
    waits = list(took)
    for longer in took:
        left = longer - INTERVAL_S
        while left > INTERVAL_S:
            waits.append(left)
            left -= INTERVAL_S
    waits.sort()
    return waits[min(int(len(waits) * 0.99), len(waits) - 1)]


@dataclass(frozen=True, slots=True)
class State:
    """What our server told.

    Args:
        port: where it is.
        connections: how many are open.
        streams: how many of them are open.
        calls: how many handlers run.
        held_ms: for how long one callback held the event loop, at the most, in milliseconds of
            the processor's time.
        held_by: which one.
    """

    port: int
    connections: int
    streams: int
    calls: int
    held_ms: float
    held_by: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a fault did.

    Args:
        fault: the fault.
        saw: what its peers were told.
        before: the healthy client's latencies before it.
        during: and while it lasted.
        held_ms: for how long one callback held the server's event loop, at the most, in
            milliseconds of the processor's time.
        held_by: which one.
        grown_mib: by how much the server grew, at the most.
        kept_mib: by how much it is larger afterwards.
        left: what is open afterwards but for the healthy client's connection.
    """

    fault: Fault
    saw: Saw
    before: Latencies
    during: Latencies
    held_ms: float
    held_by: str
    grown_mib: float
    kept_mib: float
    left: Mapping[str, int]

    def misses(self, p99_max_ms: float = P99_MAX_MS) -> list[str]:
        """Return where it is over its budget."""
        missed = []
        if set(self.saw) != set(self.fault.saw):
            missed.append(f"the peer saw {dict(self.saw)}")
        if self.during.p99_ms > p99_max_ms:
            missed.append(f"p99 {self.during.p99_ms:.0f} ms")
        if self.grown_mib > self.fault.memory_mib:
            missed.append(f"{self.grown_mib:.1f} MiB grown, {self.fault.memory_mib:g} allowed")
        missed += [f"{count} {what} left" for what, count in self.left.items() if count]
        return missed


class FaultyServer:
    """Our server, with what watches it.

    Args:
        limits: those that differ from the defaults.
        log: where it writes.
        core: where it runs; None for anywhere.
    """

    def __init__(self, limits: Mapping[str, object], log: Path, core: int | None = None) -> None:
        command = [sys.executable, "-m", "tests.faults.server", json.dumps(limits)]
        self.log = log
        self._program = Program(command, log, environment(log.parent), core)
        self.port = self.state().port

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()

    def end(self) -> None:
        """End its process."""
        self._program.end()

    def state(self) -> State:
        """Return what it holds, and what held it since it was last asked."""
        with (
            socket.create_connection(("127.0.0.1", self._program.port), STALLED_S) as asked,
            asked.makefile() as told,
        ):
            return State(**json.loads(told.readline()))

    def cpu_s(self) -> float:
        """Return how much time of the processor it has used, to the nanosecond.

        The system has a clock for each process (clock_getcpuclockid(3)); its number is made so.
        """
        return time.clock_gettime(~self._program.pid << 3 | 2)

    def forget_peak(self) -> None:
        """Measure the largest size from now on, where the system can (proc(5), clear_refs)."""
        with suppress(OSError):
            Path(f"/proc/{self._program.pid}/clear_refs").write_text("5")

    def memory_mib(self) -> tuple[float, float]:
        """Return how much it holds, and how much it held at the most."""
        status = Path(f"/proc/{self._program.pid}/status").read_text()
        sizes = dict(line.split(":", 1) for line in status.splitlines())
        now, peak = (int(sizes[name].split()[0]) / _KIB_PER_MIB for name in ("VmRSS", "VmHWM"))
        return now, peak


class HealthyClient:
    """Makes a unary call every other millisecond, one after the other.

    Args:
        server: whom it calls.
    """

    def __init__(self, server: FaultyServer) -> None:
        exchange = contract.get_user()
        self._server = server
        self._tally = Tally()
        self._connection = UnaryConnection(
            server.port, [plain(exchange.path)], [exchange.request], exchange.is_right, self._tally
        )
        self._connection.stop()  # a call ends, and no other begins by itself

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connection.socket.close()

    def calls(self, goes_on: Callable[[int], bool]) -> Latencies:
        """Make calls as long as it goes on, given their number so far; at least one.

        Raises:
            BenchError: the server broke off, or did not answer.
            WrongAnswerError: an answer is not right.
        """
        took: list[float] = []
        by_clock: list[float] = []
        while not took or goes_on(len(took)):
            began, used = time.perf_counter(), self._server.cpu_s()
            self._call()
            took.append(self._server.cpu_s() - used)
            by_clock.append(time.perf_counter() - began)
            time.sleep(max(0.0, INTERVAL_S - by_clock[-1]))
        return Latencies.of(took, by_clock)

    def _call(self) -> None:
        connection, finished = self._connection, self._tally.finished
        finished.clear()
        connection.start()
        while not finished:
            connection.flush()
            if not select.select([connection.socket], [], [], STALLED_S)[0]:
                raise BenchError(f"a healthy client waited {STALLED_S:g} s for an answer")
            connection.receive()


class Attackers:
    """The process of the hostile peers; it starts with the first fault."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(
            1, mp_context=multiprocessing.get_context("spawn"), initializer=_give_way
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def begin(self, fault: Fault, target: Target) -> Future[Saw]:
        """Put a fault on a server."""
        under_attack: Future[Saw] = self._pool.submit(_attack, fault.name, target)
        return under_attack


def _give_way() -> None:
    """Let the healthy client come first, who may share a core with the hostile peers."""
    os.nice(_NICE)


def _attack(name: str, target: Target) -> Saw:
    from tests.faults.catalog import FAULTS  # noqa: PLC0415  # in the process of the peers

    [attack] = [fault.attack for fault in FAULTS if fault.name == name]
    began = time.monotonic()
    saw = attack(target)
    while target.full and time.monotonic() - began < FULL_S:
        saw += attack(target)
    return saw


def put(fault: Fault, server: FaultyServer, attackers: Attackers, *, full: bool) -> Outcome:
    """Put a fault on a server, and return what it did."""
    with HealthyClient(server) as client:
        before = client.calls(lambda count: count < CALLS_BEFORE[full])
        server.forget_peak()
        size_before, _ = server.memory_mib()
        server.state()  # what held it until now is of no interest
        under_attack = attackers.begin(fault, Target(server.port, full))
        during = client.calls(lambda _: not under_attack.done())
        try:
            saw = under_attack.result()
        except BrokenProcessPool:
            raise BenchError(f"the process of the hostile peers broke off: {fault.name}") from None
        state = server.state()
        left = _left(server)
        client.calls(lambda count: count < 10)
        size_after, peak = server.memory_mib()
    return Outcome(
        fault,
        saw,
        before,
        during,
        held_ms=state.held_ms,
        held_by=state.held_by,
        grown_mib=peak - size_before,
        kept_mib=size_after - size_before,
        left=left,
    )


def _left(server: FaultyServer) -> dict[str, int]:
    """Return what a server still holds when it had the time to let go of it."""
    limit = time.monotonic() + QUIET_S
    while True:
        state = server.state()
        left = {
            "connections": state.connections - 1,  # the healthy client's
            "streams": state.streams,
            "calls": state.calls,
        }
        if not any(left.values()) or time.monotonic() > limit:
            return left
        time.sleep(0.02)
