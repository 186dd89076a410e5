# ruff: noqa: E402  # the modules of the project need the path
# printing is how a program tells
"""Our server of grpc.testing.TestService: what the official interop test cases call.

On SIGUSR1 it prints its figures, so that whoever calls it can see that it keeps nothing.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextvars import ContextVar
from pathlib import Path

from grpclib.const import Status

sys.path[0] = str(Path(__file__).parents[3])  # the modules here are tests.interop.*

from tests.interop._gen.grpc.testing import (
    BoolValue,
    EchoStatus,
    Empty,
    Payload,
    SimpleRequest,
    SimpleResponse,
    StreamingInputCallRequest,
    StreamingInputCallResponse,
    StreamingOutputCallRequest,
    StreamingOutputCallResponse,
    TestServiceBase,
)
from tests.interop.official.figures import Figures

from userservice.rpc import Encoding, InvalidArgumentError, RpcError, Server, current_call
from userservice.rpc.exchange import Exchange
from userservice.wire.framing import CompressedMessage

ECHO_INITIAL = "x-grpc-test-echo-initial"
ECHO_TRAILING = "x-grpc-test-echo-trailing-bin"


class Testing(TestServiceBase):
    """Every method but UnimplementedCall, as doc/interop-test-descriptions.md has them."""

    async def empty_call(self, message: Empty) -> Empty:
        """Return what was sent."""
        return message

    async def unary_call(self, message: SimpleRequest) -> SimpleResponse:
        """Return as many bytes as were asked for."""
        echo_metadata()
        expect_compressed(message.expect_compressed)
        end_as_asked(message.response_status)
        compress_as_asked(message.response_compressed)
        return SimpleResponse(payload=Payload(body=bytes(message.response_size)))

    async def streaming_output_call(
        self, message: StreamingOutputCallRequest
    ) -> AsyncIterator[StreamingOutputCallResponse]:
        """Send as many messages as were asked for."""
        async for response in responses(message):
            yield response

    async def streaming_input_call(
        self, messages: AsyncIterator[StreamingInputCallRequest]
    ) -> StreamingInputCallResponse:
        """Return how many bytes of payload came."""
        size = 0
        async for message in messages:
            expect_compressed(message.expect_compressed)
            if message.payload is not None:
                size += len(message.payload.body)
        return StreamingInputCallResponse(aggregated_payload_size=size)

    async def full_duplex_call(
        self, messages: AsyncIterator[StreamingOutputCallRequest]
    ) -> AsyncIterator[StreamingOutputCallResponse]:
        """Answer each request before the next is read."""
        echo_metadata()
        async for message in messages:
            async for response in responses(message):
                yield response

    async def half_duplex_call(
        self, messages: AsyncIterator[StreamingOutputCallRequest]
    ) -> AsyncIterator[StreamingOutputCallResponse]:
        """Answer when all requests are there."""
        echo_metadata()
        for message in [message async for message in messages]:
            async for response in responses(message):
                yield response


async def responses(
    request: StreamingOutputCallRequest,
) -> AsyncIterator[StreamingOutputCallResponse]:
    """Return the messages that a request asks for, each at its time; or end as it asks."""
    end_as_asked(request.response_status)
    for asked in request.response_parameters:
        if asked.interval_us:
            await asyncio.sleep(asked.interval_us / 1e6)
        compress_as_asked(asked.compressed)
        yield StreamingOutputCallResponse(payload=Payload(body=bytes(asked.size)))


def echo_metadata() -> None:
    """Send the two keys back that are there for it."""
    call = current_call()
    for key, goes_to in (
        (ECHO_INITIAL, call.initial_metadata),
        (ECHO_TRAILING, call.trailing_metadata),
    ):
        for value in call.metadata.getall(key, ()):
            goes_to.add(key, value)


def end_as_asked(asked: EchoStatus | None) -> None:
    """End the call where a status is asked for.

    Raises:
        RpcError: with that status.
    """
    if asked is not None and asked.code:
        raise RpcError(Status(asked.code), asked.message)


# Whether the message that a task took last was compressed. The stack does not say: no other
# program need know.
_compressed: ContextVar[bool] = ContextVar("compressed")
_take_message = Exchange.take_message


def take_message(exchange: Exchange) -> bytes | None:
    """Take a message, and keep whether it is compressed."""
    message = _take_message(exchange)
    if message is not None:
        _compressed.set(type(message) is CompressedMessage)
    return message


Exchange.take_message = take_message  # type: ignore[assignment, method-assign]  # there is no public way


def expect_compressed(expected: BoolValue | None) -> None:
    """Refuse a message that is compressed where it should not be, or the other way around.

    Raises:
        InvalidArgumentError: it is so.
    """
    if expected is not None and expected.value is not _compressed.get():
        raise InvalidArgumentError(f"compressed: {not expected.value}")


def compress_as_asked(asked: BoolValue | None) -> None:
    """Let the next message be compressed, or not."""
    current_call().compresses = asked is not None and asked.value


async def main() -> None:
    """Serve on any port until killed."""
    server = Server([Testing()], compression=Encoding.GZIP)
    await server.start("127.0.0.1", 0)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, tell_figures)
    print("ready on", *server.addresses, flush=True)
    await server.wait_closed()


def tell_figures() -> None:
    """Print what this process holds."""
    print(Figures.here().written(), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
