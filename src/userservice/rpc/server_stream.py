"""One call on a server: grpclib's `Stream`, whose parts are made when somebody looks.

There is one way to serve a call. A unary call whose request is here when its handler
starts never waits: it reads, computes, and its whole reply leaves together.
"""

import asyncio
import logging
import math
import sys
import uuid
from collections.abc import Awaitable, Callable, Collection, Coroutine
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import grpclib.server
from grpclib.const import Status
from grpclib.encoding.base import GRPC_CONTENT_TYPE, CodecBase, StatusDetailsCodecBase
from grpclib.events import (
    RecvMessage,
    RecvRequest,
    SendInitialMetadata,
    SendMessage,
    SendTrailingMetadata,
)
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
from grpclib.metadata import Deadline, encode_bin_value
from grpclib.protocol import Peer
from multidict import MultiDict

from userservice.rpc import _seams
from userservice.rpc.call import Call, enter_call
from userservice.rpc.connection import Connection
from userservice.rpc.deadlines import Deadlines
from userservice.rpc.details import ErrorInfo
from userservice.rpc.errors import Metadata, RpcError, UnavailableError, UnimplementedError
from userservice.rpc.exchange import UNTIMED_MAX, Exchange
from userservice.rpc.identity import Identity
from userservice.rpc.limits import Limits
from userservice.rpc.metadata import ACCEPT_ENCODING, encode_message, encode_metadata
from userservice.rpc.middleware.hooks import Heard, Hooks
from userservice.rpc.request import Request
from userservice.wire import framing, http2
from userservice.wire.compression import Encoding

log = logging.getLogger(__name__)

_Fields = tuple[tuple[str, str], ...]
_Outcome = tuple[Status, str | None, Any]
_Serve = Callable[[Any], Awaitable[None]]
_Serving = Coroutine[Any, Any, None]
_Task = asyncio.Task[None]

ErrorMapping = Callable[[Exception], RpcError | None]
"""Says which status an exception of the domain ends a call with; None for an unknown one."""

_OK: Final = Status.OK  # through its class a member costs 0.15 us
_OK_OUTCOME: Final[_Outcome] = (_OK, None, None)
_BROKEN_OFF: Final[_Outcome] = (Status.UNKNOWN, "the call was broken off", None)
_LEFT: Final[_Outcome] = (Status.CANCELLED, None, None)  # the client is gone
_MESSAGE_MAX: Final = 4_096  # characters
_OTHER_FIELDS: Final = 1_024  # bytes, of what comes with an error's text and details
_OK_FIELDS: Final = (("grpc-status", "0"),)
_CLOSED: Final = http2.State.CLOSED  # likewise


@dataclass(frozen=True)
class Face:
    """What is the same for all calls of a server.

    Args:
        codec: turns messages into bytes and back.
        details_codec: turns an error's details into bytes.
        events: who listens to what happens.
        error_mapping: says which status an exception of the domain ends a call with.
        limits: how much is taken of clients.
        compression: what replies are compressed with, where the client reads it.
        hooks: the middleware; None where there is none.
    """

    codec: CodecBase
    details_codec: StatusDetailsCodecBase | None
    events: _seams.ServerEvents
    error_mapping: ErrorMapping
    limits: Limits
    compression: Encoding | None
    hooks: "Hooks[Call] | None" = None

    @cached_property
    def reply_headers(self) -> dict[Encoding | None, _Fields]:
        """What every reply begins with, by what its messages are compressed with."""
        content_type = f"{GRPC_CONTENT_TYPE}+{self.codec.__content_subtype__}"
        plain = (":status", "200"), ("content-type", content_type), ACCEPT_ENCODING
        fields: dict[Encoding | None, _Fields] = {None: plain}
        for encoding in Encoding:
            fields[encoding] = (*plain, ("grpc-encoding", encoding.value))
        return fields

    def with_mapped_errors(self, serve: _Serve) -> _Serve:
        """Return a handler that raises nothing but what has a status, for who wraps it."""

        async def serve_mapped(stream: Any) -> None:
            try:
                await serve(stream)
            except GRPCError:
                raise
            except Exception as error:
                known = self.error_mapping(error)
                if known is None:
                    raise
                raise known from error

        return serve_mapped

    def encode_error(
        self, status: Status, message: str | None, details: Any
    ) -> list[tuple[str, str]]:
        """Return the fields that say more than the status."""
        fields = []
        if message is not None:
            # Half a character, as the name of a file can have it, must not cost the status.
            # Nor must a long text: clients take as little as 8 KiB of header fields.
            message = message[:_MESSAGE_MAX].encode("utf-8", "replace").decode("utf-8")
            fields.append(("grpc-message", encode_message(message)))
        if details is not None and self.details_codec is not None:
            octets = self.details_codec.encode(status, message, details)
            fields.append(("grpc-status-details-bin", encode_bin_value(octets).decode("ascii")))
        return fields


class CallHolder(Connection):
    """A connection as its calls know it."""

    deadlines: Deadlines
    draining: bool

    def release(self, call: "ServerStream") -> None:
        """Let go of a call that is over."""
        raise NotImplementedError


class ServerStream(Exchange, grpclib.server.Stream[Any, Any]):
    """A call being served.

    Args:
        connection: its connection.
        stream: its HTTP/2 stream.
        request: what its headers ask for.
        face: what is the same for all calls of the server.
    """

    connection: "CallHolder"

    _call: Call | None = None
    _deadline: Deadline | None = None
    _metadata: Metadata | None = None
    _peer: Peer | None = None
    _started = False
    ends_on_drain = False
    """Whether the call ends as soon as the server drains."""
    compression: Encoding | None = None
    """What the reply is compressed with, if the client reads it; counts when the reply begins."""
    deadline_at = math.inf
    """When the call must be over, by the loop's clock."""
    task: "asyncio.Task[None] | None" = None
    told: _Outcome | None = None
    """The status that was sent."""
    _heard: Heard  # where there is middleware
    _messages_received = 0

    def __init__(  # not grpclib's: it copies what is looked up here
        self,
        connection: "CallHolder",
        stream: http2.Stream,
        request: Request,
        face: Face,
    ) -> None:
        self.connection = connection
        self.stream = stream
        self.request = request
        limits = face.limits
        self._input = framing.MessageReader(limits.max_receive_message_bytes)
        self._face = face
        if request.timeout_s is not None or limits.max_call_s is not None:
            timeout_s = min(_or_infinity(request.timeout_s), _or_infinity(limits.max_call_s))
            self.deadline_at = connection.loop.time() + timeout_s
        if request.encoding is not None:
            self.input_encoding = request.encoding
        if face.compression is not None:
            self.compression = face.compression
        if face.hooks is not None:
            self._heard = Heard()

    @property
    def limits(self) -> Limits:
        """How much is taken of clients."""
        return self._face.limits

    # What grpclib's stream offers

    @property
    def deadline(self) -> Deadline | None:  # type: ignore[override]  # an attribute there
        """When the call must be over, or None."""
        if self._deadline is None and self.deadline_at < math.inf:
            left_s = self.deadline_at - self.connection.loop.time()
            self._deadline = Deadline.from_timeout(left_s)
        return self._deadline

    @property
    def metadata(self) -> Any:
        """What the client sent with the call."""
        if self._metadata is None:
            self._metadata = self.request.metadata()
        return self._metadata

    @metadata.setter
    def metadata(self, metadata: Any) -> None:
        self._metadata = metadata

    @property
    def user_agent(self) -> str | None:  # type: ignore[override]  # an attribute there
        """What the client calls itself."""
        return self.request.user_agent

    @property
    def identity(self) -> Identity | None:
        """Who the client is, as its certificate says."""
        return self.connection.identity

    @property
    def peer_name(self) -> str:
        """The client's address."""
        return self.connection.peer_name

    @property
    def peer(self) -> Peer:  # type: ignore[override]  # an attribute there
        """The client's address and certificate."""
        if self._peer is None:
            self._peer = self.connection.peer
        return self._peer

    @property
    def call(self) -> Call:
        """What the handler's `current_call` returns."""
        if self._call is None:
            self._call = Call(self, self.request.path)
        return self._call

    async def recv_message(self) -> Any | None:
        """Wait for a message; None where the client has ended its side."""
        if self._messages_received and self._input.messages and self.turn.is_over():
            # A client that sends faster than the handler reads would hold the loop for ever.
            # Before the message is taken: a cancellation here loses nothing.
            await self.turn.share()
        while (data := self.take_message()) is None:
            if not self.expects_message():
                if not (self._messages_received or self.request.method.client_streaming):
                    raise UnimplementedError("the method takes one message, and none was sent")
                return None
            await self.woken()
        face, method = self._face, self.request.method
        if not method.client_streaming:
            reader = self._input
            if reader.messages or reader.has_part or not self.input_ended:
                await self._await_end()
        if len(data) > UNTIMED_MAX or type(data) is framing.CompressedMessage:
            message = await self.decoded(data, face.codec, method.request_type)
        else:
            message = face.codec.decode(data, method.request_type)
        if face.events.hears[RecvMessage]:
            (message,) = await face.events.recv_message(message)
        self._messages_received += 1
        if face.hooks is not None:
            face.hooks.receive(self.call, self._heard, message, len(data))
        return message

    async def _await_end(self) -> None:
        """Wait for the end of a request that has its one message.

        Raises:
            UnimplementedError: another follows (statuscodes.md, "cardinality violation").
        """
        while True:
            if self._input.messages or self._input.has_part:
                raise UnimplementedError("the method takes one message, and more were sent")
            if self.input_ended:
                return
            if self.failure is not None:
                raise self.failure
            await self.woken()

    async def send_initial_metadata(self, *, metadata: Any = None) -> None:
        """Send the headers, before the first message does."""
        if self._send_initial_metadata_done:
            raise ProtocolError("Initial metadata was already sent")
        merged = MultiDict(metadata or ())
        if self._call is not None and self._call.has_initial_metadata:
            merged.extend(self._call.initial_metadata)
        if self._face.events.hears[SendInitialMetadata]:
            (merged,) = await self._face.events.send_initial_metadata(merged)
        self._begin_reply(encode_metadata(merged))
        self.connection.plan_flush()

    def _begin_reply(self, metadata: Any) -> None:
        if self.failure is not None:
            raise self.failure
        if self.compression is not None and self.request.accepts(self.compression):
            self.output_encoding = self.compression
        self._send_headers(self._face.reply_headers[self.output_encoding], metadata)
        self._send_initial_metadata_done = True

    def _send_headers(self, fields: Any, metadata: Any, *, end_stream: bool = False) -> None:
        try:
            self.connection.engine.send_headers(
                self.stream, fields, metadata, end_stream=end_stream
            )
        except http2.StreamClosedError as error:
            raise StreamTerminatedError("the client is gone") from error

    async def send_message(self, message: Any) -> None:
        """Send a message, waiting for room in the flow-control window."""
        face, method = self._face, self.request.method
        if not self._send_initial_metadata_done:
            call = self._call
            if (call is None or not call.has_initial_metadata) and not face.events.hears[
                SendInitialMetadata
            ]:
                self._begin_reply(())
            else:
                await self.send_initial_metadata()
        if self._send_message_done and not method.server_streaming:
            raise ProtocolError("Message was already sent")
        if face.events.hears[SendMessage]:
            (message,) = await face.events.send_message(message)
        data = face.codec.encode(message, method.reply_type)
        if len(data) > face.limits.max_send_message_bytes:
            raise self.refuse_to_send(len(data))
        if self.output_encoding is not None:
            data = await self.compressed(data)
        if face.hooks is not None:
            face.hooks.send(self.call, self._heard, message, len(data))
        rest = self.send_now(framing.frame(data))
        del data  # a call that waits holds its message once, with the prefix
        if rest is not None:
            await self.send(rest)
        self._send_message_done = True

    async def send_trailing_metadata(
        self,
        *,
        status: Status = Status.OK,
        status_message: str | None = None,
        status_details: Any = None,
        metadata: Any = None,
    ) -> None:
        """Send the status: the call is over."""
        if self._send_trailing_metadata_done:
            raise ProtocolError("Trailing metadata was already sent")
        if status is _OK and not self._has_reply:
            raise ProtocolError(
                "Unary response with OK status requires a single message to be sent"
            )
        merged = MultiDict(metadata or ())
        if self._call is not None and self._call.has_trailing_metadata:
            merged.extend(self._call.trailing_metadata)
        if self._face.events.hears[SendTrailingMetadata]:
            (merged,) = await self._face.events.send_trailing_metadata(
                merged,
                status=status,
                status_message=status_message,
                status_details=status_details,
            )
        self._send_status((status, status_message, status_details), encode_metadata(merged))

    def _send_status(self, outcome: _Outcome, metadata: Collection[tuple[str, str]]) -> None:
        """Send the trailers, or headers that are trailers too where there are none yet."""
        self.told = outcome
        fields: _Fields = _OK_FIELDS
        if outcome is not _OK_OUTCOME:
            status, message, details = outcome
            fields = (("grpc-status", str(status.value)),)
            error = self._face.encode_error(status, message, details)
            if details is not None and _size(error) > self._room_for_details:
                error = self._face.encode_error(status, message, None)
            metadata = [*error, *metadata]
        if not self._send_initial_metadata_done:
            fields = self._face.reply_headers[None] + fields
        self._send_headers(fields, metadata, end_stream=True)
        self._send_trailing_metadata_done = True
        self.connection.plan_flush()

    @property
    def _room_for_details(self) -> int:
        """How much of an error the client takes, in bytes, as it said; other fields need some."""
        return self.connection.engine.remote.max_header_list_size - _OTHER_FIELDS

    @property
    def _has_reply(self) -> bool:
        return self._send_message_done or self.request.method.server_streaming

    async def cancel(self) -> None:
        """Reset the call: the client is told that nothing more comes."""
        if self._cancel_done:
            raise ProtocolError("Stream was already cancelled")
        self.reset(http2.ErrorCode.NO_ERROR)
        self._cancel_done = True

    def reset(self, code: http2.ErrorCode) -> None:
        """End the HTTP/2 stream at once."""
        self.connection.engine.reset(self.stream, code)
        self.connection.plan_flush()

    def end_on_drain(self) -> None:
        """Let the call end as soon as the server drains; at once where it does already."""
        self.ends_on_drain = True
        if self.connection.draining:
            raise _GoingAwayError

    # What the connection tells

    def was_reset(self, event: http2.StreamReset) -> None:
        """Stop the handler: the client is gone, or broke a rule."""
        self.break_off(StreamTerminatedError(f"{event.reason}, error code {event.code}"))

    def broke_off(self, reason: str) -> None:
        """Stop the handler: the connection is gone."""
        self.break_off(StreamTerminatedError(f"connection lost: {reason}"))

    def break_off(self, error: Exception) -> None:
        """Cancel the handler, once, and remember why."""
        if self.failure is not None:
            return
        if self.task is not None:
            self.task.cancel()
        self.fail(error)
        if not self._started:
            # A task that is cancelled before its first step runs nothing, not even its
            # `finally`.
            if isinstance(error, GRPCError) and self.stream.can_send:
                self._send_status((error.status, error.message, None), ())
            self._release()

    # Serving

    def start(self) -> None:
        """Begin to serve the call, in a task of its own."""
        if self.failure is not None:
            return
        task = _start(self._serve(), self.connection.loop, self.request.path)
        if not task.done():
            self.task = task
            if self.deadline_at < math.inf:
                self.connection.deadlines.add(self)

    def pass_deadline(self) -> None:
        """Cancel the handler: its time is over."""
        self.break_off(_DeadlinePassedError())

    def end(self) -> None:
        """Cancel the handler: the server waits no longer."""
        self.break_off(_GoingAwayError())

    async def _serve(self) -> None:
        """Run the handler, and send the status that the call ends with."""
        self._started = True
        if self.task is None:  # it takes its first step at once: `start` does not have it yet
            self.task = asyncio.current_task()
        try:
            outcome = _OK_OUTCOME
            try:
                if self.request.timeout_s == 0:
                    raise _DeadlinePassedError  # noqa: TRY301  # like one that passes later
                enter_call(self)
                if self._face.hooks is None and not self._face.events.hears[RecvRequest]:
                    await self.request.method.serve(self)
                else:
                    await self._serve_heard()
            except BaseException as error:  # noqa: BLE001  # one that is no fault is raised again
                outcome = self._outcome_of(error)
            final = self._final_outcome(outcome)
            if final is not None:
                status, message, details = final
                await self.send_trailing_metadata(
                    status=status, status_message=message, status_details=details
                )
        except asyncio.CancelledError:
            if self.failure is None:
                raise
            if not (self._send_trailing_metadata_done or self.connection.closed) and (
                self.stream.can_send
            ):
                self._send_status(self._outcome_of_failure(outcome), ())
        except Exception:
            log.exception("the status of %s cannot be sent", self.request.path)
        finally:
            self._release()

    def _outcome_of(self, error: BaseException) -> _Outcome:
        """Return the status of what a handler raised; raise it again where it ends more."""
        if isinstance(error, GRPCError):
            return error.status, error.message, error.details
        if isinstance(error, Exception):
            known = self._face.error_mapping(error)
            if known is not None:
                return known.status, known.message, known.details
            if self.failure is None:
                return self._unexpected("the handler of %s failed", error)
        elif not isinstance(error, asyncio.CancelledError):
            raise error
        elif self.failure is None:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise error  # the program is coming to its end
            return self._unexpected("the handler of %s cancelled itself")
        return _BROKEN_OFF

    def _unexpected(self, what: str, error: Exception | None = None) -> _Outcome:
        """Log what a client must not see, and return a status with an id to find it by."""
        error_id = uuid.uuid4().hex
        extra = {"error_id": error_id}
        log.error(f"{what}, error id %s", self.request.path, error_id, exc_info=error, extra=extra)  # noqa: G004  the texts are the two above and one below
        info = ErrorInfo(reason="UNEXPECTED_ERROR", domain="grpc.io", metadata=extra)
        return Status.UNKNOWN, f"Internal Server Error, error id {error_id}", [info]

    def _outcome_of_failure(self, outcome: _Outcome) -> _Outcome:
        """Return the status of a call that broke off, whatever the handler made of it."""
        log.debug("%s was cancelled: %s", self.request.path, self.failure)  # ordinary life
        if isinstance(self.failure, GRPCError):
            return self.failure.status, self.failure.message, self.failure.details
        return outcome

    def _final_outcome(self, outcome: _Outcome) -> _Outcome | None:
        """Return what is to be said at the end; None where nothing is, or is said already."""
        if self.failure is not None:
            outcome = self._outcome_of_failure(outcome)
        if self._send_trailing_metadata_done or self.connection.closed or not self.stream.can_send:
            return None
        if outcome[0] is _OK and not self._has_reply:
            outcome = self._unexpected("the handler of %s sent no message")
        if self._face.events.hears[SendTrailingMetadata]:
            return outcome
        call = self._call
        if call is None or not call.has_trailing_metadata:
            self._send_status(outcome, ())
        else:
            self._send_status(outcome, encode_metadata(call.trailing_metadata))
        return None

    async def _serve_heard(self) -> None:
        """Run the handler, for those who want to hear of it."""
        serve = self.request.method.serve
        if self._face.events.hears[RecvRequest]:
            serve = await self._tell_request()
        if self._face.hooks is None:
            await serve(self)
            return
        with self._heard.within:
            await self._face.hooks.enter(self.call, self._heard)
            await serve(self)

    async def _tell_request(self) -> _Serve:
        request = self.request
        serve: _Serve
        self._metadata, serve = await self._face.events.recv_request(
            self.metadata,
            self._face.with_mapped_errors(request.method.serve),
            method_name=request.path,
            deadline=self.deadline,
            content_type=request.content_type,
            user_agent=request.user_agent,
            peer=self.peer,
        )
        return serve

    def _release(self) -> None:
        """Give back what the call held, and end what the client still sends."""
        connection = self.connection
        if self.deadline_at < math.inf:
            connection.deadlines.discard(self)
        self.let_go()
        if self.stream.state is not _CLOSED and not connection.closed:
            # After a whole response, a server asks for no more of the request without
            # calling it an error (RFC 9113 section 8.1).
            self.reset(
                http2.ErrorCode.NO_ERROR
                if self._send_trailing_metadata_done
                else http2.ErrorCode.INTERNAL_ERROR
            )
        connection.release(self)
        if self._face.hooks is not None:
            status, message, _ = self.told or _LEFT
            self._face.hooks.end(self.call, self._heard, status, message)
        self.task = None  # its context knows this call: they would keep each other


def _size(fields: Collection[tuple[str, str]]) -> int:
    """Return what fields count for in a header list (RFC 9113 section 6.5.2), in bytes."""
    return sum(len(name) + len(value) + 32 for name, value in fields)


def _or_infinity(time_s: float | None) -> float:
    return math.inf if time_s is None else time_s


class _DeadlinePassedError(GRPCError):
    def __init__(self) -> None:
        super().__init__(Status.DEADLINE_EXCEEDED, "the deadline passed before the call ended")


class _GoingAwayError(UnavailableError):
    def __init__(self) -> None:
        super().__init__("the server is going away; another one may serve the call")


# From Python 3.12 on a task can take its first step at once: a call that does not wait is
# over without a turn of the event loop. A task is made directly, and named by its method:
# `create_task` and its made-up names take 2 us more.
STARTS_AT_ONCE: Final = sys.version_info >= (3, 12)

if sys.version_info >= (3, 12):

    def _start(serve: _Serving, loop: asyncio.AbstractEventLoop, name: str) -> _Task:
        return asyncio.Task(serve, loop=loop, name=name, eager_start=True)

else:

    def _start(serve: _Serving, loop: asyncio.AbstractEventLoop, name: str) -> _Task:
        return asyncio.Task(serve, loop=loop, name=name)
