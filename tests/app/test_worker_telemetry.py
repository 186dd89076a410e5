"""Several workers: each has a page of its own, and sends its own spans."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.app.collector import Collector, collecting
from tests.app.processes import PATIENCE_S, Processes, address, stopped

from userservice import CreateUserRequest, UserServiceClient

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

CREATE = "userservice.v1.UserService/CreateUser"


@pytest.fixture
def collector() -> Iterator[Collector]:
    """What receives the traces."""
    with collecting() as started:
        yield started


def two_free_ports() -> int:
    """Return the first of two ports that follow each other, and are free."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first, socket.socket() as second:
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


def read(port: int) -> dict[str, float]:
    """Return what the page on a port tells: calls to create users, connections, its start."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_S) as page:
        text = page.read().decode()
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels in ({}, {"grpc_method": CREATE})
    }


def workers_of(pid: int) -> list[int]:
    """The process numbers of the workers."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid for pid in map(int, children) if b"spawn_main" in command_of(pid)]


def command_of(pid: int) -> bytes:
    """The command line of a process."""
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def are_successors(port: int, began: list[float]) -> bool:
    """Whether both pages are those of processes that began later."""
    try:
        pages = [read(port + number) for number in (0, 1)]
    except OSError:  # one is not there yet
        return False
    later = zip(pages, began, strict=True)
    return all(page["process_start_time_seconds"] > before for page, before in later)


async def test_each_worker_tells_of_itself(processes: Processes, collector: Collector) -> None:
    """On its own port, which its successor takes; all spans are sent."""
    port = two_free_ports()
    process = processes.start(
        *("--port=0", "--workers=2", "--database=sqlite:///workers.db"),
        *(f"--metrics-port={port}", f"--otlp-endpoint={collector.address}"),
    )
    target = address(process)
    async with UserServiceClient(target) as first, UserServiceClient(target) as second:
        for number, client in enumerate((first, second, second)):
            email = f"user{number}@example.com"
            await client.create_user(CreateUserRequest(email=email, name="Ann"))
        pages = [await asyncio.to_thread(read, port + number) for number in (0, 1)]
        assert sorted(page["grpc_server_call_started_total"] for page in pages) == [1, 2]
        assert [page["userservice_connections"] for page in pages] == [1, 1]
        began = [page["process_start_time_seconds"] for page in pages]

        for worker in workers_of(process.pid):
            os.kill(worker, signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_S):
            while not await asyncio.to_thread(are_successors, port, began):
                await asyncio.sleep(0.05)
    await asyncio.to_thread(stopped, process, signal.SIGTERM)
    assert [span.name for span in collector.spans].count(CREATE) == 3


def test_a_worker_s_port_that_is_taken_is_said(processes: Processes) -> None:
    """In one line."""
    options = ("--port=0", "--workers=2", "--database=sqlite:///workers.db", "--log-level=error")
    with socket.create_server(("127.0.0.1", two_free_ports() + 1)) as taken:
        port = taken.getsockname()[1]
        line = processes.refused(*options, f"--metrics-port={port - 1}")
        assert f"cannot show metrics on 127.0.0.1:{port}: Address already in use" in line
