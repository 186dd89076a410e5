"""Connections on their way: accepted, and not made yet; with TLS, their handshakes."""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Final

from userservice.rpc.connection import Connection
from userservice.rpc.handshake import fault_of
from userservice.rpc.limits import Limits
from userservice.rpc.target import host_and_port
from userservice.rpc.tls import NO_HTTP2, ServerTls, agreed
from userservice.rpc.tls_transport import TlsTransport

log = logging.getLogger(__name__)

_SAID_AGAIN_S: Final = 60.0  # what goes wrong for the same reason meanwhile is told at "debug"


class Arrivals:
    """What was accepted becomes connections.

    Args:
        new_connection: makes what handles the next one.
        made: tells how many there are.
        limits: how much is taken of clients.
    """

    def __init__(
        self,
        new_connection: Callable[[], Connection],
        made: Callable[[], int],
        limits: Limits,
    ) -> None:
        self._loop = asyncio.get_event_loop()
        self._new_connection = new_connection
        self._made = made
        self._limits = limits
        self._arriving: set[asyncio.Task[None]] = set()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._said: dict[str, float] = {}

    def take(self, sock: socket.socket, tls: ServerTls | None) -> None:
        """Make a connection of a socket; with TLS, after its handshake."""
        if sock.family != socket.AF_UNIX:
            # asyncio does so only where the socket that listened was made with its protocol named.
            # Without it, a second small write waits up to 40 ms for the client's ACK.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is None:
            self._own(self._loop.create_task(self._make(sock)))
        elif self._made() + len(self._handshakes) >= self._limits.max_connections:
            # To tell it so would take a handshake, which costs more than all that follows.
            self._say("a connection was closed before its TLS handshake", "there are too many")
            sock.close()
        else:
            handshake = self._loop.create_task(self._shake_hands(sock, tls))
            self._own(handshake)
            self._handshakes.add(handshake)
            handshake.add_done_callback(self._handshakes.discard)
            # Where it is cancelled before its first step, nobody else has the socket.
            handshake.add_done_callback(lambda task: sock.close() if task.cancelled() else None)

    def _own(self, task: asyncio.Task[None]) -> None:
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)

    async def _make(self, sock: socket.socket) -> None:
        await self._loop.connect_accepted_socket(self._new_connection, sock)

    async def _shake_hands(self, sock: socket.socket, tls: ServerTls) -> None:
        client = _peer_of(sock)
        transport = TlsTransport(tls.context, self._new_connection, self._limits.handshake_s)
        try:
            await self._loop.connect_accepted_socket(lambda: transport, sock)
            await transport.handshake()
        except OSError as error:
            self._say(f"the TLS handshake of {client} failed", fault_of(error))
            return
        if not agreed(transport.tls):
            self._say(f"the connection of {client} was closed", NO_HTTP2)

    def _say(self, what: str, why: str) -> None:
        now = self._loop.time()
        seldom = now >= self._said.get(why, now)
        if seldom:
            self._said[why] = now + _SAID_AGAIN_S
        log.log(logging.INFO if seldom else logging.DEBUG, "%s: %s", what, why)

    def break_off(self) -> None:
        """End the handshakes under way."""
        for handshake in self._handshakes:
            handshake.cancel()

    async def all_over(self) -> None:
        """Wait until each is a connection, or has failed."""
        while self._arriving:
            await asyncio.wait(self._arriving)


def _peer_of(sock: socket.socket) -> str:
    try:
        return host_and_port(sock.getpeername())
    except OSError:  # gone already
        return "a client"
