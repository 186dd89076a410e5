"""A real server in a process of its own, and command lines that call it."""

import asyncio
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.app.processes import Processes

from userservice import UserServiceClient

PATIENCE_S = 20.0

Call = Callable[[UserServiceClient], Awaitable[Any]]
Outcome = subprocess.CompletedProcess[str]

# A terminal sends its signals to the session that it controls.
_IN_TERMINAL = """
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from userservice.app.cli import main
main(sys.argv[1:])
"""


@dataclass(frozen=True)
class ServerProcess:
    """A server that runs: where it listens, and where its log is."""

    process: subprocess.Popen[str]
    address: str
    log: Path

    def stop(self) -> None:
        """Stop it as a supervisor would, and wait until it is gone."""
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=PATIENCE_S)


def _environment(address: str) -> dict[str, str]:
    settings = {k: v for k, v in os.environ.items() if not k.startswith("USERSERVICE_")}
    for unset in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
        settings.pop(unset, None)
    return settings | {"USERSERVICE_TARGET": address, "PYTHONIOENCODING": "utf-8", "TERM": "xterm"}


@pytest.fixture(scope="session")
def start_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[], ServerProcess]]:
    """Start a server with an empty database; it is stopped after the last test."""
    running: list[ServerProcess] = []

    def start() -> ServerProcess:
        log = tmp_path_factory.mktemp("server") / "log"
        with log.open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "userservice", "serve", "--port=0", "--database=memory:"],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        assert process.stdout is not None
        words = process.stdout.readline().split()
        assert words, log.read_text()
        running.append(ServerProcess(process, words[-1], log))
        return running[-1]

    yield start
    for server in running:
        server.stop()


@pytest.fixture(scope="session")
def server(start_server: Callable[[], ServerProcess]) -> ServerProcess:
    """The server that the command lines call; each test has users of its own there."""
    return start_server()


@pytest.fixture(scope="session")
def ask(server: ServerProcess) -> Callable[[Call], Any]:
    """Make a call with a client in this process, which starts faster than a command line."""

    async def connected(call: Call) -> Any:
        async with UserServiceClient(server.address, timeout_s=PATIENCE_S) as client:
            return await call(client)

    return lambda call: asyncio.run(connected(call))


@pytest.fixture(scope="session")
def start(server: ServerProcess) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command line, connected by pipes; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start_command(
        *arguments: str, target: str = "", **options: object
    ) -> subprocess.Popen[str]:
        process: subprocess.Popen[str] = subprocess.Popen(  # type: ignore[call-overload]  # options of any type
            [sys.executable, "-m", "userservice", *arguments],
            **{
                "stdin": subprocess.PIPE,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "encoding": "utf-8",
                "env": _environment(target or server.address),
            }
            | options,
        )
        started.append(process)
        return process

    yield start_command
    for process in started:
        with process:
            process.kill()


@pytest.fixture(scope="session")
def run(start: Callable[..., subprocess.Popen[str]]) -> Callable[..., Outcome]:
    """Run a command line to its end; ``said`` is its standard input."""

    def run_command(*arguments: str, said: str = "", **options: object) -> Outcome:
        process = start(*arguments, **options)
        stdout, stderr = process.communicate(said, timeout=PATIENCE_S)
        return Outcome(arguments, process.returncode, stdout, stderr)

    return run_command


@pytest.fixture(scope="session")
def run_each(run: Callable[..., Outcome]) -> Callable[..., list[Outcome]]:
    """Run several command lines at once: most of their time is Python's start.

    ``said`` holds the standard input of each.
    """

    def run_commands(
        commands: Sequence[Sequence[str]], said: Sequence[str] | None = None, **options: object
    ) -> list[Outcome]:
        inputs = said or [""] * len(commands)

        def run_one(arguments: Sequence[str], text: str) -> Outcome:
            return run(*arguments, said=text, **options)

        with ThreadPoolExecutor(4) as threads:
            return list(threads.map(run_one, commands, inputs))

    return run_commands


@pytest.fixture(scope="session")
def run_in_terminal(server: ServerProcess) -> Callable[..., Outcome]:
    """Run a command line in a terminal.

    ``dialogue`` holds pairs: what to wait for on the screen, and what to type then.
    All that was on the screen is the outcome's ``stdout``.
    """

    def run_command(
        *arguments: str, columns: int = 80, dialogue: tuple[tuple[str, str], ...] = ()
    ) -> Outcome:
        screen, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 25, columns, 0, 0))
        process = subprocess.Popen(
            [sys.executable, "-c", _IN_TERMINAL, *arguments],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
            env=_environment(server.address),
        )
        os.close(terminal)
        shown = b""
        for expected, typed in dialogue:
            while expected.encode() not in shown:
                shown += _read(screen)
            os.write(screen, typed.encode())
        while piece := _read(screen):
            shown += piece
        os.close(screen)
        return Outcome(arguments, process.wait(PATIENCE_S), shown.decode(), "")

    return run_command


def _read(screen: int) -> bytes:
    """Return what comes on the screen next; nothing when the last program has left it."""
    readable, _, _ = select.select([screen], [], [], PATIENCE_S)
    assert readable, "nothing comes on the screen"
    try:
        return os.read(screen, 65_536)
    except OSError:  # Linux says EIO when the terminal's other side is closed.
        return b""


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Servers in a folder of their own; they hear SIGHUP, whoever started the tests."""
    made = Processes(tmp_path)
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield made
    signal.signal(signal.SIGHUP, before)
    for process in made.started:
        with process:
            process.kill()
