"""What a request's header block asks for (gRPC over HTTP/2, "Requests").

It is worked out once for a block, and kept with it: most calls of a connection have the
same headers.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

from grpclib.const import Handler, Status
from grpclib.encoding.base import GRPC_CONTENT_TYPE

from userservice.rpc.errors import Metadata
from userservice.rpc.metadata import ACCEPT_ENCODING, is_grpc, read_metadata
from userservice.rpc.timeout import decode_timeout
from userservice.wire.compression import ACCEPTED, ENCODINGS, IDENTITY, Encoding
from userservice.wire.http2 import HeaderBlock


@dataclass(frozen=True, slots=True)
class Method:
    """A method that is served: grpclib's ``Handler``, with what each call asks of it at hand.

    Args:
        serve: the handler; it takes the call's stream.
        client_streaming: whether it takes any number of messages, and not one.
        server_streaming: whether it answers with any number of messages, and not with one.
        request_type: the class of the request messages.
        reply_type: the class of the reply messages.
    """

    serve: Callable[[Any], Awaitable[None]]
    client_streaming: bool
    server_streaming: bool
    request_type: type[Any]
    reply_type: type[Any]

    @classmethod
    def of(cls, handler: Handler) -> Self:
        """Return the method of a handler."""
        cardinality = handler.cardinality
        return cls(
            handler.func,
            cardinality.client_streaming,
            cardinality.server_streaming,
            handler.request_type,
            handler.reply_type,
        )


class Request(NamedTuple):
    """A call that can be served."""

    method: Method
    path: str
    timeout_s: float | None
    """The time the call may take, in seconds; None for no limit."""
    headers: HeaderBlock
    content_type: str
    user_agent: str | None
    encoding: Encoding | None
    """What the client's messages are compressed with, those that are."""
    accepted: str
    """What the client says it reads: names of encodings, with commas."""

    def accepts(self, encoding: Encoding) -> bool:
        """Return whether the client reads messages that are so compressed."""
        return encoding in {name.strip() for name in self.accepted.split(",")}

    def metadata(self) -> Metadata:
        """Return the metadata, each time anew: it may be changed."""
        return read_metadata(self.headers.fields)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The header fields that answer a request which is none."""

    fields: tuple[tuple[str, str], ...]


def _refusal(
    http_status: int,
    message: str = "",
    status: Status = Status.UNKNOWN,
    more: tuple[tuple[str, str], ...] = (),
) -> Refusal:
    fields: tuple[tuple[str, str], ...] = ((":status", str(http_status)),)
    if message:
        fields += (
            ("content-type", GRPC_CONTENT_TYPE),
            ("grpc-status", str(status.value)),
            ("grpc-message", message),
        )
    return Refusal(fields + more)


_METHOD: Final = _refusal(405, more=(("allow", "POST"),))  # RFC 9110 section 15.5.6
_NO_CONTENT_TYPE: Final = _refusal(415, "Missing content-type header")
_CONTENT_TYPE: Final = _refusal(415, "Unacceptable content-type header")
_NO_TE: Final = _refusal(400, 'Required "te: trailers" header is missing')
# As grpc-go answers it; the protocol does not say.
_TIMEOUT: Final = _refusal(400, "Invalid grpc-timeout header", Status.INTERNAL)
# grpc's compression.md: the description says what is supported, and so does the header.
_ENCODING: Final = _refusal(
    200,
    f"The grpc-encoding is not supported; use one of {ACCEPTED}",
    Status.UNIMPLEMENTED,
    (ACCEPT_ENCODING,),
)
_OVERSIZED: Final = _refusal(431, "The headers are too large", Status.RESOURCE_EXHAUSTED)


def read_request(  # noqa: PLR0911  # each refusal has its own answer
    headers: HeaderBlock, methods: Mapping[str, Method], content_subtype: str
) -> Request | Refusal:
    """Return what a header block asks for, or why nothing can be served.

    Args:
        headers: the block.
        methods: the methods by path.
        content_subtype: what the server's codec reads, such as ``proto``.
    """
    if headers.oversized:
        return _OVERSIZED
    fields = dict(headers.fields)
    if fields[":method"] != "POST":
        return _METHOD
    content_type = fields.get("content-type")
    if content_type is None:
        return _NO_CONTENT_TYPE
    if not is_grpc(content_type, content_subtype):
        return _CONTENT_TYPE
    if fields.get("te") != "trailers":
        return _NO_TE
    timeout_s = None
    if "grpc-timeout" in fields:
        try:
            timeout_s = decode_timeout(fields["grpc-timeout"])
        except ValueError:
            return _TIMEOUT
    encoding_name = fields.get("grpc-encoding", IDENTITY)
    encoding = None
    if encoding_name != IDENTITY:
        encoding = ENCODINGS.get(encoding_name)
        if encoding is None:
            return _ENCODING
    path = fields[":path"]
    accepted = fields.get("grpc-accept-encoding", "")
    agent = fields.get("user-agent")
    # A named tuple's own `__new__` is a Python function, which takes twice the time.
    parts = (methods[path], path, timeout_s, headers, content_type, agent, encoding, accepted)
    return tuple.__new__(Request, parts)
