"""What a received frame does, by the clause of RFC 9113 that says so.

Each row: the clause, the bytes that come in, what is told, and what is answered.
"""

from typing import NamedTuple

import pytest
from tests.wire.http2.joined import (
    REQUEST,
    RESPONSE,
    SETTINGS_ACK,
    TRAILERS,
    block,
    client,
    data,
    frame,
    headers,
    sent,
    server,
    settings,
    told,
    word,
)

from userservice.wire.http2 import Connection, ErrorCode, FrameType, Role, Setting, Settings, State
from userservice.wire.http2.codes import (
    END_HEADERS,
    END_STREAM,
    PADDED,
    PREFACE,
    PRIORITY,
)

GOAWAY_PROTOCOL = ["GoAway 0 PROTOCOL_ERROR"]
GOAWAY_SIZE = ["GoAway 0 FRAME_SIZE_ERROR"]
FAILED_PROTOCOL = ["ConnectionFailed PROTOCOL_ERROR"]
FAILED_SIZE = ["ConnectionFailed FRAME_SIZE_ERROR"]


class Row(NamedTuple):
    """One rule."""

    clause: str
    received: bytes
    told: list[str]
    sent: list[str]


def rows(*given: Row) -> pytest.MarkDecorator:
    """Run a test for each row, under the name of its clause."""
    return pytest.mark.parametrize("row", given, ids=[row.clause for row in given])


def check(connection: Connection, row: Row) -> None:
    """Compare what is told and answered."""
    assert told(connection.receive(row.received)) == row.told
    assert sent(connection) == row.sent


@rows(
    Row("3.4 no preface", b"GET / HTTP/1.1\r\n\r\n", FAILED_PROTOCOL, GOAWAY_PROTOCOL),
    Row("3.4 a wrong byte is enough", b"PRI * HTTP/1", FAILED_PROTOCOL, GOAWAY_PROTOCOL),
    Row("3.4 the start of the preface", PREFACE[:20], [], []),
    Row(
        "3.4 SETTINGS come first",
        PREFACE + frame(FrameType.PING, 0, 0, b"12345678"),
        FAILED_PROTOCOL,
        GOAWAY_PROTOCOL,
    ),
    Row("3.4 not an acknowledgement", PREFACE + SETTINGS_ACK, FAILED_PROTOCOL, GOAWAY_PROTOCOL),
    Row("3.4 nor an unknown frame", PREFACE + frame(99, 0, 0), FAILED_PROTOCOL, GOAWAY_PROTOCOL),
    Row("3.4 the preface", PREFACE + settings(), ["Settings"], ["Settings ACK"]),
)
def test_the_preface_of_a_client(row: Row) -> None:
    """A server takes a preface and SETTINGS before anything else."""
    connection = Connection(Role.SERVER)
    assert sent(connection) == ["Settings"]
    check(connection, row)


@rows(
    Row("3.4 SETTINGS come first", headers(1, RESPONSE), FAILED_PROTOCOL, GOAWAY_PROTOCOL),
    Row("3.4 the server's preface", settings(), ["Settings"], ["Settings ACK"]),
)
def test_the_preface_of_a_server(row: Row) -> None:
    """A client sends its preface at once, and takes SETTINGS before anything else."""
    connection = Connection(Role.CLIENT)
    assert connection.take_output().startswith(PREFACE)
    check(connection, row)


@rows(
    Row(
        "4.1 the reserved bit",
        frame(FrameType.PING, 0, 1 << 31, b"12345678"),
        ["Ping 12345678"],
        ["Ping 12345678 ACK"],
    ),
    Row(
        "4.2 a frame too large",
        frame(FrameType.PING, 0, 0, bytes(16_385))[:9],
        FAILED_SIZE,
        GOAWAY_SIZE,
    ),
    Row("5.5 unknown frames", frame(10, 255, 7, b"what") + frame(255, 0, 0), [], []),
    Row(
        "5.5 unknown flags",
        frame(FrameType.PING, 0xFE, 0, b"12345678"),
        ["Ping 12345678"],
        ["Ping 12345678 ACK"],
    ),
    Row(
        "6.4 RST_STREAM on stream 0",
        frame(FrameType.RST_STREAM, 0, 0, word(8)),
        FAILED_PROTOCOL,
        GOAWAY_PROTOCOL,
    ),
    Row(
        "6.4 RST_STREAM on an idle stream",
        frame(FrameType.RST_STREAM, 0, 1, word(8)),
        FAILED_PROTOCOL,
        GOAWAY_PROTOCOL,
    ),
    Row(
        "6.4 RST_STREAM has 4 bytes",
        frame(FrameType.RST_STREAM, 0, 1, b"123"),
        FAILED_SIZE,
        GOAWAY_SIZE,
    ),
    Row("6.3 PRIORITY on an idle stream", frame(FrameType.PRIORITY, 0, 9, bytes(5)), [], []),
    Row(
        "6.3 PRIORITY on stream 0",
        frame(FrameType.PRIORITY, 0, 0, bytes(5)),
        FAILED_PROTOCOL,
        GOAWAY_PROTOCOL,
    ),
    Row(
        "6.3 and 6.4 PRIORITY of 4 bytes on an idle stream",
        frame(FrameType.PRIORITY, 0, 9, bytes(4)),
        FAILED_SIZE,
        GOAWAY_SIZE,
    ),
    Row(
        "6.5 SETTINGS on a stream",
        frame(FrameType.SETTINGS, 0, 1),
        FAILED_PROTOCOL,
        GOAWAY_PROTOCOL,
    ),
    Row(
        "6.5 SETTINGS of 5 bytes",
        frame(FrameType.SETTINGS, 0, 0, bytes(5)),
        FAILED_SIZE,
        GOAWAY_SIZE,
    ),
    Row(
        "6.5 an acknowledgement is empty",
        frame(FrameType.SETTINGS, 1, 0, bytes(6)),
        FAILED_SIZE,
        GOAWAY_SIZE,
    ),
    Row("6.5 one acknowledgement more", SETTINGS_ACK, ["SettingsAcknowledged"], []),
    Row(
        "6.5.2 ENABLE_PUSH is 0 or 1",
        settings((Setting.ENABLE_PUSH, 2)),
        FAILED_PROTOCOL,
        GOAWAY_PROTOCOL,
    ),
    Row(
        "6.5.2 INITIAL_WINDOW_SIZE",
        settings((Setting.INITIAL_WINDOW_SIZE, 1 << 31)),
        ["ConnectionFailed FLOW_CONTROL_ERROR"],
        ["GoAway 0 FLOW_CONTROL_ERROR"],
    ),
    Row(
        "6.5.2 MAX_FRAME_SIZE, too small",
        settings((Setting.MAX_FRAME_SIZE, 16_383)),
        FAILED_PROTOCOL,
        GOAWAY_PROTOCOL,
    ),
    Row(
        "6.5.2 MAX_FRAME_SIZE, too large",
        settings((Setting.MAX_FRAME_SIZE, 1 << 24)),
        FAILED_PROTOCOL,
        GOAWAY_PROTOCOL,
    ),
    Row("6.5.2 an unknown setting", settings((0x99, 7)), ["Settings"], ["Settings ACK"]),
    Row(
        "6.5.3 any value that is wrong",
        settings((Setting.ENABLE_PUSH, 2), (Setting.ENABLE_PUSH, 0)),
        FAILED_PROTOCOL,
        GOAWAY_PROTOCOL,
    ),
    Row(
        "6.7 PING",
        frame(FrameType.PING, 0, 0, b"12345678"),
        ["Ping 12345678"],
        ["Ping 12345678 ACK"],
    ),
    Row(
        "6.7 an answer", frame(FrameType.PING, 1, 0, b"12345678"), ["PingAcknowledged 12345678"], []
    ),
    Row(
        "6.7 PING on a stream",
        frame(FrameType.PING, 0, 1, b"12345678"),
        FAILED_PROTOCOL,
        GOAWAY_PROTOCOL,
    ),
    Row("6.7 PING of 7 bytes", frame(FrameType.PING, 0, 0, b"1234567"), FAILED_SIZE, GOAWAY_SIZE),
    Row(
        "6.8 GOAWAY",
        frame(FrameType.GOAWAY, 0, 0, word(0) + word(0) + b"bye"),
        ["Goaway 0 NO_ERROR"],
        [],
    ),
    Row(
        "6.8 GOAWAY on a stream",
        frame(FrameType.GOAWAY, 0, 1, bytes(8)),
        FAILED_PROTOCOL,
        GOAWAY_PROTOCOL,
    ),
    Row("6.8 GOAWAY of 7 bytes", frame(FrameType.GOAWAY, 0, 0, bytes(7)), FAILED_SIZE, GOAWAY_SIZE),
    Row(
        "6.9 WINDOW_UPDATE", frame(FrameType.WINDOW_UPDATE, 0, 0, word(1)), ["WindowOpened all"], []
    ),
    Row(
        "6.9 WINDOW_UPDATE by 0",
        frame(FrameType.WINDOW_UPDATE, 0, 0, word(0)),
        FAILED_PROTOCOL,
        GOAWAY_PROTOCOL,
    ),
    Row(
        "6.9 WINDOW_UPDATE of 5 bytes",
        frame(FrameType.WINDOW_UPDATE, 0, 0, bytes(5)),
        FAILED_SIZE,
        GOAWAY_SIZE,
    ),
    Row(
        "6.9 WINDOW_UPDATE on an idle stream",
        frame(FrameType.WINDOW_UPDATE, 0, 1, word(1)),
        FAILED_PROTOCOL,
        GOAWAY_PROTOCOL,
    ),
    Row(
        "6.9.1 a window over 2^31-1",
        frame(FrameType.WINDOW_UPDATE, 0, 0, word(2**31 - 1)),
        ["ConnectionFailed FLOW_CONTROL_ERROR"],
        ["GoAway 0 FLOW_CONTROL_ERROR"],
    ),
    Row(
        "6.10 CONTINUATION of nothing",
        frame(FrameType.CONTINUATION, 4, 1),
        FAILED_PROTOCOL,
        GOAWAY_PROTOCOL,
    ),
    Row(
        "6.6 PUSH_PROMISE",
        frame(FrameType.PUSH_PROMISE, 4, 1, word(2)),
        FAILED_PROTOCOL,
        GOAWAY_PROTOCOL,
    ),
    Row("6.1 DATA on stream 0", data(0, b"abc"), FAILED_PROTOCOL, GOAWAY_PROTOCOL),
    Row("5.1 DATA on an idle stream", data(1, b"abc"), FAILED_PROTOCOL, GOAWAY_PROTOCOL),
    Row("6.2 HEADERS on stream 0", headers(0), FAILED_PROTOCOL, GOAWAY_PROTOCOL),
    Row("5.1.1 a stream of the other side", headers(2), FAILED_PROTOCOL, GOAWAY_PROTOCOL),
)
@pytest.mark.parametrize("role", Role)
def test_either_side(row: Row, role: Role) -> None:
    """These rules are the same for a client and a server, and however the bytes are cut."""
    make = server if role is Role.SERVER else client
    check(make(), row)
    connection = make()
    pieces = [connection.receive(row.received[at : at + 1]) for at in range(len(row.received))]
    assert told([event for piece in pieces for event in piece]) == row.told


def padded(content: bytes, padding: int) -> bytes:
    """Return a payload and its padding."""
    return bytes([padding]) + content + bytes(padding)


OPENED = headers(1)
REQUESTED = headers(1, end=True)
HELD = frame(FrameType.HEADERS, 0, 1, block(REQUEST)[:10])


@rows(
    Row("5.1 a request", OPENED, ["Request 1"], []),
    Row("5.1 a request that is whole", REQUESTED, ["Request 1 END"], []),
    Row("5.1 data", OPENED + data(1, b"abc") + data(1, b"d", end=True),
        ["Request 1", "Data 1 abc", "Data 1 d END"], []),
    Row("6.1 padding", OPENED + frame(FrameType.DATA, PADDED, 1, padded(b"abc", 9)),
        ["Request 1", "Data 1 abc"], []),
    Row("6.1 only padding", OPENED + frame(FrameType.DATA, PADDED | END_STREAM, 1, padded(b"", 9)),
        ["Request 1", "Data 1 END"], []),
    Row("6.1 more padding than frame", OPENED + frame(FrameType.DATA, PADDED, 1, b"\x04abc"),
        ["Request 1", *FAILED_PROTOCOL], ["GoAway 1 PROTOCOL_ERROR"]),
    Row("4.2 padded, and empty", OPENED + frame(FrameType.DATA, PADDED, 1),
        ["Request 1", *FAILED_SIZE], ["GoAway 1 FRAME_SIZE_ERROR"]),
    Row("6.1 the bit of PRIORITY has no meaning on DATA",
        OPENED + frame(FrameType.DATA, PRIORITY, 1, b"abc"), ["Request 1", "Data 1 abc"], []),
    Row("6.2 padding and priority",
        frame(FrameType.HEADERS, END_HEADERS | PADDED | PRIORITY, 1,
              padded(bytes(5) + block(REQUEST), 3)), ["Request 1"], []),
    Row("6.2 more padding than frame",
        frame(FrameType.HEADERS, END_HEADERS | PADDED | PRIORITY, 1, b"\x04" + bytes(8)),
        FAILED_PROTOCOL, GOAWAY_PROTOCOL),
    Row("4.2 too short for a priority",
        frame(FrameType.HEADERS, END_HEADERS | PRIORITY, 1, bytes(4)), FAILED_SIZE, GOAWAY_SIZE),
    Row("6.10 a block in three frames",
        HELD + frame(FrameType.CONTINUATION, 0, 1, block(REQUEST)[10:20])
        + frame(FrameType.CONTINUATION, END_HEADERS, 1, block(REQUEST)[20:]), ["Request 1"], []),
    Row("6.10 END_STREAM is on the first",
        frame(FrameType.HEADERS, END_STREAM, 1, block(REQUEST))
        + frame(FrameType.CONTINUATION, END_HEADERS, 1), ["Request 1 END"], []),
    Row("6.10 PRIORITY between", HELD + frame(FrameType.PRIORITY, 0, 1, bytes(5)), FAILED_PROTOCOL,
        GOAWAY_PROTOCOL),
    Row("6.10 an unknown frame between", HELD + frame(99, 0, 1), FAILED_PROTOCOL, GOAWAY_PROTOCOL),
    Row("6.10 another stream's", HELD + frame(FrameType.CONTINUATION, 4, 3), FAILED_PROTOCOL,
        GOAWAY_PROTOCOL),
    Row("4.3 a block that cannot be read", frame(FrameType.HEADERS, END_HEADERS, 1, b"\xff"),
        ["ConnectionFailed COMPRESSION_ERROR"], ["GoAway 0 COMPRESSION_ERROR"]),
    Row("5.1.1 identifiers may be left out", headers(5) + headers(9), ["Request 5", "Request 9"],
        []),
    Row("5.1.1 but not used later", headers(5) + headers(3), ["Request 5", *FAILED_PROTOCOL],
        ["GoAway 5 PROTOCOL_ERROR"]),
    Row("5.1.1 WINDOW_UPDATE and RST_STREAM on one left out",
        headers(5) + frame(FrameType.WINDOW_UPDATE, 0, 3, word(1))
        + frame(FrameType.RST_STREAM, 0, 3, word(8)), ["Request 5"], []),
    Row("5.1 half-closed (remote): DATA", REQUESTED + data(1, b"abc"),
        ["Request 1 END", "StreamReset 1 STREAM_CLOSED"], ["RstStream 1 STREAM_CLOSED"]),
    Row("5.1 half-closed (remote): HEADERS", REQUESTED + headers(1, TRAILERS, end=True),
        ["Request 1 END", "StreamReset 1 STREAM_CLOSED"], ["RstStream 1 STREAM_CLOSED"]),
    Row("5.1 half-closed (remote): WINDOW_UPDATE, PRIORITY, RST_STREAM",
        REQUESTED + frame(FrameType.WINDOW_UPDATE, 0, 1, word(9))
        + frame(FrameType.PRIORITY, 0, 1, bytes(5)) + frame(FrameType.RST_STREAM, 0, 1, word(8)),
        ["Request 1 END", "WindowOpened 1", "StreamReset 1 CANCEL by peer"], []),
    Row("5.1 after RST_STREAM: DATA is refused once",
        OPENED + frame(FrameType.RST_STREAM, 0, 1, word(8)) + data(1, b"abc") * 2,
        ["Request 1", "StreamReset 1 CANCEL by peer"], ["RstStream 1 STREAM_CLOSED"]),
    Row("5.1 after RST_STREAM: HEADERS",
        OPENED + frame(FrameType.RST_STREAM, 0, 1, word(8)) + headers(1, TRAILERS, end=True),
        ["Request 1", "StreamReset 1 CANCEL by peer"], ["RstStream 1 STREAM_CLOSED"]),
    Row("5.1 after RST_STREAM: what is left behind",
        OPENED + frame(FrameType.RST_STREAM, 0, 1, word(8)) * 2
        + frame(FrameType.WINDOW_UPDATE, 0, 1, word(0)) + frame(FrameType.PRIORITY, 0, 1, bytes(5)),
        ["Request 1", "StreamReset 1 CANCEL by peer"], []),
    Row("6.3 PRIORITY of 4 bytes", OPENED + frame(FrameType.PRIORITY, 0, 1, bytes(4)) * 2,
        ["Request 1", "StreamReset 1 FRAME_SIZE_ERROR"], ["RstStream 1 FRAME_SIZE_ERROR"]),
    Row("6.4 an unknown code", OPENED + frame(FrameType.RST_STREAM, 0, 1, word(77)),
        ["Request 1", "StreamReset 1 77 by peer"], []),
    Row("6.9 WINDOW_UPDATE by 0", OPENED + frame(FrameType.WINDOW_UPDATE, 0, 1, word(0)),
        ["Request 1", "StreamReset 1 PROTOCOL_ERROR"], ["RstStream 1 PROTOCOL_ERROR"]),
    Row("6.9.1 a window over 2^31-1",
        OPENED + frame(FrameType.WINDOW_UPDATE, 0, 1, word(2**31 - 1)),
        ["Request 1", "StreamReset 1 FLOW_CONTROL_ERROR"], ["RstStream 1 FLOW_CONTROL_ERROR"]),
    Row("6.9.2 a window over 2^31-1 by SETTINGS",
        OPENED + frame(FrameType.WINDOW_UPDATE, 0, 1, word(1))
        + settings((Setting.INITIAL_WINDOW_SIZE, 2**31 - 1)),
        ["Request 1", "WindowOpened 1", "Settings", "ConnectionFailed FLOW_CONTROL_ERROR"],
        ["Settings ACK", "GoAway 1 FLOW_CONTROL_ERROR"]),
    Row("6.9.1 more data than the stream's window", OPENED + data(1, bytes(101)),
        ["Request 1", "StreamReset 1 FLOW_CONTROL_ERROR"], ["RstStream 1 FLOW_CONTROL_ERROR"]),
    Row("5.1.2 one stream too many", headers(1) + headers(3) + headers(5) + data(5, b"abc"),
        ["Request 1", "Request 3"], ["RstStream 5 REFUSED_STREAM"]),
    Row("8.1 trailers", OPENED + headers(1, TRAILERS, end=True), ["Request 1", "Trailers 1"], []),
    Row("8.1 trailers that do not end the stream", OPENED + headers(1, TRAILERS),
        ["Request 1", "StreamReset 1 PROTOCOL_ERROR"], ["RstStream 1 PROTOCOL_ERROR"]),
    Row("8.1.1 a malformed request is nobody's", headers(1, RESPONSE) + headers(3), ["Request 3"],
        ["RstStream 1 PROTOCOL_ERROR"]),
    Row("8.1.1 data as long as content-length",
        headers(1, (*REQUEST, ("content-length", "3"))) + data(1, b"ab") + data(1, b"c", end=True),
        ["Request 1", "Data 1 ab", "Data 1 c END"], []),
    Row("8.1.1 padding is no content",
        headers(1, (*REQUEST, ("content-length", "3")))
        + frame(FrameType.DATA, PADDED | END_STREAM, 1, padded(b"abc", 5)),
        ["Request 1", "Data 1 abc END"], []),
    Row("8.1.1 data longer than content-length",
        headers(1, (*REQUEST, ("content-length", "3"))) + data(1, b"abcd"),
        ["Request 1", "StreamReset 1 PROTOCOL_ERROR"], ["RstStream 1 PROTOCOL_ERROR"]),
    Row("8.1.1 data shorter than content-length",
        headers(1, (*REQUEST, ("content-length", "3"))) + data(1, b"ab", end=True),
        ["Request 1", "StreamReset 1 PROTOCOL_ERROR"], ["RstStream 1 PROTOCOL_ERROR"]),
    Row("8.1.1 trailers before content-length",
        headers(1, (*REQUEST, ("content-length", "3"))) + headers(1, TRAILERS, end=True),
        ["Request 1", "StreamReset 1 PROTOCOL_ERROR"], ["RstStream 1 PROTOCOL_ERROR"]),
    Row("8.1.1 content-length and no data: the layer above never saw the stream",
        headers(1, (*REQUEST, ("content-length", "3")), end=True), [],
        ["RstStream 1 PROTOCOL_ERROR"]),
    Row("8.1.1 content-length 0", headers(1, (*REQUEST, ("content-length", "0")), end=True),
        ["Request 1 END"], []),
    Row("6.8 a client that goes away still has answers",
        OPENED + frame(FrameType.GOAWAY, 0, 0, bytes(8)) + data(1, b"abc", end=True),
        ["Request 1", "Goaway 0 NO_ERROR", "Data 1 abc END"], []),
)  # fmt: skip
def test_a_server(row: Row) -> None:
    """A server of two streams, with windows of 100 bytes each."""
    check(server(Settings(max_concurrent_streams=2, initial_window_size=100)), row)


ANSWERED = headers(1, RESPONSE)
ENDED = headers(1, RESPONSE, end=True)


@rows(
    Row("8.1 a response", ANSWERED + data(1, b"abc") + headers(1, TRAILERS, end=True),
        ["Response 1", "Data 1 abc", "Trailers 1"], []),
    Row("8.1 a response without data", ENDED, ["Response 1 END"], []),
    Row("8.1 interim responses",
        headers(1, ((":status", "100"),)) + headers(1, ((":status", "103"),)) + ANSWERED,
        ["Information 1", "Information 1", "Response 1"], []),
    Row("8.1 an interim response that ends the stream", headers(1, ((":status", "100"),), end=True),
        ["StreamReset 1 PROTOCOL_ERROR"], ["RstStream 1 PROTOCOL_ERROR"]),
    Row("8.1 data before the response", data(1, b"abc"), ["StreamReset 1 PROTOCOL_ERROR"],
        ["RstStream 1 PROTOCOL_ERROR"]),
    Row("8.1 data after an interim response", headers(1, ((":status", "100"),)) + data(1, b"abc"),
        ["Information 1", "StreamReset 1 PROTOCOL_ERROR"], ["RstStream 1 PROTOCOL_ERROR"]),
    Row("8.1.1 a response with content-length and no data",
        headers(1, (*RESPONSE, ("content-length", "3")), end=True),
        ["StreamReset 1 PROTOCOL_ERROR"], ["RstStream 1 PROTOCOL_ERROR"]),
    Row("8.3.2 a response is no request", headers(1, REQUEST), ["StreamReset 1 PROTOCOL_ERROR"],
        ["RstStream 1 PROTOCOL_ERROR"]),
    Row("8.6 101 is not of HTTP/2", headers(1, ((":status", "101"),)),
        ["StreamReset 1 PROTOCOL_ERROR"], ["RstStream 1 PROTOCOL_ERROR"]),
    Row("5.1 half-closed (remote): DATA", ENDED + data(1, b"abc"),
        ["Response 1 END", "StreamReset 1 STREAM_CLOSED"], ["RstStream 1 STREAM_CLOSED"]),
    Row("8.4 PUSH_PROMISE", frame(FrameType.PUSH_PROMISE, END_HEADERS, 1, word(2) + block(REQUEST)),
        FAILED_PROTOCOL, GOAWAY_PROTOCOL),
    Row("6.5.2 a server that sets ENABLE_PUSH", settings((Setting.ENABLE_PUSH, 1)), FAILED_PROTOCOL,
        GOAWAY_PROTOCOL),
    Row("6.5.2 even for a moment", settings((Setting.ENABLE_PUSH, 1), (Setting.ENABLE_PUSH, 0)),
        FAILED_PROTOCOL, GOAWAY_PROTOCOL),
    Row("6.5.2 a server that clears it", settings((Setting.ENABLE_PUSH, 0)), ["Settings"],
        ["Settings ACK"]),
    Row("6.8 what was not looked at can be tried again; the others go on",
        frame(FrameType.GOAWAY, 0, 0, word(1) + word(0)) + ANSWERED + headers(3, RESPONSE)
        + data(3, b"abc"),
        ["Goaway 1 NO_ERROR", "StreamReset 3 REFUSED_STREAM by peer", "Response 1"],
        ["RstStream 3 STREAM_CLOSED"]),
    Row("6.8 GOAWAY twice: a graceful drain",
        frame(FrameType.GOAWAY, 0, 0, word(2**31 - 1) + word(0))
        + frame(FrameType.GOAWAY, 0, 0, word(1) + word(0)),
        [f"Goaway {2**31 - 1} NO_ERROR", "Goaway 1 NO_ERROR",
         "StreamReset 3 REFUSED_STREAM by peer"], []),
    Row("6.9.2 smaller windows", settings((Setting.INITIAL_WINDOW_SIZE, 5)),
        ["Settings", "WindowOpened all"], ["Settings ACK"]),
)  # fmt: skip
def test_a_client(row: Row) -> None:
    """A client of two open streams."""
    check(client(streams=2), row)


@rows(
    Row("5.1 DATA, once", data(1, b"abc") * 3, [], ["RstStream 1 STREAM_CLOSED"]),
    Row("5.1 HEADERS", headers(1, TRAILERS, end=True), ["ConnectionFailed STREAM_CLOSED"],
        ["GoAway 1 STREAM_CLOSED"]),
    Row("5.1 what may have been on its way",
        frame(FrameType.WINDOW_UPDATE, 0, 1, word(1)) + frame(FrameType.RST_STREAM, 0, 1, word(0))
        + frame(FrameType.PRIORITY, 0, 1, bytes(5)), [], []),
)  # fmt: skip
def test_a_stream_that_was_ended(row: Row) -> None:
    """Both sides ended it: a frame on it breaks a rule, save those that crossed the end."""
    connection = server()
    connection.receive(REQUESTED)
    connection.send_headers(connection.streams[1], TRAILERS, end_stream=True)
    connection.take_output()
    assert not connection.streams
    check(connection, row)


@rows(
    Row("5.1 DATA", data(1, b"abc") * 3, [], []),
    Row("5.1 HEADERS", headers(1, TRAILERS, end=True), [], []),
    Row("5.1 RST_STREAM, WINDOW_UPDATE",
        frame(FrameType.RST_STREAM, 0, 1, word(0)) + frame(FrameType.WINDOW_UPDATE, 0, 1, word(1)),
        [], []),
)  # fmt: skip
def test_a_stream_that_this_side_reset(row: Row) -> None:
    """What was on its way when the peer got our RST_STREAM is read, and ignored."""
    connection = server()
    connection.receive(OPENED)
    connection.reset(connection.streams[1], ErrorCode.CANCEL)
    assert sent(connection) == ["RstStream 1 CANCEL"]
    check(connection, row)


def test_a_block_whose_stream_is_reset_meanwhile_is_read() -> None:
    """Section 5.1: the table is everybody's, whatever becomes of the stream."""
    connection = server()
    connection.receive(OPENED)
    fragments = b"\x40\x03foo\x03bar", b"\x40\x03boo\x03baz"  # both go into the dynamic table
    connection.receive(frame(FrameType.HEADERS, END_STREAM, 1, fragments[0]))
    connection.reset(connection.streams[1], ErrorCode.CANCEL)
    ended = frame(FrameType.CONTINUATION, END_HEADERS, 1, fragments[1])
    assert connection.receive(ended) == []
    (event,) = connection.receive(
        frame(FrameType.HEADERS, END_HEADERS, 3, block(REQUEST) + b"\xbe\xbf")
    )
    assert event.headers.fields[-2:] == (("boo", "baz"), ("foo", "bar"))  # type: ignore[union-attr]  # told() would hide the fields


def test_a_block_that_goaway_overtakes_is_ignored() -> None:
    """Section 6.8: the stream that it opens is after the last one that was said."""
    connection = server()
    connection.receive(HELD)
    connection.goaway()
    ended = frame(FrameType.CONTINUATION, END_HEADERS, 1, block(REQUEST)[10:])
    assert connection.receive(ended + data(1, b"abc")) == []
    assert sent(connection) == ["GoAway 0 NO_ERROR"]


def test_a_smaller_table_is_in_force_when_the_peer_says_so() -> None:
    """Section 4.3.1: the first block after that has to say that it uses less."""
    for acknowledged, first, failed in (
        (b"", b"", False),
        (SETTINGS_ACK, b"", True),
        (SETTINGS_ACK, b"\x3f\x45", False),
        (SETTINGS_ACK, b"\x3f\x46", True),
    ):
        connection = Connection(Role.SERVER, Settings(header_table_size=100))
        request = frame(FrameType.HEADERS, END_HEADERS, 1, first + block(REQUEST))
        connection.receive(PREFACE + settings() + acknowledged + request)
        assert connection.failed is failed


def test_after_a_failure_nothing_is_read() -> None:
    """Section 5.4.1: the peer is told why, once."""
    connection = server()
    assert told(connection.receive(frame(FrameType.DATA, 0, 0) + headers(1))) == FAILED_PROTOCOL
    assert connection.receive(headers(1)) == []
    assert sent(connection) == GOAWAY_PROTOCOL


def test_states_are_those_of_figure_2() -> None:
    """Section 5.1: each side ends for itself."""
    connection = server()
    connection.receive(OPENED)
    stream = connection.streams[1]
    assert (stream.state, stream.can_send, stream.can_receive) == (State.OPEN, True, True)
    connection.send_headers(stream, RESPONSE, end_stream=True)
    assert (stream.state, stream.can_send, stream.can_receive) == (
        State.HALF_CLOSED_LOCAL,
        False,
        True,
    )
    connection.receive(data(1, end=True))
    assert (stream.state, stream.can_send, stream.can_receive) == (State.CLOSED, False, False)
    assert not connection.streams
