"""The servers of the official test cases: ours, and those that are not."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.interop.official.cases import PATIENCE_S
from tests.interop.official.figures import Figures

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.interop.conftest import Contract, Languages, Program

HERE = Path(__file__).parent

# `nox -s interop` tests with other languages, and names where it built them.
if "USERSERVICE_INTEROP_BUILT" in os.environ:
    SERVERS = ["grpc_js_address", "grpc_go_address"]
else:
    SERVERS = ["our_address", "grpcio_address"]
    collect_ignore = ["test_grpc_js_client.py", "test_grpc_go_client.py"]


@dataclass(frozen=True)
class OurServer:
    """Our server, in a process of its own."""

    program: Program
    address: str
    unused: Figures

    def figures(self) -> Figures:
        """Return what its process holds."""
        return Figures.read(self.program.asked(signal.SIGUSR1))

    async def at_rest(self) -> Figures:
        """Wait until nobody is connected, and return what the process holds then."""
        async with asyncio.timeout(PATIENCE_S):
            while (now := self.figures()).descriptors > self.unused.descriptors:
                await asyncio.sleep(0.01)
        return now

    async def came_back_to(self, before: Figures, tolerance_kib: int) -> None:
        """See that it holds as much as before, when nobody is connected any more."""
        after = await self.at_rest()
        assert after.idle_as(before)
        assert after.resident_kib <= before.resident_kib + tolerance_kib


@pytest.fixture(scope="session")
def our_server(start_for_all: Callable[..., Program]) -> OurServer:
    """Our server, which all tests share."""
    program = start_for_all("ours", sys.executable, HERE / "server.py")
    address = program.line().split()[-1]
    return OurServer(program, address, Figures.read(program.asked(signal.SIGUSR1)))


@pytest.fixture(scope="session")
def our_address(our_server: OurServer) -> str:
    """The address of our server."""
    return our_server.address


@pytest.fixture(scope="session")
def grpcio_address(testing: Contract, start_for_all: Callable[..., Program]) -> str:
    """The address of a server made with grpcio."""
    program = start_for_all("grpcio", sys.executable, HERE / "grpcio_server.py", testing.folder)
    return program.line().split()[-1]


@pytest.fixture(scope="session")
def grpc_js_address(languages: Languages, start_for_all: Callable[..., Program]) -> str:
    """The address of a server made with grpc-js."""
    program = start_for_all("grpc-js", *languages.official("grpc-js", "server"))
    return program.line().split()[-1]


@pytest.fixture(scope="session")
def grpc_go_address(languages: Languages, start_for_all: Callable[..., Program]) -> str:
    """The address of grpc-go's own server."""
    program = start_for_all(
        "grpc-go",
        # It says nothing but to its log; and it listens on all addresses.
        *("env", "GRPC_GO_LOG_SEVERITY_LEVEL=info"),
        *("sh", "-c", 'exec "$0" --port=0 2>&1', *languages.official("grpc-go", "server")),
    )
    while "listening on" not in (line := program.line()):
        pass
    return f"127.0.0.1:{line.rpartition(':')[2]}"


@pytest.fixture(scope="session", params=SERVERS)
def address(request: pytest.FixtureRequest) -> str:
    """The address of each server in turn."""
    address: str = request.getfixturevalue(request.param)
    return address
