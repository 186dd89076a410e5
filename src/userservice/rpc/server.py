"""The server: a grpclib server for betterproto2 services."""

import asyncio
import logging
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NoReturn, Protocol, Self

from grpclib.config import Configuration
from grpclib.const import Handler

from userservice.rpc import _seams
from userservice.rpc.arrivals import Arrivals
from userservice.rpc.codec import MessageCodec, StatusDetailsCodec
from userservice.rpc.details import ErrorInfo
from userservice.rpc.errors import UnimplementedError
from userservice.rpc.lifetime import FOR_EVER, SERVER_KEEPALIVE, Keepalive, Lifetime
from userservice.rpc.limits import DEFAULT_LIMITS, Limits
from userservice.rpc.listening import Listening, address_of
from userservice.rpc.middleware import Middleware
from userservice.rpc.middleware.hooks import Hooks
from userservice.rpc.request import Method
from userservice.rpc.server_connection import ServerConnection
from userservice.rpc.server_stream import ErrorMapping, Face
from userservice.rpc.tls import ServerTls
from userservice.wire.compression import Encoding

log = logging.getLogger(__name__)


class Service(Protocol):
    """What can be served: every generated service base has this."""

    def __mapping__(self) -> Mapping[str, Handler]: ...


def service_name(service: Service) -> str:
    """Return the full name of a service, such as ``userservice.v1.UserService``."""
    return next(iter(service.__mapping__())).split("/")[1]


def _no_mapping(_error: Exception) -> None:
    return None


class Server(_seams.ServerFace):
    """Serves betterproto2 services over HTTP/2; used like a grpclib ``Server``.

    Args:
        services: the objects that implement the generated bases.
        error_mapping: turns an exception of the domain into the status that the
            caller gets. An exception it does not know is logged, and the caller
            gets UNKNOWN without its text.
        config: grpclib's own settings: windows and keepalive.
        keepalive: pings that find out which clients are gone; None for what ``config`` says,
            or for one every two hours where there is none.
        lifetime: how long connections may live.
        limits: how much is taken of clients.
        compression: what replies are compressed with, where the client reads it.
        middleware: what sees every call, in its order.
    """

    connection_type: Callable[..., ServerConnection] = ServerConnection
    """What handles a connection; `Channelz` has one that counts."""

    def __init__(
        self,
        services: Collection[Service],
        *,
        error_mapping: ErrorMapping = _no_mapping,
        config: Configuration | None = None,
        keepalive: Keepalive | None = None,
        lifetime: Lifetime = FOR_EVER,
        limits: Limits = DEFAULT_LIMITS,
        compression: Encoding | None = None,
        middleware: Sequence[Middleware] = (),
    ) -> None:
        for service in services:
            _seams.close_response_generators(service)
        super().__init__(
            services,
            codec=MessageCodec(),
            status_details_codec=StatusDetailsCodec(),
            config=config,
        )
        if keepalive is None:
            keepalive = SERVER_KEEPALIVE if config is None else _seams.keepalive_of(self.config)
        self._keepalive = keepalive
        self._lifetime = lifetime
        self._limits = limits
        self._face = Face(
            self.codec,
            self.details_codec,
            self.events,
            error_mapping,
            limits,
            compression,
            Hooks(middleware) if middleware else None,
        )
        self._served = _Methods(
            {path: Method.of(handler) for path, handler in self.methods.items()}
        )
        self._connections: set[ServerConnection] = set()
        self.connections_made = self.connections_refused = 0
        """How many there were in all; those refused were more than the limit allows."""
        self._all_ended = asyncio.Event()
        self._all_ended.set()
        self._draining = self._closing = False
        self._tls: ServerTls | None = None
        self._watching: asyncio.Task[NoReturn] | None = None
        self._arrivals = Arrivals(self.new_connection, lambda: len(self._connections), limits)

    async def __aenter__(self) -> Self:
        return self

    async def listen(self, sockets: Sequence[socket.socket], tls: ServerTls | None = None) -> None:
        """Accept connections on sockets that listen already; the server closes them.

        Args:
            sockets: the sockets; there may be none, for a server that is only given
                connections with `take`.
            tls: what is shown to clients; nothing on Unix sockets, which no other machine
                can reach.

        Raises:
            RuntimeError: the server listens already.
        """
        listening = Listening(self.take)
        self.use_listening(listening)
        self._tls = tls
        if tls is not None:
            self._watching = asyncio.create_task(tls.watch())
        for sock in sockets:
            listening.add(sock)

    def take(self, sock: socket.socket) -> None:
        """Serve a connection that was accepted, with TLS where the server has it."""
        self._arrivals.take(sock, None if sock.family is socket.AF_UNIX else self._tls)

    @property
    def addresses(self) -> list[str]:
        """The addresses bound: ``host:port``, ``[v6]:port``, or ``unix:path``."""
        return [address_of(sock) for sock in self.sockets]

    @property
    def open_connections(self) -> int:
        """How many connections there are now."""
        return len(self._connections)

    def new_connection(self) -> ServerConnection:
        """Return what handles the next connection."""
        return self.connection_type(
            self._served,
            self._face,
            self.config,
            self._keepalive,
            self._lifetime,
            self._made,
            self._ended,
        )

    def _made(self, connection: ServerConnection) -> None:
        self._connections.add(connection)
        self.connections_made += 1
        self._all_ended.clear()
        if self._closing:
            connection.end_calls()
        elif self._draining:  # accepted just before the listening socket was closed
            connection.drain()
        elif len(self._connections) > self._limits.max_connections:
            self.connections_refused += 1
            connection.turn_away()

    def _ended(self, connection: ServerConnection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._all_ended.set()

    async def drain(self, timeout_s: float) -> None:
        """Take no new calls, let those under way end, and close (RFC 9113 section 6.8).

        Calls that asked for it with `Call.end_on_drain` end at once.

        Args:
            timeout_s: how long to wait for the others, in seconds; 0 for not at all. They end
                with UNAVAILABLE then.
        """
        self._draining = True
        self._stop_accepting()
        for connection in tuple(self._connections):
            connection.drain()
        try:
            async with asyncio.timeout(timeout_s):
                await self._all_gone()
        except TimeoutError:
            calls = sum(len(connection.calls) for connection in self._connections)
            if calls:
                log.warning("%d calls did not end within %g s, and are ended", calls, timeout_s)
        self._end_calls()
        await self._all_gone()

    def close(self) -> None:
        """Stop accepting, and end every call with UNAVAILABLE; `drain` lets them end instead."""
        self._stop_accepting()
        self._end_calls()

    def _stop_accepting(self) -> None:
        self.stop_listening()
        if self._watching is not None:
            self._watching.cancel()

    def _end_calls(self) -> None:
        self._draining = self._closing = True
        self._arrivals.break_off()
        for connection in tuple(self._connections):
            connection.end_calls()

    async def wait_closed(self) -> None:
        """Wait until every handler has come to its end, and every connection."""
        await super().wait_closed()
        await self._all_gone()

    async def _all_gone(self) -> None:
        if self._watching is not None:
            await asyncio.wait({self._watching})
        await self._arrivals.all_over()
        await self._all_ended.wait()


class _Methods(dict[str, Method]):
    """The methods by path; an unknown one has a handler that says so."""

    def __missing__(self, path: str) -> Method:
        return _UNKNOWN_METHOD


async def _refuse_unknown_method(_stream: Any) -> None:
    raise UnimplementedError(
        "the server has no such method", [ErrorInfo(reason="UNKNOWN_METHOD", domain="grpc.io")]
    )


_UNKNOWN_METHOD = Method(
    _refuse_unknown_method,
    client_streaming=True,
    server_streaming=True,
    request_type=object,
    reply_type=object,
)
