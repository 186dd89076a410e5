"""What a response's header blocks say (gRPC over HTTP/2, "Responses").

Like a request, it is worked out once for a block that comes again and again.
"""

from dataclasses import dataclass
from typing import Final

from grpclib.const import Status
from grpclib.metadata import decode_grpc_message

from userservice.rpc.metadata import is_grpc, read_binary
from userservice.wire.compression import ACCEPTED, ENCODINGS, IDENTITY, Encoding
from userservice.wire.http2 import HeaderBlock

# grpc's doc/http-grpc-status-mapping.md; any other is UNKNOWN.
_HTTP_STATUS: Final = {
    "400": Status.INTERNAL,
    "401": Status.UNAUTHENTICATED,
    "403": Status.PERMISSION_DENIED,
    "404": Status.UNIMPLEMENTED,
    "429": Status.UNAVAILABLE,
    "431": Status.INTERNAL,
    "502": Status.UNAVAILABLE,
    "503": Status.UNAVAILABLE,
    "504": Status.UNAVAILABLE,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended.

    Args:
        status: the status.
        message: what the server says about it.
        details: the bytes of its details.
    """

    status: Status
    message: str | None = None
    details: bytes | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """The first header block of a response.

    Args:
        outcome: how the call ended already; None where messages and trailers follow.
        from_server: whether the outcome is the server's own word.
        encoding: what its messages are compressed with, those that are.
    """

    outcome: Outcome | None
    from_server: bool = False
    encoding: Encoding | None = None


def read_response(  # noqa: PLR0911  # each answer has its own status
    headers: HeaderBlock, content_subtype: str
) -> Response:
    """Return what the first header block says.

    Args:
        headers: the block.
        content_subtype: what the client's codec reads, such as ``proto``.
    """
    fields = dict(headers.fields)
    if "grpc-status" in fields:
        return Response(read_trailers(headers), from_server=True)
    http_status = fields[":status"]
    if http_status != "200":
        status = _HTTP_STATUS.get(http_status, Status.UNKNOWN)
        return Response(Outcome(status, f"Received :status = {http_status!r}"))
    content_type = fields.get("content-type")
    if content_type is None:
        return Response(Outcome(Status.UNKNOWN, "Missing content-type header"))
    if not is_grpc(content_type, content_subtype):
        return Response(Outcome(Status.UNKNOWN, f"Invalid content-type: {content_type[:80]!r}"))
    encoding = fields.get("grpc-encoding", IDENTITY)
    if encoding == IDENTITY:
        return Response(None)
    if encoding not in ENCODINGS:
        # grpc's compression.md: INTERNAL, with what is supported.
        text = f"The server compresses with {encoding[:20]!r}, which is none of {ACCEPTED}"
        return Response(Outcome(Status.INTERNAL, text))
    return Response(None, encoding=ENCODINGS[encoding])


def read_trailers(headers: HeaderBlock) -> Outcome:
    """Return how a call ended, from its trailers."""
    fields = dict(headers.fields)
    text = fields.get("grpc-status")
    if text is None:
        return Outcome(Status.UNKNOWN, "Missing grpc-status header")
    try:
        status = Status(int(text))
    except ValueError:
        return Outcome(Status.UNKNOWN, f"Invalid grpc-status: {text[:20]!r}")
    if status is Status.OK:
        return Outcome(status)
    message = fields.get("grpc-message")
    details = fields.get("grpc-status-details-bin")
    return Outcome(
        status,
        None if message is None else decode_grpc_message(message),
        None if details is None else read_binary(details),
    )
