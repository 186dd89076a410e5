"""The server: a grpclib server for betterproto2 services."""

import asyncio
import socket
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NoReturn, Protocol, Self

from grpclib.config import Configuration
from grpclib.const import Handler

from userservice.rpc import _seams
from userservice.rpc.arrivals import Arrivals
from userservice.rpc.codec import MessageCodec, StatusDetailsCodec
from userservice.rpc.details import ErrorInfo
from userservice.rpc.errors import UnimplementedError
from userservice.rpc.limits import DEFAULT_LIMITS, Limits
from userservice.rpc.listening import Listening
from userservice.rpc.request import Method
from userservice.rpc.server_connection import ServerConnection
from userservice.rpc.server_stream import ErrorMapping, Face
from userservice.rpc.target import host_and_port
from userservice.rpc.tls import ServerTls
from userservice.wire.compression import Encoding


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
        limits: how much is taken of clients.
        compression: what replies are compressed with, where the client reads it.
    """

    def __init__(
        self,
        services: Collection[Service],
        *,
        error_mapping: ErrorMapping = _no_mapping,
        config: Configuration | None = None,
        limits: Limits = DEFAULT_LIMITS,
        compression: Encoding | None = None,
    ) -> None:
        for service in services:
            _seams.close_response_generators(service)
        super().__init__(
            services,
            codec=MessageCodec(),
            status_details_codec=StatusDetailsCodec(),
            config=config,
        )
        self._limits = limits
        self._face = Face(
            self.codec, self.details_codec, self.events, error_mapping, limits, compression
        )
        self._served = _Methods(
            {path: Method.of(handler) for path, handler in self.methods.items()}
        )
        self._connections: set[ServerConnection] = set()
        self._all_lost = asyncio.Event()
        self._all_lost.set()
        self._ending: list[asyncio.Task[None]] = []
        self._closing = False
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
        return [_address(sock.getsockname()) for sock in self.sockets]

    def new_connection(self) -> ServerConnection:
        """Return what handles the next connection."""
        return ServerConnection(self._served, self._face, self.config, self._made, self._lost)

    def _made(self, connection: ServerConnection) -> None:
        self._connections.add(connection)
        self._all_lost.clear()
        if self._closing:  # accepted just before the listening socket was closed
            connection.say_goodbye()
        elif len(self._connections) > self._limits.max_connections:
            connection.turn_away()

    def _lost(self, connection: ServerConnection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._all_lost.set()

    def close(self) -> None:
        """Stop accepting, cancel the calls in flight, and say goodbye to every peer."""
        super().close()
        if self._watching is not None:
            self._watching.cancel()
        self._arrivals.break_off()
        self._cancel_calls()

    def _cancel_calls(self) -> None:
        self._closing = True
        for connection in tuple(self._connections):
            self._ending += [call.task for call in connection.calls if call.task is not None]
            connection.say_goodbye()

    async def wait_closed(self) -> None:
        """Wait until every handler has come to its end, and every connection."""
        await super().wait_closed()
        await self._all_ended()

    async def end_calls(self) -> None:
        """Close a server that was never started, and wait until every handler is at its end."""
        self._cancel_calls()
        await self._all_ended()

    async def _all_ended(self) -> None:
        await self._arrivals.all_over()
        if self._ending:
            await asyncio.wait(self._ending)
        await self._all_lost.wait()


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


def _address(name: Any) -> str:
    if not isinstance(name, tuple):
        return f"unix:{name}"
    return host_and_port(name)
