"""channelz tells what servers, channels and sockets carried, as its contract has it (gRFC A14)."""

import asyncio
import gc
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_channelz.v1 import channelz_pb2
from grpclib.const import Cardinality
from tests.certificates import Authority
from tests.rpc.peers import Peer, Stock
from tests.waiting import until

from inventory._gen.inventory.v1 import GetStockRequest, GetStockResponse, PickItemsRequest
from inventory.client import InventoryClient
from userservice.rpc import (
    Channel,
    DeadlineExceededError,
    InvalidArgumentError,
    Keepalive,
    NotFoundError,
    RpcError,
    Server,
    UnavailableError,
    UnimplementedError,
    connect,
)
from userservice.rpc.channelz import Channelz, _gen, service
from userservice.rpc.channelz._gen.grpc.channelz import v1 as told
from userservice.rpc.channelz.records import new_id
from userservice.rpc.channelz.sockets import address_of, options_of, security_of
from userservice.rpc.testing import join
from userservice.rpc.tls import ServerTls, client_context
from userservice.wire import http2

State = told.ChannelConnectivityStateState
LIMIT_S = 5


@pytest.fixture
def channelz() -> Channelz:
    """The service, which nothing was added to."""
    return Channelz()


@pytest.fixture
async def server(stock: Stock, channelz: Channelz) -> AsyncIterator[Server]:
    """A server on a real socket, which is told of; channelz is asked in the process."""
    started = Server([stock])
    channelz.add(started)
    await started.start("127.0.0.1", 0)
    yield started
    started.close()
    await started.wait_closed()


@pytest.fixture
async def channel(server: Server, channelz: Channelz) -> AsyncIterator[Channel]:
    """A channel to that server, which is told of."""
    async with connect(server.addresses[0]) as made:
        channelz.add(made)
        yield made


@pytest.fixture
def inventory(channel: Channel) -> InventoryClient:
    """A client on that channel."""
    return InventoryClient(channel, timeout_s=LIMIT_S)


# A field that is a message is optional to the type checker, and always there: hence `Any`.


async def only_server(channelz: Channelz) -> Any:
    """The one server that is told of."""
    [one] = (await channelz.get_servers(told.GetServersRequest())).server
    return one


async def sockets_of_server(channelz: Channelz) -> list[Any]:
    """The connections of the one server."""
    server_id = (await only_server(channelz)).ref.server_id
    request = told.GetServerSocketsRequest(server_id=server_id)
    refs = (await channelz.get_server_sockets(request)).socket_ref
    return [await socket_of(channelz, ref.socket_id) for ref in refs]


async def socket_of(channelz: Channelz, socket_id: int) -> Any:
    """A socket by its id."""
    found: Any = (await channelz.get_socket(told.GetSocketRequest(socket_id=socket_id))).socket
    assert found.ref.socket_id == socket_id
    return found


async def only_channel(channelz: Channelz) -> Any:
    """The one channel that is told of."""
    [one] = (await channelz.get_top_channels(told.GetTopChannelsRequest())).channel
    return one


async def subchannel_of(channelz: Channelz, channel: Any) -> Any:
    """The one subchannel of a channel."""
    [ref] = channel.subchannel_ref
    request = told.GetSubchannelRequest(subchannel_id=ref.subchannel_id)
    return (await channelz.get_subchannel(request)).subchannel


async def sockets_of_channel(channelz: Channelz) -> list[Any]:
    """The connections of the one channel."""
    subchannel = await subchannel_of(channelz, await only_channel(channelz))
    return [await socket_of(channelz, ref.socket_id) for ref in subchannel.socket_ref]


def calls(of: Any) -> tuple[int, int, int]:
    """How many calls of a server or a channel were started, succeeded and failed."""
    return of.data.calls_started, of.data.calls_succeeded, of.data.calls_failed


def streams(of: Any) -> tuple[int, int, int]:
    """How many streams of a socket were started, succeeded and failed."""
    return of.data.streams_started, of.data.streams_succeeded, of.data.streams_failed


def messages(of: Any) -> tuple[int, int]:
    """How many messages a socket has sent and received."""
    return of.data.messages_sent, of.data.messages_received


async def server_counts(channelz: Channelz, started: int, succeeded: int, failed: int) -> None:
    """Wait until the server has so many calls."""

    async def holds() -> bool:
        return calls(await only_server(channelz)) == (started, succeeded, failed)

    await until(holds)


# The contract


def test_the_contract_is_the_official_one() -> None:
    """Names, numbers and types; comments and the options for other languages apart."""
    descriptors = Path(*_gen.__path__, "descriptors.binpb").read_bytes()
    ours = FileDescriptorSet.FromString(descriptors).file[-1]
    official = FileDescriptorProto.FromString(channelz_pb2.DESCRIPTOR.serialized_pb)
    for file in (ours, official):
        file.ClearField("name")
        file.ClearField("options")
        for message in file.message_type:
            for one in (message, *message.nested_type):
                for told_field in one.field:  # protoc adds it, and it says nothing new
                    told_field.ClearField("json_name")
        file.message_type.sort(key=lambda message: message.name)
        for served in file.service:
            served.method.sort(key=lambda method: method.name)
    assert ours == official


# What is counted


async def test_a_unary_call_counts_on_both_sides(
    channelz: Channelz, inventory: InventoryClient
) -> None:
    """One call, one stream, and a message in each direction; the times are those of the call."""
    before = datetime.now(UTC) - timedelta(milliseconds=1)  # protobuf's digits are cut
    await inventory.get_stock(GetStockRequest(item="bolt"))
    await server_counts(channelz, 1, 1, 0)
    after = datetime.now(UTC)

    server, channel = await only_server(channelz), await only_channel(channelz)
    subchannel = await subchannel_of(channelz, channel)
    assert calls(channel) == calls(subchannel) == (1, 1, 0)
    for data in (server.data, channel.data, subchannel.data):
        assert before <= data.last_call_started_timestamp <= after
    [near], [far] = await sockets_of_channel(channelz), await sockets_of_server(channelz)
    for end in (near, far):
        data = end.data
        assert streams(end) == (1, 1, 0)
        assert messages(end) == (1, 1)
        assert before <= data.last_message_sent_timestamp <= after
        assert before <= data.last_message_received_timestamp <= after
    assert near.data.last_remote_stream_created_timestamp is None
    assert far.data.last_local_stream_created_timestamp is None


async def test_the_messages_of_streams_count(
    channelz: Channelz, inventory: InventoryClient
) -> None:
    """Each of them, in both directions; the end of a stream is no message."""
    picks = [PickItemsRequest(count=count) for count in range(3)]
    assert len([picked async for picked in inventory.pick_items(picks)]) == 3
    assert len([line async for line in inventory.list_stock()]) == 2
    await server_counts(channelz, 2, 2, 0)
    [near], [far] = await sockets_of_channel(channelz), await sockets_of_server(channelz)
    assert messages(near) == (4, 5)
    assert messages(far) == (5, 4)


async def test_a_message_that_waits_for_its_window_counts_once(channelz: Channelz) -> None:
    """It is sent when all of it is."""
    server = Server([Stock()])
    channelz.add(server)
    peer = Peer(http2.Role.CLIENT, initial_window_size=100)
    join(server.new_connection(), peer)
    stream = peer.call("ListStock", GetStockRequest())
    await peer.until(http2.DataReceived)
    [far] = await sockets_of_server(channelz)
    assert messages(far) == (0, 1)
    count = 0
    while not peer.of(http2.TrailersReceived):
        await peer.until(http2.DataReceived, count + 1)
        peer.engine.acknowledge(stream, peer.of(http2.DataReceived)[count].flow_size)
        peer.flush()
        count += 1
        await asyncio.sleep(0)
    [far] = await sockets_of_server(channelz)
    assert messages(far) == (2, 1)
    server.close()
    await server.wait_closed()


async def test_a_status_other_than_ok_is_a_failed_call_and_no_failed_stream(
    channelz: Channelz, inventory: InventoryClient
) -> None:
    """The call failed; the stream had its END_STREAM."""
    with pytest.raises(RpcError):
        await inventory.get_stock(GetStockRequest(item="fails"))
    await server_counts(channelz, 1, 0, 1)
    channel = await only_channel(channelz)
    assert calls(channel) == calls(await subchannel_of(channelz, channel)) == (1, 0, 1)
    for sockets in (await sockets_of_channel(channelz), await sockets_of_server(channelz)):
        assert [streams(one) for one in sockets] == [(1, 1, 0)]


async def test_a_cancelled_call_fails_on_both_sides(
    channelz: Channelz, inventory: InventoryClient, stock: Stock
) -> None:
    """It is reset: neither side sees its END_STREAM."""
    call = asyncio.create_task(inventory.get_stock(GetStockRequest(item="slow")))
    async with asyncio.timeout(LIMIT_S):
        while not stock.seen:
            await asyncio.sleep(0)
    assert calls(await only_server(channelz)) == (1, 0, 0)
    assert calls(await only_channel(channelz)) == (1, 0, 0)
    call.cancel()
    with suppress(asyncio.CancelledError):
        await call
    await server_counts(channelz, 1, 0, 1)
    assert calls(await only_channel(channelz)) == (1, 0, 1)
    for sockets in (await sockets_of_channel(channelz), await sockets_of_server(channelz)):
        assert [streams(one) for one in sockets] == [(1, 0, 1)]


async def test_a_call_whose_deadline_passes_has_failed(
    channelz: Channelz, inventory: InventoryClient
) -> None:
    """On both sides; one whose deadline has passed already never began."""
    await inventory.get_stock(GetStockRequest(item="x"))  # there is a connection
    for timeout_s in (0.3, 0):
        with pytest.raises(DeadlineExceededError):
            await inventory.get_stock(GetStockRequest(item="slow"), timeout=timeout_s)
    await server_counts(channelz, 2, 1, 1)
    assert calls(await only_channel(channelz)) == (2, 1, 1)


async def test_a_lost_connection_fails_its_calls_and_is_not_told_of(
    channelz: Channelz, inventory: InventoryClient, stock: Stock
) -> None:
    """The socket goes at once, on both sides; what it carried stays with the server."""
    call = asyncio.create_task(inventory.get_stock(GetStockRequest(item="slow")))
    async with asyncio.timeout(LIMIT_S):
        while not stock.seen:
            await asyncio.sleep(0)
    [near], [far] = await sockets_of_channel(channelz), await sockets_of_server(channelz)
    for connection in tuple(inventory.channel._connections):
        connection.abort()
    with pytest.raises(UnavailableError):
        await call
    await server_counts(channelz, 1, 0, 1)
    assert await sockets_of_server(channelz) == []
    assert await sockets_of_channel(channelz) == []
    for gone in (near, far):
        with pytest.raises(NotFoundError, match=f"there is no socket {gone.ref.socket_id}"):
            await channelz.get_socket(told.GetSocketRequest(socket_id=gone.ref.socket_id))

    await inventory.get_stock(GetStockRequest(item="bolt"))  # on a new connection
    [new] = await sockets_of_server(channelz)
    assert new.ref.socket_id > far.ref.socket_id


async def test_a_refused_request_is_a_stream_and_no_call(channelz: Channelz, stock: Stock) -> None:
    """What has no content type of gRPC; the answer is the end of its stream."""
    server = Server([stock])
    channelz.add(server)
    peer = Peer(http2.Role.CLIENT)
    join(server.new_connection(), peer)
    peer.call("GetStock", GetStockRequest(), content_type="text/html")
    await peer.until(http2.ResponseReceived)
    assert calls(await only_server(channelz)) == (0, 0, 0)
    assert [streams(one) for one in await sockets_of_server(channelz)] == [(1, 1, 0)]
    server.close()
    await server.wait_closed()


async def test_an_unknown_method_is_a_failed_call(channelz: Channelz, channel: Channel) -> None:
    """gRPC answers it: UNIMPLEMENTED."""
    with pytest.raises(UnimplementedError):
        await told.ChannelzStub(channel).get_servers(told.GetServersRequest())
    await server_counts(channelz, 1, 0, 1)


async def test_keepalives_count(channelz: Channelz, stock: Stock) -> None:
    """The pings of the clock, and no others."""
    server = Server([stock], keepalive=Keepalive(interval_s=0.01, without_calls=True))
    channelz.add(server)
    peer = Peer(http2.Role.CLIENT)
    join(server.new_connection(), peer)
    await peer.until(http2.PingReceived, 3)
    [far] = await sockets_of_server(channelz)
    assert 3 <= far.data.keep_alives_sent <= len(peer.of(http2.PingReceived)) + 1
    server.close()
    await server.wait_closed()


# Servers and their sockets


async def test_two_connections_are_two_sockets_of_one_server(
    channelz: Channelz, server: Server, inventory: InventoryClient
) -> None:
    """Each counts for itself, with an id that stays; the server counts for both."""
    await inventory.get_stock(GetStockRequest(item="bolt"))
    async with connect(server.addresses[0]) as other:
        for _ in range(2):
            await InventoryClient(other, timeout_s=LIMIT_S).get_stock(GetStockRequest(item="nut"))
        await server_counts(channelz, 3, 3, 0)
        sockets = await sockets_of_server(channelz)
        assert [streams(one) for one in sockets] == [(1, 1, 0), (2, 2, 0)]
        ids = [one.ref.socket_id for one in sockets if one.ref is not None]
        again = await sockets_of_server(channelz)
        assert [one.ref.socket_id for one in again if one.ref is not None] == ids == sorted(ids)
        assert len(set(ids)) == 2

    async def one_is_left() -> bool:
        return len(await sockets_of_server(channelz)) == 1

    await until(one_is_left)


async def test_a_socket_has_both_addresses(
    channelz: Channelz, server: Server, inventory: InventoryClient
) -> None:
    """The remote address of one end is the local address of the other."""
    await inventory.get_stock(GetStockRequest(item="bolt"))
    [near], [far] = await sockets_of_channel(channelz), await sockets_of_server(channelz)
    assert near.local == far.remote
    assert near.remote == far.local
    assert far.local.tcpip_address.ip_address == ip_address("127.0.0.1").packed
    assert server.addresses == [f"127.0.0.1:{far.local.tcpip_address.port}"]
    assert far.security is None


async def test_a_server_names_the_sockets_that_it_listens_on(
    channelz: Channelz, server: Server
) -> None:
    """They have ids that stay, and a local address only; they are no connections."""
    told_of = await only_server(channelz)
    assert told_of == await only_server(channelz)
    [ref] = told_of.listen_socket
    listener = await socket_of(channelz, ref.socket_id)
    assert server.addresses == [f"127.0.0.1:{listener.local.tcpip_address.port}"]
    assert listener.remote is None
    assert listener.data == told.SocketData()
    assert await sockets_of_server(channelz) == []
    server.close()
    await server.wait_closed()
    assert (await only_server(channelz)).listen_socket == []
    with pytest.raises(NotFoundError):
        await channelz.get_socket(told.GetSocketRequest(socket_id=ref.socket_id))


async def test_an_ipv6_address_has_sixteen_bytes(channelz: Channelz, stock: Stock) -> None:
    """Also where the system names a scope with it."""
    server = Server([stock])
    channelz.add(server)
    try:
        await server.start("::1", 0)
    except OSError:
        pytest.skip("no IPv6")
    async with server, connect(server.addresses[0]) as channel:
        await InventoryClient(channel, timeout_s=LIMIT_S).get_stock(GetStockRequest(item="bolt"))
        [one] = await sockets_of_server(channelz)
        assert one.remote.tcpip_address.ip_address == ip_address("::1").packed
    scoped = address_of(("fe80::1%eth0", 7, 0, 2))
    assert scoped is not None
    assert scoped.tcpip_address == told.AddressTcpIpAddress(ip_address("fe80::1").packed, 7)


async def test_a_unix_socket_has_a_path(channelz: Channelz, stock: Stock, tmp_path: Path) -> None:
    """But for the client's end, which has none; and it has no TCP_INFO."""
    path = str(tmp_path / "stock.sock")
    server = Server([stock])
    channelz.add(server)
    await server.start(path=path)
    async with server, connect(f"unix:{path}") as channel:
        await InventoryClient(channel, timeout_s=LIMIT_S).get_stock(GetStockRequest(item="bolt"))
        [one] = await sockets_of_server(channelz)
        assert one.local.uds_address == told.AddressUdsAddress(filename=path)
        assert one.remote.uds_address == told.AddressUdsAddress()
        assert [option.name for option in one.data.option] == ["SO_LINGER"]
    for name, path in [(b"\0abstract", "\0abstract"), ("/tmp/\udcff", "/tmp/\ufffd")]:
        odd = address_of(name)
        assert odd is not None
        assert odd.uds_address == told.AddressUdsAddress(filename=path)


@pytest.mark.parametrize(
    ("version", "cipher", "name"),
    [
        (ssl.TLSVersion.TLSv1_3, None, "TLS_AES_256_GCM_SHA384"),
        (
            ssl.TLSVersion.TLSv1_2,
            "ECDHE-ECDSA-CHACHA20-POLY1305",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        ),
    ],
    ids=["TLS 1.3", "TLS 1.2"],
)
async def test_tls_has_its_standard_name_and_the_other_sides_certificate(
    channelz: Channelz,
    stock: Stock,
    tmp_path: Path,
    version: ssl.TLSVersion,
    cipher: str | None,
    name: str,
) -> None:
    """Of both sides, where the client has a certificate; not what OpenSSL calls the cipher."""
    authority = Authority(tmp_path)
    own, its = authority.sign("server", "127.0.0.1"), authority.sign("ann", "ann@example.com")
    server = Server([stock])
    channelz.add(server)
    listener = socket.create_server(("127.0.0.1", 0))
    await server.listen([listener], ServerTls(own.cert, own.key, authority.file))
    context = client_context(authority.file, its.cert, its.key)
    context.maximum_version = version
    if cipher is not None:
        context.set_ciphers(cipher)
    async with server, connect(server.addresses[0], tls=context) as channel:
        channelz.add(channel)
        await InventoryClient(channel, timeout_s=LIMIT_S).get_stock(GetStockRequest(item="bolt"))
        [far], [near] = await sockets_of_server(channelz), await sockets_of_channel(channelz)
    for end, peer in ((far, its), (near, own)):
        first = peer.cert.read_text().partition("-----END CERTIFICATE-----")
        der = ssl.PEM_cert_to_DER_cert(first[0] + first[1])
        assert end.security == told.Security(
            tls=told.SecurityTls(standard_name=name, remote_certificate=der)
        )
        assert end.local.tcpip_address.port != end.remote.tcpip_address.port


def test_a_cipher_without_a_standard_name_has_another() -> None:
    """What OpenSSL calls it; and no security is none."""
    transport: Any = SimpleNamespace(get_extra_info=lambda _: None)
    assert security_of(transport) is None
    tls = SimpleNamespace(cipher=lambda: ("ODD", "", 0), getpeercert=lambda binary_form: None)
    transport = SimpleNamespace(get_extra_info=lambda _: tls)
    assert security_of(transport) == told.Security(tls=told.SecurityTls(other_name="ODD"))
    tls.cipher = lambda: None
    assert security_of(transport) is None


async def test_windows_and_options_are_those_of_the_connection(
    channelz: Channelz, inventory: InventoryClient
) -> None:
    """What one side may send is what the other takes; the system tells of its sockets."""
    await inventory.get_stock(GetStockRequest(item="bolt"))
    [near_socket], [far_socket] = (
        await sockets_of_channel(channelz),
        await sockets_of_server(channelz),
    )
    near, far = near_socket.data, far_socket.data
    assert near.local_flow_control_window == far.remote_flow_control_window
    assert near.remote_flow_control_window == far.local_flow_control_window
    assert near.local_flow_control_window > 2**20
    options = {option.name: option.additional for option in far.option}
    assert options["SO_LINGER"].unpack() == told.SocketOptionLinger(duration=timedelta(0))
    if "TCP_INFO" in options:  # on Linux
        info = options["TCP_INFO"].unpack()
        assert (info.tcpi_state, info.tcpi_lost) == (1, 0)  # ESTABLISHED
        assert info.tcpi_snd_mss > 500
        assert 0 < info.tcpi_rtt < 5_000_000


async def test_a_summary_asks_the_system_nothing(
    channelz: Channelz, inventory: InventoryClient
) -> None:
    """All else is the same."""
    await inventory.get_stock(GetStockRequest(item="bolt"))
    [whole] = await sockets_of_server(channelz)
    request = told.GetSocketRequest(socket_id=whole.ref.socket_id, summary=True)
    short: Any = (await channelz.get_socket(request)).socket
    assert short.data.option == []
    whole.data.option = []
    assert short == whole


def test_a_socket_that_is_closed_has_no_options() -> None:
    """It may have been closed just now; a connection in memory has no socket at all."""
    with socket.socket() as closed:
        pass
    for found in (closed, None):
        transport: Any = SimpleNamespace(get_extra_info=lambda _, found=found: found)
        assert options_of(transport) == []


async def test_what_the_other_side_said_is_told(channelz: Channelz, server: Server) -> None:
    """How many streams it takes, and why it goes away."""
    async with connect(server.addresses[0]) as channel:
        channelz.add(channel)
        await InventoryClient(channel, timeout_s=LIMIT_S).get_stock(GetStockRequest(item="bolt"))
        [near] = await sockets_of_channel(channelz)
        assert near.data.peer_max_concurrent_streams == 100
        assert near.data.received_goaway_error is None
        [connection] = channel._connections
        [far] = server._connections
        connection.engine.goaway(http2.ErrorCode.ENHANCE_YOUR_CALM)
        connection.flush()
        async with asyncio.timeout(LIMIT_S):
            while far.engine.goaway_received is None:
                await asyncio.sleep(0.001)
        [told_of] = await sockets_of_server(channelz)
        assert told_of.data.received_goaway_error == http2.ErrorCode.ENHANCE_YOUR_CALM


# Channels


async def test_a_channel_has_the_state_of_its_connection(
    channelz: Channelz, server: Server
) -> None:
    """IDLE at first, READY with a connection, IDLE without, and SHUTDOWN."""
    channel = connect(server.addresses[0])
    channelz.add(channel)

    async def state() -> State:
        data = (await only_channel(channelz)).data
        assert data.target == server.addresses[0]
        found: State = data.state.state
        return found

    assert await state() is State.IDLE
    await InventoryClient(channel, timeout_s=LIMIT_S).get_stock(GetStockRequest(item="bolt"))
    assert await state() is State.READY
    for connection in tuple(channel._connections):
        connection.abort()

    async def is_idle() -> bool:
        return await state() is State.IDLE

    await until(is_idle)
    channel.close()
    assert await state() is State.SHUTDOWN


async def test_a_channel_without_a_server_fails_its_calls_alone(channelz: Channelz) -> None:
    """The call is the channel's; its subchannel never heard of it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with connect(f"127.0.0.1:{port}") as channel:
        channelz.add(channel)
        with pytest.raises(UnavailableError):
            await InventoryClient(channel, timeout_s=LIMIT_S).get_stock(GetStockRequest())
        one = await only_channel(channelz)
        assert calls(one) == (1, 0, 1)
        assert one.data.state == told.ChannelConnectivityState(state=State.TRANSIENT_FAILURE)
        subchannel = await subchannel_of(channelz, one)
        assert calls(subchannel) == (0, 0, 0)
        assert subchannel.socket_ref == []


async def test_a_channel_that_connects_says_so(channelz: Channelz) -> None:
    """For as long as it does."""
    async with connect("127.0.0.1:1") as channel:
        channelz.add(channel)
        async with channel._connect_lock:
            data = (await only_channel(channelz)).data
        assert data.state == told.ChannelConnectivityState(state=State.CONNECTING)


async def test_one_channel_is_got_by_its_id(channelz: Channelz, channel: Channel) -> None:
    """With the same that is told of it in the list."""
    one = await only_channel(channelz)
    request = told.GetChannelRequest(channel_id=one.ref.channel_id)
    assert (await channelz.get_channel(request)).channel == one


async def test_a_call_that_was_made_before_counts_as_a_stream_alone(
    channelz: Channelz, server: Server
) -> None:
    """It was not begun: its channel could still be added."""
    async with connect(server.addresses[0]) as channel:
        call = channel.request(
            "/inventory.v1.InventoryService/GetStock",
            Cardinality.UNARY_UNARY,
            GetStockRequest,
            GetStockResponse,
        )
        channelz.add(channel)
        async with call:
            await call.send_message(GetStockRequest(item="bolt"))
            assert await call.recv_message() == GetStockResponse(count=4)
        one = await only_channel(channelz)
        assert calls(one) == (0, 0, 0)
        assert calls(await subchannel_of(channelz, one)) == (1, 0, 1)


# Ids and pages


async def test_unknown_ids_are_not_found(channelz: Channelz) -> None:
    """By every method that takes one; also an id of another kind."""
    server = Server([])
    channelz.add(server)
    server_id = (await only_server(channelz)).ref.server_id
    for one in (server_id, 0, -1, new_id()):
        for get in (
            channelz.get_channel(told.GetChannelRequest(channel_id=one)),
            channelz.get_subchannel(told.GetSubchannelRequest(subchannel_id=one)),
            channelz.get_socket(told.GetSocketRequest(socket_id=one)),
        ):
            with pytest.raises(NotFoundError):
                await get
    for one in (0, -1, new_id()):
        with pytest.raises(NotFoundError):
            await channelz.get_server(told.GetServerRequest(server_id=one))
        with pytest.raises(NotFoundError):
            await channelz.get_server_sockets(told.GetServerSocketsRequest(server_id=one))


async def test_ids_are_those_of_one_thing_in_the_process(
    channelz: Channelz, inventory: InventoryClient
) -> None:
    """Servers, channels, subchannels and sockets share one row of numbers."""
    await inventory.get_stock(GetStockRequest(item="bolt"))
    server, channel = await only_server(channelz), await only_channel(channelz)
    refs: list[Any] = [server.ref, *server.listen_socket, channel.ref, *channel.subchannel_ref]
    ends = (*await sockets_of_server(channelz), *await sockets_of_channel(channelz))
    refs += [end.ref for end in ends]
    ids = [next(getattr(ref, name) for name in vars(ref) if name.endswith("_id")) for ref in refs]
    assert len(set(ids)) == len(ids) == 6
    assert min(ids) > 0


async def test_lists_come_in_pages(channelz: Channelz) -> None:
    """From an id on, so many, in order; the last page says that it is the last."""
    servers = [Server([]) for _ in range(5)]
    channelz.add(*servers)

    async def page(start: int, size: int) -> tuple[list[int], bool]:
        request = told.GetServersRequest(start_server_id=start, max_results=size)
        response = await channelz.get_servers(request)
        return [one.ref.server_id for one in response.server if one.ref], response.end

    ids, end = await page(0, 0)
    assert (len(ids), end) == (5, True)
    assert ids == sorted(ids)
    assert await page(0, 2) == (ids[:2], False)
    assert await page(ids[1] + 1, 2) == (ids[2:4], False)
    assert await page(ids[3] + 1, 2) == (ids[4:], True)
    assert await page(ids[2], 3) == (ids[2:], True)
    assert await page(ids[4] + 1, 2) == ([], True)
    with pytest.raises(InvalidArgumentError):
        await page(0, -1)


async def test_channels_come_in_pages(channelz: Channelz) -> None:
    """Like servers."""
    channels = [connect("127.0.0.1:1") for _ in range(3)]
    channelz.add(*channels)
    first = await channelz.get_top_channels(told.GetTopChannelsRequest(max_results=2))
    assert (len(first.channel), first.end) == (2, False)
    seen = max(one.ref.channel_id for one in first.channel if one.ref is not None)
    request = told.GetTopChannelsRequest(start_channel_id=seen + 1, max_results=2)
    second = await channelz.get_top_channels(request)
    assert (len(second.channel), second.end) == (1, True)
    for channel in channels:
        channel.close()


async def test_ten_thousand_sockets_hold_up_nobody(channelz: Channelz) -> None:
    """A page is bounded, whatever is asked for, and most take a millisecond or two."""
    server = Server([])
    channelz.add(server)
    [record] = channelz._servers.values()
    record.sockets = dict.fromkeys(new_id() for _ in range(10_000))  # type: ignore[assignment]  # only ids are asked for
    taken_s, seen, start, end = [], 0, 0, False
    while not end:
        request = told.GetServerSocketsRequest(
            server_id=record.id, start_socket_id=start, max_results=50_000
        )
        began = time.thread_time()
        response = await channelz.get_server_sockets(request)
        taken_s.append(time.thread_time() - began)
        assert len(response.socket_ref) == service.PAGE_MAX
        seen += len(response.socket_ref)
        start, end = response.socket_ref[-1].socket_id + 1, response.end
    assert seen == 10_000
    assert median(taken_s) < 0.02


# Without it


async def test_without_channelz_nothing_counts(stock: Stock) -> None:
    """The classes in use are the ordinary ones, and the service is not there."""
    server = Server([stock])
    await server.start("127.0.0.1", 0)
    async with server, connect(server.addresses[0]) as channel:
        await InventoryClient(channel, timeout_s=LIMIT_S).get_stock(GetStockRequest(item="bolt"))
        used = {
            *map(type, server._connections),
            *map(type, channel._connections),
            type(server.new_connection()).stream_type,
        }
        modules = {one.__module__ for one in used}
        assert modules == {
            f"userservice.rpc.{name}"
            for name in ("server_connection", "client_connection", "server_stream")
        }
        assert "stream_type" not in vars(channel)
        with pytest.raises(UnimplementedError):
            await told.ChannelzStub(channel).get_servers(told.GetServersRequest())


async def test_what_is_forgotten_is_not_told_of(channelz: Channelz) -> None:
    """channelz keeps nothing alive, and nothing of what is gone."""
    server, channel = Server([]), connect("127.0.0.1:1")
    channelz.add(server, channel)
    await only_server(channelz)
    channel.close()
    del server, channel
    gc.collect()
    assert (await channelz.get_servers(told.GetServersRequest())).server == []
    assert (await channelz.get_top_channels(told.GetTopChannelsRequest())).channel == []


async def test_a_thousand_connections_leave_nothing_behind(channelz: Channelz) -> None:
    """No socket stays on the record, whoever closes it."""
    server = Server([Stock()])
    channelz.add(server)
    [record] = channelz._servers.values()
    for number in range(1_000):
        peer = Peer(http2.Role.CLIENT)
        connection = server.new_connection()
        join(connection, peer)
        if number % 100 == 0:
            peer.call("GetStock", GetStockRequest(item="bolt"))
            await peer.until(http2.TrailersReceived)
        (peer.transport if number % 2 else connection).close()
    await asyncio.sleep(0)
    server.close()
    await server.wait_closed()
    assert record.sockets == {}
    assert calls(await only_server(channelz)) == (10, 10, 0)


async def test_what_counts_already_is_not_added_again(
    channelz: Channelz, server: Server, inventory: InventoryClient, stock: Stock
) -> None:
    """Nor what has a connection, which would not count."""
    late = Server([stock])
    await late.start("127.0.0.1", 0)
    async with late, connect(late.addresses[0]) as used:
        await InventoryClient(used, timeout_s=LIMIT_S).get_stock(GetStockRequest(item="bolt"))
        for refused in (server, late, inventory.channel, used):
            with pytest.raises(ValueError, match="is added once, and before"):
                Channelz().add(refused)
