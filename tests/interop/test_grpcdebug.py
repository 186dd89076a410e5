"""grpcdebug shows servers and sockets, where it is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import grpc
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.interop.conftest import Contract, ServerProgram


@pytest.fixture
def grpcdebug(channelz_server: ServerProgram) -> Callable[..., str]:
    """Runs ``grpcdebug ADDRESS channelz``, and returns what it prints."""
    program = shutil.which("grpcdebug")
    if program is None:
        pytest.skip("grpcdebug is not installed")

    def run_grpcdebug(*arguments: str, status: int = 0) -> str:
        done = subprocess.run(
            [program, channelz_server.address, "channelz", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    return run_grpcdebug


def rows_of(table: str) -> list[list[str]]:
    """The cells of what it prints."""
    return [re.split(r" {2,}", line.strip()) for line in table.splitlines()]


@pytest.fixture
def stub(contract: Contract, channelz_server: ServerProgram) -> Iterator[Any]:
    """A client of that server, whose connection stays."""
    with grpc.insecure_channel(channelz_server.address) as channel:
        yield contract.services.UserServiceStub(channel)


def test_grpcdebug_shows_servers_and_sockets(
    channelz_server: ServerProgram,
    grpcdebug: Callable[..., str],
    contract: Contract,
    stub: Any,
    domain: str,
) -> None:
    """In its tables: the addresses, and how many calls, streams and messages there were."""
    users = contract.messages
    stub.CreateUser(users.CreateUserRequest(email=f"ann@{domain}", name="Ann"))
    address = channelz_server.address
    _, [server, listening, counts, when] = rows_of(grpcdebug("servers"))
    assert (listening, counts, when) == (f"[{address}]", "2/1/0", "now")

    shown = rows_of(grpcdebug("server", server))
    assert ["Listen Addresses:", f"[{address}]"] in shown
    [socket, *_] = next(row for row in shown if row[-2:] == ["1/1/0", "1/1"])

    shown = rows_of(grpcdebug("socket", socket))
    assert ["Messages Received:", "1"] in shown
    assert ["Last Remote Stream Created:", "now"] in shown
    assert any(row[0] == "Address:" and row[1].startswith(f"{address}->127") for row in shown)


def test_grpcdebug_shows_no_channels(grpcdebug: Callable[..., str]) -> None:
    """The service makes no calls itself; what is not there is NOT_FOUND."""
    assert len(rows_of(grpcdebug("channels"))) == 1
    assert "NotFound" in grpcdebug("channel", "10000", status=1)
