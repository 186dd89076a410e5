"""The inventory example, served and called: rpc is tested without users."""

from collections.abc import AsyncIterator

import pytest

from inventory.__main__ import inventory_server
from inventory.client import InventoryClient
from userservice.rpc import Channel, connect


@pytest.fixture
async def channel() -> AsyncIterator[Channel]:
    """A channel to a server of the inventory."""
    server = inventory_server()
    await server.start("127.0.0.1", 0)
    async with server, connect(server.addresses[0]) as connected:
        yield connected


@pytest.fixture
def inventory(channel: Channel) -> InventoryClient:
    """A client of that server."""
    return InventoryClient(channel, timeout_s=10)
