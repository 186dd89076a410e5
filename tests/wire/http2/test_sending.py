"""What a side sends, and what it may not (RFC 9113 sections 5, 6.8 to 6.10)."""

import pytest
from tests.wire.http2.joined import (
    REQUEST,
    RESPONSE,
    TRAILERS,
    Joined,
    client,
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

from userservice.wire.http2 import (
    Connection,
    DataReceived,
    ErrorCode,
    FrameType,
    GoingAwayError,
    RequestReceived,
    Role,
    Setting,
    Settings,
    StreamClosedError,
    TooManyStreamsError,
)
from userservice.wire.http2.codes import PREFACE, STREAM_ID_MAX


def test_a_call() -> None:
    """Two engines understand each other."""
    joined = Joined()
    stream = joined.client.open_stream(REQUEST, (("x-trace", "é"),))
    joined.client.send_data(stream, b"hello", end_stream=True)
    (request, content) = joined.pump()[1]
    assert isinstance(request, RequestReceived)
    assert request.headers.fields == (*REQUEST, ("x-trace", "é"))
    assert told([content]) == ["Data 1 hello END"]
    joined.server.send_headers(request.stream, RESPONSE)
    joined.server.send_data(request.stream, b"world")
    joined.server.send_headers(request.stream, TRAILERS, end_stream=True)
    assert told(joined.pump()[0]) == ["Response 1", "Data 1 world", "Trailers 1"]
    assert not joined.client.streams
    assert not joined.server.streams


def test_a_client_announces_no_push() -> None:
    """Section 8.4: whatever its settings say; and the settings given are not changed."""
    given = Settings()
    (announced,) = parsed(Connection(Role.CLIENT, given).take_output())
    assert announced.settings == {Setting.ENABLE_PUSH: 0}
    assert given == Settings()


def test_a_larger_window_is_announced_with_the_preface() -> None:
    """Section 6.9.2: only WINDOW_UPDATE changes the connection's window."""
    connection = Connection(Role.SERVER, window=100_000)
    assert sent(connection) == ["Settings", f"WindowUpdate {100_000 - 65_535}"]


@pytest.mark.parametrize("window", [65_534, 2**31])
def test_a_window_that_no_peer_can_be_told(window: int) -> None:
    """The connection's window starts with 65,535 bytes, and ends with 2^31-1."""
    with pytest.raises(ValueError, match="65535"):
        Connection(Role.SERVER, window=window)


def test_data_wait_for_the_window() -> None:
    """Section 6.9: no more is sent than either window allows; the end is said with the last."""
    connection = client(streams=1)
    connection.receive(settings((Setting.INITIAL_WINDOW_SIZE, 4)))
    connection.take_output()
    stream = connection.streams[1]
    assert connection.send_data(stream, b"abcdef", end_stream=True) == 4
    assert connection.send_data(stream, b"ef", end_stream=True) == 0
    assert sent(connection) == ["Data 1"]
    connection.receive(frame(FrameType.WINDOW_UPDATE, 0, 1, word(9)))
    assert connection.send_data(stream, b"ef", end_stream=True) == 2
    assert sent(connection) == ["Data 1 END_STREAM"]
    assert stream.send_window == 7


def test_an_end_without_data_needs_no_window() -> None:
    """Section 6.9: it is sent even where the window is negative."""
    connection = client(streams=1)
    stream = connection.streams[1]
    connection.send_data(stream, b"abc")
    connection.receive(settings((Setting.INITIAL_WINDOW_SIZE, 0)))
    connection.take_output()
    assert stream.send_window == -3
    assert connection.send_data(stream, b"d") == 0
    assert connection.send_data(stream, b"") == 0
    assert not connection.has_output
    assert connection.send_data(stream, b"", end_stream=True) == 0
    assert sent(connection) == ["Data 1 END_STREAM"]
    assert not stream.can_send


def test_data_are_split_into_frames() -> None:
    """Section 4.2: no frame is larger than the peer takes."""
    connection = client(streams=1)
    content = bytes(range(256)) * 160
    size = connection.send_data(connection.streams[1], memoryview(content), end_stream=True)
    frames = parsed(connection.take_output())
    assert size == len(content)
    assert [len(each.data) for each in frames] == [16_384, 16_384, 40_960 - 2 * 16_384]
    assert b"".join(each.data for each in frames) == content
    assert ["END_STREAM" in each.flags for each in frames] == [False, False, True]


def test_a_header_block_is_split_into_frames() -> None:
    """Section 6.10: END_STREAM is on the first, END_HEADERS on the last."""
    joined = Joined()
    metadata = tuple((f"x-{number}", "v" * 1000) for number in range(40))
    joined.client.open_stream(REQUEST, metadata, end_stream=True)
    output = joined.client.take_output()
    assert [(type(each).__name__, set(each.flags)) for each in parsed(output)] == [
        ("HeadersFrame", {"END_STREAM"}),
        ("ContinuationFrame", set()),
        ("ContinuationFrame", {"END_HEADERS"}),
    ]
    (event,) = joined.server.receive(output)
    assert isinstance(event, RequestReceived)
    assert event.end_stream
    assert event.headers.fields == (*REQUEST, *metadata)


def test_a_field_that_no_wire_carries_leaves_nothing_behind() -> None:
    """Neither a stream that nobody knows, nor an entry of the table that the peer has not."""
    joined = Joined()
    for fields, metadata in (
        ((*REQUEST, ("user-agent", "\N{SNOWMAN}")), ()),
        ((*REQUEST, ("user-agent", "me")), (("x", "\N{SNOWMAN}"),)),
    ):
        with pytest.raises(UnicodeEncodeError):
            joined.client.open_stream(fields, metadata)
    assert not joined.client.streams
    assert not joined.client.has_output
    joined.client.open_stream((*REQUEST, ("user-agent", "it")))
    (request,) = joined.pump()[1]
    assert isinstance(request, RequestReceived)
    assert (request.stream.id, request.headers.get("user-agent")) == (1, "it")


def test_nothing_is_sent_after_the_end() -> None:
    """Section 5.1: not after END_STREAM, and not after a reset."""
    connection = client(streams=2)
    ended, stopped = connection.streams.values()
    connection.send_data(ended, b"", end_stream=True)
    connection.reset(stopped, ErrorCode.CANCEL)
    connection.reset(stopped, ErrorCode.CANCEL)
    assert sent(connection) == ["Data 1 END_STREAM", "RstStream 3 CANCEL"]
    for stream in (ended, stopped):
        with pytest.raises(StreamClosedError):
            connection.send_data(stream, b"x")
        with pytest.raises(StreamClosedError):
            connection.send_headers(stream, TRAILERS)
    assert not connection.has_output


def test_no_more_streams_than_the_peer_takes() -> None:
    """Section 5.1.2: a new one has to wait until one has ended."""
    connection = client()
    connection.receive(settings((Setting.MAX_CONCURRENT_STREAMS, 1)))
    stream = connection.open_stream(REQUEST)
    with pytest.raises(TooManyStreamsError):
        connection.open_stream(REQUEST)
    connection.reset(stream, ErrorCode.CANCEL)
    assert connection.open_stream(REQUEST).id == 3


def test_stream_identifiers_are_used_up() -> None:
    """Section 5.1.1: then there has to be another connection."""
    connection = client()
    connection._next_id = STREAM_ID_MAX
    assert connection.open_stream(REQUEST).id == STREAM_ID_MAX
    with pytest.raises(GoingAwayError):
        connection.open_stream(REQUEST)


def test_no_stream_is_opened_after_goaway() -> None:
    """Section 6.8: nor after a failure."""
    for ending in (frame(FrameType.GOAWAY, 0, 0, bytes(8)), frame(FrameType.DATA, 0, 0)):
        connection = client()
        connection.receive(ending)
        with pytest.raises(GoingAwayError):
            connection.open_stream(REQUEST)


def test_a_graceful_drain() -> None:
    """Section 6.8: all streams are taken until the second GOAWAY says where it ended."""
    joined = Joined()
    first = joined.client.open_stream(REQUEST)
    joined.pump()
    joined.server.goaway(last_stream_id=STREAM_ID_MAX)
    late = joined.client.open_stream(REQUEST)  # before the GOAWAY arrives
    seen = joined.pump()
    assert told(seen[0]) == [f"Goaway {STREAM_ID_MAX} NO_ERROR"]
    assert told(seen[1]) == ["Request 3"]
    joined.server.goaway()
    assert told(joined.pump()[0]) == ["Goaway 3 NO_ERROR"]
    assert joined.server.receive(headers(5) + data(5, b"abc", end=True)) == []
    for stream in (first, late):
        joined.client.send_data(stream, b"x", end_stream=True)
        joined.server.send_headers(joined.server.streams[stream.id], RESPONSE, end_stream=True)
    assert told(joined.pump()[0]) == ["Response 1 END", "Response 3 END"]
    assert not joined.client.streams
    assert not joined.server.streams


def test_goaway_is_never_raised() -> None:
    """Section 6.8: what was said to be not taken stays so."""
    connection = server()
    connection.receive(headers(1) + headers(3))
    connection.goaway(last_stream_id=1)
    connection.goaway(last_stream_id=5)
    assert sent(connection) == ["GoAway 1 NO_ERROR"] * 2
    assert set(connection.streams) == {1, 3}


def test_a_ping() -> None:
    """Section 6.7: the answer brings its eight bytes back."""
    joined = Joined()
    joined.client.ping(b"12345678")
    seen = joined.pump()
    assert (told(seen[0]), told(seen[1])) == (["PingAcknowledged 12345678"], ["Ping 12345678"])
    with pytest.raises(ValueError, match="8 bytes"):
        joined.client.ping(b"1")


def test_the_preface_may_come_in_pieces() -> None:
    """Section 3.4: with as little at a time as a network likes."""
    connection = Connection(Role.SERVER)
    told_events = []
    for byte in PREFACE + settings() + headers(1) + data(1, b"abc", end=True):
        told_events += told(connection.receive(bytes([byte])))
    assert told_events == ["Settings", "Request 1", "Data 1 abc END"]


def test_data_that_are_sent_are_data_that_arrive() -> None:
    """Whatever the sizes of windows and frames, each byte arrives once, and in order."""
    joined = Joined(own=Settings(initial_window_size=1000))
    stream = joined.client.open_stream(REQUEST)
    content = bytes(range(256)) * 1000
    arrived = b""
    position = 0
    while position < len(content):
        rest = memoryview(content)[position:]
        position += joined.client.send_data(stream, rest, end_stream=True)
        for event in joined.pump()[1]:
            if isinstance(event, DataReceived):
                arrived += event.data
                joined.server.acknowledge(event.stream, event.flow_size)
        joined.pump()
    assert arrived == content
    assert not stream.can_send
