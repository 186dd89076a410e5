"""The benchmark's command line: which workloads, in turn, and what becomes of the results."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench import chart
from tests.bench.bench import Bench
from tests.bench.contract import ROOT
from tests.bench.peers import PEERS, compile_contract
from tests.bench.processes import BenchError, cores, python_module, run_to_end
from tests.bench.results import Results
from tests.bench.workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROUNDS, SECONDS, WARM_UP = 5, 1.0, 0.3
QUICK_ROUNDS, QUICK_SECONDS = 1, 0.7
QUICK = ("unary", "headers", "streaming", "client")
# Programs that print what they found, and have no server.
PARTS = ("codec", "middleware")
PART_S = 240.0
PACKAGES = (
    "betterproto2",
    "connectrpc",
    "grpcio",
    "grpclib",
    "h2",
    "hpack",
    "multidict",
    "protobuf",
    "protobuf-py",
    "pyvoy",
)
STOPPED = 130


@dataclass(frozen=True, slots=True)
class Choice:
    """What was asked for on the command line."""

    workloads: list[str]
    subjects: list[str]
    rounds: int
    parts: list[str]

    def turns(self, server: str) -> Iterator[tuple[str, str]]:
        """Return what is measured while a server is up: workloads, and their subjects."""
        for name in self.workloads:
            for subject, host in WORKLOADS[name].subjects.items():
                if host == server and (not self.subjects or subject in self.subjects):
                    yield name, subject

    def servers(self) -> list[str]:
        """Return the servers that are needed."""
        return [name for name in PEERS if any(self.turns(name))]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, and return the status of the process."""
    options = _parser().parse_args(arguments)
    # Also who ends it from outside wants every server to be ended.
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        results = _run(options)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: stopped", file=sys.stderr)
        return STOPPED
    finally:
        signal.signal(signal.SIGTERM, before)
    print("\n\n".join(results.tables()))
    if options.output is not None:
        _write(results, options.output)
    return 1 if results.remarks else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="WORKLOADS",
        help=f"some of {', '.join([*WORKLOADS, *PARTS])}; with commas",
    )
    parser.add_argument(
        "--servers",
        default="",
        help=f"some of {', '.join(PEERS)}; with commas",
    )
    parser.add_argument("--rounds", type=int, help=f"default: {ROUNDS}")
    parser.add_argument("--seconds", type=float, help=f"of one measurement; default: {SECONDS}")
    parser.add_argument("--warm-up", type=float, default=WARM_UP, help=f"default: {WARM_UP}")
    parser.add_argument("--quick", action="store_true", help="one short round of the first ones")
    parser.add_argument("--output", type=Path, help="the folder for results.md, .json and .svg")
    return parser


def _choice(options: argparse.Namespace) -> Choice:
    asked = [name for names in options.only for name in names.split(",")]
    unknown = [name for name in asked if name not in WORKLOADS and name not in PARTS]
    subjects = [name for name in options.servers.split(",") if name]
    known = {subject for workload in WORKLOADS.values() for subject in workload.subjects}
    unknown += [name for name in subjects if name not in known]
    if unknown:
        raise BenchError(f"there is no {', '.join(unknown)}")
    wanted = asked or (QUICK if options.quick else tuple(WORKLOADS))
    chosen = [name for name in WORKLOADS if name in wanted]
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    everything = not (asked or options.quick or subjects)
    parts = [name for name in PARTS if everything or name in asked]
    return Choice(chosen, subjects, rounds, parts)


def _run(options: argparse.Namespace) -> Results:
    choice = _choice(options)
    server_core, load_core = cores()
    seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    results = Results(_about(choice, seconds))
    stolen = _Stolen()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        bench = Bench(Path(name), server_core, load_core, seconds, options.warm_up)
        if choice.workloads:
            _ = bench.h2load  # says that it is missing before anything is measured
        servers = []
        for server in choice.servers():
            if PEERS[server].installed:
                servers.append(server)
            else:
                results.remarks.append(f"{PEERS[server].label} is not installed")
        compile_contract(bench.folder, connect="connect_pyvoy" in servers)
        for turn in range(choice.rounds):
            for server in servers:
                _measure(bench, choice, server, turn, results)
        for part in choice.parts:
            _progress(part)
            command = python_module(part)
            try:
                found = run_to_end(command, bench.environment, load_core, PART_S)
                results.parts[part] = found
            except BenchError as error:
                results.remarks.append(f"{part}: {error}")
    results.about["Time stolen"] = f"{stolen.share():.0%} of the processor, by other machines"
    return results


def _measure(bench: Bench, choice: Choice, server: str, turn: int, results: Results) -> None:
    """Start a server, and measure with it whatever was asked for."""
    label = PEERS[server].label
    try:
        with bench.start(server) as program:
            for name, subject in choice.turns(server):
                workload = WORKLOADS[name]
                _progress(f"round {turn + 1}/{choice.rounds}, {workload.labels[subject]}: {name}")
                try:
                    results.add(name, subject, turn, workload.measure(bench, subject, program))
                except BenchError as error:
                    label = workload.labels[subject]
                    results.remarks.append(f"round {turn + 1}, {label}, {name}: {error}")
                    _progress(results.remarks[-1])
    except BenchError as error:
        results.remarks.append(f"round {turn + 1}, {label}: {error}")
        _progress(results.remarks[-1])


class _Stolen:
    """How much of the processor other virtual machines got, of what was wanted here."""

    def __init__(self) -> None:
        self._before = self._times()

    def share(self) -> float:
        """Return it for the time since."""
        used, stolen = (
            now - before for now, before in zip(self._times(), self._before, strict=True)
        )
        return stolen / (used + stolen) if used + stolen else 0.0

    @staticmethod
    def _times() -> tuple[int, int]:
        user, nice, system, _idle, _wait, irq, soft, steal, *_ = map(
            int, Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:]
        )
        return user + nice + system + irq + soft, steal


def _about(choice: Choice, seconds: float) -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return {
        "Machine": f"{_processor()}, {os.cpu_count()} cores; one for the server, one for the load",
        "Python": f"{platform.python_version()}, asyncio's own event loop",
        "Rounds": f"{choice.rounds}, every server in each; {seconds:g} s a measurement",
        "Packages": ", ".join(f"{name} {number}" for name, number in found.items()),
    }


def _processor() -> str:
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(
            line.partition(":")[2].strip() for line in lines if line.startswith("model name")
        )
    return platform.machine()


def _write(results: Results, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.md").write_text(results.as_markdown(), encoding="utf-8")
    document = json.dumps(results.as_json(), indent=1, ensure_ascii=False)
    (folder / "results.json").write_text(document + "\n", encoding="utf-8")
    (folder / "results.svg").write_text(chart.svg(results), encoding="utf-8")
    with contextlib.suppress(ValueError):
        folder = folder.resolve().relative_to(ROOT)
    _progress(f"written to {folder}")


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _stop(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt
