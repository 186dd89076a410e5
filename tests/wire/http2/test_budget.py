"""A peer that sends what brings nothing is told to be calm, and may go on in the long run."""

import pytest
from tests.wire.http2.joined import (
    REQUEST,
    SETTINGS_ACK,
    data,
    frame,
    headers,
    sent,
    settings,
    told,
    word,
)

from userservice.wire.http2 import (
    Budgets,
    Connection,
    ConnectionFailed,
    FrameType,
    Role,
    Setting,
    Settings,
)
from userservice.wire.http2.codes import PREFACE

CALM = "ConnectionFailed ENHANCE_YOUR_CALM"


class Clock:
    """A clock that a test sets."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def limited(clock: Clock, *, resets: int = 10, glitches: int = 10) -> Connection:
    """A server with small budgets, that has had its client's preface."""
    budgets = Budgets(
        reset_burst=resets, resets_per_s=2, glitch_burst=glitches + 2, glitches_per_s=2, clock=clock
    )
    connection = Connection(Role.SERVER, Settings(), budgets=budgets)
    connection.receive(PREFACE + settings() + SETTINGS_ACK)  # two SETTINGS
    connection.take_output()
    return connection


GLITCHES = {
    "PING": frame(FrameType.PING, 0, 0, b"12345678"),
    "an answer to no PING": frame(FrameType.PING, 1, 0, b"12345678"),
    "SETTINGS": settings((Setting.HEADER_TABLE_SIZE, 100)),
    "an acknowledgement": SETTINGS_ACK,
    "PRIORITY": frame(FrameType.PRIORITY, 0, 3, word(1) + b"\x01"),
    "WINDOW_UPDATE": frame(FrameType.WINDOW_UPDATE, 0, 0, word(1)),
    "WINDOW_UPDATE of a stream": frame(FrameType.WINDOW_UPDATE, 0, 1, word(1)),
    "an unknown frame": b"\0\0\0\x42\0\0\0\0\0",
    "empty DATA": data(1),
    "padded DATA without data": frame(FrameType.DATA, 8, 1, b"\x03\0\0\0"),
    "RST_STREAM of a stream that is over": frame(FrameType.RST_STREAM, 0, 3, word(8)),
}


@pytest.mark.parametrize("glitch", GLITCHES.values(), ids=GLITCHES)
def test_frames_that_bring_nothing_have_a_budget(glitch: bytes) -> None:
    """One more than the budget ends the connection; a second later, two more are allowed."""
    clock = Clock()
    connection = limited(clock)
    connection.receive(headers(1) + headers(3))
    over = frame(FrameType.RST_STREAM, 0, 3, word(8))
    connection.receive(over)
    for _ in range(10):
        connection.receive(glitch)
    assert not connection.failed
    clock.now_s += 1
    connection.receive(glitch)
    connection.receive(glitch)
    assert not connection.failed
    connection.take_output()
    failure = connection.receive(glitch * 2)[-1]
    assert told([failure]) == [CALM]
    assert isinstance(failure, ConnectionFailed)
    assert failure.error.reason == "too many frames that bring nothing"
    assert sent(connection)[-1] == "GoAway 3 ENHANCE_YOUR_CALM"


def test_each_change_of_a_settings_frame_counts() -> None:
    """A frame of thousands of changes is not one frame's work."""
    connection = limited(Clock())
    changes = [(int(Setting.INITIAL_WINDOW_SIZE), size) for size in range(10)]
    connection.receive(settings(*changes))
    assert not connection.failed
    assert told(connection.receive(settings())) == [CALM]


def test_resets_have_a_budget() -> None:
    """Streams that the peer resets (rapid reset, CVE-2023-44487), a few a second for ever."""
    clock = Clock()
    connection = limited(clock)
    number = iter(range(1, 1000, 2))

    def open_and_reset() -> list[str]:
        stream = next(number)
        reset = frame(FrameType.RST_STREAM, 0, stream, word(8))
        return told(connection.receive(headers(stream) + reset))

    for _ in range(10):
        assert CALM not in open_and_reset()
    for _ in range(20):
        clock.now_s += 0.5
        assert CALM not in open_and_reset()
    assert open_and_reset()[-1] == CALM


@pytest.mark.parametrize(
    "fault",
    [frame(FrameType.WINDOW_UPDATE, 0, 1, word(0)), headers(1, REQUEST)],
    ids=["a window that grows by 0", "trailers that do not end"],
)
def test_resets_that_we_are_made_to_send_count_too(fault: bytes) -> None:
    """MadeYouReset, CVE-2025-8671: a fault of a stream frees its place, and costs the same."""
    connection = limited(Clock(), glitches=1000)
    events: list[str] = []
    for number in range(1, 23, 2):
        made = fault[:5] + word(number) + fault[9:]
        events += told(connection.receive(headers(number) + made))
    assert events[-1] == CALM


def test_who_is_sent_much_may_send_more_of_them() -> None:
    """WINDOW_UPDATE is needed for data, and grpc-go measures the link with PING while they come."""
    connection = limited(Clock())
    connection.receive(headers(1))
    stream = connection.streams[1]
    for _ in range(100):
        assert connection.send_data(stream, b"0123456789") == 10
        connection.receive(GLITCHES["PING"])
    assert not connection.failed
    assert told(connection.receive(GLITCHES["PING"] * 20))[-1] == CALM


@pytest.mark.parametrize(
    "budgets", [Budgets(block_frames=3), Budgets(block_bytes=30)], ids=["frames", "bytes"]
)
def test_a_header_block_has_an_end(budgets: Budgets) -> None:
    """A flood of CONTINUATION (CVE-2023-45288) is cut off by its frames, or by its bytes."""
    connection = Connection(Role.SERVER, Settings(), budgets=budgets)
    connection.receive(PREFACE + settings() + SETTINGS_ACK)
    connection.receive(frame(FrameType.HEADERS, 0, 1, bytes(10)))
    more = frame(FrameType.CONTINUATION, 0, 1, bytes(10))
    assert told(connection.receive(more * 2)) == []
    assert told(connection.receive(more)) == [CALM]


@pytest.mark.parametrize("table", [0, 100, 8_192])
def test_the_encoder_s_table_has_a_bound(table: int) -> None:
    """A peer may allow 4 GiB; what it allows less than this side's bound is kept to."""
    connection = Connection(Role.CLIENT, budgets=Budgets(encoder_table=table))
    connection.receive(settings((Setting.HEADER_TABLE_SIZE, 2**32 - 1)))
    connection.open_stream(REQUEST)
    assert connection._encoder._encoder.header_table_size == table
    connection.receive(settings((Setting.HEADER_TABLE_SIZE, 50)))
    connection.open_stream(REQUEST)
    assert connection._encoder._encoder.header_table_size == min(table, 50)
