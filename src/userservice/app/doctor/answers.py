"""What comes back of a request, and whether it is gRPC."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeVar

import betterproto2
from grpclib.const import Status

from userservice.rpc.metadata import is_grpc
from userservice.rpc.response import Outcome, read_trailers
from userservice.wire.framing import MessageReader
from userservice.wire.http2 import HeaderBlock
from userservice.wire.protobuf import DecodeError, decode

M = TypeVar("M", bound=betterproto2.Message)

MESSAGE_MAX = 1024 * 1024
"""How much of an answer is kept, in bytes."""

_SNIPPET = 200


class Broken(Enum):
    """Why there is no whole answer."""

    SILENT = auto()
    """The time was over."""
    RESET = auto()
    """The server ended the stream."""
    LOST = auto()
    """The connection ended, or takes no more requests."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back of one request.

    Args:
        seconds: how long it took.
        headers: the first block of header fields.
        trailers: the last one.
        body: what came between them.
        broken: why it is not whole.
        fault: what is said about that.
    """

    seconds: float
    headers: HeaderBlock | None = None
    trailers: HeaderBlock | None = None
    body: bytes = b""
    broken: Broken | None = None
    fault: str = ""

    @property
    def http_status(self) -> str:
        """The status of HTTP; empty where there is none."""
        return self.field(":status")

    @property
    def content_type(self) -> str:
        """What kind of content the server says that it is."""
        return self.field("content-type")

    def field(self, name: str) -> str:
        """Return a field of the first block; empty where it is not there."""
        return (self.headers and self.headers.get(name)) or ""

    @property
    def speaks_grpc(self) -> bool:
        """Whether this can only come from gRPC."""
        return self.outcome is not None or bool(
            self.content_type and is_grpc(self.content_type, "proto")
        )

    @property
    def outcome(self) -> Outcome | None:
        """How the call ended, in gRPC's words; None where the server has none."""
        for block in (self.trailers, self.headers):
            if block is not None and block.get("grpc-status") is not None:
                return read_trailers(block)
        return None

    @property
    def status(self) -> Status | None:
        """The status of gRPC, where there is one."""
        outcome = self.outcome
        return None if outcome is None else outcome.status

    @property
    def snippet(self) -> str:
        """The start of what a server says that does not speak gRPC, on one line."""
        return " ".join(self.body[: 4 * _SNIPPET].decode("utf-8", "replace").split())[:_SNIPPET]

    @property
    def has_message(self) -> bool:
        """Whether a whole message came."""
        return bool(self._messages())

    def message(self, kind: type[M]) -> M | None:
        """Return the first message, where there is one that can be read."""
        messages = self._messages()
        if not messages:
            return None
        try:
            return decode(kind, messages[0])
        except DecodeError:
            return None

    def _messages(self) -> list[bytes]:
        if not self.speaks_grpc:
            return []
        reader = MessageReader(MESSAGE_MAX)
        reader.feed(self.body)
        return list(reader.messages)
