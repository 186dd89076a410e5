"""Our client runs the official interop test cases of gRPC.

Each function is a case, and has its name. What it does and asserts is what
doc/interop-test-descriptions.md of grpc/grpc asks for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from grpclib.const import Cardinality, Status
from multidict import MultiDict
from tests.interop._gen.grpc.testing import (
    BoolValue,
    EchoStatus,
    Empty,
    Payload,
    ResponseParameters,
    SimpleRequest,
    SimpleResponse,
    StreamingInputCallRequest,
    StreamingInputCallResponse,
    StreamingOutputCallRequest,
    StreamingOutputCallResponse,
    TestServiceStub,
    UnimplementedServiceStub,
)

from userservice.rpc import (
    CancelledError,
    Channel,
    DeadlineExceededError,
    InvalidArgumentError,
    RpcError,
    Stub,
    UnimplementedError,
    connect,
    reply_metadata,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from userservice.rpc.client_stream import ClientStream

PATIENCE_S = 20
REQUEST_SIZES = [27182, 8, 1828, 45904]
RESPONSE_SIZES = [31415, 9, 2653, 58979]
LARGE_REQUEST, LARGE_RESPONSE = 271828, 314159
COMPRESSED_SIZES = [31415, 92653]
# Which responses are compressed: what is on the wire must say so.
SERVER_COMPRESSED = {
    "server_compressed_unary": [True, False],
    "server_compressed_streaming": [True, False],
}
TEST_STATUS = (2, "test status message")
SPECIAL_STATUS = (2, "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n")
METADATA: dict[str, str | bytes] = {
    "x-grpc-test-echo-initial": "test_initial_metadata_value",
    "x-grpc-test-echo-trailing-bin": b"\xab\xab\xab",
}


class Client(Stub, TestServiceStub):
    """Every method of TestService."""


class Nobody(Stub, UnimplementedServiceStub):
    """The service that no server has."""


def client_on(channel: Channel) -> Client:
    """Return a client whose calls do not take for ever."""
    return Client(channel, timeout_s=PATIENCE_S)


def large_request() -> SimpleRequest:
    """Return the request of the unary cases."""
    return SimpleRequest(response_size=LARGE_RESPONSE, payload=Payload(body=bytes(LARGE_REQUEST)))


def asks_for(size: int, payload: int) -> StreamingOutputCallRequest:
    """Return a request for one message."""
    return StreamingOutputCallRequest(
        response_parameters=[ResponseParameters(size=size)], payload=Payload(body=bytes(payload))
    )


def duplex(
    channel: Channel,
    *,
    timeout: float = PATIENCE_S,
    metadata: dict[str, str | bytes] | None = None,
) -> AbstractAsyncContextManager[
    ClientStream[StreamingOutputCallRequest, StreamingOutputCallResponse]
]:
    """Return a call of FullDuplexCall, to send and receive on by hand."""
    return channel.request(
        "/grpc.testing.TestService/FullDuplexCall",
        Cardinality.STREAM_STREAM,
        StreamingOutputCallRequest,
        StreamingOutputCallResponse,
        timeout=timeout,
        metadata=MultiDict(metadata or {}),
    )


async def ask(
    channel: Channel,
    request: StreamingOutputCallRequest,
    *,
    timeout: float = PATIENCE_S,
    end: bool = True,
) -> StreamingOutputCallResponse | None:
    """Send one message on FullDuplexCall, and return the one that answers it."""
    async with duplex(channel, timeout=timeout) as call:
        await call.send_message(request, end=end)
        return await call.recv_message()


def body_of(response: Any) -> bytes:
    """Return the bytes of a response's payload."""
    body: bytes = response.payload.body
    return body


async def large_call(client: Client) -> None:
    """Make the call of large_unary."""
    assert body_of(await client.unary_call(large_request())) == bytes(LARGE_RESPONSE)


async def empty_unary(channel: Channel) -> None:
    """Messages of no bytes arrive."""
    assert await client_on(channel).empty_call(Empty()) == Empty()


async def large_unary(channel: Channel) -> None:
    """Messages larger than a frame, and than the first window, arrive."""
    await large_call(client_on(channel))


async def client_streaming(channel: Channel) -> None:
    """Many requests have one response."""
    requests = [
        StreamingInputCallRequest(payload=Payload(body=bytes(size))) for size in REQUEST_SIZES
    ]
    response = await client_on(channel).streaming_input_call(requests, timeout=PATIENCE_S)
    assert response.aggregated_payload_size == sum(REQUEST_SIZES)


async def server_streaming(channel: Channel) -> None:
    """One request has many responses."""
    request = StreamingOutputCallRequest(
        response_parameters=[ResponseParameters(size=size) for size in RESPONSE_SIZES]
    )
    responses = client_on(channel).streaming_output_call(request, timeout=PATIENCE_S)
    assert [body_of(response) async for response in responses] == [*map(bytes, RESPONSE_SIZES)]


async def ping_pong(channel: Channel) -> None:
    """Each request has its response before the next is sent."""
    async with duplex(channel) as call:
        for size, payload in zip(RESPONSE_SIZES, REQUEST_SIZES, strict=True):
            await call.send_message(asks_for(size, payload))
            assert body_of(await call.recv_message()) == bytes(size)
        await call.end()
        assert await call.recv_message() is None


async def empty_stream(channel: Channel) -> None:
    """A stream may have no messages at all."""
    async with duplex(channel) as call:
        await call.send_request(end=True)
        assert await call.recv_message() is None


async def timeout_on_sleeping_server(channel: Channel) -> None:
    """A call that is not answered in time ends with DEADLINE_EXCEEDED."""
    await empty_unary(channel)  # or the time would pass while it connects
    request = StreamingOutputCallRequest(payload=Payload(body=bytes(27182)))
    with pytest.raises(DeadlineExceededError):
        await ask(channel, request, timeout=0.001, end=False)


async def cancel_after_begin(channel: Channel) -> None:
    """A call can be cancelled when nothing but metadata was sent."""
    async with channel.request(
        "/grpc.testing.TestService/StreamingInputCall",
        Cardinality.STREAM_UNARY,
        StreamingInputCallRequest,
        StreamingInputCallResponse,
        timeout=PATIENCE_S,
    ) as call:
        await call.send_request()
        await call.cancel()
        with pytest.raises(CancelledError):
            await call.recv_message()
    await empty_unary(channel)


async def cancel_after_first_response(channel: Channel) -> None:
    """A call can be cancelled when a message came."""
    async with duplex(channel) as call:
        await call.send_message(asks_for(RESPONSE_SIZES[0], REQUEST_SIZES[0]))
        assert body_of(await call.recv_message()) == bytes(RESPONSE_SIZES[0])
        await call.cancel()
        with pytest.raises(CancelledError):
            await call.recv_message()
    await empty_unary(channel)


async def status_code_and_message(channel: Channel) -> None:
    """A status arrives with its message, from a unary call and from a stream."""
    code, message = TEST_STATUS
    asked = EchoStatus(code=code, message=message)
    with pytest.raises(RpcError) as unary:
        await client_on(channel).unary_call(SimpleRequest(response_status=asked))
    with pytest.raises(RpcError) as stream:
        await ask(channel, StreamingOutputCallRequest(response_status=asked))
    for error in (unary.value, stream.value):
        assert (error.status, error.message) == (Status(code), message)


async def special_status_message(channel: Channel) -> None:
    """White space and any character of Unicode arrive in the message of a status."""
    code, message = SPECIAL_STATUS
    with pytest.raises(RpcError) as raised:
        await client_on(channel).unary_call(
            SimpleRequest(response_status=EchoStatus(code=code, message=message))
        )
    assert (raised.value.status, raised.value.message) == (Status(code), message)


async def custom_metadata(channel: Channel) -> None:
    """Text comes back before the messages, and bytes after them."""
    initial, trailing = METADATA.items()
    with reply_metadata() as reply:
        response = await client_on(channel).unary_call(large_request(), metadata=METADATA)
    assert body_of(response) == bytes(LARGE_RESPONSE)
    assert initial in reply.initial.items()
    assert trailing in reply.trailing.items()

    async with duplex(channel, metadata=METADATA) as call:
        await call.send_message(asks_for(LARGE_RESPONSE, LARGE_REQUEST), end=True)
        assert body_of(await call.recv_message()) == bytes(LARGE_RESPONSE)
        assert await call.recv_message() is None
        await call.recv_trailing_metadata()
    assert call.initial_metadata is not None
    assert call.trailing_metadata is not None
    assert initial in call.initial_metadata.items()
    assert trailing in call.trailing_metadata.items()


async def unimplemented_method(channel: Channel) -> None:
    """A method that the service does not have is UNIMPLEMENTED."""
    with pytest.raises(UnimplementedError):
        await client_on(channel).unimplemented_call(Empty())


async def unimplemented_service(channel: Channel) -> None:
    """A service that the server does not have is UNIMPLEMENTED."""
    with pytest.raises(UnimplementedError):
        await Nobody(channel, timeout_s=PATIENCE_S).unimplemented_call(Empty())


async def client_compressed_unary(channel: Channel) -> None:
    """A message is compressed, or not, as the client wants; the server knows which it is."""
    with pytest.raises(InvalidArgumentError):
        await compressed_unary(channel, compresses=False, expected=True)
    for compressed in (True, False):
        response = await compressed_unary(channel, compresses=compressed, expected=compressed)
        assert body_of(response) == bytes(LARGE_RESPONSE)


async def compressed_unary(
    channel: Channel, *, compresses: bool, expected: bool
) -> SimpleResponse | None:
    """Send a large request, compressed or not, that says what the server is to expect."""
    request = large_request()
    request.expect_compressed = BoolValue(value=expected)
    async with channel.request(
        "/grpc.testing.TestService/UnaryCall",
        Cardinality.UNARY_UNARY,
        SimpleRequest,
        SimpleResponse,
        timeout=PATIENCE_S,
    ) as call:
        call.compresses = compresses
        await call.send_message(request, end=True)
        return await call.recv_message()


async def client_compressed_streaming(channel: Channel) -> None:
    """The same, from message to message of a stream."""
    with pytest.raises(InvalidArgumentError):
        await compressed_streaming(channel, [(27182, False, True)])
    total = await compressed_streaming(channel, [(27182, True, True), (45904, False, False)])
    assert total == 27182 + 45904


async def compressed_streaming(channel: Channel, sent: list[tuple[int, bool, bool]]) -> int | None:
    """Send messages: the size of each, whether it is compressed, and whether it says so."""
    async with channel.request(
        "/grpc.testing.TestService/StreamingInputCall",
        Cardinality.STREAM_UNARY,
        StreamingInputCallRequest,
        StreamingInputCallResponse,
        timeout=PATIENCE_S,
    ) as call:
        for size, compresses, expected in sent:
            call.compresses = compresses
            await call.send_message(
                StreamingInputCallRequest(
                    payload=Payload(body=bytes(size)), expect_compressed=BoolValue(value=expected)
                )
            )
        await call.end()
        response = await call.recv_message()
    return None if response is None else response.aggregated_payload_size


async def server_compressed_unary(channel: Channel) -> None:
    """The server compresses a message, or not, as it is asked to."""
    for compressed in SERVER_COMPRESSED["server_compressed_unary"]:
        request = large_request()
        request.response_compressed = BoolValue(value=compressed)
        response = await client_on(channel).unary_call(request)
        assert body_of(response) == bytes(LARGE_RESPONSE)


async def server_compressed_streaming(channel: Channel) -> None:
    """The same, from message to message of a stream."""
    flags = SERVER_COMPRESSED["server_compressed_streaming"]
    request = StreamingOutputCallRequest(
        response_parameters=[
            ResponseParameters(size=size, compressed=BoolValue(value=compressed))
            for size, compressed in zip(COMPRESSED_SIZES, flags, strict=True)
        ]
    )
    responses = client_on(channel).streaming_output_call(request, timeout=PATIENCE_S)
    assert [body_of(response) async for response in responses] == [*map(bytes, COMPRESSED_SIZES)]


async def half_duplex(channel: Channel) -> None:
    """All requests are sent before the first response is read."""
    requests = [
        asks_for(size, payload) for size, payload in zip(RESPONSE_SIZES, REQUEST_SIZES, strict=True)
    ]
    responses = client_on(channel).half_duplex_call(requests, timeout=PATIENCE_S)
    assert [body_of(response) async for response in responses] == [*map(bytes, RESPONSE_SIZES)]


async def rpc_soak(channel: Channel, calls: int) -> None:
    """Many large calls succeed on one channel."""
    client = client_on(channel)
    for _ in range(calls):
        await large_call(client)


async def channel_soak(target: str, calls: int) -> None:
    """Many large calls succeed, each on a channel of its own."""
    for _ in range(calls):
        async with connect(target) as channel:
            await large_call(client_on(channel))


CASES: dict[str, Callable[[Channel], Awaitable[None]]] = {
    case.__name__: case
    for case in (
        empty_unary,
        large_unary,
        client_streaming,
        server_streaming,
        ping_pong,
        empty_stream,
        timeout_on_sleeping_server,
        cancel_after_begin,
        cancel_after_first_response,
        status_code_and_message,
        special_status_message,
        custom_metadata,
        unimplemented_method,
        unimplemented_service,
    )
}
# A channel that compresses runs these.
CLIENT_COMPRESSES = {
    case.__name__: case for case in (client_compressed_unary, client_compressed_streaming)
}
SERVER_COMPRESSES = {
    case.__name__: case for case in (server_compressed_unary, server_compressed_streaming)
}
