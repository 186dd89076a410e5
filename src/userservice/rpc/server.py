"""The server: a grpclib server for betterproto2 services."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol, Self

import grpclib.server
from grpclib.config import Configuration
from grpclib.const import Handler
from grpclib.events import RecvMessage, SendInitialMetadata, SendTrailingMetadata, listen
from grpclib.exceptions import GRPCError

from userservice.rpc import _seams
from userservice.rpc.call import (
    Call,
    enter_call,
    send_initial_metadata,
    send_trailing_metadata,
    share_turn,
)
from userservice.rpc.codec import MessageCodec, StatusDetailsCodec
from userservice.rpc.errors import RpcError
from userservice.rpc.target import host_and_port

ErrorMapping = Callable[[Exception], RpcError | None]
"""Says which status an exception of the domain ends a call with; None for an unknown one."""


class Service(Protocol):
    """What can be served: every generated service base has this."""

    def __mapping__(self) -> Mapping[str, Handler]: ...


def service_name(service: Service) -> str:
    """Return the full name of a service, such as ``userservice.v1.UserService``."""
    return next(iter(service.__mapping__())).split("/")[1]


def _no_mapping(_error: Exception) -> None:
    return None


class Server(_seams.MendedServer):
    """Serves betterproto2 services over HTTP/2; used like a grpclib ``Server``.

    Args:
        services: the objects that implement the generated bases.
        error_mapping: turns an exception of the domain into the status that the
            caller gets. An exception it does not know is logged, and the caller
            gets UNKNOWN without its text.
        config: grpclib's own settings: windows and keepalive.
    """

    def __init__(
        self,
        services: Collection[Service],
        *,
        error_mapping: ErrorMapping = _no_mapping,
        config: Configuration | None = None,
    ) -> None:
        super().__init__(
            [_Bound(service, error_mapping) for service in services],
            codec=MessageCodec(),
            status_details_codec=StatusDetailsCodec(),
            config=config,
        )
        listen(self, RecvMessage, share_turn)
        listen(self, SendInitialMetadata, send_initial_metadata)
        listen(self, SendTrailingMetadata, send_trailing_metadata)

    async def __aenter__(self) -> Self:
        return self

    @property
    def addresses(self) -> list[str]:
        """The addresses bound: ``host:port``, ``[v6]:port``, or ``unix:path``."""
        return [_address(sock.getsockname()) for sock in _seams.listening_sockets(self)]

    def close(self) -> None:
        """Stop accepting, cancel the calls in flight, and say goodbye to every peer."""
        super().close()
        self.close_connections()


class _Bound:
    """A service whose handlers know their call, and raise nothing but what has a status."""

    def __init__(self, service: Service, error_mapping: ErrorMapping) -> None:
        _seams.close_response_generators(service)
        self._mapping = {
            path: handler._replace(func=_bind(path, handler.func, error_mapping))
            for path, handler in service.__mapping__().items()
        }

    def __mapping__(self) -> dict[str, Handler]:
        return self._mapping


def _bind(
    path: str, serve: Callable[[Any], Any], error_mapping: ErrorMapping
) -> Callable[..., Any]:
    async def serve_call(stream: grpclib.server.Stream[Any, Any]) -> None:
        enter_call(Call(stream, path))
        try:
            await serve(stream)
        except GRPCError:
            raise
        except Exception as error:
            known = error_mapping(error)
            if known is None:
                raise
            raise known from error

    return serve_call


def _address(name: Any) -> str:
    if not isinstance(name, tuple):
        return f"unix:{name}"
    return host_and_port(name)
