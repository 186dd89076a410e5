"""The one place that touches private names of grpclib and betterproto2.

Each function says which name, of which version, and why the public face does not do.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Any, cast

import grpclib.client
import grpclib.server
from betterproto2.grpclib import ServiceBase
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from grpclib.const import Cardinality, Handler
from grpclib.exceptions import GRPCError
from grpclib.protocol import H2Protocol
from h2.errors import ErrorCodes
from h2.stream import StreamState

from userservice.rpc.details import ErrorInfo
from userservice.rpc.errors import UnimplementedError
from userservice.rpc.turn import Turn


class MendedServer(grpclib.server.Server):
    """A grpclib server that closes its connections, and gives every call an end.

    grpclib 0.4.9's ``Server.close`` leaves connections open, without a word to the
    peer; from Python 3.12 on ``wait_closed`` then waits for the peers to go.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._connections: set[_ServerProtocol] = set()
        self.closing = False
        # grpclib answers an unknown method without a content-type, which its own
        # client takes for a broken server; it looks methods up with `get`.
        self._mapping = _Methods(self._mapping)

    def _protocol_factory(self) -> H2Protocol:
        self.__gc_step__()
        handler = _ServerHandler(
            self._mapping, self._codec, self._status_details_codec, self.__dispatch__
        )
        self._handlers.add(handler)
        return _ServerProtocol(handler, self._config, self._h2_config, self)

    def close_connections(self) -> None:
        """Say GOAWAY (NO_ERROR) on every connection and close it (RFC 9113 section 6.8)."""
        self.closing = True
        for connection in tuple(self._connections):
            connection.say_goodbye()


class _ServerHandler(grpclib.server.Handler):
    def accept(self, stream: Any, headers: Any, release_stream: Callable[[], Any]) -> None:
        # grpclib releases a stream in the `finally` of its task. A task that is
        # cancelled before its first step has none: the stream would stay for the life
        # of the connection, and with it the flow-control credit of its data.
        released = False

        def release() -> None:
            nonlocal released
            if not released:
                released = True
                release_stream()

        def finish(_task: "asyncio.Task[None]") -> None:
            _reset_unanswered(stream)
            release()

        super().accept(stream, headers, release)
        self._tasks[stream].add_done_callback(finish)


def _reset_unanswered(stream: Any) -> None:
    """Reset a call whose task ended without a status, as when the status cannot be encoded."""
    if not stream.closable:
        return
    state = stream._h2_connection.streams[stream.id].state_machine.state
    if state in (StreamState.OPEN, StreamState.HALF_CLOSED_REMOTE):
        stream.reset_nowait(ErrorCodes.INTERNAL_ERROR)


class _Methods(dict[str, Handler]):
    """The methods by path; an unknown one has a handler that says so."""

    def get(self, path: str, default: Any = None) -> Any:  # noqa: ARG002  # dict's signature
        return super().get(path, _UNKNOWN_METHOD)


async def _refuse_unknown_method(_stream: grpclib.server.Stream[Any, Any]) -> None:
    raise UnimplementedError(
        "the server has no such method", [ErrorInfo(reason="UNKNOWN_METHOD", domain="grpc.io")]
    )


_UNKNOWN_METHOD = Handler(_refuse_unknown_method, Cardinality.STREAM_STREAM, object, object)


_GOODBYE_S = 1.0  # for a peer to take what is written to it, before its connection is cut


class _ServerProtocol(H2Protocol):
    def __init__(self, handler: Any, config: Any, h2_config: Any, server: MendedServer) -> None:
        super().__init__(handler, config, h2_config)
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._transport = cast("asyncio.Transport", transport)
        self._server._connections.add(self)
        if self._server.closing:  # accepted just before the listening socket was closed
            self.say_goodbye()

    def connection_lost(self, exc: BaseException | None) -> None:
        # After a goodbye the handlers were told; a second cancellation would cut
        # short what they do in their `finally`.
        if self in self._server._connections:
            self._server._connections.discard(self)
            super().connection_lost(exc)

    def say_goodbye(self) -> None:
        self._server._connections.discard(self)
        if not self.connection.is_closing():
            # Connection._connection is the h2 state machine: grpclib has no way to
            # send GOAWAY.
            self.connection._connection.close_connection()
            self.connection.flush()
            self.processor.close(reason="Server is shutting down")
        # A transport closes when all is written: a peer that does not read would hold
        # up the end of the server.
        asyncio.get_running_loop().call_later(_GOODBYE_S, self._transport.abort)


class MendedChannel(grpclib.client.Channel):
    """A grpclib channel whose calls learn that the connection is lost, whatever they wait for."""

    def _protocol_factory(self) -> H2Protocol:
        handler = _ClientHandler()
        protocol = H2Protocol(handler, self._config, self._h2_config)
        handler.protocol = protocol
        return protocol


class _ClientHandler(grpclib.client.Handler):
    protocol: H2Protocol

    def close(self) -> None:
        super().close()
        # A call that waits to send its headers is not yet known to the connection,
        # and nobody else would wake it.
        self.protocol.connection.write_ready.set()


def listening_sockets(server: grpclib.server.Server) -> Sequence[Any]:
    """Return the sockets that the server listens on: which port 0 became is not public."""
    inner = server._server
    return () if inner is None else inner.sockets  # type: ignore[attr-defined]  # AbstractServer hides what asyncio's Server has


def reflection_services(names: Sequence[str], pool: DescriptorPool) -> list[Any]:
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

    def _file_descriptor_response(self, file_descriptor: FileDescriptor) -> Any:
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


def _add_imports(file: FileDescriptor, found: dict[str, FileDescriptor]) -> None:
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
    turn = Turn()
    async with aclosing(responses):
        async for message in responses:
            await stream.send_message(message)
            await turn.share()


def received_error(stream: grpclib.client.Stream[Any, Any]) -> GRPCError | None:
    """Return the error status that the server sent, if it is here.

    grpclib keeps to itself the headers and trailers that it has not yet handed out.
    """
    if getattr(stream, "_stream", None) is None:
        return None
    try:
        stream._maybe_raise()
    except GRPCError as error:
        return error
    return None


def forgive_reset(stream: grpclib.client.Stream[Any, Any]) -> bool:
    """Forget that the server reset the call, if its answer was complete before.

    A server may send its status and then RST_STREAM, to stop a request that it no
    longer reads (RFC 9113 section 8.1). grpclib then raises on every later read, and
    what came before the reset would be lost.

    Returns:
        Whether the answer is complete, and can be read to its end.
    """
    answer = stream._stream
    trailers_only = answer.headers is not None and "grpc-status" in dict(answer.headers)
    if answer.trailers is None and not trailers_only:
        return False
    stream._wrapper._error = None
    return True


def end_input(stream: grpclib.client.Stream[Any, Any]) -> bool:
    """Let what has come be read to its end, although the connection is lost.

    grpclib raises at once, and messages that were received before would be lost.

    Returns:
        Whether messages can have come: their headers are here.
    """
    answer = stream._stream
    if answer.headers is None:
        return False
    stream._wrapper._error = None
    answer.buffer._ack_callback = lambda _size: None  # the connection takes no more credit
    answer.buffer.eof()
    return True


def is_lost(stream: grpclib.client.Stream[Any, Any]) -> bool:
    """Tell whether the call's connection is closed; False before it has one.

    grpclib tells the calls that are open when a connection closes. One that is opened
    right after would wait for ever, and one that sends would write to nowhere.
    """
    protocol_stream = getattr(stream, "_stream", None)
    return protocol_stream is not None and protocol_stream.connection.is_closing()


def cancel(stream: grpclib.client.Stream[Any, Any]) -> None:
    """Reset the call with CANCEL (gRPC over HTTP/2, "Errors"); grpclib says NO_ERROR."""
    if stream._send_request_done and stream._stream.closable:
        stream._stream.reset_nowait(ErrorCodes.CANCEL)


def end_unsent(stream: grpclib.client.Stream[Any, Any]) -> None:
    """Let the status be read although not every request message was sent.

    grpclib refuses to read trailers before the client's side is ended; a server
    may answer earlier. The stream is reset when the call is left.
    """
    stream._end_done = True


@contextmanager
def no_cancellation_left(stream: grpclib.client.Stream[Any, Any]) -> Iterator[None]:
    """Take back the cancellation by which grpclib wakes a task to raise an error in it.

    It cancels the task and swallows the CancelledError, but does not uncancel: from
    Python 3.13 on, a TaskGroup that the task enters later would cancel it again.
    """
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    try:
        yield
    except Exception:
        wrapper = getattr(stream, "_wrapper", None)
        if wrapper is not None and wrapper.cancelled and task.cancelling() > before:
            task.uncancel()
        raise


def interrupt(stream: grpclib.client.Stream[Any, Any], error: Exception) -> None:
    """Make whoever waits for this stream get this error."""
    stream._wrapper.cancel(error)
