"""Flow control (RFC 9113 sections 5.2 and 6.9): no credit is lost, and none is given twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire.http2.joined import (
    FIXED,
    PADDED_FRAME,
    REQUEST,
    RESPONSE,
    SETTINGS_ACK,
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

from userservice.wire.http2 import (
    Connection,
    DataReceived,
    ErrorCode,
    FrameType,
    Role,
    Setting,
    Settings,
    Stream,
)
from userservice.wire.http2.codes import PREFACE


def test_credit_goes_back_by_half_a_window() -> None:
    """Section 6.9: a frame is not answered by a frame."""
    connection = server(Settings(initial_window_size=100), window=65_535)
    connection.receive(headers(1) + data(1, bytes(60)))
    stream = connection.streams[1]
    connection.acknowledge(stream, 49)
    assert not connection.has_output
    connection.acknowledge(stream, 1)
    assert sent(connection) == ["WindowUpdate 1 50"]
    assert (stream.receive_window, stream.credit) == (90, 0)
    connection.receive(data(1, bytes(90)))
    connection._credit = 32_766
    connection.acknowledge(stream, 1)
    assert sent(connection) == ["WindowUpdate 32767"]


@pytest.mark.parametrize("size", [0, 1])
def test_a_window_of_next_to_nothing(size: int) -> None:
    """Section 6.9: WINDOW_UPDATE by 0 would be an error of this side."""
    connection = server(Settings(initial_window_size=size))
    connection.receive(headers(1) + data(1, b""))
    stream = connection.streams[1]
    connection.acknowledge(stream, 0)
    assert not connection.has_output
    if size:
        connection.receive(data(1, b"x"))
        connection.acknowledge(stream, 1)
        assert sent(connection) == ["WindowUpdate 1 1"]


def test_a_smaller_window_is_in_force_when_the_peer_says_so() -> None:
    """Section 6.9.2: before, it may use the default; a window can become negative by that."""
    connection = Connection(Role.SERVER, Settings(initial_window_size=100))
    connection.receive(PREFACE + settings() + headers(1) + data(1, bytes(1000)))
    stream = connection.streams[1]
    assert stream.receive_window == 65_535 - 1000
    assert told(connection.receive(SETTINGS_ACK)) == ["SettingsAcknowledged"]
    assert stream.receive_window == 100 - 1000
    connection.acknowledge(stream, 1000)
    assert stream.receive_window == 100
    assert told(connection.receive(headers(3) + data(3, bytes(101)))) == [
        "Request 3",
        "StreamReset 3 FLOW_CONTROL_ERROR",
    ]
    connection.receive(SETTINGS_ACK)
    assert stream.receive_window == 100


def test_windows_of_open_streams_move_with_the_setting() -> None:
    """Section 6.9.2: those of all streams, by the difference; that of the connection never."""
    connection = client(streams=2)
    first, second = connection.streams.values()
    connection.send_data(first, b"abc")
    connection.receive(settings((Setting.INITIAL_WINDOW_SIZE, 2)))
    assert (first.send_window, second.send_window) == (-1, 2)
    connection.receive(frame(FrameType.WINDOW_UPDATE, 0, 1, word(3)))
    assert first.send_window == 2
    assert connection.send_window == 65_535 - 3


def test_all_streams_share_the_window_of_the_connection() -> None:
    """Section 5.2.1: however much each of them has."""
    connection = client(streams=2)
    connection.receive(settings((Setting.INITIAL_WINDOW_SIZE, 100_000)))
    first, second = connection.streams.values()
    assert connection.send_data(first, bytes(60_000)) == 60_000
    assert connection.send_data(second, bytes(10_000)) == 5_535
    assert (first.send_window, second.send_window, connection.send_window) == (40_000, 94_465, 0)


def test_the_connection_counts_what_nobody_reads() -> None:
    """Section 6.9: data on streams that are over are given back at once; padding counts."""
    connection = server()
    connection.receive(headers(1))
    connection.reset(connection.streams[1], ErrorCode.CANCEL)
    connection.take_output()
    connection.receive(data(1, bytes(16_384)) + data(1, bytes(16_384)) + PADDED_FRAME)
    assert sent(connection) == ["WindowUpdate 32768"]
    assert connection.receive_window + connection._credit == 65_535


@pytest.mark.parametrize(
    "wire",
    [
        headers(1, (*REQUEST, ("content-length", "1"))) + data(1, bytes(50)),
        headers(1) + data(1, bytes(101)),
        headers(1, end=True) + data(1, bytes(50)),
    ],
)
def test_the_connection_counts_data_that_break_a_rule(wire: bytes) -> None:
    """Section 6.9: the stream is reset, and the layer above never sees them."""
    connection = server(Settings(initial_window_size=100))
    connection.receive(wire)
    assert not connection.streams
    assert connection._credit == 65_535 - connection.receive_window > 0


def test_the_connection_has_a_window_too() -> None:
    """Section 6.9.1: more than it is an error of the connection, however many streams."""
    connection = server(Settings(initial_window_size=100_000))
    connection.receive(headers(1) + data(1, bytes(16_384)) * 3 + data(1, bytes(16_383)))
    assert connection.receive_window == 0
    assert told(connection.receive(data(1))) == ["Data 1"]
    assert told(connection.receive(data(1, b"x"))) == ["ConnectionFailed FLOW_CONTROL_ERROR"]


class Reader:
    """A server, and what its layer above has read of each stream and not yet acknowledged."""

    def __init__(self) -> None:
        self.connection = server(Settings(initial_window_size=2000), window=70_000)
        self.unread: list[tuple[Stream, int]] = []
        self.alive: dict[int, Stream] = {}
        self.next_id = 1

    def take(self, wire: bytes) -> None:
        for event in self.connection.receive(wire):
            if isinstance(event, DataReceived) and event.flow_size:
                self.unread.append((event.stream, event.flow_size))

    def step(self, name: str, number: int) -> None:
        """Let something happen on one of the streams."""
        streams = list(self.connection.streams.values())
        stream = streams[number % len(streams)] if streams else None
        used_id = number % (self.next_id // 2 or 1) * 2 + 1
        match name:
            case "open":
                self.take(headers(self.next_id))
                self.next_id += 2
            case "data" if self.next_id > 1:
                self.take(data(used_id, bytes(number)))
            case "padded" if self.next_id > 1:
                self.take(frame(0, 8, used_id, bytes([9]) + bytes(number + 9)))
            case "end" if stream is not None and stream.can_receive:
                self.take(data(stream.id, b"", end=True))
            case "respond" if stream is not None and stream.can_send:
                self.connection.send_headers(stream, RESPONSE, end_stream=True)
            case "reset" if stream is not None:
                self.connection.reset(stream, ErrorCode.CANCEL)
            case "peer resets" if stream is not None:
                self.take(frame(FrameType.RST_STREAM, 0, stream.id, word(8)))
            case "read" if self.unread:
                self.connection.acknowledge(*self.unread.pop(number % len(self.unread)))


steps = st.tuples(
    st.sampled_from(
        ["open", "data", "data", "padded", "end", "respond", "reset", "peer resets", "read", "read"]
    ),
    st.integers(0, 900),
)


@FIXED
@given(st.lists(steps, max_size=40))
def test_no_credit_is_lost_and_none_is_given_twice(given_steps: list[tuple[str, int]]) -> None:
    """Window, what is unread, and what was not given back yet: their sum never changes."""
    reader = Reader()
    connection = reader.connection
    for name, number in given_steps:
        reader.step(name, number)
        assert not connection.failed
        unread = sum(size for _, size in reader.unread)
        assert connection.receive_window + connection._credit + unread == 70_000
        for stream in connection.streams.values():
            unread = sum(size for each, size in reader.unread if each is stream)
            if stream.can_receive:
                assert stream.receive_window + stream.credit + unread == 2000
                assert stream.receive_window >= 0
        given_back = [
            int(words.split()[-1])
            for words in sent(connection)
            if words.startswith("WindowUpdate") and len(words.split()) == 2
        ]
        assert all(each >= 35_000 for each in given_back)


@FIXED
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["send", "stream", "connection", "setting"]), st.integers(0, 3000)
        ),
        max_size=30,
    )
)
def test_no_more_is_sent_than_was_allowed(given_steps: list[tuple[str, int]]) -> None:
    """What both windows gave is what bounds it, whatever the peer does with its settings."""
    connection = client(streams=1)
    stream = connection.streams[1]
    allowed, initial, used = 0, 65_535, 0
    connection_allowed = 65_535
    for name, number in given_steps:
        match name:
            case "send":
                left = min(initial + allowed - used, connection_allowed - used)
                size = connection.send_data(stream, bytes(number * 10))
                assert size == max(min(number * 10, left), 0)
                used += size
            case "stream" if number:
                connection.receive(frame(FrameType.WINDOW_UPDATE, 0, 1, word(number)))
                allowed += number
            case "connection" if number:
                connection.receive(frame(FrameType.WINDOW_UPDATE, 0, 0, word(number)))
                connection_allowed += number
            case "setting":
                initial = number * 50
                connection.receive(settings((Setting.INITIAL_WINDOW_SIZE, initial)))
        assert stream.send_window == initial + allowed - used
        assert connection.send_window == connection_allowed - used
