"""Calls through a generated stub: deadlines, merged metadata, and no task left behind."""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
)
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from betterproto2.grpclib import ServiceStub
from betterproto2.grpclib.grpclib_client import MetadataLike
from grpclib.const import Cardinality
from grpclib.metadata import Deadline
from multidict import MultiDict

from userservice.rpc.channel import Channel
from userservice.rpc.client_stream import ClientStream
from userservice.rpc.errors import CancelledError, Metadata, RpcError, UnimplementedError
from userservice.rpc.turn import Turn

R = TypeVar("R")
Requests = Iterable[Any] | AsyncIterable[Any]

_UNARY = Cardinality.UNARY_UNARY  # through its class a member costs 0.15 us


class ResponseStream(AsyncIterator[R], Generic[R]):
    """The messages of a streaming call, to iterate once.

    The call starts when it is first iterated or entered. To leave it early, use
    ``async with`` or ``aclose()``: the server is then told at once.

    Args:
        open_call: returns the call to make.
        requests: the messages to send, while those of the server are received.
    """

    def __init__(self, open_call: Callable[[], ClientStream[Any, R]], requests: Requests) -> None:
        self._opened: list[ClientStream[Any, R]] = []
        # The generator does not know this object: without a cycle, a stream that is
        # dropped is closed at once, not when the garbage collector runs.
        self._messages = _messages(open_call, requests, self._opened)

    async def __anext__(self) -> R:
        await self._start()
        with _errors_of_the_caller():
            return await anext(self._messages)

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Leave the call; one that is not over is cancelled."""
        await self._messages.aclose()

    async def initial_metadata(self) -> Metadata:
        """Return what the server sends before its first message, as soon as it is there."""
        stream = await self._start()
        if stream.initial_metadata is None:
            with _errors_of_the_caller():
                await stream.recv_initial_metadata()
        return stream.initial_metadata or MultiDict()

    @property
    def trailing_metadata(self) -> Metadata:
        """What the server sent with the status; empty until the messages are at an end."""
        trailing = self._opened[0].trailing_metadata if self._opened else None
        return trailing or MultiDict()

    async def _start(self) -> ClientStream[Any, R]:
        if not self._opened:
            try:
                await anext(self._messages)
            except StopAsyncIteration:
                raise CancelledError("the call was left before it began") from None
        return self._opened[0]


async def _messages(
    open_call: Callable[[], ClientStream[Any, R]],
    requests: Requests,
    opened: list[ClientStream[Any, R]],
) -> AsyncGenerator[R, None]:
    async with open_call() as stream:
        await stream.send_request()
        opened.append(stream)
        sender = asyncio.create_task(_send(stream, requests))
        try:
            yield None  # type: ignore[misc]  # for _start alone: the call is under way
            async for message in stream:
                yield message
                if stream.has_message and stream.turn.is_over():
                    await stream.turn.share()
        finally:
            sender.cancel()
            await asyncio.wait([sender])


async def _send(stream: ClientStream[Any, Any], requests: Requests) -> None:
    turn = Turn()
    try:
        if isinstance(requests, AsyncIterable):
            async for request in requests:
                await stream.send_message(request)
                if turn.is_over():
                    await turn.share()
        else:
            for request in requests:
                await stream.send_message(request)
                if turn.is_over():
                    await turn.share()
        await stream.end()
    except RpcError:
        pass  # The call is over; whoever receives gets its status.
    except Exception as error:  # noqa: BLE001  # whatever it is, it is the caller's
        stream.fail(_RequestsError(error))


class _RequestsError(Exception):
    """The caller's own requests raised this: it goes back to the caller as it is."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


@contextmanager
def _errors_of_the_caller() -> Iterator[None]:
    try:
        yield
    except _RequestsError as failure:
        raise failure.error from None


class Stub(ServiceStub):
    """Goes before a generated stub among the bases of a client class.

    betterproto2's own stub replaces the metadata of the client by that of the call,
    asserts where a server sends no message, and leaves its sending task unawaited.

    Args:
        channel: what ``connect()`` returned.
        timeout_s: how long a call with one request and one reply may take, in
            seconds, where the call does not say; None for no limit.
        metadata: what is sent with every call.
    """

    channel: Channel

    def __init__(
        self,
        channel: Channel,
        *,
        timeout_s: float | None = None,
        metadata: MetadataLike | None = None,
    ) -> None:
        super().__init__(channel, metadata=metadata)
        self._timeout_s = timeout_s

    async def _unary_unary(
        self,
        route: str,
        request: Any,
        response_type: type[R],
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: MetadataLike | None = None,
    ) -> R:
        if timeout is None and deadline is None:
            timeout = self._timeout_s
        call = self.channel.request(
            route,
            _UNARY,
            type(request),
            response_type,
            timeout=timeout,
            deadline=deadline,
            metadata=self._merged(metadata),
        )
        try:  # what `async with` does, without its two coroutines: 1 us a call
            call.begin()
            await call.send_message(request, end=True)
            response = await call.recv_message()
            await call.recv_trailing_metadata()
        except BaseException as error:
            call.release(error)
            raise
        call.release()
        return _one(response)

    async def _stream_unary(
        self,
        route: str,
        request_iterator: Requests,
        request_type: type[Any],
        response_type: type[R],
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: MetadataLike | None = None,
    ) -> R:
        call = self._open(
            route,
            Cardinality.STREAM_UNARY,
            request_type,
            response_type,
            timeout,
            deadline,
            metadata,
        )
        async with ResponseStream(call, request_iterator) as responses:
            # To the end: the status comes after the message.
            received = [response async for response in responses]
        if len(received) > 1:
            raise UnimplementedError("the server sent more than the one message of its reply")
        return _one(received[0] if received else None)

    def _unary_stream(
        self,
        route: str,
        request: Any,
        response_type: type[R],
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: MetadataLike | None = None,
    ) -> ResponseStream[R]:
        call = self._open(
            route,
            Cardinality.UNARY_STREAM,
            type(request),
            response_type,
            timeout,
            deadline,
            metadata,
        )
        return ResponseStream(call, [request])

    def _stream_stream(
        self,
        route: str,
        request_iterator: Requests,
        request_type: type[Any],
        response_type: type[R],
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: MetadataLike | None = None,
    ) -> ResponseStream[R]:
        call = self._open(
            route,
            Cardinality.STREAM_STREAM,
            request_type,
            response_type,
            timeout,
            deadline,
            metadata,
        )
        return ResponseStream(call, request_iterator)

    def _open(
        self,
        route: str,
        cardinality: Cardinality,
        request_type: type[Any],
        response_type: type[R],
        timeout: float | None,
        deadline: Deadline | None,
        metadata: MetadataLike | None,
    ) -> Callable[[], ClientStream[Any, R]]:
        return lambda: self.channel.request(
            route,
            cardinality,
            request_type,
            response_type,
            timeout=timeout,
            deadline=deadline,
            metadata=self._merged(metadata),
        )

    def _merged(self, metadata: MetadataLike | None) -> "MultiDict[str | bytes] | None":
        """The client's metadata, with that of the call in the place of equal keys."""
        if not metadata and not self.metadata:
            return None
        merged: MultiDict[str | bytes] = MultiDict(self.metadata or ())
        merged.update(metadata or ())
        return merged


def _one(response: R | None) -> R:
    if response is None:
        # statuscodes.md: a "response cardinality violation".
        raise UnimplementedError("the server ended the call with OK, and without its message")
    return response
