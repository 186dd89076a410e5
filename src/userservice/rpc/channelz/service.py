"""The service: grpc.channelz.v1.Channelz."""

from bisect import bisect_left
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from weakref import WeakValueDictionary, ref

from userservice.rpc.channel import Channel
from userservice.rpc.channelz._gen.grpc.channelz import v1 as told
from userservice.rpc.channelz.counted import (
    CountedClientConnection,
    CountedClientStream,
    CountedConnection,
    CountedServerConnection,
)
from userservice.rpc.channelz.records import Calls, ChannelRecord, ServerRecord
from userservice.rpc.channelz.sockets import address_of, options_of, security_of
from userservice.rpc.errors import InvalidArgumentError, NotFoundError
from userservice.rpc.server import Server
from userservice.wire import http2

_State = told.ChannelConnectivityStateState

PAGE_DEFAULT: Final = 100  # as grpc-go has it
PAGE_MAX: Final = 1_000
"""How many are in a page, whatever is asked for: a page is made in one go."""


class Channelz(told.ChannelzBase):
    """Tells of the servers and channels that were added, and of their sockets (gRFC A14).

    It is served like any other service, by one of those servers or by another. It tells
    whoever asks the addresses of all peers.
    """

    def __init__(self) -> None:
        # Weakly: what the program forgets is not told of any longer.
        self._servers: WeakValueDictionary[int, ServerRecord] = WeakValueDictionary()
        self._channels: WeakValueDictionary[int, ChannelRecord] = WeakValueDictionary()

    def add(self, *added: Server | Channel) -> None:
        """Count what these carry from now on, and tell of them for as long as they are there.

        Args:
            added: servers that do not listen yet, and channels without a call.

        Raises:
            ValueError: one of them counts already, or has a connection, which would not count.
        """
        for one in added:
            if isinstance(one, Server):
                self._add_server(one)
            else:
                self._add_channel(one)

    def _add_server(self, server: Server) -> None:
        if "connection_type" in vars(server) or server.sockets:
            raise ValueError("a server is added once, and before it listens")
        record = ServerRecord(ref(server))
        server.connection_type = partial(CountedServerConnection, record)
        self._servers[record.id] = record

    def _add_channel(self, channel: Channel) -> None:
        if "connection_type" in vars(channel) or channel.connection_at_hand() is not None:
            raise ValueError("a channel is added once, and before its first call")
        record = ChannelRecord(ref(channel), channel.target)
        channel.connection_type = partial(CountedClientConnection, record)
        channel.stream_type = partial(CountedClientStream, record)
        self._channels[record.id] = record

    # Servers

    async def get_servers(self, message: told.GetServersRequest) -> told.GetServersResponse:
        """Tell of the servers."""
        records = dict(self._servers)
        ids, end = _page(records, message.start_server_id, message.max_results)
        return told.GetServersResponse(server=[_server(records[one]) for one in ids], end=end)

    async def get_server(self, message: told.GetServerRequest) -> told.GetServerResponse:
        """Tell of one server."""
        return told.GetServerResponse(server=_server(self._server(message.server_id)))

    async def get_server_sockets(
        self, message: told.GetServerSocketsRequest
    ) -> told.GetServerSocketsResponse:
        """Name a server's connections."""
        sockets = self._server(message.server_id).sockets
        ids, end = _page(sockets, message.start_socket_id, message.max_results)
        return told.GetServerSocketsResponse(socket_ref=_socket_refs(ids), end=end)

    def _server(self, server_id: int) -> ServerRecord:
        record = self._servers.get(server_id)
        if record is None:
            raise NotFoundError(f"there is no server {server_id}")
        return record

    # Channels

    async def get_top_channels(
        self, message: told.GetTopChannelsRequest
    ) -> told.GetTopChannelsResponse:
        """Tell of the channels."""
        records = dict(self._channels)
        ids, end = _page(records, message.start_channel_id, message.max_results)
        return told.GetTopChannelsResponse(channel=[_channel(records[one]) for one in ids], end=end)

    async def get_channel(self, message: told.GetChannelRequest) -> told.GetChannelResponse:
        """Tell of one channel."""
        record = self._channels.get(message.channel_id)
        if record is None:
            raise NotFoundError(f"there is no channel {message.channel_id}")
        return told.GetChannelResponse(channel=_channel(record))

    async def get_subchannel(
        self, message: told.GetSubchannelRequest
    ) -> told.GetSubchannelResponse:
        """Tell of one subchannel."""
        of_id = message.subchannel_id
        for record in self._channels.values():
            if record.subchannel_id == of_id:
                return told.GetSubchannelResponse(subchannel=_subchannel(record))
        raise NotFoundError(f"there is no subchannel {of_id}")

    # Sockets

    async def get_socket(self, message: told.GetSocketRequest) -> told.GetSocketResponse:
        """Tell of one socket: a connection, or one that a server listens on."""
        of_id = message.socket_id
        for record in (*self._servers.values(), *self._channels.values()):
            if of_id in record.sockets:
                connection = _connection(of_id, record.sockets[of_id], summary=message.summary)
                return told.GetSocketResponse(socket=connection)
        for server in self._servers.values():
            listening = server.listening()
            if of_id in listening:
                return told.GetSocketResponse(socket=_listener(of_id, listening[of_id]))
        raise NotFoundError(f"there is no socket {of_id}")


def _page(ids: Iterable[int], start: int, max_results: int) -> tuple[list[int], bool]:
    """Return the ids of a page, and whether they are the last ones."""
    if max_results < 0:
        raise InvalidArgumentError("max_results is 0 or more")
    ordered = sorted(ids)
    first = bisect_left(ordered, start)
    last = first + min(max_results or PAGE_DEFAULT, PAGE_MAX)
    return ordered[first:last], last >= len(ordered)


def _server(record: ServerRecord) -> told.Server:
    calls = record.calls
    return told.Server(
        ref=told.ServerRef(server_id=record.id),
        data=told.ServerData(
            calls_started=calls.started,
            calls_succeeded=calls.succeeded,
            calls_failed=calls.failed,
            last_call_started_timestamp=_time(calls.last_started_at),
        ),
        listen_socket=_socket_refs(record.listening()),
    )


def _channel(record: ChannelRecord) -> told.Channel:
    return told.Channel(
        ref=told.ChannelRef(channel_id=record.id),
        data=_channel_data(record, record.calls),
        subchannel_ref=[told.SubchannelRef(subchannel_id=record.subchannel_id)],
    )


def _subchannel(record: ChannelRecord) -> told.Subchannel:
    return told.Subchannel(
        ref=told.SubchannelRef(subchannel_id=record.subchannel_id),
        data=_channel_data(record, record.streams),
        socket_ref=_socket_refs(record.sockets),
    )


def _channel_data(record: ChannelRecord, calls: Calls) -> told.ChannelData:
    return told.ChannelData(
        state=told.ChannelConnectivityState(state=_state(record.channel())),
        target=record.target,
        trace=told.ChannelTrace(creation_timestamp=_time(record.made_at)),
        calls_started=calls.started,
        calls_succeeded=calls.succeeded,
        calls_failed=calls.failed,
        last_call_started_timestamp=_time(calls.last_started_at),
    )


def _state(channel: Channel | None) -> _State:
    if channel is None or channel.closed:
        return _State.SHUTDOWN
    if channel.connection_at_hand() is not None:
        return _State.READY
    if channel.connecting:
        return _State.CONNECTING
    return _State.TRANSIENT_FAILURE if channel.unreachable else _State.IDLE


def _connection(socket_id: int, connection: CountedConnection, *, summary: bool) -> told.Socket:
    transport, engine, traffic = connection.transport, connection.engine, connection.traffic
    is_client = engine.role is http2.Role.CLIENT
    goaway = engine.goaway_received
    last_stream = _time(traffic.last_stream_at)
    return told.Socket(
        ref=told.SocketRef(socket_id=socket_id),
        data=told.SocketData(
            streams_started=traffic.streams_started,
            streams_succeeded=traffic.streams_succeeded,
            streams_failed=traffic.streams_failed,
            messages_sent=traffic.messages_sent,
            messages_received=traffic.messages_received,
            keep_alives_sent=traffic.keepalives_sent,
            last_local_stream_created_timestamp=last_stream if is_client else None,
            last_remote_stream_created_timestamp=None if is_client else last_stream,
            last_message_sent_timestamp=_time(traffic.last_sent_at),
            last_message_received_timestamp=_time(traffic.last_received_at),
            local_flow_control_window=engine.send_window,
            remote_flow_control_window=engine.receive_window,
            option=[] if summary else options_of(transport),
            received_goaway_error=None if goaway is None else goaway.code,
            peer_max_concurrent_streams=engine.remote.max_concurrent_streams if is_client else 0,
        ),
        local=address_of(transport.get_extra_info("sockname")),
        remote=address_of(transport.get_extra_info("peername")),
        security=security_of(transport),
    )


def _listener(socket_id: int, listener: Any) -> told.Socket:
    return told.Socket(
        ref=told.SocketRef(socket_id=socket_id),
        data=told.SocketData(),
        local=address_of(listener.getsockname()),
    )


def _socket_refs(ids: Iterable[int]) -> list[told.SocketRef]:
    return [told.SocketRef(socket_id=one) for one in ids]


def _time(time_s: float | None) -> datetime | None:
    return None if time_s is None else datetime.fromtimestamp(time_s, UTC)
