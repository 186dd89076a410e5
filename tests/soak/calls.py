"""The kinds of calls of a soak: each ends as it should, or raises."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from grpclib.const import Cardinality, Status
from tests.interop._gen.grpc.testing import (
    BoolValue,
    EchoStatus,
    Empty,
    Payload,
    ResponseParameters,
    SimpleRequest,
    StreamingInputCallRequest,
    StreamingOutputCallRequest,
    StreamingOutputCallResponse,
    TestServiceStub,
)

from userservice.rpc import CancelledError, DeadlineExceededError, RpcError, Stub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from userservice.rpc import Channel
    from userservice.rpc.client_stream import ClientStream

PATIENCE_S = 60
SMALL, LARGE = 100, 200_000
MESSAGES = 5


class WrongAnswerError(Exception):
    """A call did not end as it should."""


class Client(Stub, TestServiceStub):
    """Every method of TestService."""


def check(right: bool, what: str) -> None:
    """Go on where all is well.

    Raises:
        WrongAnswerError: it is not.
    """
    if not right:
        raise WrongAnswerError(what)


def client_on(channel: Channel) -> Client:
    """Return a client whose calls do not take for ever."""
    return Client(channel, timeout_s=PATIENCE_S)


def request_of(size: int) -> SimpleRequest:
    """Return a request that is as large as the response that it asks for."""
    return SimpleRequest(response_size=size, payload=Payload(body=bytes(size)))


def asks_for(*sizes: int, interval_us: int = 0) -> StreamingOutputCallRequest:
    """Return a request for these messages."""
    return StreamingOutputCallRequest(
        response_parameters=[ResponseParameters(size, interval_us) for size in sizes]
    )


def duplex(
    channel: Channel, timeout: float = PATIENCE_S
) -> ClientStream[StreamingOutputCallRequest, StreamingOutputCallResponse]:
    """Return a call of FullDuplexCall, to send and receive on by hand."""
    return channel.request(
        "/grpc.testing.TestService/FullDuplexCall",
        Cardinality.STREAM_STREAM,
        StreamingOutputCallRequest,
        StreamingOutputCallResponse,
        timeout=timeout,
    )


async def expect_response(
    call: ClientStream[StreamingOutputCallRequest, StreamingOutputCallResponse], size: int
) -> None:
    """Receive a message of this size."""
    response = await call.recv_message()
    check(
        response is not None
        and response.payload is not None
        and len(response.payload.body) == size,
        "a stream had another message",
    )


async def unary(channel: Channel) -> None:
    """A small message each way."""
    response = await client_on(channel).unary_call(request_of(SMALL))
    check(response.payload is not None and len(response.payload.body) == SMALL, "another size")


async def large(channel: Channel) -> None:
    """Messages of many frames."""
    response = await client_on(channel).unary_call(request_of(LARGE))
    check(response.payload is not None and len(response.payload.body) == LARGE, "another size")


async def compressed(channel: Channel) -> None:
    """A response that is compressed."""
    request = request_of(LARGE)
    request.response_compressed = BoolValue(value=True)
    response = await client_on(channel).unary_call(request)
    check(response.payload is not None and len(response.payload.body) == LARGE, "another size")


async def requests(channel: Channel) -> None:
    """A stream of requests."""

    async def payloads() -> AsyncIterator[StreamingInputCallRequest]:
        for _ in range(MESSAGES):
            yield StreamingInputCallRequest(payload=Payload(body=bytes(SMALL)))

    response = await client_on(channel).streaming_input_call(payloads(), timeout=PATIENCE_S)
    check(response.aggregated_payload_size == MESSAGES * SMALL, "another sum")


async def responses(channel: Channel) -> None:
    """A stream of responses."""
    request = asks_for(*[SMALL] * MESSAGES)
    stream = client_on(channel).streaming_output_call(request, timeout=PATIENCE_S)
    check(len([response async for response in stream]) == MESSAGES, "another number of messages")


async def ping_pong(channel: Channel) -> None:
    """A stream both ways, in turns."""
    async with duplex(channel) as call:
        for _ in range(MESSAGES):
            await call.send_message(asks_for(SMALL))
            await expect_response(call, SMALL)
        await call.end()
        check(await call.recv_message() is None, "one message more")


async def failed(channel: Channel) -> None:
    """A status with a message."""
    asked = EchoStatus(code=Status.ABORTED.value, message="as asked")
    try:
        await client_on(channel).unary_call(SimpleRequest(response_status=asked))
    except RpcError as error:
        check((error.status, error.message) == (Status.ABORTED, "as asked"), str(error))
    else:
        raise WrongAnswerError("the status was OK")


async def unimplemented(channel: Channel) -> None:
    """A method that is not there."""
    try:
        await client_on(channel).unimplemented_call(Empty())
    except RpcError as error:
        check(error.status is Status.UNIMPLEMENTED, str(error))
    else:
        raise WrongAnswerError("the status was OK")


async def cancelled_at_once(channel: Channel) -> None:
    """A call that is cancelled when nothing but metadata was sent."""
    async with duplex(channel) as call:
        await call.send_request()
        await call.cancel()
        await expect_cancelled(call)


async def cancelled_midway(channel: Channel) -> None:
    """A call that is cancelled while the server has more to send."""
    async with duplex(channel) as call:
        await call.send_message(asks_for(SMALL, LARGE, LARGE))
        await expect_response(call, SMALL)
        await call.cancel()


async def expect_cancelled(
    call: ClientStream[StreamingOutputCallRequest, StreamingOutputCallResponse],
) -> None:
    """Wait for the end of a call that was cancelled."""
    try:
        await call.recv_message()
    except CancelledError:
        return
    raise WrongAnswerError("the call went on")


async def timed_out(channel: Channel) -> None:
    """A call whose deadline passes while the server takes its time."""
    try:
        async with duplex(channel, timeout=0.005) as call:
            await call.send_message(asks_for(SMALL, interval_us=60_000_000), end=True)
            await call.recv_message()
    except DeadlineExceededError:
        return
    raise WrongAnswerError("the deadline did not pass")


# How many of each are in a round. Those that end with a reset are few: a server bears a
# thousand of them at once on a connection, and 33 in each second after that.
ROUND: Counter[Callable[[Channel], Awaitable[None]]] = Counter(
    {
        unary: 24,
        large: 2,
        compressed: 2,
        requests: 4,
        responses: 4,
        ping_pong: 4,
        failed: 4,
        unimplemented: 2,
        cancelled_at_once: 1,
        cancelled_midway: 2,
        timed_out: 1,
    }
)
