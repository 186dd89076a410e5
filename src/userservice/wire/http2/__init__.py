"""HTTP/2 (RFC 9113) as gRPC needs it, without I/O: bytes in, events and bytes out.

    codes        the registries: frame types, flags, error codes, settings
    frames       one frame: its header, its padding, how it is written
    settings     what either side announces
    headers      what a header block may hold
    block        a header block, while its frames are read and once it is decoded
    huffman      HPACK's string code
    decoder      header blocks that are received, and their cache (RFC 7541)
    encoder      header blocks that are sent, and theirs
    stream       the states of a stream, as data, and its windows
    events       what the peer did
    errors       what can go wrong
    endpoint     the state of a connection, which the next four share
    budget       how much of what brings nothing a peer may send
    flow         both levels of flow control
    messages     the rules of HEADERS, CONTINUATION and DATA
    control      the rules of the other frames
    sender       what this side sends
    connection   all of the above for one connection: bytes to frames to rules
    observer     a look at every frame, for whoever asks

It knows no socket and no event loop, and asks the clock for floods only. There is no server push.
"""

from userservice.wire.http2.block import HeaderBlock
from userservice.wire.http2.budget import Budgets
from userservice.wire.http2.codes import STREAM_ID_MAX, ErrorCode, FrameType, Setting
from userservice.wire.http2.connection import Connection
from userservice.wire.http2.endpoint import Role
from userservice.wire.http2.errors import (
    GoingAwayError,
    ProtocolError,
    StreamClosedError,
    TooManyStreamsError,
)
from userservice.wire.http2.events import (
    ConnectionFailed,
    DataReceived,
    Event,
    GoawayReceived,
    InformationReceived,
    PingAcknowledged,
    PingReceived,
    RequestReceived,
    ResponseReceived,
    SettingsAcknowledged,
    SettingsReceived,
    StreamReset,
    TrailersReceived,
    WindowOpened,
)
from userservice.wire.http2.settings import Settings
from userservice.wire.http2.stream import State, Stream

__all__ = [
    "STREAM_ID_MAX",
    "Budgets",
    "Connection",
    "ConnectionFailed",
    "DataReceived",
    "ErrorCode",
    "Event",
    "FrameType",
    "GoawayReceived",
    "GoingAwayError",
    "HeaderBlock",
    "InformationReceived",
    "PingAcknowledged",
    "PingReceived",
    "ProtocolError",
    "RequestReceived",
    "ResponseReceived",
    "Role",
    "Setting",
    "Settings",
    "SettingsAcknowledged",
    "SettingsReceived",
    "State",
    "Stream",
    "StreamClosedError",
    "StreamReset",
    "TooManyStreamsError",
    "TrailersReceived",
    "WindowOpened",
]
