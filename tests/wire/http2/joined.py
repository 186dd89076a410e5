"""What the tests of the engine share: frames by hand, two engines joined, and short words."""

from collections.abc import Iterable
from typing import Any

from hyperframe.frame import Frame, GoAwayFrame, PingFrame, RstStreamFrame, WindowUpdateFrame
from hypothesis import settings as hypothesis_settings

from userservice.wire.http2 import (
    Budgets,
    Connection,
    ConnectionFailed,
    DataReceived,
    ErrorCode,
    Event,
    FrameType,
    GoawayReceived,
    PingAcknowledged,
    PingReceived,
    RequestReceived,
    ResponseReceived,
    Role,
    Settings,
    StreamReset,
    WindowOpened,
)
from userservice.wire.http2.codes import ACK, END_HEADERS, END_STREAM, PADDED, PREFACE

FIXED = hypothesis_settings(derandomize=True, deadline=None, max_examples=100)
"""The same examples in each run, and no look at the clock."""

REQUEST = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/users.Users/Get"),
    (":authority", "here"),
    ("te", "trailers"),
)
RESPONSE = ((":status", "200"), ("content-type", "application/grpc"))
TRAILERS = (("grpc-status", "0"),)


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Return a frame, whatever is in it (RFC 9113 section 4.1)."""
    header = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big")
    return header + payload


def block(fields: Iterable[tuple[str, str]]) -> bytes:
    """Return a header block of literals that change no table; names and values are short."""
    parts = []
    for name, value in fields:
        coded_name, coded = name.encode("latin-1"), value.encode("latin-1")
        parts.append(bytes([0, len(coded_name)]) + coded_name + bytes([len(coded)]) + coded)
    return b"".join(parts)


def headers(
    stream_id: int, fields: Iterable[tuple[str, str]] = REQUEST, *, end: bool = False
) -> bytes:
    """Return a HEADERS frame with a whole block."""
    flags = END_HEADERS | (END_STREAM if end else 0)
    return frame(FrameType.HEADERS, flags, stream_id, block(fields))


def data(stream_id: int, content: bytes = b"", *, end: bool = False) -> bytes:
    """Return a DATA frame."""
    return frame(FrameType.DATA, END_STREAM if end else 0, stream_id, content)


def settings(*changes: tuple[int, int]) -> bytes:
    """Return a SETTINGS frame."""
    payload = b"".join(n.to_bytes(2, "big") + value.to_bytes(4, "big") for n, value in changes)
    return frame(FrameType.SETTINGS, 0, 0, payload)


def word(number: int) -> bytes:
    """Return the payload of RST_STREAM and WINDOW_UPDATE, or half that of GOAWAY."""
    return number.to_bytes(4, "big")


SETTINGS_ACK = frame(FrameType.SETTINGS, ACK, 0)
PADDED_FRAME = frame(FrameType.DATA, PADDED, 1, b"\x05abc" + bytes(5))


def server(own: Settings | None = None, *, window: int = 65_535) -> Connection:
    """Return a server that has had its client's preface; its output is taken."""
    # Its clock stands still: what a slow machine takes would fill up the budgets for floods.
    connection = Connection(Role.SERVER, own, window=window, budgets=Budgets(clock=lambda: 0.0))
    connection.receive(PREFACE + settings() + SETTINGS_ACK)
    connection.take_output()
    return connection


def client(own: Settings | None = None, *, streams: int = 0) -> Connection:
    """Return a client that has had its server's preface, and opened streams; nothing is left."""
    connection = Connection(Role.CLIENT, own)
    connection.receive(settings() + SETTINGS_ACK)
    for _ in range(streams):
        connection.open_stream(REQUEST)
    connection.take_output()
    return connection


class Joined:
    """A client and a server, and nothing between them."""

    def __init__(
        self, client_settings: Settings | None = None, own: Settings | None = None
    ) -> None:
        self.client = Connection(Role.CLIENT, client_settings)
        self.server = Connection(Role.SERVER, own)
        self.pump()

    def pump(self) -> tuple[list[Event], list[Event]]:
        """Bring over what either sent until there is no more; return what client and server saw."""
        seen: tuple[list[Event], list[Event]] = [], []
        while self.client.has_output or self.server.has_output:
            seen[1].extend(self.server.receive(self.client.take_output()))
            seen[0].extend(self.client.receive(self.server.take_output()))
        return seen


def told(events: Iterable[Event]) -> list[str]:
    """Return the events in few words."""
    return [_told(event) for event in events]


def _told(event: Event) -> str:
    name = type(event).__name__.removesuffix("Received")
    stream = getattr(event, "stream", None)
    words = [name] if stream is None else [name, str(stream.id)]
    match event:
        case DataReceived():
            words += [event.data.decode()] if event.data else []
        case StreamReset():
            words += [_code(event.code), "by peer"] if event.by_peer else [_code(event.code)]
        case ConnectionFailed():
            words.append(event.error.code.name)
        case GoawayReceived():
            words += [str(event.last_stream_id), _code(event.code)]
        case PingReceived() | PingAcknowledged():
            words.append(event.payload.decode())
        case WindowOpened() if stream is None:
            words.append("all")
        case _:
            pass
    if isinstance(event, RequestReceived | ResponseReceived | DataReceived) and event.end_stream:
        words.append("END")
    return " ".join(words)


def _code(code: int) -> str:
    return ErrorCode(code).name if code in list(ErrorCode) else str(code)


def sent(connection: Connection) -> list[str]:
    """Take the output of a connection, and return its frames in few words."""
    return [_sent(each) for each in parsed(connection.take_output())]


def parsed(output: bytes) -> list[Any]:
    """Return the frames that hyperframe reads in the output, of which nothing may be left."""
    frames: list[Frame] = []
    output = output.removeprefix(PREFACE)
    while output:
        each, length = Frame.parse_frame_header(memoryview(output[:9]), strict=True)
        each.parse_body(memoryview(output[9 : 9 + length]))
        assert len(output) >= 9 + length
        frames.append(each)
        output = output[9 + length :]
    return frames


def _sent(each: Frame) -> str:
    words = [type(each).__name__.removesuffix("Frame")]
    if each.stream_id:
        words.append(str(each.stream_id))
    match each:
        case GoAwayFrame():
            words += [str(each.last_stream_id), _code(each.error_code)]
        case RstStreamFrame():
            words.append(_code(each.error_code))
        case WindowUpdateFrame():
            words.append(str(each.window_increment))
        case PingFrame():
            words.append(each.opaque_data.decode())
        case _:
            pass
    return " ".join([*words, *(flag for flag in ("ACK", "END_STREAM") if flag in each.flags)])
