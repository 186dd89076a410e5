"""grpcio's client runs the official interop test cases; each function is a case.

``pb`` has the messages, and ``services`` the stubs, that grpcio's tools made of
testing.proto.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

from tests.interop.official.cases import (
    COMPRESSED_SIZES,
    LARGE_REQUEST,
    LARGE_RESPONSE,
    METADATA,
    PATIENCE_S,
    REQUEST_SIZES,
    RESPONSE_SIZES,
    SERVER_COMPRESSED,
    SPECIAL_STATUS,
    TEST_STATUS,
)

Case = Callable[[Any, Any, Any], None]


class Says:
    """The requests of a stream, each when it is to be sent; None is the last."""

    def __init__(self) -> None:
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._requests.get, None)

    def say(self, request: Any) -> None:
        """Send a request; None half-closes."""
        self._requests.put(request)


def large_request(pb: Any) -> Any:
    """Return the request of the unary cases."""
    return pb.SimpleRequest(
        response_size=LARGE_RESPONSE, payload=pb.Payload(body=bytes(LARGE_REQUEST))
    )


def asks_for(pb: Any, size: int, payload: int) -> Any:
    """Return a request for one message."""
    return pb.StreamingOutputCallRequest(
        response_parameters=[pb.ResponseParameters(size=size)],
        payload=pb.Payload(body=bytes(payload)),
    )


def code_of(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    """Return the status that a call fails with, and its message."""
    with pytest.raises(grpc.RpcError) as raised:
        call()
    return raised.value.code(), raised.value.details()


def empty_unary(pb: Any, services: Any, channel: Any) -> None:
    """Messages of no bytes arrive."""
    stub = services.TestServiceStub(channel)
    assert stub.EmptyCall(pb.Empty(), timeout=PATIENCE_S) == pb.Empty()


def large_unary(pb: Any, services: Any, channel: Any) -> None:
    """Messages larger than a frame, and than the first window, arrive."""
    response = services.TestServiceStub(channel).UnaryCall(large_request(pb), timeout=PATIENCE_S)
    assert response.payload.body == bytes(LARGE_RESPONSE)


def client_streaming(pb: Any, services: Any, channel: Any) -> None:
    """Many requests have one response."""
    requests = [
        pb.StreamingInputCallRequest(payload=pb.Payload(body=bytes(size))) for size in REQUEST_SIZES
    ]
    stub = services.TestServiceStub(channel)
    response = stub.StreamingInputCall(iter(requests), timeout=PATIENCE_S)
    assert response.aggregated_payload_size == sum(REQUEST_SIZES)


def server_streaming(pb: Any, services: Any, channel: Any) -> None:
    """One request has many responses."""
    request = pb.StreamingOutputCallRequest(
        response_parameters=[pb.ResponseParameters(size=size) for size in RESPONSE_SIZES]
    )
    responses = services.TestServiceStub(channel).StreamingOutputCall(request, timeout=PATIENCE_S)
    assert [response.payload.body for response in responses] == [*map(bytes, RESPONSE_SIZES)]


def ping_pong(pb: Any, services: Any, channel: Any) -> None:
    """Each request has its response before the next is sent."""
    says = Says()
    call = services.TestServiceStub(channel).FullDuplexCall(iter(says), timeout=PATIENCE_S)
    for size, payload in zip(RESPONSE_SIZES, REQUEST_SIZES, strict=True):
        says.say(asks_for(pb, size, payload))
        assert next(call).payload.body == bytes(size)
    says.say(None)
    assert list(call) == []
    assert call.code() is grpc.StatusCode.OK


def empty_stream(pb: Any, services: Any, channel: Any) -> None:
    """A stream may have no messages at all."""
    call = services.TestServiceStub(channel).FullDuplexCall(iter(()), timeout=PATIENCE_S)
    assert list(call) == []


def timeout_on_sleeping_server(pb: Any, services: Any, channel: Any) -> None:
    """A call that is not answered in time ends with DEADLINE_EXCEEDED."""
    empty_unary(pb, services, channel)  # or the time would pass while it connects
    says = Says()
    says.say(pb.StreamingOutputCallRequest(payload=pb.Payload(body=bytes(27182))))
    call = services.TestServiceStub(channel).FullDuplexCall(iter(says), timeout=0.001)
    try:
        assert code_of(lambda: next(call))[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    finally:
        says.say(None)


def cancel_after_begin(pb: Any, services: Any, channel: Any) -> None:
    """A call can be cancelled when nothing but metadata was sent."""
    says = Says()
    stub = services.TestServiceStub(channel)
    call = stub.StreamingInputCall.future(iter(says), timeout=PATIENCE_S)
    call.cancel()
    says.say(None)
    assert call.code() is grpc.StatusCode.CANCELLED
    empty_unary(pb, services, channel)


def cancel_after_first_response(pb: Any, services: Any, channel: Any) -> None:
    """A call can be cancelled when a message came."""
    says = Says()
    call = services.TestServiceStub(channel).FullDuplexCall(iter(says), timeout=PATIENCE_S)
    says.say(asks_for(pb, RESPONSE_SIZES[0], REQUEST_SIZES[0]))
    assert next(call).payload.body == bytes(RESPONSE_SIZES[0])
    call.cancel()
    says.say(None)
    assert code_of(lambda: next(call))[0] is grpc.StatusCode.CANCELLED
    empty_unary(pb, services, channel)


def status_code_and_message(pb: Any, services: Any, channel: Any) -> None:
    """A status arrives with its message, from a unary call and from a stream."""
    code, message = TEST_STATUS
    asked = pb.EchoStatus(code=code, message=message)
    stub = services.TestServiceStub(channel)
    expected = (grpc.StatusCode.UNKNOWN, message)
    unary = pb.SimpleRequest(response_status=asked)
    assert code_of(lambda: stub.UnaryCall(unary, timeout=PATIENCE_S)) == expected
    request = pb.StreamingOutputCallRequest(response_status=asked)
    call = stub.FullDuplexCall(iter([request]), timeout=PATIENCE_S)
    assert code_of(lambda: next(call)) == expected


def special_status_message(pb: Any, services: Any, channel: Any) -> None:
    """White space and any character of Unicode arrive in the message of a status."""
    code, message = SPECIAL_STATUS
    request = pb.SimpleRequest(response_status=pb.EchoStatus(code=code, message=message))
    stub = services.TestServiceStub(channel)
    expected = (grpc.StatusCode.UNKNOWN, message)
    assert code_of(lambda: stub.UnaryCall(request, timeout=PATIENCE_S)) == expected


def custom_metadata(pb: Any, services: Any, channel: Any) -> None:
    """Text comes back before the messages, and bytes after them."""
    initial, trailing = METADATA.items()
    stub, metadata = services.TestServiceStub(channel), tuple(METADATA.items())
    response, unary = stub.UnaryCall.with_call(
        large_request(pb), metadata=metadata, timeout=PATIENCE_S
    )
    assert response.payload.body == bytes(LARGE_RESPONSE)
    request = asks_for(pb, LARGE_RESPONSE, LARGE_REQUEST)
    stream = stub.FullDuplexCall(iter([request]), metadata=metadata, timeout=PATIENCE_S)
    assert [response.payload.body for response in stream] == [bytes(LARGE_RESPONSE)]
    for call in (unary, stream):
        assert initial in [tuple(item) for item in call.initial_metadata()]
        assert trailing in [tuple(item) for item in call.trailing_metadata()]


def unimplemented_method(pb: Any, services: Any, channel: Any) -> None:
    """A method that the service does not have is UNIMPLEMENTED."""
    stub = services.TestServiceStub(channel)
    code, _ = code_of(lambda: stub.UnimplementedCall(pb.Empty(), timeout=PATIENCE_S))
    assert code is grpc.StatusCode.UNIMPLEMENTED


def unimplemented_service(pb: Any, services: Any, channel: Any) -> None:
    """A service that the server does not have is UNIMPLEMENTED."""
    stub = services.UnimplementedServiceStub(channel)
    code, _ = code_of(lambda: stub.UnimplementedCall(pb.Empty(), timeout=PATIENCE_S))
    assert code is grpc.StatusCode.UNIMPLEMENTED


def client_compressed_unary(pb: Any, services: Any, channel: Any) -> None:
    """A call is compressed, or not, as the client wants; the server knows which it is."""
    stub = services.TestServiceStub(channel)
    request = large_request(pb)
    request.expect_compressed.value = True
    code, _ = code_of(lambda: stub.UnaryCall(request, timeout=PATIENCE_S))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate, None):
        request.expect_compressed.value = compression is not None
        response = stub.UnaryCall(request, compression=compression, timeout=PATIENCE_S)
        assert response.payload.body == bytes(LARGE_RESPONSE)


def client_compressed_streaming(pb: Any, services: Any, channel: Any) -> None:
    """The same for a stream; grpcio's client cannot change from message to message."""
    stub = services.TestServiceStub(channel)
    request = pb.StreamingInputCallRequest(payload=pb.Payload(body=bytes(27182)))
    request.expect_compressed.value = True
    code, _ = code_of(lambda: stub.StreamingInputCall(iter([request]), timeout=PATIENCE_S))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate, None):
        request.expect_compressed.value = compression is not None
        response = stub.StreamingInputCall(
            iter([request, request]), compression=compression, timeout=PATIENCE_S
        )
        assert response.aggregated_payload_size == 2 * 27182


def server_compressed_unary(pb: Any, services: Any, channel: Any) -> None:
    """The server compresses a message, or not, as it is asked to."""
    stub = services.TestServiceStub(channel)
    for compressed in SERVER_COMPRESSED["server_compressed_unary"]:
        request = large_request(pb)
        request.response_compressed.value = compressed
        response = stub.UnaryCall(request, timeout=PATIENCE_S)
        assert response.payload.body == bytes(LARGE_RESPONSE)


def server_compressed_streaming(pb: Any, services: Any, channel: Any) -> None:
    """The same, from message to message of a stream."""
    flags = SERVER_COMPRESSED["server_compressed_streaming"]
    request = pb.StreamingOutputCallRequest(
        response_parameters=[
            pb.ResponseParameters(size=size, compressed=pb.BoolValue(value=compressed))
            for size, compressed in zip(COMPRESSED_SIZES, flags, strict=True)
        ]
    )
    responses = services.TestServiceStub(channel).StreamingOutputCall(request, timeout=PATIENCE_S)
    assert [response.payload.body for response in responses] == [*map(bytes, COMPRESSED_SIZES)]


def rpc_soak(pb: Any, services: Any, channel: Any, calls: int) -> None:
    """Many large calls succeed on one channel."""
    for _ in range(calls):
        large_unary(pb, services, channel)


def channel_soak(pb: Any, services: Any, target: str, calls: int) -> None:
    """Many large calls succeed, each on a channel of its own."""
    for _ in range(calls):
        # Channels to one address with the same arguments share a connection, but for this.
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(target, options) as channel:
            large_unary(pb, services, channel)


CASES: dict[str, Case] = {
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
        client_compressed_unary,
        client_compressed_streaming,
    )
}
SERVER_COMPRESSES: dict[str, Case] = {
    case.__name__: case for case in (server_compressed_unary, server_compressed_streaming)
}
