"""A channel to services in the same process, without a socket, for the tests of services.

It is what ``grpclib.testing`` is to grpclib: the bytes are those of a real connection.
"""

import asyncio
from collections.abc import Collection
from types import TracebackType
from typing import Any

from userservice.rpc.channel import Channel
from userservice.rpc.client_connection import ClientConnection
from userservice.rpc.connection import Connection
from userservice.rpc.server import Server, Service


class ChannelFor:
    """An async context manager whose value is a channel to these services.

    Args:
        services: the objects that implement the generated bases.
        options: what `Server` takes besides: ``error_mapping``, ``config``.
    """

    def __init__(self, services: Collection[Service], **options: Any) -> None:
        self._services = services
        self._options = options

    async def __aenter__(self) -> Channel:
        self.server = Server(self._services, **self._options)
        self._channel = _JoinedChannel(self.server)
        return self._channel

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._channel.close()
        await self.server.drain(0)


class _JoinedChannel(Channel):
    def __init__(self, server: Server) -> None:
        super().__init__("in-memory:1")
        self._server = server

    async def connect(self) -> ClientConnection:
        """Return a connection that is joined to the server."""
        connection = self.connection_at_hand()
        if connection is None:
            connection = self.new_connection()
            join(connection, self._server.new_connection())
            self.use_connection(connection)
        return connection


End = asyncio.Protocol | Connection


class MemoryTransport(asyncio.Transport):
    """One end of a connection in memory: what is written here, the other end receives."""

    def __init__(self, near: End) -> None:
        super().__init__()
        self.other: MemoryTransport
        self.unread = 0
        """What counts as written and not yet taken, in bytes; a test may set it."""
        self._near = near
        self._loop = asyncio.get_running_loop()
        self._closed = False

    def write(self, data: Any) -> None:
        """Hand the data to the other end, in a turn of the loop to come."""
        self._loop.call_soon(self.other.receive, bytes(data))

    def get_write_buffer_size(self) -> int:
        """Return how much was written and not yet taken, in bytes."""
        return self.unread

    def receive(self, data: bytes) -> None:
        """Take data, unless this end is closed."""
        if not self._closed:
            self._near.data_received(data)

    def can_write_eof(self) -> bool:
        """Return whether one direction can be closed alone: not here."""
        return False

    def is_closing(self) -> bool:
        """Return whether this end is closed."""
        return self._closed

    def close(self) -> None:
        """Close both ends, after what was written."""
        if not self._closed:
            self._closed = True
            self._loop.call_soon(self._near.connection_lost, None)
            self._loop.call_soon(self.other.close)

    def abort(self) -> None:
        """Close both ends."""
        self.close()


def join(one: End, other: End) -> None:
    """Connect two protocols with each other."""
    here, there = MemoryTransport(one), MemoryTransport(other)
    here.other, there.other = there, here
    one.connection_made(here)
    other.connection_made(there)


__all__ = ["ChannelFor"]
