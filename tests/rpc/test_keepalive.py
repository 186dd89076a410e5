"""Keepalive, both ways: who does not answer is gone, and who asks too often is sent away."""

import asyncio
from typing import Any

import pytest
from grpclib.config import Configuration
from tests.rpc.peers import Peer, Serve, Stock

from inventory._gen.inventory.v1 import GetStockRequest
from inventory.client import InventoryClient
from userservice.rpc import Keepalive, Limits, Server, UnavailableError, connect
from userservice.rpc.lifetime import SERVER_KEEPALIVE
from userservice.rpc.testing import join
from userservice.wire import http2

# What answers has the time for it, also on a machine that does other things.
QUICK = Keepalive(interval_s=0.02, timeout_s=0.3)
QUICK_ALWAYS = Keepalive(interval_s=0.02, timeout_s=0.3, without_calls=True)


def fall_silent(peer: Peer) -> None:
    """Let it answer no more."""
    peer.flush = lambda: None  # type: ignore[method-assign]  # of this one


async def test_a_client_that_vanished_is_found_out(serve: Serve, stock: Stock) -> None:
    """Its call is cancelled, and its connection closed."""
    peer = serve(keepalive=QUICK)
    peer.call("GetStock", GetStockRequest(item="slow"))
    await peer.until(http2.PingReceived)
    fall_silent(peer)
    await peer.until_lost()


async def test_a_client_that_reads_slowly_is_not_gone(stock: Stock) -> None:
    """The ping stands behind what it has not read yet: as long as that shrinks, it is there."""
    server = Server([stock], keepalive=Keepalive(interval_s=0.02, timeout_s=0.1))
    peer, connection = Peer(http2.Role.CLIENT, enable_push=0), server.new_connection()
    join(connection, peer)
    peer.call("GetStock", GetStockRequest(item="slow"))
    transport: Any = connection._transport
    transport.unread = 1000
    await peer.until(http2.PingReceived)
    fall_silent(peer)
    for unread in range(900, 0, -100):
        transport.unread = unread
        await asyncio.sleep(0.05)
    assert not peer.lost
    await peer.until_lost()
    await server.drain(0)


async def test_grpclib_s_own_settings_count_where_there_are_no_others(serve: Serve) -> None:
    """A program that moves here from grpclib keeps what it had."""
    peer = serve(config=Configuration(_keepalive_time=0.02, _keepalive_timeout=0.3))
    peer.call("GetStock", GetStockRequest(item="slow"))
    await peer.until(http2.PingReceived, 2)


async def test_an_idle_client_is_asked_where_the_server_is_to(serve: Serve) -> None:
    """And left alone where it is not: nothing depends on it."""
    left_alone, asked = serve(keepalive=QUICK), serve(keepalive=QUICK_ALWAYS)
    await asked.until(http2.PingReceived, 3)
    assert not left_alone.of(http2.PingReceived)
    fall_silent(asked)
    await asked.until_lost()
    assert not left_alone.lost


def test_a_server_asks_idle_clients_unless_told_otherwise() -> None:
    """Every two hours, as gRFC A9 has it: who vanished must not hold a connection for ever."""
    assert Keepalive(interval_s=7200, timeout_s=20, without_calls=True) == SERVER_KEEPALIVE


async def test_a_server_that_vanished_is_found_out() -> None:
    """The call under way ends with UNAVAILABLE, and the text says why."""
    peer = Peer(http2.Role.SERVER)
    async with connect("in-memory:1", keepalive=QUICK) as channel:
        connection = channel.new_connection()
        join(peer, connection)
        channel.use_connection(connection)
        call = asyncio.create_task(InventoryClient(channel).get_stock(GetStockRequest()))
        await peer.until(http2.PingReceived)
        fall_silent(peer)
        with pytest.raises(UnavailableError, match="answers no pings"):
            await call


async def test_pings_of_a_patient_client_are_welcome(stock: Stock) -> None:
    """A real client and a real server: pings go both ways, and nobody is sent away."""
    limits = Limits(min_ping_interval_s=0, min_idle_ping_interval_s=0)
    server = Server([stock], keepalive=QUICK_ALWAYS, limits=limits)
    await server.start("127.0.0.1", 0)
    async with server, connect(server.addresses[0], keepalive=QUICK_ALWAYS) as channel:
        client = InventoryClient(channel, timeout_s=5)
        await client.get_stock(GetStockRequest(item="one"))
        connection = channel.connection_at_hand()
        await asyncio.sleep(0.2)
        await client.get_stock(GetStockRequest(item="two"))
        assert channel.connection_at_hand() is connection


@pytest.mark.parametrize(
    ("limits", "sent_away"),
    [
        (Limits(min_ping_interval_s=0), True),
        (Limits(min_ping_interval_s=0, min_idle_ping_interval_s=0), False),
    ],
)
async def test_how_often_an_idle_client_may_ask(
    serve: Serve, limits: Limits, *, sent_away: bool
) -> None:
    """Two hours, whatever those with calls may do; unless that is set as well."""
    peer = serve(limits=limits)
    for count in range(1, 4):
        peer.engine.ping(b"12345678")
        peer.flush()
        await peer.until(http2.PingAcknowledged, count)
    peer.engine.ping(b"12345678")
    peer.flush()
    if sent_away:
        assert (await peer.until(http2.GoawayReceived)).debug == b"too_many_pings"
    else:
        await peer.until(http2.PingAcknowledged, 4)


@pytest.mark.parametrize("name", ["interval_s", "timeout_s"])
def test_a_time_is_more_than_nothing(name: str) -> None:
    """The error says which."""
    with pytest.raises(ValueError, match=f"{name} is more than 0"):
        Keepalive(**{name: 0})  # type: ignore[arg-type]  # by name
