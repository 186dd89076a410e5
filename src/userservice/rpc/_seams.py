"""The one place that touches private names of grpclib and betterproto2.

Each function says which name, of which version, and why the public face does not do.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpclib.client
import grpclib.server
from betterproto2.grpclib import ServiceBase
from grpclib.config import Configuration
from grpclib.const import Handler  # noqa: TC002  # beside its siblings
from grpclib.events import _DispatchChannelEvents, _DispatchServerEvents

from userservice.rpc.lifetime import Keepalive
from userservice.rpc.listening import Listening
from userservice.rpc.tls_transport import TlsTransport
from userservice.rpc.turn import Turn

if TYPE_CHECKING:
    import ssl

    # Only a server with reflection needs them; a program that calls starts without.
    from google.protobuf.descriptor import FileDescriptor
    from google.protobuf.descriptor_pool import DescriptorPool


class _Heard:
    """Goes before grpclib's events: tells whether anybody listens.

    grpclib builds a mapping of metadata for each event of each call, listeners or not.
    """

    __dispatch_methods__: Any

    def __init__(self) -> None:
        super().__init__()
        self.hears = dict.fromkeys(self.__dispatch_methods__, False)

    def add_listener(self, event_type: Any, callback: Any) -> None:
        """Let a callback hear the events of this type."""
        super().add_listener(event_type, callback)  # type: ignore[misc]  # of grpclib's class
        self.hears[event_type] = True


class ServerEvents(_Heard, _DispatchServerEvents):
    """grpclib's events of a server."""


class ChannelEvents(_Heard, _DispatchChannelEvents):
    """grpclib's events of a channel."""


class ServerFace(grpclib.server.Server):
    """What is left of grpclib 0.4.9's server: `start`, `wait_closed`, events, signals.

    It makes its connections with a private method, which its tests call too.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.events = self.__dispatch__ = ServerEvents()
        self.methods: Mapping[str, Handler] = self._mapping
        self.codec = self._codec
        self.details_codec = self._status_details_codec
        self.config = self._config

    def _protocol_factory(self) -> Any:
        return self.new_connection()

    def new_connection(self) -> asyncio.BaseProtocol:
        """Return what handles the next connection."""
        raise NotImplementedError

    def stop_listening(self) -> None:
        """Close the sockets that the server listens on, where there are any."""
        if self._server is not None:
            super().close()

    async def wait_closed(self) -> None:
        """Wait until those sockets are closed."""
        if self._server is not None:
            await super().wait_closed()

    def use_listening(self, listening: Listening) -> None:
        """Let `close` and `wait_closed` end this, as they end what `start` made.

        Raises:
            RuntimeError: the server was started already.
        """
        if self._server is not None:
            raise RuntimeError("Server is already started")
        self._server = listening  # type: ignore[assignment]  # it has what is asked for
        self._server_closed_fut = self._loop.create_future()

    @property
    def sockets(self) -> Sequence[Any]:
        """The sockets that the server listens on: which port 0 became is not public."""
        return () if self._server is None else self._server.sockets  # type: ignore[attr-defined]  # AbstractServer hides what asyncio's Server has


class ChannelFace(grpclib.client.Channel):
    """What is left of grpclib 0.4.9's channel: how it connects, and its events."""

    handshake_s: float
    """How long a TLS handshake may take, in seconds."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.events = self.__dispatch__ = ChannelEvents()
        self.config = self._config
        self.loop = self._loop
        self.scheme = self._scheme
        self.authority = self._authority
        self.tls_context: ssl.SSLContext | None = self._ssl
        self._protocol: Any = None

    def _protocol_factory(self) -> Any:
        return self.new_connection()

    def new_connection(self) -> Any:
        """Return what handles the next connection."""
        raise NotImplementedError

    async def _create_connection(self) -> Any:
        """Connect, with the TLS of a server's connections: asyncio's sends no alerts."""
        if self.tls_context is None:
            return await super()._create_connection()
        name = self.config.ssl_target_name_override or (
            "localhost" if self._path is not None else self._host
        )
        transport = TlsTransport(self.tls_context, self.new_connection, self.handshake_s, name)
        if self._path is not None:
            await self.loop.create_unix_connection(lambda: transport, self._path)
        else:
            await self.loop.create_connection(lambda: transport, self._host, self._port)
        await transport.handshake()
        return transport.connection

    @property
    def _connected(self) -> bool:
        return self._protocol is not None and self._protocol.usable

    @property
    def connecting(self) -> bool:
        """Whether a connection is being made just now."""
        return self._connect_lock.locked()

    @property
    def unreachable(self) -> bool:
        """Whether the last attempt to make a connection failed."""
        return self._state.name == "TRANSIENT_FAILURE"

    def use_connection(self, connection: Any) -> None:
        """Make calls on this connection; None, so that `__del__` warns of none left open."""
        self._protocol = connection


def keepalive_of(config: Configuration) -> Keepalive:
    """Return what grpclib 0.4.9's Configuration says of keepalive, under private names."""
    return Keepalive(
        interval_s=config._keepalive_time,
        timeout_s=config._keepalive_timeout,
        without_calls=config._keepalive_permit_without_calls,
    )


def reflection_services(names: Sequence[str], pool: "DescriptorPool") -> list[Any]:
    """Return the reflection services, v1 and v1alpha.

    ``ServerReflection.extend`` leaves reflection itself out of the list of
    services, where grpcio and grpc-go name it; the constructor takes the names.
    """
    # Imported here: these modules register grpclib's copies of the standard messages in
    # protobuf's default pool, where a client beside grpcio's plugins would clash with theirs.
    from grpclib.reflection._deprecated import ServerReflection as ReflectionV1Alpha  # noqa: PLC0415
    from grpclib.reflection.service import ServerReflection as ReflectionV1  # noqa: PLC0415

    return [
        type(plugin.__name__, (_WholeReflection, plugin), {})(_service_names=names, _pool=pool)
        for plugin in (ReflectionV1, ReflectionV1Alpha)
    ]


class _WholeReflection:
    """Goes before grpclib's plugin: answers with every transitive file, and knows methods.

    reflection.proto: a symbol may be a method, and a server may send the files that
    the one asked for imports, which saves the client a question for each.
    """

    _pool: Any

    def _file_descriptor_response(self, file_descriptor: "FileDescriptor") -> Any:
        response = super()._file_descriptor_response(file_descriptor)  # type: ignore[misc]  # the plugin's
        files: dict[str, FileDescriptor] = {}
        _add_imports(file_descriptor, files)
        response.file_descriptor_response.file_descriptor_proto.extend(
            file.serialized_pb for name, file in files.items() if name != file_descriptor.name
        )
        return response

    def _file_containing_symbol_response(self, symbol: str) -> Any:
        service, _, method = symbol.rpartition(".")
        try:
            if method in self._pool.FindServiceByName(service).methods_by_name:
                symbol = service
        except KeyError:
            pass
        return super()._file_containing_symbol_response(symbol)  # type: ignore[misc]  # the plugin's


def _add_imports(file: "FileDescriptor", found: dict[str, "FileDescriptor"]) -> None:
    if file.name not in found:
        found[file.name] = file
        for imported in file.dependencies:
            _add_imports(imported, found)


def close_response_generators(service: object) -> None:
    """Make a service close its response generators, however a call ends.

    betterproto2 0.10's ``_call_rpc_handler_server_stream`` iterates them and, when
    the call is cancelled while it sends, leaves them to the garbage collector:
    what a handler's ``finally`` gives back would be held until then.
    """
    if isinstance(service, ServiceBase):
        service._call_rpc_handler_server_stream = _stream_responses  # type: ignore[method-assign]  # on this object only


async def _stream_responses(
    handler: Callable[[Any], Any], stream: grpclib.server.Stream[Any, Any], request: Any
) -> None:
    responses = handler(request)
    if not isinstance(responses, AsyncGenerator):
        # A method that returns without ever yielding is a coroutine: no messages.
        await responses
        return
    # One of ours has the turn that begins anew when the call had to wait.
    turn: Turn = getattr(stream, "turn", None) or Turn()
    async with aclosing(responses):
        async for message in responses:
            await stream.send_message(message)
            if turn.is_over():
                await turn.share()
