"""The observer sees every frame, and changes nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire.http2.joined import (
    FIXED,
    REQUEST,
    RESPONSE,
    SETTINGS_ACK,
    TRAILERS,
    data,
    frame,
    headers,
    settings,
    told,
)

from userservice.wire.http2 import Connection, ErrorCode, FrameType, Role, Settings, State
from userservice.wire.http2.codes import END_STREAM, PREFACE
from userservice.wire.http2.observer import Observation, ObservedConnection


class Notes:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.seen: list[Observation] = []

    def observe(self, observation: Observation) -> None:
        self.seen.append(observation)

    def take(self) -> list[Observation]:
        """Return what was seen, and forget it."""
        seen = self.seen
        self.seen = []
        return seen


def brief(seen: list[Observation]) -> list[tuple[str, str, int]]:
    """Return who sent what on which stream."""
    return [
        ("sent" if each.sent else "received", FrameType(each.frame.kind).name, each.frame.stream_id)
        for each in seen
    ]


def observed_server() -> tuple[ObservedConnection, Notes]:
    """Return a server after its client's preface, and the empty notes on it."""
    notes = Notes()
    connection = ObservedConnection(Role.SERVER, observer=notes)
    connection.receive(PREFACE + settings() + SETTINGS_ACK)
    notes.take()
    return connection, notes


def test_the_preface() -> None:
    """What either side announces is told, with the answers after their cause."""
    notes = Notes()
    connection = ObservedConnection(
        Role.CLIENT, Settings(initial_window_size=9), window=70_000, observer=notes
    )
    connection.receive(settings())
    assert brief(notes.seen) == [
        ("sent", "SETTINGS", 0),
        ("sent", "WINDOW_UPDATE", 0),
        ("received", "SETTINGS", 0),
        ("sent", "SETTINGS", 0),
    ]
    assert {each.before.receive_window for each in notes.seen} == {70_000}


def test_the_states_of_a_call() -> None:
    """Each frame has the state of its stream and all windows, before and after."""
    connection, notes = observed_server()
    connection.receive(headers(1) + data(1, b"abc", end=True))
    opened, content = notes.take()
    assert (opened.before.stream, opened.after.stream) == (State.IDLE, State.OPEN)
    assert (content.frame.flags, content.frame.payload) == (END_STREAM, b"abc")
    assert (content.before.stream, content.after.stream) == (State.OPEN, State.HALF_CLOSED_REMOTE)
    assert content.before.stream_receive_window == content.before.receive_window == 65_535
    assert content.after.stream_receive_window == content.after.receive_window == 65_532
    stream = connection.streams[1]
    connection.send_headers(stream, RESPONSE)
    connection.send_data(stream, bytes(40_000))
    connection.send_headers(stream, TRAILERS, end_stream=True)
    seen = notes.take()
    assert [each.frame.kind for each in seen] == [1, 0, 0, 0, 1]
    assert [each.after.stream_send_window for each in seen[:-1]] == [65_535, 49_151, 32_767, 25_535]
    assert (seen[-1].before.stream, seen[-1].after.stream) == (
        State.HALF_CLOSED_REMOTE,
        State.CLOSED,
    )
    assert seen[-1].after.stream_send_window is None


def test_a_frame_that_breaks_a_rule() -> None:
    """It is told with the rule; what answers it comes after it."""
    connection, notes = observed_server()
    connection.receive(headers(1, RESPONSE))
    broken, answer = notes.take()
    assert broken.error is not None
    assert broken.error.code is ErrorCode.PROTOCOL_ERROR
    assert brief([broken, answer]) == [("received", "HEADERS", 1), ("sent", "RST_STREAM", 1)]
    assert answer.error is None
    connection.receive(frame(FrameType.PING, 0, 0, bytes(16_385)))
    broken, answer = notes.take()
    assert broken.error is not None
    assert broken.error.code is ErrorCode.FRAME_SIZE_ERROR
    assert broken.frame.payload == b""
    assert brief([broken, answer]) == [("received", "PING", 0), ("sent", "GOAWAY", 0)]
    connection.receive(headers(3))
    assert notes.take() == []


def test_a_client_is_observed_too() -> None:
    """Each thing that can be asked for is told; a refusal sends nothing."""
    notes = Notes()
    connection = ObservedConnection(Role.CLIENT, observer=notes)
    connection.receive(settings())
    notes.take()
    stream = connection.open_stream(REQUEST)
    connection.ping(b"12345678")
    connection.receive(headers(1, RESPONSE) + data(1, bytes(16_384)) + data(1, bytes(16_384)))
    connection.acknowledge(stream, 32_768)
    connection.reset(stream, ErrorCode.CANCEL)
    connection.reset(stream, ErrorCode.CANCEL)
    connection.goaway()
    assert brief(notes.take()) == [
        ("sent", "HEADERS", 1),
        ("sent", "PING", 0),
        ("received", "HEADERS", 1),
        ("received", "DATA", 1),
        ("received", "DATA", 1),
        ("sent", "WINDOW_UPDATE", 0),
        ("sent", "WINDOW_UPDATE", 1),
        ("sent", "RST_STREAM", 1),
        ("sent", "GOAWAY", 0),
    ]


wires = st.lists(
    st.sampled_from(
        [
            headers(1),
            headers(3, end=True),
            headers(5, RESPONSE),
            data(1, b"abc"),
            data(1, b"", end=True),
            data(3, b"x"),
            frame(FrameType.PING, 0, 0, b"12345678"),
            frame(FrameType.RST_STREAM, 0, 1, bytes(4)),
            frame(FrameType.WINDOW_UPDATE, 0, 0, bytes(4)),
            frame(99, 1, 1, b"unknown"),
            settings((4, 10)),
            frame(FrameType.PING, 0, 0, bytes(20_000)),
        ]
    ),
    max_size=10,
).map(b"".join)


@FIXED
@given(wires, st.integers(1, 50), st.sampled_from([PREFACE, PREFACE[:-1] + b"x"]))
def test_being_observed_changes_nothing(wire: bytes, size: int, preface: bytes) -> None:
    """The same bytes give the same events and answers; and what was told is what was sent."""
    notes = Notes()
    plain = Connection(Role.SERVER)
    observed = ObservedConnection(Role.SERVER, observer=notes)
    wire = preface + settings() + wire
    seen = []
    for start in range(0, len(wire), size):
        seen += told(observed.receive(wire[start : start + size]))
    assert seen == told(plain.receive(wire))
    output = observed.take_output()
    assert output == plain.take_output()
    assert output == b"".join(
        frame(each.frame.kind, each.frame.flags, each.frame.stream_id, each.frame.payload)
        for each in notes.seen
        if each.sent
    )


@pytest.mark.parametrize("size", [0, 1, 16_384, 16_385, 70_000])
def test_what_is_sent_is_the_same_too(size: int) -> None:
    """Data are sent in the same frames, as far as the windows go."""
    connections = [Connection(Role.CLIENT), ObservedConnection(Role.CLIENT, observer=Notes())]
    outputs = []
    for connection in connections:
        connection.receive(settings() + SETTINGS_ACK)
        stream = connection.open_stream(REQUEST)
        sent = connection.send_data(stream, bytes(size), end_stream=True)
        assert sent == min(size, 65_535)
        outputs.append(connection.take_output())
    assert outputs[0] == outputs[1]
