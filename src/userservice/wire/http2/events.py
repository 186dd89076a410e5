"""What the peer did, as the connection tells it.

The events are plain named tuples: two are made for each call, and a frozen dataclass
takes four times as long to make.
"""

from typing import NamedTuple

from userservice.wire.http2.block import HeaderBlock
from userservice.wire.http2.errors import ProtocolError
from userservice.wire.http2.stream import Stream


class RequestReceived(NamedTuple):
    """A client opened a stream."""

    stream: Stream
    headers: HeaderBlock
    end_stream: bool


class ResponseReceived(NamedTuple):
    """The final response header block."""

    stream: Stream
    headers: HeaderBlock
    end_stream: bool


class InformationReceived(NamedTuple):
    """An interim response, 1xx (RFC 9110 section 15.2); the final one follows."""

    stream: Stream
    headers: HeaderBlock


class TrailersReceived(NamedTuple):
    """The trailers: the other side's stream is at its end."""

    stream: Stream
    headers: HeaderBlock


class DataReceived(NamedTuple):
    """Data; they hold up the windows by ``flow_size`` until they are acknowledged."""

    stream: Stream
    data: bytes
    flow_size: int
    """What counts for flow control: the data and their padding, in bytes."""
    end_stream: bool


class StreamReset(NamedTuple):
    """The stream is over at once."""

    stream: Stream
    code: int
    """The error code; one that is unknown is kept (RFC 9113 section 7)."""
    by_peer: bool
    """False where this side reset it, because the peer broke a rule."""
    reason: str


class WindowOpened(NamedTuple):
    """More can be sent."""

    stream: Stream | None
    """None for every stream: the window of the connection, or all initial windows."""


class SettingsReceived(NamedTuple):
    """The peer changed its settings; they are in force."""

    changes: dict[int, int]


class SettingsAcknowledged(NamedTuple):
    """The peer took over our settings."""


class PingReceived(NamedTuple):
    """The peer asked for a sign of life; the answer is on its way."""

    payload: bytes


class PingAcknowledged(NamedTuple):
    """The answer to a ping of ours."""

    payload: bytes


class GoawayReceived(NamedTuple):
    """The peer takes no new streams; those up to the last one go on."""

    last_stream_id: int
    code: int
    debug: bytes


class ConnectionFailed(NamedTuple):
    """The peer broke a rule of the connection: GOAWAY is on its way, and nothing more is read."""

    error: ProtocolError


Event = (
    RequestReceived
    | ResponseReceived
    | InformationReceived
    | TrailersReceived
    | DataReceived
    | StreamReset
    | WindowOpened
    | SettingsReceived
    | SettingsAcknowledged
    | PingReceived
    | PingAcknowledged
    | GoawayReceived
    | ConnectionFailed
)
