"""h2load as the load: one run, and what it measured."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.bench.check import Relay, verify_all
from tests.bench.processes import BenchError, on_core, run_to_end

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.contract import Exchange

MISSING = "h2load is missing; install it with: apt-get install nghttp2-client"
_PATIENCE_S = 30.0
_CHECKED = 8  # requests through the relay before a measurement


class NoAnswerError(BenchError):
    """No request was answered in the time."""


@dataclass(frozen=True, slots=True)
class Load:
    """How many requests are under way.

    Args:
        connections: how many connections there are.
        streams: how many requests are under way on each.
    """

    connections: int
    streams: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run measured.

    Args:
        per_second: how many requests were answered.
        p50_us: how long half of them took at most.
        p99_us: the same for 99 of 100.
        answers: how many there were.
        data: how many bytes they had.
        cpu_s: how much time of processors h2load used.
    """

    per_second: float
    p50_us: float
    p99_us: float
    answers: int
    data: int
    cpu_s: float


def percentile(values: list[int], share: float) -> float:
    """Return the value that this share of the sorted values does not exceed."""
    return float(values[min(int(len(values) * share), len(values) - 1)])


class H2load:
    """Runs h2load.

    Args:
        folder: where its files go.
        core: where it runs.
        env: its environment.
    """

    def __init__(self, folder: Path, core: int | None, env: dict[str, str]) -> None:
        found = shutil.which("h2load")
        if found is None:
            raise BenchError(MISSING)
        self._program = found
        self._folder = folder
        self._core = core
        self._env = env

    def check(self, port: int, exchange: Exchange) -> None:
        """Send the requests that ``measure`` sends, and look at every answer.

        Raises:
            WrongAnswerError: one is not right.
        """
        with Relay(port) as relay:
            self._run(relay.port, exchange, Load(2, 2), f"--requests={_CHECKED}")
            verify_all(relay.received(), exchange, _CHECKED)

    def warm_up(self, port: int, exchange: Exchange, load: Load, seconds: float) -> None:
        """Send requests that are not counted; h2load's own warm-up is part of what it counts."""
        self._run(port, exchange, load, f"--duration={_milliseconds(seconds)}")

    def measure(self, port: int, exchange: Exchange, load: Load, seconds: float) -> Measured:
        """Send requests for a while.

        Raises:
            NoAnswerError: there was no answer.
            BenchError: requests failed, or the replies have not the right size.
        """
        measured = self._measure(
            port, exchange, load, f"--duration={_milliseconds(seconds)}", timeout=seconds
        )
        # Those under way at the end are counted in part.
        tolerated = load.connections * load.streams + 0.01 * measured.answers
        if abs(measured.data / len(exchange.reply) - measured.answers) > tolerated:
            raise _wrong_size(measured)
        return measured

    def measure_whole(self, port: int, exchange: Exchange, load: Load, seconds: float) -> Measured:
        """Send requests that take about so long, until all of them are answered.

        For those that are too long for an even end to matter little.

        Raises:
            BenchError: requests failed, or the replies have not the right size.
        """
        at_once = load.connections * load.streams
        first = self._measure(port, exchange, load, f"--requests={at_once}")
        count = at_once * max(1, round(seconds * first.per_second / at_once))
        measured = self._measure(
            port, exchange, load, f"--requests={count}", timeout=2 * count / first.per_second
        )
        if measured.data != count * len(exchange.reply):
            raise _wrong_size(measured)
        return measured

    def _measure(
        self, port: int, exchange: Exchange, load: Load, *options: str, timeout: float = 0
    ) -> Measured:
        log = self._folder / "h2load.log"
        log.unlink(missing_ok=True)
        before = _cpu_of_children_s()
        out = self._run(
            port, exchange, load, *options, f"--log-file={log}", timeout=timeout + _PATIENCE_S
        )
        cpu_s = _cpu_of_children_s() - before
        rate = re.search(r"^finished in .*?, ([\d.]+) req/s", out, re.MULTILINE)
        counts = re.search(
            r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", out
        )
        data = re.search(r"\((\d+)\) data$", out, re.MULTILINE)
        if rate is None or counts is None or data is None:
            raise BenchError("h2load said nothing that can be read")
        done, succeeded, *bad = map(int, counts.groups())
        if any(bad) or done != succeeded:
            raise BenchError(f"h2load: {counts.group()}")
        if done == 0:
            raise NoAnswerError("there was no answer in time")
        durations = sorted(int(line.split()[2]) for line in log.read_text().splitlines())
        return Measured(
            float(rate[1]),
            percentile(durations, 0.5),
            percentile(durations, 0.99),
            done,
            int(data[1]),
            cpu_s,
        )

    @contextmanager
    def background(self, port: int, exchange: Exchange) -> Iterator[None]:
        """Keep one request under way for as long as the block runs; no answer is awaited."""
        body = self._folder / "background.bin"
        command = self._command(port, exchange, Load(1, 1), body, "--requests=1")
        with on_core(self._core):
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=self._env,
                start_new_session=True,
            )
        with process:
            try:
                yield
                if process.poll() is not None:
                    raise BenchError("the stream in the background ended before its time")
            finally:
                process.kill()

    def _command(
        self, port: int, exchange: Exchange, load: Load, body: Path, *options: str
    ) -> list[str]:
        body.write_bytes(exchange.request)
        return [
            self._program,
            f"--clients={load.connections}",
            f"--max-concurrent-streams={load.streams}",
            f"--data={body}",
            "--header=content-type: application/grpc",
            "--header=te: trailers",
            *(f"--header={name}: {value}" for name, value in exchange.metadata),
            *options,
            f"http://127.0.0.1:{port}{exchange.path}",
        ]

    def _run(
        self, port: int, exchange: Exchange, load: Load, *options: str, timeout: float = _PATIENCE_S
    ) -> str:
        command = self._command(port, exchange, load, self._folder / "request.bin", *options)
        return run_to_end(command, self._env, self._core, timeout)


def _cpu_of_children_s() -> float:
    """The time of processors of the programs that have ended; no server ends meanwhile."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _wrong_size(measured: Measured) -> BenchError:
    return BenchError(f"{measured.answers} replies had {measured.data} bytes: some were not right")


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f}ms"
