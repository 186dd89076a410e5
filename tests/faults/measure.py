"""A fault is put on our server, beside a healthy client: what it costs that one, and the server.

The server is a process of its own, and so are the hostile peers. The healthy client makes a
call every other millisecond, or as soon as the last one ended. One that takes longer stands for
all that others would have made meanwhile: each of them waits for what is left of it. So the p99
is one of time, and a server that stands still is not forgiven because it is asked less often.
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
from tests.bench.processes import BenchError, Program, environment, on_core
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
    """How long the calls of healthy clients took, in milliseconds."""

    calls: int
    p99_ms: float
    longest_ms: float

    @classmethod
    def of(cls, took: list[float]) -> Latencies:
        """Return those of calls of one client, given in seconds."""
        longest = max(took)
        for took_s in tuple(took):
            left = took_s - INTERVAL_S
            while left > INTERVAL_S:
                took.append(left)
                left -= INTERVAL_S
        took.sort()
        p99 = took[min(int(len(took) * 0.99), len(took) - 1)]
        return cls(len(took), p99 * 1e3, longest * 1e3)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a fault did.

    Args:
        fault: the fault.
        saw: what its peers were told.
        before: the healthy client's latencies before it.
        during: and while it lasted.
        grown_mib: by how much the server grew, at the most.
        kept_mib: by how much it is larger afterwards.
        left: what is open afterwards but for the healthy client's connection.
    """

    fault: Fault
    saw: Saw
    before: Latencies
    during: Latencies
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
        self.port = self.state()["port"]

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

    def state(self) -> dict[str, int]:
        """Return what it holds."""
        with (
            socket.create_connection(("127.0.0.1", self._program.port), STALLED_S) as asked,
            asked.makefile() as told,
        ):
            state: dict[str, int] = json.loads(told.readline())
            return state

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
        port: where the server is.
    """

    def __init__(self, port: int) -> None:
        exchange = contract.get_user()
        self._tally = Tally()
        self._connection = UnaryConnection(
            port, [plain(exchange.path)], [exchange.request], exchange.is_right, self._tally
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
        """Make calls as long as it goes on, given their number so far.

        Raises:
            BenchError: the server broke off, or did not answer.
            WrongAnswerError: an answer is not right.
        """
        tally = self._tally
        tally.took.clear()
        tally.finished.clear()
        while not tally.took or goes_on(len(tally.took)):
            began = time.perf_counter()
            self._call()
            time.sleep(max(0.0, began + INTERVAL_S - time.perf_counter()))
        return Latencies.of(tally.took)

    def _call(self) -> None:
        connection, answers = self._connection, len(self._tally.took)
        self._tally.clock = time.perf_counter()
        connection.start()
        while len(self._tally.took) == answers:
            connection.flush()
            if not select.select([connection.socket], [], [], STALLED_S)[0]:
                raise BenchError(f"a healthy client waited {STALLED_S:g} s for an answer")
            self._tally.clock = time.perf_counter()
            connection.receive()


class Attackers:
    """The process of the hostile peers.

    Args:
        core: where it runs; None for anywhere.
    """

    def __init__(self, core: int | None = None) -> None:
        self._core = core
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
        with on_core(self._core):  # where the process starts, at first
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
    with HealthyClient(server.port) as client:
        before = client.calls(lambda count: count < CALLS_BEFORE[full])
        server.forget_peak()
        size_before, _ = server.memory_mib()
        under_attack = attackers.begin(fault, Target(server.port, full))
        during = client.calls(lambda _: not under_attack.done())
        try:
            saw = under_attack.result()
        except BrokenProcessPool:
            raise BenchError(f"the process of the hostile peers broke off: {fault.name}") from None
        left = _left(server)
        client.calls(lambda count: count < 10)
        size_after, peak = server.memory_mib()
    return Outcome(fault, saw, before, during, peak - size_before, size_after - size_before, left)


def _left(server: FaultyServer) -> dict[str, int]:
    """Return what a server still holds when it had the time to let go of it."""
    limit = time.monotonic() + QUIET_S
    while True:
        state = server.state()
        # The healthy client's.
        left = {**state, "connections": state["connections"] - 1}
        del left["port"]
        if not any(left.values()) or time.monotonic() > limit:
            return left
        time.sleep(0.02)
