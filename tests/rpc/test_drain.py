"""Draining: GOAWAY twice, what is under way ends, and nothing is lost (RFC 9113 section 6.8)."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest
from tests.rpc.peers import Peer, Stock, data_frame, request_fields, status_of

from inventory._gen.inventory.v1 import (
    GetStockRequest,
    ListStockRequest,
    ListStockResponse,
    PickItemsRequest,
)
from inventory.client import InventoryClient
from userservice.rpc import (
    Lifetime,
    Server,
    UnavailableError,
    connect,
    connection,
    current_call,
    server_connection,
)
from userservice.rpc.testing import join
from userservice.wire import http2

SLOW = GetStockRequest(item="slow")
Joined = Callable[..., Peer]


class Endless(Stock):
    """Streams that never end by themselves; one says so, and where it was."""

    def __init__(self) -> None:
        super().__init__()
        self.cleaned = asyncio.Event()

    async def list_stock(self, message: ListStockRequest) -> AsyncIterator[ListStockResponse]:
        call = current_call()
        if "ends" in call.metadata:
            call.end_on_drain()
        call.trailing_metadata["place"] = "7"
        try:
            yield ListStockResponse()
            await asyncio.Event().wait()
        finally:
            self.cleaned.set()


@pytest.fixture
async def endless() -> Endless:
    """The service."""
    return Endless()


@pytest.fixture
async def server(endless: Endless) -> Server:
    """A server that listens to nothing: its clients are joined to it."""
    return Server([endless])


def joined(server: Server) -> Peer:
    """A raw client of that server."""
    peer = Peer(http2.Role.CLIENT, enable_push=0)
    join(server.new_connection(), peer)
    return peer


async def greeted(server: Server) -> Peer:
    """A raw client that has sent its settings, and has the server's."""
    peer = joined(server)
    await peer.until(http2.SettingsAcknowledged)
    return peer


def last_streams(peer: Peer) -> list[int]:
    """The last stream of each GOAWAY, none of which may tell of an error."""
    goaways = peer.of(http2.GoawayReceived)
    assert {goaway.code for goaway in goaways} <= {http2.ErrorCode.NO_ERROR}
    return [goaway.last_stream_id for goaway in goaways]


async def test_goaway_is_said_twice_and_calls_end(server: Server, endless: Endless) -> None:
    """First with the largest stream there is, after a round trip with the last one seen."""
    peer = await greeted(server)
    stream = peer.call("GetStock", SLOW)
    draining = asyncio.create_task(server.drain(5))
    await peer.until(http2.GoawayReceived, 2)
    assert last_streams(peer) == [2**31 - 1, stream.id]
    assert not peer.lost
    endless.go_on.set()
    assert status_of(await peer.until(http2.TrailersReceived)) == "0"
    await draining
    assert peer.lost


async def test_a_call_that_crosses_the_first_goaway_is_served(server: Server) -> None:
    """It was on its way when the server began to drain; the second GOAWAY counts it."""
    peer = await greeted(server)
    draining = asyncio.create_task(server.drain(5))
    stream = peer.call("GetStock", GetStockRequest(item="four"))
    assert status_of(await peer.until(http2.TrailersReceived)) == "0"
    await draining
    assert last_streams(peer) == [2**31 - 1, stream.id]


async def test_a_call_after_the_second_goaway_is_not_seen(server: Server, endless: Endless) -> None:
    """The client knows by the GOAWAY that nobody looked at it; what was begun before goes on."""
    peer = await greeted(server)
    peer.call("GetStock", SLOW)
    draining = asyncio.create_task(server.drain(5))
    await peer.until(http2.GoawayReceived, 2)
    peer.engine.goaway_received = None  # a client that does not keep to it
    late = peer.call("GetStock", GetStockRequest(item="late"))
    endless.go_on.set()
    await draining
    assert endless.seen == ["slow"]
    assert len(peer.of(http2.TrailersReceived)) == 1
    assert late.id > last_streams(peer)[-1]


async def test_connections_without_calls_are_closed_at_once(server: Server) -> None:
    """Also one whose client has not said a word, for which nobody waits."""
    peer = await greeted(server)
    silent = joined(server)
    silent.engine.take_output()
    begin = time.perf_counter()
    await server.drain(30)
    assert time.perf_counter() - begin < 0.5
    await peer.until_lost()
    await silent.until_lost()


async def test_a_client_that_answers_no_ping_is_not_waited_for(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second GOAWAY comes after a second, or so; here sooner."""
    monkeypatch.setattr(server_connection, "_ROUND_TRIP_S", 0.01)
    peer = await greeted(server)
    monkeypatch.setattr(peer, "flush", lambda: None)
    await server.drain(30)
    await peer.until_lost()
    assert last_streams(peer) == [2**31 - 1, 0]


async def test_what_never_ends_ends_at_once(server: Server, endless: Endless) -> None:
    """A call that asked for it ends with UNAVAILABLE, and its trailing metadata."""
    peer = await greeted(server)
    peer.call("ListStock", ListStockRequest(), ends="yes")
    await peer.until(http2.DataReceived)
    await server.drain(30)
    (trailers,) = peer.of(http2.TrailersReceived)
    assert status_of(trailers) == "14"
    assert trailers.headers.get("place") == "7"
    assert endless.cleaned.is_set()


async def test_what_never_ends_does_not_begin_while_draining(
    server: Server, endless: Endless
) -> None:
    """It would be broken off at once: another server can have it."""
    peer = await greeted(server)
    draining = asyncio.create_task(server.drain(30))
    peer.call("ListStock", ListStockRequest(), ends="yes")
    await draining
    (only,) = peer.of(http2.ResponseReceived)
    assert status_of(only) == "14"
    assert not endless.cleaned.is_set()


async def test_time_passes(
    server: Server, endless: Endless, caplog: pytest.LogCaptureFixture
) -> None:
    """Calls that take longer end with UNAVAILABLE and their trailers, and it is logged."""
    peer = await greeted(server)
    peer.call("ListStock", ListStockRequest())
    peer.call("GetStock", SLOW)
    await peer.until(http2.DataReceived)
    await server.drain(0.05)
    trailers = peer.of(http2.TrailersReceived)[0]
    assert status_of(trailers) == "14"
    assert trailers.headers.get("place") == "7"
    (without_headers,) = peer.of(http2.ResponseReceived)[1:]
    assert status_of(without_headers) == "14"
    assert endless.cleaned.is_set()
    assert "2 calls did not end within 0.05 s" in caplog.text


async def test_closing_ends_a_drain(server: Server) -> None:
    """It was asked for the second time: nobody waits any longer."""
    peer = await greeted(server)
    peer.call("GetStock", SLOW)
    draining = asyncio.create_task(server.drain(30))
    await peer.until(http2.GoawayReceived, 2)
    server.close()
    async with asyncio.timeout(5):
        await draining
    assert status_of(peer.of(http2.ResponseReceived)[0]) == "14"


async def test_a_stubborn_handler_is_waited_for_but_not_its_client(
    server: Server, endless: Endless
) -> None:
    """Its own status is not told any more: the server said UNAVAILABLE."""
    peer = await greeted(server)
    peer.call("GetStock", GetStockRequest(item="stubborn"))
    await server.drain(0.01)
    assert status_of(peer.of(http2.ResponseReceived)[0]) == "14"


async def test_draining_twice_is_draining_once(server: Server, endless: Endless) -> None:
    """Both wait for the end."""
    peer = await greeted(server)
    peer.call("GetStock", SLOW)
    both = asyncio.gather(server.drain(30), server.drain(30))
    await peer.until(http2.GoawayReceived, 2)
    endless.go_on.set()
    await both
    assert len(last_streams(peer)) == 2


async def test_a_connection_made_while_draining_is_drained(server: Server) -> None:
    """It was accepted just before the socket was closed: its calls can go elsewhere."""
    slow = await greeted(server)
    slow.call("GetStock", SLOW)
    draining = asyncio.create_task(server.drain(30))
    await slow.until(http2.GoawayReceived, 2)
    late = joined(server)
    await late.until(http2.GoawayReceived)
    assert last_streams(late)[-1] == 0
    server.close()
    await draining
    assert late.lost


async def test_a_client_of_ours_goes_on_elsewhere(endless: Endless) -> None:
    """Its next call makes a new connection, while the slow one ends on the old."""
    old = Server([endless], lifetime=Lifetime(max_age_s=0.05))
    await old.start("127.0.0.1", 0)
    async with old, connect(old.addresses[0]) as channel:
        client = InventoryClient(channel, timeout_s=5)
        slow = asyncio.create_task(client.get_stock(SLOW))
        for _ in range(50):
            assert (await client.get_stock(GetStockRequest(item="four"))).count == 4
            await asyncio.sleep(0.004)
        endless.go_on.set()
        assert (await slow).count == 4


# Age and idleness (gRFC A9)


async def test_an_old_connection_is_drained(endless: Endless) -> None:
    """At its age, a tenth more or less."""
    peer = await greeted(Server([endless], lifetime=Lifetime(max_age_s=0.1)))
    begin = time.perf_counter()
    stream = peer.call("GetStock", SLOW)
    await peer.until(http2.GoawayReceived, 2)
    assert 0.08 <= time.perf_counter() - begin < 1
    assert last_streams(peer) == [2**31 - 1, stream.id]
    endless.go_on.set()
    assert status_of(await peer.until(http2.TrailersReceived)) == "0"
    await peer.until_lost()


async def test_ages_differ(endless: Endless, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that were made together must not come back together."""
    asked: list[float] = []
    loop = asyncio.get_running_loop()
    later = loop.call_later

    def noted(delay: float, *rest: object) -> asyncio.TimerHandle:
        if 50 < delay < 150:
            asked.append(delay)
        return later(delay, *rest)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(loop, "call_later", noted)
    server = Server([endless], lifetime=Lifetime(max_age_s=100))
    for _ in range(50):
        joined(server)
    assert all(90 <= age <= 110 for age in asked)
    assert len(set(asked)) == 50
    await server.drain(0)


async def test_after_the_grace_calls_are_ended(endless: Endless) -> None:
    """With UNAVAILABLE, so that they can be tried elsewhere."""
    lifetime = Lifetime(max_age_s=0.02, age_grace_s=0.05)
    peer = await greeted(Server([endless], lifetime=lifetime))
    peer.call("GetStock", SLOW)
    assert status_of(await peer.until(http2.ResponseReceived)) == "14"
    assert len(last_streams(peer)) == 2
    await peer.until_lost()


async def test_an_idle_connection_is_drained(endless: Endless) -> None:
    """Never during a call; the time counts from the end of the last one."""
    server = Server([endless], lifetime=Lifetime(max_idle_s=0.05))
    never_used, used = await greeted(server), await greeted(server)
    used.call("GetStock", SLOW)
    await never_used.until_lost()
    assert last_streams(never_used)[-1] == 0
    await asyncio.sleep(0.1)
    assert not used.lost
    begin = time.perf_counter()
    endless.go_on.set()
    await used.until_lost()
    assert time.perf_counter() - begin >= 0.04
    assert len(used.of(http2.TrailersReceived)) == 1


async def test_a_call_that_waits_with_half_a_request_is_under_way(endless: Endless) -> None:
    """A stream that is open is no idle connection, whoever is to send next."""
    server = Server([endless], lifetime=Lifetime(max_idle_s=0.03))
    peer = await greeted(server)
    peer.call("PickItems", PickItemsRequest(count=1))
    await peer.until(http2.TrailersReceived)
    await peer.until_lost()
    peer = await greeted(server)
    stream = peer.engine.open_stream(request_fields("PickItems"))
    peer.flush()
    await asyncio.sleep(0.1)
    assert not peer.lost
    peer.transport.write(data_frame(stream, flags=1))
    await peer.until_lost()


@pytest.mark.parametrize("name", ["max_age_s", "max_idle_s"])
def test_a_time_is_more_than_nothing(name: str) -> None:
    """The error says which."""
    with pytest.raises(ValueError, match=f"{name} is more than 0"):
        Lifetime(**{name: 0})
    with pytest.raises(ValueError, match="age_grace_s is 0 or more"):
        Lifetime(age_grace_s=-1)


async def test_draining_loses_nothing_over_sockets(endless: Endless) -> None:
    """Calls under way end well, and the next is refused by a socket that is closed."""
    server = Server([endless])
    await server.start("127.0.0.1", 0)
    address = server.addresses[0]
    async with connect(address) as channel:
        client = InventoryClient(channel, timeout_s=5)
        slow = [asyncio.create_task(client.get_stock(SLOW)) for _ in range(20)]
        while len(endless.seen) < 20:
            await asyncio.sleep(0)
        draining = asyncio.create_task(server.drain(30))
        await asyncio.sleep(0.01)
        with pytest.raises(UnavailableError, match="Connection refused"):
            await client.get_stock(SLOW)
        endless.go_on.set()
        assert [(await call).count for call in slow] == [4] * 20
        await draining
        await server.wait_closed()


async def test_a_client_that_hangs_for_a_while_loses_no_reply(
    endless: Endless, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it writes to a socket that is closed by then would take from it what it has not read."""
    monkeypatch.setattr(connection, "GOODBYE_S", 0.01)
    server = Server([endless])
    await server.start("127.0.0.1", 0)
    host, _, port = server.addresses[0].partition(":")
    peer = Peer(http2.Role.CLIENT, enable_push=0)
    await asyncio.get_running_loop().create_connection(lambda: peer, host, int(port))
    await peer.until(http2.SettingsAcknowledged)
    peer.call("GetStock", SLOW)
    draining = asyncio.create_task(server.drain(30))
    await peer.until(http2.GoawayReceived, 2)
    peer.transport.pause_reading()
    endless.go_on.set()
    for _ in range(10):
        await asyncio.sleep(0.02)
        peer.engine.ping(b"12345678")
        peer.flush()
    peer.transport.resume_reading()
    assert status_of(await peer.until(http2.TrailersReceived)) == "0"
    peer.transport.close()
    await draining
