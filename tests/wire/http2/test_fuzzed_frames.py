"""Whatever bytes come: events, answers that can be read, bounded memory, and linear work."""

import sys
import time
from collections.abc import Callable
from types import FrameType as PythonFrame
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire.http2.joined import (
    FIXED,
    REQUEST,
    RESPONSE,
    SETTINGS_ACK,
    TRAILERS,
    block,
    data,
    frame,
    headers,
    parsed,
    settings,
    word,
)

from userservice.wire.http2 import (
    Connection,
    ConnectionFailed,
    DataReceived,
    ErrorCode,
    FrameType,
    Role,
    Settings,
    StreamClosedError,
    StreamReset,
)
from userservice.wire.http2.codes import END_HEADERS, PREFACE

OWN = Settings(max_concurrent_streams=10, max_header_list_size=8192, initial_window_size=5000)


def opened(role: Role) -> Connection:
    """Return an engine that has had its peer's preface; a client has streams open."""
    connection = Connection(role, OWN)
    connection.receive((PREFACE if role is Role.SERVER else b"") + settings() + SETTINGS_ACK)
    for _ in range(3 if role is Role.CLIENT else 0):
        connection.open_stream(REQUEST)
    return connection


def held(connection: Connection) -> int:
    """Return how much a connection keeps: bytes and entries together."""
    block_held = connection._block
    return (
        len(connection._held)
        + (0 if block_held is None else block_held.size + len(block_held.fragments))
        + len(connection.streams)
        + len(connection._reset_by_peer)
        + len(connection._gaps)
        + connection._decoder._table_size
        + sum(map(len, connection._decoder._cache))
    )


# One frame that waits for its end, a block, the table, the cached blocks, and what is
# remembered of streams: all bounds together.
HELD_MAX = 16_393 + 128 * 1024 + 64 + 3 + 10 + 1000 + 100 + 4096 + 64 * 1024

payloads = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [block(REQUEST), block(RESPONSE), block(TRAILERS), word(1), word(8) * 2, bytes(300)]
    ),
)
kinds = st.integers(0, 11) | st.integers(0, 255)
stream_ids = st.integers(0, 9) | st.integers(0, 2**32 - 1)
flags = st.sampled_from([0, 1, 4, 5, 8, 0x2D]) | st.integers(0, 255)
any_frames = st.builds(frame, kinds, flags, stream_ids, payloads)
usual_frames = st.sampled_from(
    [
        headers(1),
        headers(1, RESPONSE),
        headers(3, end=True),
        headers(1, TRAILERS, end=True),
        data(1, b"abc"),
        data(3, bytes(300), end=True),
        settings((4, 100)),
        frame(FrameType.HEADERS, END_HEADERS, 5, b"\x40\x01a\x01b" + block(REQUEST)),
        frame(FrameType.PING, 0, 0, bytes(8)),
        frame(FrameType.WINDOW_UPDATE, 0, 1, word(9)),
        frame(FrameType.RST_STREAM, 0, 1, word(8)),
    ]
)
wires = st.lists(usual_frames | usual_frames | any_frames, max_size=15).map(b"".join)
mutations = st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=4)


def mutated(wire: bytes, changes: list[tuple[int, int]]) -> bytes:
    """Return the bytes with some of them changed."""
    result = bytearray(wire)
    for position, value in changes if wire else []:
        result[position % len(result)] = value
    return bytes(result)


def drive(connection: Connection, wire: bytes, size: int) -> None:
    """Let the bytes come in pieces, as a layer above that acknowledges, answers and resets."""
    failed = False
    for start in range(0, len(wire), size):
        events = connection.receive(wire[start : start + size])
        assert not (failed and events)
        failed = connection.failed
        assert [isinstance(event, ConnectionFailed) for event in events[-1:]] == [failed][
            : len(events)
        ]
        for event in events:
            if isinstance(event, DataReceived):
                connection.acknowledge(event.stream, event.flow_size)
            stream = getattr(event, "stream", None)
            if stream is not None and stream.id % 3 == 0:
                connection.reset(stream, ErrorCode.CANCEL)
            elif stream is not None and not isinstance(event, StreamReset):
                answer(connection, stream)
        assert held(connection) <= HELD_MAX
    parsed(connection.take_output())


def answer(connection: Connection, stream: Any) -> None:
    """Send something, if the stream takes it."""
    try:
        connection.send_data(stream, bytes(100))
    except StreamClosedError:
        assert not stream.can_send


@pytest.mark.parametrize("role", Role)
def test_frames_at_random(role: Role) -> None:
    """Usual frames, odd ones, and bytes changed at random: no exception, and no end to it."""

    @FIXED
    @given(wires, mutations, st.integers(1, 200))
    def fuzz(wire: bytes, changes: list[tuple[int, int]], size: int) -> None:
        drive(opened(role), mutated(wire, changes), size)

    fuzz()


@pytest.mark.parametrize("role", Role)
def test_bytes_at_random(role: Role) -> None:
    """With a preface and without."""

    @FIXED
    @given(st.binary(max_size=200), st.booleans(), st.integers(1, 50))
    def fuzz(wire: bytes, greeted: bool, size: int) -> None:
        drive(opened(role) if greeted else Connection(role, OWN), wire, size)

    fuzz()


def lines_run(connection: Connection, wire: bytes, size: int) -> int:
    """Return how many lines of Python it takes to receive the bytes."""
    lines = 0

    def count(_frame: PythonFrame, event: str, _argument: object) -> Callable[..., Any]:
        nonlocal lines
        lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        for start in range(0, len(wire), size):
            connection.receive(wire[start : start + size])
    finally:
        sys.settrace(before)
    assert not connection.failed
    return lines


WORK = [
    pytest.param(lambda n: frame(FrameType.PING, 0, 0, bytes(8)) * n, 5000, id="pings"),
    pytest.param(lambda n: settings() * n, 5000, id="settings"),
    pytest.param(lambda n: settings((1, 1), (1, 2)) * n, 5000, id="table sizes"),
    pytest.param(lambda n: b"".join(headers(2 * i + 1) for i in range(n)), 5000, id="refused"),
    pytest.param(lambda n: headers(1) + data(1, b"") * n, 5000, id="empty data"),
    pytest.param(
        lambda n: headers(1) + frame(FrameType.RST_STREAM, 0, 1, word(8)) + data(1, b"") * n,
        5000,
        id="data on a stream that is over",
    ),
    pytest.param(
        lambda n: b"".join(
            headers(2 * i + 1) + frame(FrameType.RST_STREAM, 0, 2 * i + 1, word(8))
            for i in range(n)
        ),
        5000,
        id="opened and reset",
    ),
    pytest.param(lambda n: b"".join(headers(4 * i + 1) for i in range(n)), 5000, id="left out"),
    pytest.param(lambda n: frame(FrameType.GOAWAY, 0, 0, bytes(8)) * n, 5000, id="goaways"),
    pytest.param(lambda n: frame(99, 0, 0, b"?") * n, 5000, id="unknown frames"),
    pytest.param(lambda n: frame(99, 0, 0, bytes(n * 20)), 1, id="a frame byte by byte"),
]


@pytest.mark.parametrize(("make", "size"), WORK)
def test_the_work_is_linear_in_the_bytes(make: Callable[[int], bytes], size: int) -> None:
    """Four times as many frames run four times as many lines; were it quadratic, 16 times."""
    few = lines_run(opened(Role.SERVER), make(100), size)
    many = lines_run(opened(Role.SERVER), make(400), size)
    assert many < 5 * few


@pytest.mark.parametrize("size", [1, 100_000])
def test_no_bytes_are_copied_again_and_again(size: int) -> None:
    """A frame in many pieces, and many frames in one: both cost what their bytes cost."""

    def took(count: int) -> float:
        connection = Connection(Role.SERVER, Settings(max_frame_size=2**24 - 1))
        connection.receive(PREFACE + settings() + SETTINGS_ACK)
        wire = frame(99, 0, 0, bytes(count)) + frame(99, 0, 0, b"") * (count // 50)
        start = time.process_time()
        for position in range(0, len(wire), size):
            connection.receive(wire[position : position + size])
        assert not connection.failed
        return time.process_time() - start

    assert min(took(160_000) for _ in range(2)) < 64 * max(
        min(took(10_000) for _ in range(3)), 1e-4
    )
