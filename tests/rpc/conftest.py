"""The inventory example, served and called: rpc is tested without users."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.rpc.peers import Peer, Serve, Start, Stock

from inventory.__main__ import inventory_server
from inventory.client import InventoryClient
from userservice.rpc import Channel, Server, connect
from userservice.rpc.testing import join
from userservice.wire import http2


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


@pytest.fixture
def stock() -> Stock:
    """The service that the peers call."""
    return Stock()


@pytest.fixture
async def serve(stock: Stock) -> AsyncIterator[Serve]:
    """Start a server with these options, and return a raw client that is joined to it."""
    started = []

    def joined(**options: Any) -> Peer:
        server = Server([stock], **options)
        peer = Peer(http2.Role.CLIENT, enable_push=0)
        join(server.new_connection(), peer)
        started.append((server, peer))
        return peer

    yield joined
    for server, peer in started:
        await server.drain(0)
        await asyncio.sleep(0.01)
        assert peer.lost


@pytest.fixture
async def client(serve: Serve) -> Peer:
    """A raw client, joined to a server as it is without options."""
    return serve()


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start a raw server with these settings, and a client that calls it."""
    channels = []

    def joined(**settings: int) -> tuple[Peer, InventoryClient]:
        peer = Peer(http2.Role.SERVER, **settings)
        channel = connect("in-memory:1")
        connection = channel.new_connection()
        join(peer, connection)
        channel.use_connection(connection)
        channels.append(channel)
        return peer, InventoryClient(channel, timeout_s=5)

    yield joined
    for channel in channels:
        channel.close()
    await asyncio.sleep(0.01)
