# ruff: noqa: N802  # the names are the contract's
# printing is how a program tells
"""A grpcio server of grpc.testing.TestService; it takes the folder of the generated stubs.

grpcio does not tell whether a request was compressed, so that none is refused for it.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc

sys.path.insert(0, sys.argv[1])

import testing_pb2 as pb  # made by whoever starts this program
import testing_pb2_grpc as services

CODES = {code.value[0]: code for code in grpc.StatusCode}
ECHO_INITIAL = "x-grpc-test-echo-initial"
ECHO_TRAILING = "x-grpc-test-echo-trailing-bin"


async def echo_metadata(context: Any) -> None:
    """Send the two keys back that are there for it."""
    sent = context.invocation_metadata()
    context.set_trailing_metadata([item for item in sent if item[0] == ECHO_TRAILING])
    await context.send_initial_metadata([item for item in sent if item[0] == ECHO_INITIAL])


async def end_as_asked(request: Any, context: Any) -> None:
    """End the call where a status is asked for."""
    asked = request.response_status
    if asked.code:
        await context.abort(CODES[asked.code], asked.message)


def compress_as_asked(context: Any, asked: Any) -> None:
    """Let the next message be compressed, or not; the server compresses where it may."""
    if not asked.value:
        context.disable_next_message_compression()


async def answer(request: Any, context: Any) -> None:
    """Send the messages that a request asks for."""
    await end_as_asked(request, context)
    for asked in request.response_parameters:
        if asked.interval_us:
            await asyncio.sleep(asked.interval_us / 1e6)
        compress_as_asked(context, asked.compressed)
        payload = pb.Payload(body=bytes(asked.size))
        await context.write(pb.StreamingOutputCallResponse(payload=payload))


class Testing(services.TestServiceServicer):
    """Every method but UnimplementedCall."""

    async def EmptyCall(self, request: Any, context: Any) -> Any:
        return request

    async def UnaryCall(self, request: Any, context: Any) -> Any:
        await echo_metadata(context)
        await end_as_asked(request, context)
        compress_as_asked(context, request.response_compressed)
        return pb.SimpleResponse(payload=pb.Payload(body=bytes(request.response_size)))

    async def StreamingOutputCall(self, request: Any, context: Any) -> None:
        await answer(request, context)

    async def StreamingInputCall(self, requests: AsyncIterator[Any], context: Any) -> Any:
        size = 0
        async for request in requests:
            size += len(request.payload.body)
        return pb.StreamingInputCallResponse(aggregated_payload_size=size)

    async def FullDuplexCall(self, requests: AsyncIterator[Any], context: Any) -> None:
        await echo_metadata(context)
        async for request in requests:
            await answer(request, context)

    async def HalfDuplexCall(self, requests: AsyncIterator[Any], context: Any) -> None:
        for request in [request async for request in requests]:
            await answer(request, context)


async def main() -> None:
    """Serve on any port until killed."""
    server = grpc.aio.server(compression=grpc.Compression.Gzip)
    services.add_TestServiceServicer_to_server(Testing(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"ready on 127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


asyncio.run(main())
