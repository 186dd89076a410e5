"""A busy stream shares the event loop: others never wait for all of it."""

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator

from inventory._gen.inventory.v1 import (
    InventoryServiceBase,
    ListStockRequest,
    ListStockResponse,
    ReceiveDeliveriesRequest,
    ReceiveDeliveriesResponse,
)
from inventory.client import InventoryClient
from userservice.rpc import Server, connect
from userservice.rpc.turn import Turn


class Busy(InventoryServiceBase):
    """Sends and receives as fast as it can."""

    async def list_stock(self, message: ListStockRequest) -> AsyncIterator[ListStockResponse]:
        for number in range(3000):
            yield ListStockResponse(item="x", count=number)

    async def receive_deliveries(
        self, messages: AsyncIterator[ReceiveDeliveriesRequest]
    ) -> ReceiveDeliveriesResponse:
        return ReceiveDeliveriesResponse(count=len([message async for message in messages]))


async def longest_wait(busy: "asyncio.Task[object]") -> float:
    """How long somebody else had to wait for the loop, in seconds."""
    longest = 0.0
    while not busy.done():
        started = time.perf_counter()
        await asyncio.sleep(0)
        longest = max(longest, time.perf_counter() - started)
    await busy
    return longest


async def test_a_fast_stream_holds_up_nobody() -> None:
    """Neither a server's nor a client's: 3,000 messages at once leave the loop free."""
    server = Server([Busy()])
    await server.start("127.0.0.1", 0)
    async with server, connect(server.addresses[0]) as channel:
        client = InventoryClient(channel)

        async def receive() -> None:
            assert len([line async for line in client.list_stock(ListStockRequest())]) == 3000

        def deliveries() -> Iterator[ReceiveDeliveriesRequest]:
            for number in range(3000):
                yield ReceiveDeliveriesRequest(item="x", count=number)

        async def send() -> None:
            assert (await client.receive_deliveries(deliveries())).count == 3000

        for busy in (receive(), send()):
            assert await longest_wait(asyncio.create_task(busy)) < 0.5


async def test_busy_streams_share_one_turn() -> None:
    """A hundred of them do not keep the loop a hundred times as long.

    By the time of this thread: what other programs of the machine take is no fault of theirs.
    """
    waits: list[float] = []

    async def stay_busy() -> None:
        turn = Turn()
        while len(waits) < 11:
            if turn.is_over():
                await turn.share()

    async with asyncio.TaskGroup() as busy:
        for _ in range(100):
            busy.create_task(stay_busy())
        while len(waits) < 11:
            began = time.thread_time()
            await asyncio.sleep(0)
            waits.append(time.thread_time() - began)
    assert statistics.median(waits) < 0.03  # a hundred turns are 0.05 s


def test_a_client_loads_no_standard_service_of_its_own() -> None:
    """Beside grpcio's health and reflection, whose messages have the same names, it can be used."""
    program = (
        "import sys, userservice; "
        "sys.exit(any('health_pb2' in name or 'reflection_pb2' in name for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
