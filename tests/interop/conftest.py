"""Peers that are not ours: programs on real sockets, and stubs made from the baseline contract.

A program says on its standard output what there is to know about it, line by line: a
server first where it is ready, then what happened to its calls.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import grpc
import grpc_tools
import pytest
from google.rpc import status_pb2
from grpc_tools import protoc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

HERE = Path(__file__).parent
PEERS = HERE / "peers"
BASELINE = HERE.parent / "contract" / "user_service.proto"
# Only a test that fails waits as long as this.
PATIENCE_S = 20

# `nox -s interop` names the folder with what it built of peers in other languages.
BUILT = os.environ.get("USERSERVICE_INTEROP_BUILT")
LANGUAGES = ["grpc-js", "grpc-go"]
if BUILT is None:
    collect_ignore = ["test_peer_clients.py", "test_grpcurl.py", "test_grpcdebug.py"]


class Program:
    """A program in a process of its own."""

    def __init__(self, command: Sequence[str | Path], log: Path) -> None:
        self.log = log
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("USERSERVICE_")
        }
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                text=True,
            )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def line(self) -> str:
        """Return the next line of its output."""
        try:
            line = self._lines.get(timeout=PATIENCE_S)
        except queue.Empty:
            pytest.fail(f"the program says nothing; its log:\n{self.log.read_text()}")
        if line is None:
            pytest.fail(f"the program ended; its log:\n{self.log.read_text()}")
        return line

    def asked(self, number: signal.Signals) -> str:
        """Send a signal, and return the line that answers it."""
        self._process.send_signal(number)
        return self.line()

    def stop(self) -> int:
        """Send SIGTERM, and return the exit status."""
        self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Return the exit status, when the program has ended."""
        status = self._process.wait(PATIENCE_S)
        self._reader.join()
        return status

    def kill(self) -> None:
        """End it at once, and give it no chance to say anything."""
        self._process.kill()
        self.wait()


class ServerProgram(Program):
    """A program whose first line ends in the address where it serves."""

    def __init__(self, command: Sequence[str | Path], log: Path) -> None:
        super().__init__(command, log)
        try:
            self.address = self.line().split()[-1]
        except BaseException:
            self.kill()
            raise


@dataclass(frozen=True)
class Contract:
    """What protoc and grpcio's plugin make of a contract."""

    folder: Path
    messages: Any
    services: Any

    @classmethod
    def compiled(cls, proto: Path, folder: Path) -> Self:
        """Write messages and stubs into a folder, and import them."""
        status = protoc.main(
            [
                "protoc",
                f"--proto_path={proto.parent}",
                f"--proto_path={Path(grpc_tools.__file__).parent / '_proto'}",
                f"--python_out={folder}",
                f"--grpc_python_out={folder}",
                proto.name,
            ]
        )
        assert status == 0
        sys.path.insert(0, str(folder))
        try:
            return cls(
                folder,
                importlib.import_module(f"{proto.stem}_pb2"),
                importlib.import_module(f"{proto.stem}_pb2_grpc"),
            )
        finally:
            sys.path.remove(str(folder))


@pytest.fixture(scope="session")
def contract(tmp_path_factory: pytest.TempPathFactory) -> Contract:
    """Messages and stubs of the baseline contract, as grpcio has them."""
    return Contract.compiled(BASELINE, tmp_path_factory.mktemp("contract"))


@pytest.fixture(scope="session")
def testing(tmp_path_factory: pytest.TempPathFactory) -> Contract:
    """Messages and stubs of the official test cases, as grpcio has them."""
    return Contract.compiled(HERE / "proto/testing.proto", tmp_path_factory.mktemp("testing"))


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[ServerProgram]:
    """Run ``userservice serve``; it must end well, and have no trouble on the way."""
    database = f"--database=sqlite:///{folder / 'users.db'}"
    command = [sys.executable, "-m", "userservice", "serve", "--port=0", database, *options]
    with ServerProgram(command, folder / "log") as program:
        yield program
        assert program.stop() == 0
    log = program.log.read_text()
    assert "Traceback" not in log, log


def telling(folder: Path) -> ServerProgram:
    """Run our service in a program that tells who listens, and what comes with a call."""
    return ServerProgram([sys.executable, HERE / "telling_server.py"], folder / "telling.log")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProgram]:
    """Our server, shared by all tests."""
    with serving(tmp_path_factory.mktemp("server")) as program:
        yield program


@pytest.fixture
def channelz_server(tmp_path: Path) -> Iterator[ServerProgram]:
    """Our server, for one test alone, which tells of its connections."""
    with serving(tmp_path, "--channelz") as program:
        yield program


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[ServerProgram]:
    """Our server, for one test alone, which may stop it."""
    with serving(tmp_path) as program:
        yield program


class Languages:
    """The peers in other languages, as the commands that start them."""

    def client(self, name: str) -> list[str | Path]:
        """Return what runs a client, but for the addresses it takes."""
        return self._program(name, "client")

    def server(self, name: str) -> list[str | Path]:
        """Return what starts a server."""
        return self._program(name, "server")

    def grpcurl(self) -> Path:
        """Return the program grpcurl."""
        return self._built("grpcurl")

    def official(self, name: str, role: str) -> list[str | Path]:
        """Return what starts a client or a server of the official test cases."""
        if name == "grpc-go":  # it has its own
            return [self._built("official") / role]
        return ["node", PEERS / "js" / f"official_{role}.js", HERE / "proto/testing.proto"]

    def _program(self, name: str, role: str) -> list[str | Path]:
        if name == "grpc-go":
            return [self._built(role)]
        google_protos = Path(status_pb2.__file__).parents[2]
        return ["node", PEERS / "js" / f"{role}.js", BASELINE, google_protos]

    def _built(self, name: str) -> Path:
        if shutil.which("go") is None:
            pytest.skip("no Go")
        assert BUILT is not None
        return Path(BUILT) / name


@pytest.fixture(scope="session")
def languages() -> Languages:
    """Peers in other languages."""
    return Languages()


@pytest.fixture(scope="session", params=["grpcio"] if BUILT is None else LANGUAGES)
def peer_command(
    request: pytest.FixtureRequest, contract: Contract, languages: Languages
) -> list[str | Path]:
    """What starts a server that is not ours; peers/README.md says what it does."""
    if request.param == "grpcio":
        return [sys.executable, PEERS / "python" / "server.py", contract.folder]
    return languages.server(request.param)


@pytest.fixture(scope="session")
def peer(
    peer_command: list[str | Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProgram]:
    """A server that is not ours, shared by tests that do not read what it prints."""
    with ServerProgram(peer_command, tmp_path_factory.mktemp("peer") / "log") as program:
        yield program


@pytest.fixture
def own_peer(peer_command: list[str | Path], tmp_path: Path) -> Iterator[ServerProgram]:
    """A server that is not ours, for one test alone, which may kill it."""
    with ServerProgram(peer_command, tmp_path / "peer.log") as program:
        yield program


@pytest.fixture
def telling_server(tmp_path: Path) -> Iterator[ServerProgram]:
    """Our service, for one test alone, which tells who listens, and what comes with a call."""
    with telling(tmp_path) as program:
        yield program


@pytest.fixture(scope="session")
def shared_telling_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProgram]:
    """The same, for tests that come one after the other and read all it prints."""
    with telling(tmp_path_factory.mktemp("telling")) as program:
        yield program


@pytest.fixture(scope="session")
def peers() -> Path:
    """The folder of the programs that are not ours."""
    return PEERS


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Starts a program, which is ended with the test."""
    with ExitStack() as started:

        def start_program(*command: str | Path) -> Program:
            return started.enter_context(Program(command, tmp_path / "program.log"))

        yield start_program


@pytest.fixture(scope="session")
def start_for_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Program]]:
    """Starts a program, which is ended with the session."""
    folder = tmp_path_factory.mktemp("programs")
    with ExitStack() as started:

        def start_program(name: str, *command: str | Path) -> Program:
            return started.enter_context(Program(command, folder / f"{name}.log"))

        yield start_program


@pytest.fixture(scope="session")
def run() -> Callable[..., Any]:
    """Runs a program to its end, and returns the JSON document that it prints."""

    def run_program(*command: str | Path) -> Any:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=PATIENCE_S
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run_program


@pytest.fixture
def channel_options() -> list[tuple[str, str]]:
    """No call of a grpcio channel with these options takes for ever."""
    # gRPC's service_config.proto; a call's own deadline counts where it is earlier.
    limits = {"methodConfig": [{"name": [{}], "timeout": f"{PATIENCE_S}s"}]}
    return [("grpc.service_config", json.dumps(limits))]


@pytest.fixture
def channel(
    server: ServerProgram, channel_options: list[tuple[str, str]]
) -> Iterator[grpc.Channel]:
    """A connection of grpcio to our server."""
    with grpc.insecure_channel(server.address, channel_options) as channel:
        yield channel


@pytest.fixture
def stub(contract: Contract, channel: grpc.Channel) -> Any:
    """A client of our server, made by grpcio."""
    return contract.services.UserServiceStub(channel)


@pytest.fixture
def domain() -> str:
    """A part of emails that no other test has."""
    return f"{uuid.uuid4().hex}.example.com"
