"""What protobuf's conformance runner asks: the codec, with messages of its .proto files.

A program of ``nox -s conformance``, which generates the package ``generated`` from those.
The runner writes requests to its standard input, and reads responses from its output,
each after its size in four bytes (conformance.proto says what they are).
"""

import struct
import sys
from typing import BinaryIO

import generated.protobuf_test_messages.proto3  # noqa: F401  # puts its messages into the pool
from generated.conformance import ConformanceRequest, ConformanceResponse, FailureSet, WireFormat
from generated.message_pool import default_message_pool

from userservice.wire.protobuf import DecodeError, decode, encode

_SIZE = struct.Struct("<I")


def answer(request: ConformanceRequest) -> ConformanceResponse:
    """Decode what the runner sent, and encode it again."""
    if request.message_type == "conformance.FailureSet":
        # The runner's first request: which failures are expected. Its own list says that.
        return ConformanceResponse(protobuf_payload=encode(FailureSet()))
    message_type = default_message_pool.url_to_type.get(
        f"type.googleapis.com/{request.message_type}"
    )
    if message_type is None:
        return ConformanceResponse(skipped="betterproto2 has messages of proto3 only")
    if (
        request.protobuf_payload is None
        or request.requested_output_format is not WireFormat.PROTOBUF
    ):
        return ConformanceResponse(skipped="the codec reads and writes the binary form only")
    try:
        message = decode(message_type, request.protobuf_payload)
    except DecodeError as error:
        return ConformanceResponse(parse_error=str(error))
    try:
        return ConformanceResponse(protobuf_payload=encode(message))
    except (TypeError, ValueError) as error:
        return ConformanceResponse(serialize_error=str(error))


def serve(requests: BinaryIO, responses: BinaryIO) -> None:
    """Answer until the runner has no more to ask."""
    while size := requests.read(_SIZE.size):
        [length] = _SIZE.unpack(size)
        response = encode(answer(decode(ConformanceRequest, requests.read(length))))
        responses.write(_SIZE.pack(len(response)) + response)
        responses.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
