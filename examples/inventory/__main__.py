"""Serves the inventory and calls each of its methods once: ``python -m inventory``."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from userservice.rpc import NotFoundError, Server, connect
from userservice.rpc.health import Health
from userservice.rpc.middleware import Middleware
from userservice.rpc.reflection import with_reflection

from ._gen.inventory.v1 import (
    GetStockRequest,
    ListStockRequest,
    PickItemsRequest,
    ReceiveDeliveriesRequest,
)
from .client import InventoryClient
from .middleware import Introduction, Tally
from .service import InventoryService

DESCRIPTORS = Path(__file__).with_name("_gen") / "descriptors.binpb"


def inventory_server(middleware: Sequence[Middleware] = ()) -> Server:
    """Return a server of the inventory, with health and reflection."""
    inventory = InventoryService()
    health = Health({inventory: []})
    services = with_reflection([inventory, health], [DESCRIPTORS.read_bytes()])
    return Server(services, middleware=middleware)


async def main() -> None:
    """Serve on any free port, and call each method."""
    tally = Tally()
    server = inventory_server([tally])
    await server.start("127.0.0.1", 0)
    introduction = Introduction("the example")
    async with server, connect(server.addresses[0], middleware=[introduction]) as channel:
        client = InventoryClient(channel, timeout_s=5)
        received = await client.receive_deliveries(
            [
                ReceiveDeliveriesRequest(item="bolt", count=100),
                ReceiveDeliveriesRequest(item="nut", count=80),
            ]
        )
        print(f"received {received.count} pieces")
        stock = await client.get_stock(GetStockRequest(item="bolt"))
        print(f"bolts: {stock.count}")
        picks = [PickItemsRequest(item="nut", count=n) for n in (10, 20)]
        async for picked in client.pick_items(picks):
            print(f"{picked.item}s left: {picked.left}")
        async for line in client.list_stock(ListStockRequest()):
            print(f"{line.item}: {line.count}")
        try:
            await client.get_stock(GetStockRequest(item="gear"))
        except NotFoundError as error:
            print(error)
    for program, calls in tally.made.items():
        print(f"{calls} calls by {program}, {tally.failed[program]} failed")


if __name__ == "__main__":
    asyncio.run(main())
