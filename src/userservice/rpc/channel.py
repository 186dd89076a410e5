"""The client's connection: a grpclib channel whose every failure has a status."""

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import grpclib.client
import h2.exceptions
from grpclib.config import Configuration
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.metadata import Deadline
from h2.errors import ErrorCodes
from multidict import MultiDict

from userservice.rpc import _seams
from userservice.rpc.codec import MessageCodec, StatusDetailsCodec
from userservice.rpc.errors import (
    DeadlineExceededError,
    InternalError,
    Metadata,
    RpcError,
    UnavailableError,
    rpc_error,
)
from userservice.rpc.target import parse_target, reason_of

S = TypeVar("S")
R = TypeVar("R")
T = TypeVar("T")


@dataclass(slots=True)
class ReplyMetadata:
    """The metadata that came back with a call; empty until it is there."""

    initial: Metadata = field(default_factory=MultiDict)
    trailing: Metadata = field(default_factory=MultiDict)


_reply: ContextVar[ReplyMetadata | None] = ContextVar("reply_metadata", default=None)


@contextmanager
def reply_metadata() -> Iterator[ReplyMetadata]:
    """Collect the metadata that comes back with the calls started in this block.

    Works with every stub on a channel of ``connect()``. With more than one call in
    the block, each replaces what the one before left.
    """
    reply = ReplyMetadata()
    token = _reply.set(reply)
    try:
        yield reply
    finally:
        _reply.reset(token)


class Channel(_seams.MendedChannel):
    """A connection to one server, made on the first call, and again after it is lost."""

    def __init__(self, target: str, *, config: Configuration | None = None) -> None:
        parsed = parse_target(target)
        self.target = target
        self._message_codec = MessageCodec()
        self._details_codec = StatusDetailsCodec()
        self._closed = False
        super().__init__(
            parsed.host,
            parsed.port,
            path=parsed.path,
            codec=self._message_codec,
            status_details_codec=self._details_codec,
            config=config,
        )

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
    ) -> "ClientStream[S, R]":
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
        """
        if self._closed:
            raise UnavailableError(f"the channel to {self.target} is closed")
        if timeout is not None:
            from_timeout = Deadline.from_timeout(timeout)
            deadline = from_timeout if deadline is None else min(from_timeout, deadline)
        return ClientStream(
            self,
            name,
            cast("Any", MultiDict(metadata or ())),
            cardinality,
            request_type,
            reply_type,
            codec=self._message_codec,
            status_details_codec=self._details_codec,
            dispatch=self.__dispatch__,
            deadline=deadline,
        )

    def close(self) -> None:
        """Close the connection for good; calls under way end with UNAVAILABLE."""
        self._closed = True
        super().close()


def connect(target: str, *, config: Configuration | None = None) -> Channel:
    """Return a channel to the target; any generated stub takes it.

    Args:
        target: ``host:port``, ``[v6]:port``, or ``unix:path``; nothing is sent
            before the first call.
        config: grpclib's own settings: windows and keepalive.

    Raises:
        TargetError: the text names no target.
    """
    return Channel(target, config=config)


class ClientStream(grpclib.client.Stream[S, R]):
    """A call; whatever goes wrong with it is raised as an RpcError."""

    def __init__(
        self, channel: Channel, *args: Any, deadline: Deadline | None, **kwargs: Any
    ) -> None:
        super().__init__(channel, *args, deadline=deadline, **kwargs)
        self._target = channel.target
        self._call_deadline = deadline
        # How much earlier than here the deadline may pass there: grpclib sends a
        # timeout over 10 seconds in whole seconds.
        long = deadline is not None and deadline.time_remaining() > 10  # noqa: PLR2004
        self._early_s = 1.0 if long else 0.05
        self._reply = _reply.get()
        self._lost: StreamTerminatedError | None = None

    async def send_request(self, *, end: bool = False) -> None:
        """Send the metadata, connecting first where need be."""
        with self._errors_have_a_status():
            await super().send_request(end=end)
            if _seams.is_lost(self):
                raise self._closed()

    async def send_message(self, message: S, *, end: bool = False) -> None:
        """Send a message, waiting for room in the flow-control window."""
        with self._errors_have_a_status():
            if _seams.is_lost(self):
                raise self._closed()
            await super().send_message(message, end=end)

    async def end(self) -> None:
        """End this side: no more messages will be sent."""
        with self._errors_have_a_status():
            await super().end()

    async def recv_initial_metadata(self) -> None:
        """Wait for what the server sends before its first message."""
        with self._errors_have_a_status():
            try:
                await self._whole_answer(super().recv_initial_metadata)
            finally:
                if self._reply is not None and self.initial_metadata is not None:
                    self._reply.initial = self.initial_metadata

    async def recv_message(self) -> R | None:
        """Wait for a message; None where there are no more."""
        with self._errors_have_a_status():
            if self._lost is None:
                try:
                    return await self._whole_answer(super().recv_message)
                except StreamTerminatedError as error:
                    if not _seams.end_input(self):
                        raise
                    self._lost = error
            return await self._received_before(self._lost)

    async def _received_before(self, lost: StreamTerminatedError) -> R:
        """Return the next message that came before the call broke off, or raise what broke it."""
        try:
            message = await super().recv_message()
        except AssertionError:  # grpclib's word for the half of a message
            message = None
        if message is None:
            raise lost
        return message

    async def __aenter__(self) -> Self:
        with self._errors_have_a_status():
            await super().__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            _seams.cancel(self)
        await super().__aexit__(kind, error, traceback)

    async def recv_trailing_metadata(self) -> None:
        """Wait for the status; an error is raised."""
        _seams.end_unsent(self)
        with self._errors_have_a_status():
            try:
                await self._whole_answer(super().recv_trailing_metadata)
            finally:
                if self._reply is not None and self.trailing_metadata is not None:
                    self._reply.trailing = self.trailing_metadata

    async def _whole_answer(self, receive: Callable[[], Awaitable[T]]) -> T:
        """Receive, also what came before a reset that the server sent after its status."""
        try:
            return await receive()
        except StreamTerminatedError:
            if not _seams.forgive_reset(self):
                raise
            return await receive()

    @contextmanager
    def _errors_have_a_status(self) -> Iterator[None]:
        try:
            with _seams.no_cancellation_left(self):
                yield
        except RpcError:
            raise
        except GRPCError as error:
            raise rpc_error(error, cast("Metadata", self.trailing_metadata)) from error
        except StreamTerminatedError as error:
            raise self._terminated(error) from error
        except TimeoutError as error:
            if self._call_deadline is None or self._call_deadline.time_remaining() > 0:
                raise self._unreachable(error) from error
            raise DeadlineExceededError("the deadline passed before the call ended") from error
        except OSError as error:
            raise self._unreachable(error) from error
        except (h2.exceptions.ProtocolError, AttributeError) as error:
            # grpclib 0.4.9 deletes attributes of a connection that is closed.
            if isinstance(error, AttributeError) and "_transport" not in str(error):
                raise
            raise (self._answer() or self._closed()) from error

    def _answer(self) -> RpcError | None:
        """The error status that came before the call broke off, if one did."""
        answer = _seams.received_error(self)
        if answer is None:
            return None
        return rpc_error(answer, cast("Metadata", self.trailing_metadata))

    def _closed(self) -> RpcError:
        return UnavailableError(f"the connection to {self._target} is closed")

    def _unreachable(self, error: OSError) -> RpcError:
        return UnavailableError(f"cannot reach {self._target}: {reason_of(error)}")

    def _terminated(self, error: StreamTerminatedError) -> RpcError:
        answer = self._answer()
        if answer is not None:
            return answer
        reset = re.search(r"reset by remote party, error_code: (\d+)", str(error))
        if reset is None:
            return UnavailableError(f"the call to {self._target} broke off: {error}")
        failed = reset_error(int(reset[1]))
        if failed.status is Status.CANCELLED and self._deadline_is_near():
            # A server may tell with CANCEL that the deadline passed, before our timer does.
            return DeadlineExceededError("the server ended the call at its deadline")
        return failed

    def _deadline_is_near(self) -> bool:
        deadline = self._call_deadline
        return deadline is not None and deadline.time_remaining() <= self._early_s


# gRPC over HTTP/2, "HTTP2 Transport Mapping", "Errors".
_RESET_STATUS = {
    ErrorCodes.REFUSED_STREAM: Status.UNAVAILABLE,
    ErrorCodes.CANCEL: Status.CANCELLED,
    ErrorCodes.ENHANCE_YOUR_CALM: Status.RESOURCE_EXHAUSTED,
    ErrorCodes.INADEQUATE_SECURITY: Status.PERMISSION_DENIED,
}


def reset_error(code: int) -> RpcError:
    """Return the error of a call that the server reset with this HTTP/2 error code."""
    known = {item.value for item in ErrorCodes}
    if code not in known:
        return InternalError(f"the server reset the call with the unknown HTTP/2 code {code}")
    name = ErrorCodes(code)
    status = _RESET_STATUS.get(name, Status.INTERNAL)
    return rpc_error(GRPCError(status, f"the server reset the call: {name.name}"))
