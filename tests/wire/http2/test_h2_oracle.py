"""h2 as the oracle: the same frames give the same events, errors and windows.

Where the two engines differ, a deviation of the list below says why. They are compared
frame by frame; that the places where bytes are cut change nothing is a test of its own.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire.http2.as_h2 import Ours, Outcome, Theirs
from tests.wire.http2.joined import (
    FIXED,
    REQUEST,
    RESPONSE,
    SETTINGS_ACK,
    TRAILERS,
    block,
    frame,
    settings,
    told,
    word,
)

from userservice.wire.http2 import Connection, ErrorCode, FrameType, Role, Setting
from userservice.wire.http2.codes import END_HEADERS, END_STREAM, PADDED, PREFACE, PRIORITY


class Sent(NamedTuple):
    """A frame of the peer; for a long header block, its CONTINUATION frames with it."""

    kind: int
    stream_id: int
    wire: bytes

    def __repr__(self) -> str:
        return f"<frame of type {self.kind} on {self.stream_id}: {self.wire[:80].hex()}>"


class Act(NamedTuple):
    """What this side does, where the state of the stream allows it."""

    name: str
    stream_id: int


class Deviation(NamedTuple):
    """What this engine does unlike h2."""

    reason: str
    applies: Callable[[Sent, Outcome, Outcome], bool]
    """Takes the frame, our outcome, and h2's."""
    ends: bool = True
    """Whether the two are in different states from here on."""


def _resets(ours: Outcome, code: ErrorCode) -> bool:
    return ours.failure is None and [each for _, each in ours.resets] == [code]


def _nothing(outcome: Outcome) -> bool:
    return outcome == Outcome([], None, [])


DEVIATIONS: Final = (
    Deviation(
        "What breaks a rule on a stream ends that stream (sections 5.4.2, 6.3, 6.9 and 8.1.1);"
        " h2 ends the connection, with the same code.",
        lambda _, ours, theirs: (
            theirs.failure is not None and _resets(ours, ErrorCode(theirs.failure))
        ),
    ),
    Deviation(
        "HEADERS after RST_STREAM are a stream error (section 5.1); h2 looks at their fields.",
        lambda sent, ours, theirs: (
            sent.kind == FrameType.HEADERS
            and _resets(ours, ErrorCode.STREAM_CLOSED)
            and theirs.failure == ErrorCode.PROTOCOL_ERROR
        ),
    ),
    Deviation(
        "One stream too many is refused, and can be tried again (section 5.1.2)."
        " Its data are ignored; h2 ends the connection.",
        lambda _, ours, theirs: (
            _resets(ours, ErrorCode.REFUSED_STREAM) and theirs.failure == ErrorCode.PROTOCOL_ERROR
        ),
    ),
    Deviation(
        "What comes on a stream that this side reset, or refused once, is ignored (section 5.1);"
        " h2 answers each frame with RST_STREAM.",
        lambda sent, ours, theirs: (
            _nothing(ours)
            and theirs == Outcome([], None, [(sent.stream_id, ErrorCode.STREAM_CLOSED)])
        ),
        ends=False,
    ),
    Deviation(
        "What breaks a rule on a stream that is over has no effect, but for HEADERS; h2 checks"
        " the frame before its stream.",
        lambda sent, ours, theirs: (
            _nothing(ours)
            and sent.kind in (FrameType.WINDOW_UPDATE, FrameType.PRIORITY, FrameType.HEADERS)
            and theirs.failure in (ErrorCode.PROTOCOL_ERROR, ErrorCode.FRAME_SIZE_ERROR)
        ),
    ),
    Deviation(
        "A block that cannot be read is a COMPRESSION_ERROR (section 4.3).",
        lambda sent, ours, theirs: (
            sent.kind == FrameType.HEADERS
            and (ours.failure, theirs.failure)
            == (ErrorCode.COMPRESSION_ERROR, ErrorCode.PROTOCOL_ERROR)
        ),
    ),
    Deviation(
        "A frame too short for what it must hold is a FRAME_SIZE_ERROR (section 4.2).",
        lambda _, ours, theirs: (
            (ours.failure, theirs.failure) == (ErrorCode.FRAME_SIZE_ERROR, ErrorCode.PROTOCOL_ERROR)
        ),
    ),
    Deviation(
        "A message that ends with its headers has a content-length of 0 (section 8.1.1);"
        " h2 looks at the content only when there is some.",
        lambda sent, ours, theirs: (
            sent.kind == FrameType.HEADERS
            and _resets(ours, ErrorCode.PROTOCOL_ERROR)
            and theirs.events[-1:] == [("StreamEnded", sent.stream_id)]
        ),
    ),
    Deviation(
        "RST_STREAM on an idle stream is a connection error (section 6.4); h2 ignores it.",
        lambda sent, ours, theirs: (
            sent.kind == FrameType.RST_STREAM
            and ours.failure == ErrorCode.PROTOCOL_ERROR
            and _nothing(theirs)
        ),
    ),
    Deviation(
        "A server opens no stream (section 5.1.1); h2 takes it for a request.",
        lambda sent, ours, theirs: (
            sent.stream_id == 2
            and ours.failure == ErrorCode.PROTOCOL_ERROR
            and [event[0] for event in theirs.events[:1]] == ["RequestReceived"]
        ),
    ),
    Deviation(
        "Priorities have no effect (section 5.3.2), so not that of a stream on itself either.",
        lambda sent, ours, theirs: (
            sent.kind in (FrameType.HEADERS, FrameType.PRIORITY)
            and ours.failure is None
            and theirs.failure == ErrorCode.PROTOCOL_ERROR
            and word(sent.stream_id) in sent.wire[9:15]
        ),
    ),
    Deviation(
        "A request may lack both :authority and host (section 8.3.1); h2 refuses it.",
        lambda _, ours, theirs: (
            theirs.failure == ErrorCode.PROTOCOL_ERROR
            and [event[2] for event in ours.events[:1]] == [REQUEST[:3]]
        ),
    ),
    Deviation(
        "A header list that is too large is for the layer above to answer, as gRPC's status"
        " or 431, or ends its stream (section 10.5.1); h2 ends the connection.",
        lambda sent, _, theirs: (
            len(sent.wire) > 50_000 and theirs.failure == ErrorCode.ENHANCE_YOUR_CALM
        ),
    ),
    Deviation(
        "CONTINUATION of nothing is a PROTOCOL_ERROR (section 6.10), whatever its stream was.",
        lambda sent, ours, theirs: (
            sent.kind == FrameType.CONTINUATION
            and (ours.failure, theirs.failure)
            == (ErrorCode.PROTOCOL_ERROR, ErrorCode.STREAM_CLOSED)
        ),
    ),
    Deviation(
        "GOAWAY leaves the streams alive that the peer looked at (section 6.8), and ends the"
        " others; h2 takes nothing after it.",
        lambda sent, *_: sent.kind == FrameType.GOAWAY,
    ),
)


def plain(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> Sent:
    """Return a frame by itself."""
    return Sent(kind, stream_id, frame(kind, flags, stream_id, payload))


def padded(sent: tuple[int, int, int, bytes], padding: int, *, lies: bool) -> Sent:
    """Return a frame with padding, or one that says there is more than it has."""
    kind, flags, stream_id, payload = sent
    content = bytes([padding + len(payload) + 1 if lies else padding]) + payload + bytes(padding)
    return plain(kind, flags | PADDED, stream_id, content)


def headers_of(stream_id: int, fields: Sequence[tuple[str, str]], flags: int) -> Sent:
    """Return HEADERS, and CONTINUATION where the block is long."""
    coded = block(fields)
    starts = range(0, len(coded), 16_384)
    wire = b""
    for start in starts:
        kind = FrameType.CONTINUATION if start else FrameType.HEADERS
        last = END_HEADERS if start == starts[-1] else 0
        more = flags if not start else 0
        wire += frame(kind, more | last, stream_id, coded[start : start + 16_384])
    return Sent(FrameType.HEADERS, stream_id, wire)


LENGTH = ("content-length", "3")
MESSAGES: Final = (
    *(REQUEST, RESPONSE, TRAILERS) * 3,
    (*REQUEST, LENGTH),
    (*RESPONSE, LENGTH),
    ((":status", "100"),),
    (("Upper", "case"),),
    (("x", "a\r\nb"),),
    (*REQUEST, ("connection", "close")),
    (*REQUEST, ("host", "here"), ("host", "here")),
    (*REQUEST, (":path", "/")),
    REQUEST[:3],
    REQUEST[:2],
    (*REQUEST, *(("x", "v" * 90) for _ in range(600))),
)
streams = st.sampled_from([1, 1, 1, 3, 3, 5, 7, 9, 2, 0])
ends = st.sampled_from([0, 0, END_STREAM])
contents = st.sampled_from([b"", b"abc", b"x" * 300, bytes(16_384)])
headers = st.builds(headers_of, streams, st.sampled_from(MESSAGES), ends)
data = st.builds(plain, st.just(FrameType.DATA), ends, streams, contents)
changes = st.lists(
    st.sampled_from(
        [
            (Setting.INITIAL_WINDOW_SIZE, 10),
            (Setting.INITIAL_WINDOW_SIZE, 70_000),
            (Setting.MAX_CONCURRENT_STREAMS, 1),
            (Setting.HEADER_TABLE_SIZE, 100),
            (Setting.MAX_FRAME_SIZE, 20_000),
            (Setting.MAX_FRAME_SIZE, 1),
            (Setting.ENABLE_PUSH, 2),
            (Setting.INITIAL_WINDOW_SIZE, 2**31),
        ]
    ),
    max_size=2,
    unique_by=lambda change: change[0],
)
increments = st.sampled_from([1, 1, 100, 0, 2**31 - 1]).map(word)
frames = st.one_of(
    headers,
    headers,
    data,
    data,
    st.builds(
        padded,
        st.tuples(st.just(FrameType.DATA), ends, streams, contents.filter(lambda c: len(c) < 9)),
        st.integers(0, 5),
        lies=st.booleans(),
    ),
    st.builds(
        lambda stream_id, parent, end: plain(
            FrameType.HEADERS,
            END_HEADERS | PRIORITY | end,
            stream_id,
            word(parent) + b"\x01" + block(REQUEST),
        ),
        *(streams, streams, ends),
    ),
    st.builds(plain, st.just(FrameType.HEADERS), st.just(4), streams, st.binary(max_size=9)),
    st.builds(plain, st.just(FrameType.PRIORITY), ends, streams, st.just(word(9) + b"\x01")),
    st.builds(plain, st.just(FrameType.PRIORITY), ends, streams, st.just(word(0))),
    st.builds(plain, st.just(FrameType.RST_STREAM), ends, streams, st.just(word(8))),
    st.builds(plain, st.just(FrameType.WINDOW_UPDATE), ends, streams, increments),
    changes.map(lambda given: Sent(FrameType.SETTINGS, 0, settings(*given))),
    st.just(Sent(FrameType.SETTINGS, 0, SETTINGS_ACK)),
    st.just(plain(FrameType.PING, 0, 0, b"12345678")),
    st.just(plain(FrameType.PING, 1, 0, b"12345678")),
    st.builds(plain, st.just(FrameType.CONTINUATION), st.just(4), streams),
    st.builds(plain, st.just(FrameType.PUSH_PROMISE), st.just(4), streams, st.just(word(2))),
    st.builds(
        plain, st.just(FrameType.GOAWAY), ends, st.just(0), st.just(word(1) + word(0) + b"bye")
    ),
    st.builds(plain, st.integers(0x20, 255), st.integers(0, 255), streams, contents),
)
acts = st.builds(Act, st.sampled_from(["respond", "end", "reset", "read"]), streams)
connections = st.lists(frames | frames | frames | acts, max_size=20)


@pytest.mark.parametrize("role", Role)
def test_the_same_frames_do_the_same(role: Role) -> None:
    """Valid and slightly invalid frames, and what this side does in between."""

    @FIXED
    @given(connections)
    def compare(steps: list[Sent | Act]) -> None:
        Comparison(role).run(steps)

    compare()


class Comparison:
    """Both engines, driven the same way.

    Args:
        role: which side they are; clients have three streams open.
    """

    def __init__(self, role: Role) -> None:
        self.role = role
        self.ours, self.theirs = Ours(role), Theirs(role)
        for _ in range(3 if role is Role.CLIENT else 0):
            self.ours.open_stream()
            self.theirs.open_stream()
        preface = PREFACE if role is Role.SERVER else b""
        opening = preface + settings() + SETTINGS_ACK
        assert self.ours.receive(opening) == self.theirs.receive(opening)
        self.unread: dict[int, int] = {}
        self.responded: set[int] = set()

    def run(self, steps: Sequence[Sent | Act]) -> None:
        """Compare after each step, until the engines are in different states."""
        for step in steps:
            if isinstance(step, Act):
                self.act(step)
            elif not self.take(step):
                return
            assert self.windows_of(self.ours) == self.windows_of(self.theirs)

    def take(self, sent: Sent) -> bool:
        """Let both receive a frame; tell whether they can go on."""
        ours, theirs = self.ours.receive(sent.wire), self.theirs.receive(sent.wire)
        for event in ours.events:
            if event[0] == "DataReceived":
                self.unread[event[1]] = self.unread.get(event[1], 0) + event[3]
        if ours == theirs:
            return ours.failure is None and sent.kind != FrameType.GOAWAY
        deviations = [each for each in DEVIATIONS if each.applies(sent, ours, theirs)]
        assert deviations, f"{sent}: {ours}, and h2 {theirs}"
        return not any(each.ends for each in deviations)

    def act(self, act: Act) -> None:
        """Let both do the same, where the stream allows it."""
        stream = self.ours.connection.streams.get(act.stream_id)
        if stream is None:
            return
        can_respond = stream.can_send and self.role is Role.SERVER
        unread = self.unread.get(stream.id, 0)
        for engine in (self.ours, self.theirs):
            if act.name == "reset":
                engine.reset(act.stream_id)
            elif act.name == "read" and unread:
                engine.acknowledge(act.stream_id, unread)
                self.unread[act.stream_id] = 0
            elif act.name in ("respond", "end") and can_respond and stream.id not in self.responded:
                engine.respond(act.stream_id, end=act.name == "end")
        if act.name in ("respond", "end"):
            self.responded.add(act.stream_id)

    def windows_of(self, engine: Ours | Theirs) -> object:
        """Return the windows; nobody uses that of a stream whose peer has ended it."""
        connection, by_stream = engine.windows()
        live = self.ours.connection.streams
        return connection, {
            number: (to_send, to_receive if live[number].can_receive else None)
            for number, (to_send, to_receive) in by_stream.items()
            if number in live
        }


@pytest.mark.parametrize("role", Role)
def test_where_the_bytes_are_cut_changes_nothing(role: Role) -> None:
    """A frame at a time, or any pieces: the same events, answers and windows."""

    @FIXED
    @given(st.lists(frames, max_size=12), st.lists(st.integers(1, 400), min_size=1, max_size=30))
    def compare(sent: list[Sent], sizes: list[int]) -> None:
        whole, pieces = opened(role), opened(role)
        words = [words for each in sent for words in told(whole.receive(each.wire))]
        rest = b"".join(each.wire for each in sent)
        cut_words = []
        while rest:
            size = sizes[len(rest) % len(sizes)]
            cut_words += told(pieces.receive(rest[:size]))
            rest = rest[size:]
        assert cut_words == words
        assert pieces.take_output() == whole.take_output()
        assert pieces.receive_window == whole.receive_window
        assert pieces.send_window == whole.send_window

    compare()


def opened(role: Role) -> Connection:
    """Return an engine that has had its peer's preface."""
    connection = Connection(role)
    for _ in range(3 if role is Role.CLIENT else 0):
        connection.open_stream(REQUEST)
    connection.receive((PREFACE if role is Role.SERVER else b"") + settings() + SETTINGS_ACK)
    return connection


def test_each_deviation_has_its_own_reason() -> None:
    """The list is read by people."""
    reasons = [each.reason for each in DEVIATIONS]
    assert len(set(reasons)) == len(reasons)
