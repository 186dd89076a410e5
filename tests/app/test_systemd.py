"""The server under systemd: sockets that it is given, and what it says of itself."""

import asyncio
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.app.processes import PATIENCE_S, Processes, address, stopped

from userservice import ListUsersRequest, UserServiceClient
from userservice.app import systemd

SERVE = [sys.executable, "-m", "userservice", "serve", "--database=memory:", "--port=1"]


async def list_users(target: str) -> None:
    """Make a call."""
    async with UserServiceClient(target, timeout_s=PATIENCE_S) as client:
        await client.list_users(ListUsersRequest())


def activated(processes: Processes, *sockets: socket.socket) -> "subprocess.Popen[str]":
    """Start a server with sockets from number 3 on, and the variables that say so."""
    moves = " ".join(f"{3 + place}<&{sock.fileno()}" for place, sock in enumerate(sockets))
    variables = f"LISTEN_PID=$$ LISTEN_FDS={len(sockets)}"
    process = subprocess.Popen(
        ["bash", "-c", f'{variables} exec "$@" {moves}', "bash", *SERVE],
        pass_fds=[sock.fileno() for sock in sockets],
        env={k: v for k, v in os.environ.items() if not k.startswith("USERSERVICE_")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    processes.started.append(process)
    return process


def high(sock: socket.socket) -> socket.socket:
    """Return a socket whose number is none of the first, which are to be others."""
    import fcntl  # noqa: PLC0415  # nowhere else

    number = fcntl.fcntl(sock, fcntl.F_DUPFD, 50)
    sock.close()
    return socket.socket(fileno=number)


def test_sockets_of_systemd_are_served(processes: Processes, tmp_path: Path) -> None:
    """In place of host and port; they belong to systemd, and stay when the server ends."""
    path = tmp_path / "users.sock"
    with (
        high(socket.create_server(("127.0.0.1", 0))) as tcp,
        high(socket.socket(socket.AF_UNIX)) as unix,
    ):
        unix.bind(str(path))
        unix.listen()
        port = tcp.getsockname()[1]
        # Who connects before there is a server waits for it.
        early = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        process = activated(processes, tcp, unix)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line == f"userservice is ready on 127.0.0.1:{port}, unix:{path}\n"
        assert early.recv(9)[3] == 4, "SETTINGS"
        early.close()
        for target in (f"127.0.0.1:{port}", f"unix:{path}"):
            asyncio.run(list_users(target))
        stopped(process, signal.SIGTERM)
        assert path.is_socket()
        socket.create_connection(("127.0.0.1", port), PATIENCE_S).close()


def test_a_socket_of_another_kind_is_one_line(processes: Processes) -> None:
    """And status 2."""
    with high(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as datagrams:
        process = activated(processes, datagrams)
        _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert "file descriptor 3 of LISTEN_FDS is no stream socket" in stderr
    assert len(stderr.splitlines()) == 1


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="no systemd")
def test_systemd_s_own_program_starts_it(processes: Processes, tmp_path: Path) -> None:
    """When the first client connects."""
    path = tmp_path / "users.sock"
    process = subprocess.Popen(
        ["systemd-socket-activate", "--listen", str(path), *SERVE],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    processes.started.append(process)

    async def call_when_it_listens() -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not path.is_socket():
                await asyncio.sleep(0.01)
        await list_users(f"unix:{path}")

    asyncio.run(call_when_it_listens())
    process.send_signal(signal.SIGTERM)
    stdout, _ = process.communicate(timeout=PATIENCE_S)
    assert stdout == f"userservice is ready on unix:{path}\n"


@pytest.fixture(params=["file", "abstract"])
def told(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """A socket as systemd's, with the address that the variable has."""
    name = f"@userservice-{secrets.token_hex(8)}"
    address = name if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(address.replace("@", "\0") if request.param == "abstract" else address)
        sock.settimeout(PATIENCE_S)
        yield address, sock


def test_systemd_is_told_how_it_is(processes: Processes, told: tuple[str, socket.socket]) -> None:
    """It is ready when calls are accepted, lives while its event loop does, and says it stops."""
    notify_socket, sock = told
    process = processes.start(
        "--port=0", "--database=memory:", NOTIFY_SOCKET=notify_socket, WATCHDOG_USEC="100000"
    )
    target = address(process)
    assert sock.recv(4_096).decode() == f"READY=1\nSTATUS=serving on {target}"
    for _ in range(2):
        assert sock.recv(4_096) == b"WATCHDOG=1"
    process.send_signal(signal.SIGTERM)
    while (words := sock.recv(4_096)) == b"WATCHDOG=1":
        pass
    assert words == b"STOPPING=1\nSTATUS=stopping"
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0


def test_a_service_that_cannot_tell_systemd_serves(processes: Processes) -> None:
    """The log says so; a watchdog of another process is none of its business."""
    process = processes.start(
        "--port=0",
        "--database=memory:",
        NOTIFY_SOCKET=f"{processes.folder}/nobody",
        WATCHDOG_USEC="1000",
        WATCHDOG_PID="1",
    )
    asyncio.run(list_users(address(process)))
    _, log = stopped(process, signal.SIGTERM)
    assert log.count("systemd was not told") == 2
    assert "Traceback" not in log


def test_without_systemd_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is anything opened."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.delattr(socket, "socket")
    systemd.notify("READY=1")


@pytest.mark.parametrize("usec", ["0", "²", "-1", ""])
async def test_a_watchdog_without_a_time_hears_nothing(
    monkeypatch: pytest.MonkeyPatch, usec: str
) -> None:
    """Neither does it take all of the processor, nor is it an error at the end."""
    said: list[str] = []
    monkeypatch.setattr(systemd, "notify", lambda *states: said.extend(states))
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    async with systemd.announced("serving"):
        for _ in range(5):
            await asyncio.sleep(0)
    assert "WATCHDOG=1" not in said
