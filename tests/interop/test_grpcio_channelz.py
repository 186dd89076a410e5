"""grpcio-channelz's client reads what our server tells of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_channelz.v1 import channelz_pb2 as pb
from grpc_channelz.v1 import channelz_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.interop.conftest import Contract, ServerProgram


@pytest.fixture
def channel(
    channelz_server: ServerProgram, channel_options: list[tuple[str, str]]
) -> Iterator[grpc.Channel]:
    """A connection of grpcio to a server of ours with channelz."""
    with grpc.insecure_channel(channelz_server.address, channel_options) as channel:
        yield channel


@pytest.fixture
def channelz(channel: grpc.Channel) -> Any:
    """grpcio-channelz's client on that connection."""
    return channelz_pb2_grpc.ChannelzStub(channel)


def test_grpcio_reads_servers_and_sockets(
    channelz_server: ServerProgram, contract: Contract, stub: Any, channelz: Any, domain: str
) -> None:
    """Calls of each kind are counted, on the server and on the socket that carried them."""
    users = contract.messages
    stub.CreateUser(users.CreateUserRequest(email=f"ann@{domain}", name="Ann"))
    with pytest.raises(grpc.RpcError):
        stub.GetUser(users.GetUserRequest(id="none"))
    requests = [users.CreateUserRequest(email=f"{n}@{domain}", name="Bob") for n in range(3)]
    stub.BatchCreateUsers(iter(requests))

    [server] = channelz.GetServers(pb.GetServersRequest()).server
    # The last one is the call that asks.
    assert server.data.calls_started == 4
    assert server.data.calls_succeeded == 2
    assert server.data.calls_failed == 1
    assert server.data.HasField("last_call_started_timestamp")
    [listening] = server.listen_socket
    listener = channelz.GetSocket(pb.GetSocketRequest(socket_id=listening.socket_id)).socket
    port = int(channelz_server.address.rpartition(":")[2])
    assert listener.local.tcpip_address.port == port

    one = channelz.GetServer(pb.GetServerRequest(server_id=server.ref.server_id)).server
    assert one.ref == server.ref
    request = pb.GetServerSocketsRequest(server_id=server.ref.server_id)
    answer = channelz.GetServerSockets(request)
    assert answer.end
    [ref] = answer.socket_ref
    found = channelz.GetSocket(pb.GetSocketRequest(socket_id=ref.socket_id)).socket
    data = found.data
    assert (data.streams_started, data.streams_succeeded, data.streams_failed) == (8, 7, 0)
    assert (data.messages_received, data.messages_sent) == (1 + 1 + 3 + 5, 1 + 0 + 1 + 4)
    assert found.local.tcpip_address.port == port
    assert found.remote.tcpip_address.ip_address == bytes([127, 0, 0, 1])
    assert not found.HasField("security")
    for option in data.option:
        kind = {"SO_LINGER": pb.SocketOptionLinger, "TCP_INFO": pb.SocketOptionTcpInfo}[option.name]
        assert option.additional.Unpack(kind())


def test_grpcio_is_told_what_is_not_there(channelz: Any) -> None:
    """NOT_FOUND, and no channels: the service makes no calls itself."""
    answer = channelz.GetTopChannels(pb.GetTopChannelsRequest())
    assert answer.end
    assert not answer.channel
    for ask, request in [
        (channelz.GetServer, pb.GetServerRequest(server_id=10_000)),
        (channelz.GetServerSockets, pb.GetServerSocketsRequest(server_id=10_000)),
        (channelz.GetSocket, pb.GetSocketRequest(socket_id=10_000)),
        (channelz.GetChannel, pb.GetChannelRequest(channel_id=10_000)),
        (channelz.GetSubchannel, pb.GetSubchannelRequest(subchannel_id=10_000)),
    ]:
        with pytest.raises(grpc.RpcError) as error:
            ask(request)
        assert error.value.code() is grpc.StatusCode.NOT_FOUND
