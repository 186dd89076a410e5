"""The client's channel: calls to one server, over a connection that is made when it is needed."""

import math
import ssl
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Self, TypeVar, cast
from weakref import WeakSet

from grpclib.config import Configuration
from grpclib.const import Cardinality
from grpclib.encoding.base import GRPC_CONTENT_TYPE
from grpclib.metadata import USER_AGENT, Deadline

from userservice.rpc import _seams
from userservice.rpc.call import inherited_deadline
from userservice.rpc.client_connection import ClientConnection
from userservice.rpc.client_stream import ClientStream
from userservice.rpc.codec import MessageCodec, StatusDetailsCodec
from userservice.rpc.deadlines import Deadlines
from userservice.rpc.errors import UnavailableError
from userservice.rpc.handshake import fault_of
from userservice.rpc.lifetime import Keepalive
from userservice.rpc.limits import DEFAULT_LIMITS, Limits
from userservice.rpc.metadata import ACCEPT_ENCODING
from userservice.rpc.middleware import ClientMiddleware
from userservice.rpc.middleware.hooks import Hooks
from userservice.rpc.target import parse_target
from userservice.wire.compression import Encoding

S = TypeVar("S")
R = TypeVar("R")

_FIELDS_MAX = 256  # methods and timeouts whose fields are kept


class Channel(_seams.ChannelFace):
    """A connection to one server, made on the first call, and again after it is lost."""

    connection_type: Callable[..., ClientConnection] = ClientConnection
    """What handles a connection; `Channelz` has one that counts."""
    stream_type: Callable[..., ClientStream[Any, Any]] = ClientStream
    """What makes a call; likewise."""

    def __init__(
        self,
        target: str,
        *,
        config: Configuration | None = None,
        keepalive: Keepalive | None = None,
        limits: Limits = DEFAULT_LIMITS,
        compression: Encoding | None = None,
        tls: ssl.SSLContext | None = None,
        tls_server_name: str | None = None,
        middleware: Sequence[ClientMiddleware] = (),
    ) -> None:
        parsed = parse_target(target)
        if tls_server_name is not None:
            config = replace(config or Configuration(), ssl_target_name_override=tls_server_name)
        self.target = target
        self.limits = limits
        self.handshake_s = limits.handshake_s
        self.compression = compression
        self.hooks = Hooks(middleware) if middleware else None
        self.codec = MessageCodec()
        self.details_codec = StatusDetailsCodec()
        self._closed = False
        # The one in use, and those that only carry on with their calls. They do not know
        # the channel: one that is forgotten can be told so.
        self._connections: WeakSet[ClientConnection] = WeakSet()
        self._fields: dict[
            tuple[str, str | None, Encoding | None], tuple[tuple[str, str], ...]
        ] = {}
        super().__init__(
            parsed.host,
            parsed.port,
            path=parsed.path,
            codec=self.codec,
            status_details_codec=self.details_codec,
            config=config,
            ssl=tls,
        )
        self._keepalive = keepalive or _seams.keepalive_of(self.config)
        self.deadlines = Deadlines(self.loop)

    async def __aenter__(self) -> Self:
        return self

    def request(
        self,
        name: str,
        cardinality: Cardinality,
        request_type: type[S],
        reply_type: type[R],
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: Any = None,
    ) -> ClientStream[S, R]:
        """Return a new call, not yet sent; stubs use it as an async context manager.

        Args:
            name: the method's path.
            cardinality: which sides send one message, and which many.
            request_type: the class of the request messages.
            reply_type: the class of the reply messages.
            timeout: the time the call may take, in seconds.
            deadline: when the call must be over; with ``timeout``, the earlier counts.
            metadata: what is sent with the call: a mapping, or pairs.

        Raises:
            UnavailableError: the channel is closed.
            ValueError: the timeout is no number.
        """
        self._refuse_when_closed()
        if timeout is not None and math.isnan(timeout):
            raise ValueError("a timeout is a number of seconds, not nan")
        if deadline is not None:
            left_s = deadline.time_remaining()
            timeout = left_s if timeout is None else min(timeout, left_s)
        deadline_at = math.inf if timeout is None else self.loop.time() + timeout
        # A handler's own deadline goes with the calls that it makes (gRPC's guide to deadlines).
        deadline_at = min(deadline_at, inherited_deadline())
        return self.stream_type(
            self,
            name,
            cardinality,
            request_type,
            reply_type,
            metadata,
            deadline_at,
            self.compression,
        )

    def request_fields(
        self, path: str, timeout: str | None, encoding: Encoding | None
    ) -> tuple[tuple[str, str], ...]:
        """Return the header fields that all calls of a method with a timeout and encoding have.

        They are kept, and so is the block that the connection makes of them.
        """
        fields = self._fields.get((path, timeout, encoding))
        if fields is None:
            if len(self._fields) >= _FIELDS_MAX:
                self._fields.clear()
            fields = (
                (":method", "POST"),
                (":scheme", self.scheme),
                (":path", path),
                (":authority", self.authority),
            )
            if timeout is not None:  # where gRPC over HTTP/2 wants it, "Requests"
                fields += (("grpc-timeout", timeout),)
            fields += (
                ("te", "trailers"),
                ("content-type", GRPC_CONTENT_TYPE),
                ("user-agent", USER_AGENT),
                ACCEPT_ENCODING,
            )
            if encoding is not None:
                fields += (("grpc-encoding", encoding.value),)
            self._fields[path, timeout, encoding] = fields
        return fields

    def connection_at_hand(self) -> ClientConnection | None:
        """Return the connection, where there is one that takes new calls."""
        connection: ClientConnection | None = self._protocol
        return connection if connection is not None and connection.usable else None

    async def connect(self) -> ClientConnection:
        """Return the connection, making it where need be.

        Raises:
            UnavailableError: the server cannot be reached, or the channel was closed.
        """
        self._refuse_when_closed()
        try:
            connection = cast("ClientConnection", await self.__connect__())
        except OSError as error:
            raise UnavailableError(f"cannot reach {self.target}: {fault_of(error)}") from error
        except ValueError as error:  # a name that no resolver takes
            raise UnavailableError(f"cannot reach {self.target}: {error}") from error
        if self._closed:  # while it was being made
            self.use_connection(None)
            connection.shut_down("the channel is closed")
        self._refuse_when_closed()
        if connection.closed:
            raise UnavailableError(f"cannot reach {self.target}: {connection.reason}")
        return connection

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise UnavailableError(f"the channel to {self.target} is closed")

    def new_connection(self) -> ClientConnection:
        """Return what handles the next connection."""
        connection = self.connection_type(self.config, self._keepalive, self.limits)
        self._connections.add(connection)
        if self._closed:  # the socket is there by now, and goes with it
            connection.shut_down("the channel is closed")
        return connection

    @property
    def closed(self) -> bool:
        """Whether it was closed for good."""
        return self._closed

    def close(self) -> None:
        """Close the connection for good; calls under way end with UNAVAILABLE."""
        self._closed = True
        self.deadlines.stop()
        for connection in tuple(self._connections):
            connection.shut_down("the channel is closed")
        self.use_connection(None)


def connect(
    target: str,
    *,
    config: Configuration | None = None,
    keepalive: Keepalive | None = None,
    limits: Limits = DEFAULT_LIMITS,
    compression: Encoding | None = None,
    tls: ssl.SSLContext | None = None,
    tls_server_name: str | None = None,
    middleware: Sequence[ClientMiddleware] = (),
) -> Channel:
    """Return a channel to the target; any generated stub takes it.

    Args:
        target: ``host:port``, ``[v6]:port``, or ``unix:path``; nothing is sent
            before the first call.
        config: grpclib's own settings: windows and keepalive.
        keepalive: pings that find out whether the server is still there; None for what
            ``config`` says.
        limits: how much is taken of the server.
        compression: what requests are compressed with.
        tls: for a server with TLS: what ``client_context`` returns.
        tls_server_name: the name that its certificate is for, where the target has another.
        middleware: what sees every call, in its order.

    Raises:
        TargetError: the text names no target.
    """
    return Channel(
        target,
        config=config,
        keepalive=keepalive,
        limits=limits,
        compression=compression,
        tls=tls,
        tls_server_name=tls_server_name,
        middleware=middleware,
    )
