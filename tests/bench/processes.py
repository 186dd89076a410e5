"""The processes of the benchmark: started on a core of their own, and always ended."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from tests.bench.contract import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

START_S = 30.0
END_S = 5.0


class BenchError(Exception):
    """The benchmark cannot go on; the message is one line."""


def cores() -> tuple[int, int]:
    """Return the core for servers, and the one for the load.

    Raises:
        BenchError: there is only one.
    """
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise BenchError("two cores are needed: one for the server, and one for the load")
    return usable[0], usable[1]


@contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """Start processes of this block on one core; their threads and children stay there."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def environment(generated: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what a program of the benchmark is started with."""
    settings = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("USERSERVICE_", "PYTHON", "MULTIDICT_", "COVERAGE_"))
    }
    settings["PYTHONPATH"] = os.pathsep.join(map(str, (generated, ROOT, ROOT / "src")))
    return settings | dict(extra or {})


class Program:
    """A server in a process of its own, from its first line until the block ends.

    Args:
        command: what is run.
        log: where its standard error goes.
        env: its environment.
        core: where it runs; None for anywhere.
    """

    def __init__(
        self, command: Sequence[str], log: Path, env: Mapping[str, str], core: int | None = None
    ) -> None:
        self.log = log
        self.started_at = time.perf_counter()
        with log.open("w") as errors, on_core(core):
            # In a session of its own: Ctrl-C ends it through us, with all its children.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=env,
                cwd=ROOT,
                start_new_session=True,
            )
        try:
            self.port = self._first_line()
        except BaseException:
            self.end()
            raise

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

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
        """End it, and what it started: kindly first."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.pid, number)
                self._process.wait(END_S)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def resident_kib(self) -> int:
        """Return how much memory it and its children hold."""
        total = 0
        for pid in _family(self.pid):
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as lines:  # noqa: PTH123  # as fast as can be
                total += next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))
        return total

    def cpu_s(self) -> float:
        """Return how much time of processors it and its children have used."""
        ticks = 0
        for pid in _family(self.pid):
            with open(f"/proc/{pid}/stat", encoding="ascii") as line:  # noqa: PTH123  # as fast as can be
                # The second field is a name, which may have spaces, in brackets.
                fields = line.read().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def _first_line(self) -> int:
        """Return the port that its first line ends in."""
        assert self._process.stdout is not None
        said = b""
        limit = time.monotonic() + START_S
        while b"\n" not in said:
            readable, _, _ = select.select(
                [self._process.stdout], [], [], max(limit - time.monotonic(), 0)
            )
            piece = os.read(self._process.stdout.fileno(), 4096) if readable else b""
            if not piece:
                raise BenchError(f"{self._name()} did not start: {self._last_words()}")
            said += piece
        return int(said.split()[-1].rpartition(b":")[2])

    def _name(self) -> str:
        return " ".join(str(word) for word in list(self._process.args)[1:])  # type: ignore[arg-type]  # a sequence, as we gave it

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def run_to_end(
    command: Sequence[str], env: Mapping[str, str], core: int | None, timeout: float
) -> str:
    """Run a program to its end on a core, and return what it prints.

    Raises:
        BenchError: it failed; with the last line that it said.
    """
    with on_core(core):
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            cwd=ROOT,
            text=True,
            start_new_session=True,
        )
    try:
        out, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{command[0]} took longer than {timeout:.0f} s") from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode != 0:
        said = (errors.strip() or out.strip() or "it said nothing").splitlines()[-1]
        raise BenchError(f"{' '.join(command[1:4])}: status {process.returncode}: {said}")
    return out


def python_module(name: str, *arguments: Any) -> list[str]:
    """Return the command that runs a module of the benchmark."""
    return [sys.executable, "-m", f"tests.bench.{name}", *(str(word) for word in arguments)]


def _family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    found = [pid]
    for parent in found:
        for task in os.listdir(f"/proc/{parent}/task"):  # noqa: PTH208  # names are all it takes
            with open(f"/proc/{parent}/task/{task}/children", encoding="ascii") as children:  # noqa: PTH123  # as fast as can be
                found += map(int, children.read().split())
    return found
