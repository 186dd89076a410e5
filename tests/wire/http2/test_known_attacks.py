"""What is known to have broken other implementations, by the number of its CVE.

The engine answers, keeps its memory bounded and its work linear. How often a peer may do a
thing at all is a budget of the layer above, which has a clock.
"""

import pytest
from tests.wire.http2.joined import (
    REQUEST,
    TRAILERS,
    block,
    data,
    frame,
    headers,
    parsed,
    sent,
    server,
    settings,
    told,
    word,
)

from userservice.wire.http2 import ErrorCode, FrameType, RequestReceived, Setting, Settings
from userservice.wire.http2.codes import END_HEADERS


def test_cve_2016_6581_hpack_bomb() -> None:
    """A byte that names 4 KiB, many times: the list is bounded, and read to its end."""
    connection = server(Settings(max_header_list_size=65_536))
    entry = b"\x40\x01x\x7f\xa1\x1e" + b"v" * 4000
    bomb = frame(FrameType.HEADERS, END_HEADERS, 3, block(REQUEST) + b"\xbe" * 10_000)
    connection.receive(frame(FrameType.HEADERS, END_HEADERS, 1, block(REQUEST) + entry))
    (event,) = connection.receive(bomb)
    assert isinstance(event, RequestReceived)
    assert event.headers.oversized
    assert event.headers.size > 40_000_000
    assert sum(len(value) for _, value in event.headers.fields) < 65_536


def test_cve_2019_9511_data_dribble() -> None:
    """One byte at a time: the answer to many frames is one WINDOW_UPDATE."""
    connection = server()
    connection.receive(headers(1) + data(1, b"x") * 1000)
    for _ in range(1000):
        connection.acknowledge(connection.streams[1], 1)
    assert sent(connection) == []


def test_cve_2019_9511_a_window_of_one_byte() -> None:
    """A peer that opens its window byte by byte gets frames of one byte, when we ask for them."""
    connection = server()
    connection.receive(settings((Setting.INITIAL_WINDOW_SIZE, 0)) + headers(1))
    connection.take_output()
    for _ in range(10):
        connection.receive(frame(FrameType.WINDOW_UPDATE, 0, 1, word(1)))
        assert connection.send_data(connection.streams[1], b"abc") == 1
    assert sent(connection) == ["Data 1"] * 10


def test_cve_2019_9512_ping_flood() -> None:
    """Each is answered once, with eight bytes, within the budget (`test_budget.py`)."""
    connection = server()
    connection.receive(frame(FrameType.PING, 0, 0, b"12345678") * 1000)
    assert sent(connection) == ["Ping 12345678 ACK"] * 1000


def test_cve_2019_9513_priority_shuffling() -> None:
    """There is no tree of priorities; PRIORITY leaves nothing behind."""
    connection = server()
    wire = b"".join(
        frame(FrameType.PRIORITY, 0, number, word(number + 2) + b"\x01")
        for number in range(1, 2001, 2)
    )
    assert connection.receive(wire) == []
    assert not connection.has_output
    assert not connection.streams
    assert not connection._reset_by_peer


def test_cve_2019_9514_reset_flood() -> None:
    """What provokes RST_STREAM gets it once a stream, and is forgotten, within the budget."""
    connection = server()
    wire = b"".join(headers(number, TRAILERS) for number in range(1, 2001, 2))
    assert connection.receive(wire) == []
    assert len(parsed(connection.take_output())) == 1000
    assert not connection.streams
    assert len(connection._reset_by_peer) <= 1000


def test_cve_2019_9515_settings_flood() -> None:
    """Each is acknowledged once, within the budget, and no list of them is kept."""
    connection = server()
    connection.receive(settings((Setting.HEADER_TABLE_SIZE, 0), (1, 100)) * 1000)
    assert sent(connection) == ["Settings ACK"] * 1000
    assert len(connection._encoder._encoder.table_size_changes) <= 2


def test_cve_2019_9516_empty_header_names() -> None:
    """A field without a name ends its stream, and is not kept."""
    connection = server()
    assert connection.receive(headers(1, (*REQUEST, ("", "")))) == []
    assert sent(connection) == ["RstStream 1 PROTOCOL_ERROR"]


def test_cve_2019_9517_internal_buffering() -> None:
    """A peer that opens HTTP/2's window but not TCP's: no more is taken than it gave."""
    connection = server()
    connection.receive(headers(1))
    stream = connection.streams[1]
    taken = sum(connection.send_data(stream, bytes(16_384)) for _ in range(100))
    assert taken == 65_535
    assert len(connection.take_output()) < 66_000


def test_cve_2019_9518_empty_frames() -> None:
    """Empty DATA are told and hold nothing; empty CONTINUATION come to an end."""
    connection = server()
    events = connection.receive(headers(1) + data(1) * 1000)
    assert told(events) == ["Request 1"] + ["Data 1"] * 1000
    assert not connection.has_output
    wire = frame(FrameType.HEADERS, 0, 3) + frame(FrameType.CONTINUATION, 0, 3) * 1000
    assert told(connection.receive(wire)) == ["ConnectionFailed ENHANCE_YOUR_CALM"]


def test_cve_2023_44487_rapid_reset() -> None:
    """A stream that is opened and reset is gone; after a thousand, so is the connection."""
    connection = server(Settings(max_concurrent_streams=10))
    for number in range(1, 2001, 2):
        reset = frame(FrameType.RST_STREAM, 0, number, word(8))
        assert len(connection.receive(headers(number) + reset)) == 2
        assert not connection.streams
    assert len(connection._reset_by_peer) <= 1000
    assert not connection.has_output
    wire = headers(2001) + frame(FrameType.RST_STREAM, 0, 2001, word(8))
    assert told(connection.receive(wire))[-1] == "ConnectionFailed ENHANCE_YOUR_CALM"


@pytest.mark.parametrize("fragment", [b"", b"\x00\x01a\x01b", bytes(16_384)])
def test_cve_2023_45288_continuation_flood(fragment: bytes) -> None:
    """A header block that does not end is cut off: by its frames, or by its bytes."""
    connection = server(Settings(max_header_list_size=65_536))
    connection.receive(frame(FrameType.HEADERS, 0, 1, block(REQUEST)))
    more = frame(FrameType.CONTINUATION, 0, 1, fragment)
    received = 0
    while not connection.failed:
        connection.receive(more)
        received += 1
        assert connection._block is None or connection._block.size <= 128 * 1024
    assert received <= 64
    assert sent(connection) == ["GoAway 0 ENHANCE_YOUR_CALM"]


@pytest.mark.parametrize("value", ["a\r\nb", "a\nb", "a\rb", "\0", " a", "a\t"])
def test_cve_2025_57804_line_breaks_in_a_value(value: str) -> None:
    """They would be another header where a proxy speaks HTTP/1.1 on."""
    connection = server()
    assert connection.receive(headers(1, (*REQUEST, ("x", value)))) == []
    assert sent(connection) == ["RstStream 1 PROTOCOL_ERROR"]


@pytest.mark.parametrize("second", ["here", "there"])
def test_cve_2026_71554_host_twice(second: str) -> None:
    """Two hosts, even the same, are read differently by whoever comes next."""
    connection = server()
    fields = (*REQUEST, ("host", "here"), ("host", second))
    assert connection.receive(headers(1, fields)) == []
    assert sent(connection) == ["RstStream 1 PROTOCOL_ERROR"]


def test_a_reset_of_this_side_is_no_flood() -> None:
    """CVE-2025-8671: data for a stream that this side reset are ignored, not answered."""
    connection = server()
    connection.receive(headers(1))
    connection.reset(connection.streams[1], ErrorCode.CANCEL)
    connection.take_output()
    assert connection.receive(data(1, b"x") * 1000) == []
    assert not connection.has_output


def test_a_stream_that_both_sides_reset_is_over_for_both() -> None:
    """Section 5.1: what follows the peer's own reset was not on its way before it knew."""
    connection = server()
    connection.receive(headers(1))
    connection.reset(connection.streams[1], ErrorCode.NO_ERROR)
    connection.take_output()
    assert connection.receive(headers(1, TRAILERS, end=True)) == []
    assert not connection.has_output
    connection.receive(frame(FrameType.RST_STREAM, 0, 1, word(8)))
    assert connection.receive(headers(1, TRAILERS, end=True)) == []
    assert sent(connection) == ["RstStream 1 STREAM_CLOSED"]
