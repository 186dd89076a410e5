"""What every workload has at hand: the cores, the folder, the loads, and the clock's settings."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from tests.bench import headers
from tests.bench.h2load import H2load, Load, Measured
from tests.bench.load import Plan, Result
from tests.bench.peers import PEERS
from tests.bench.processes import Program, environment, python_module, run_to_end

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.contract import Exchange

RING = 1024  # distinct blocks of headers on each connection
_GRACE_S = 30.0


@dataclass(frozen=True, slots=True)
class Costed:
    """What a measurement of calls found.

    Args:
        per_second: how many calls there were.
        p50_us: how long half of them took at most.
        p99_us: the same for 99 of 100.
        cpu_us: how much of a processor each call took from who is measured. Other
            programs that want the processor make the rest worse, but not this.
    """

    per_second: float
    p50_us: float
    p99_us: float
    cpu_us: float

    @classmethod
    def of(cls, found: Measured | Result, cpu_s: float) -> Costed:
        """Return what was found, with what each call cost."""
        return cls(found.per_second, found.p50_us, found.p99_us, cpu_s * 1e6)

    def metrics(self, name: str) -> dict[str, float]:
        """Return the numbers under names that start with this one."""
        return {
            name: self.per_second,
            f"{name}_p50": self.p50_us / 1000,
            f"{name}_p99": self.p99_us / 1000,
            f"{name}_cpu": self.cpu_us,
        }


@dataclass(frozen=True)
class Bench:
    """A run of the benchmark.

    Args:
        folder: where files go; it has the generated code.
        server_core: where servers run.
        load_core: where the load runs.
        seconds: how long one measurement takes.
        warm_up: how long the same load runs before it.
    """

    folder: Path
    server_core: int
    load_core: int
    seconds: float
    warm_up: float

    @cached_property
    def environment(self) -> dict[str, str]:
        """What the programs of the benchmark are started with."""
        return environment(self.folder)

    @cached_property
    def h2load(self) -> H2load:
        """The load by h2load."""
        return H2load(self.folder, self.load_core, self.environment)

    def start(self, name: str) -> Program:
        """Start a server on its core."""
        peer = PEERS[name]
        database = self.folder / f"{name}.db"
        for file in self.folder.glob(f"{database.name}*"):
            file.unlink()
        return Program(
            peer.command(database),
            self.folder / f"{name}.log",
            environment(self.folder, peer.env),
            None if peer.everywhere else self.server_core,
        )

    def check_and_measure(self, server: Program, exchange: Exchange, load: Load) -> Costed:
        """Let h2load put load on a server, whose answers are checked before."""
        self.h2load.check(server.port, exchange)
        self.h2load.warm_up(server.port, exchange, load, self.warm_up)
        before = server.cpu_s()
        measured = self.h2load.measure(server.port, exchange, load, self.seconds)
        return Costed.of(measured, (server.cpu_s() - before) / measured.answers)

    def measure_everywhere(
        self, server: Program, exchange: Exchange, load: Load
    ) -> tuple[Costed, float]:
        """Do the same where server and load share all cores.

        Returns:
            what was found, and the share of one core that h2load took.
        """
        h2load = H2load(self.folder, None, self.environment)
        h2load.check(server.port, exchange)
        h2load.warm_up(server.port, exchange, load, self.warm_up)
        before = server.cpu_s()
        measured = h2load.measure(server.port, exchange, load, self.seconds)
        costed = Costed.of(measured, (server.cpu_s() - before) / measured.answers)
        return costed, measured.cpu_s / self.seconds

    def messages_per_second(self, server: Program, exchange: Exchange, load: Load) -> float:
        """Let h2load ask for streams, or send them, and return the speed of their messages."""
        self.h2load.check(server.port, exchange)
        measured = self.h2load.measure_whole(server.port, exchange, load, self.seconds)
        return measured.per_second * exchange.messages

    def run_plan(self, server: Program, plan: Plan) -> Costed:
        """Put our own load on a server; it checks every answer."""
        file = self.folder / "plan.pickle"
        file.write_bytes(pickle.dumps(plan))
        command = python_module("load", server.port, file, self.seconds, self.warm_up)
        before = server.cpu_s()
        result = Result(**json.loads(self.run_program(command)))
        return Costed.of(result, (server.cpu_s() - before) / result.all_answers)

    def run_client(self, server: Program, client: str, under_way: int) -> Costed:
        """Let a client call the server; it checks every answer, and tells its own costs."""
        command = python_module(
            f"clients.{client}", server.port, under_way, self.seconds, self.warm_up
        )
        return Costed(**json.loads(self.run_program(command)))

    def run_program(self, command: list[str]) -> str:
        """Run a program on the core of the load, and return what it prints."""
        timeout = self.seconds + self.warm_up + _GRACE_S
        return run_to_end(command, self.environment, self.load_core, timeout)

    def rings(self, style: str, path: str, connections: int) -> list[list[bytes]]:
        """Return blocks of headers for each connection, in the style of a real client."""
        file = self.folder / f"{style}.ring"
        if not file.exists():
            encode = {"grpcio": headers.grpcio, "go": headers.go}[style]
            made = [encode(path, RING, number) for number in range(connections)]
            file.write_bytes(pickle.dumps(made))
        found: list[list[bytes]] = pickle.loads(file.read_bytes())
        return found
