"""A look at every frame of a connection, with the states before and after it.

For whoever asks: a plain `Connection` has no hook for it, and pays nothing. The observed one
cuts the bytes into frames itself, and has its base class take them one by one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from userservice.wire.http2 import frames
from userservice.wire.http2.budget import DEFAULT_BUDGETS, Budgets
from userservice.wire.http2.codes import PREFACE, WINDOW_DEFAULT, ErrorCode
from userservice.wire.http2.connection import Connection
from userservice.wire.http2.endpoint import Role
from userservice.wire.http2.errors import ProtocolError, StreamError
from userservice.wire.http2.events import Event
from userservice.wire.http2.headers import Fields
from userservice.wire.http2.sender import DATA_FRAME_MAX
from userservice.wire.http2.settings import Settings
from userservice.wire.http2.stream import CLOSED, IDLE, State, Stream


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame as it is on the wire (RFC 9113 section 4.1).

    Args:
        kind: its type, which may be unknown.
        flags: what they mean depends on the type.
        stream_id: 0 for the connection.
        payload: with padding, if it has some; empty where the frame was too large to be read.
    """

    kind: int
    flags: int
    stream_id: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a connection, and of the one stream that a frame is about.

    Args:
        send_window: what the peer takes on the connection, in bytes.
        receive_window: what the peer may send on the connection, in bytes.
        stream: the stream's state; None on stream 0.
        stream_send_window: the same for the stream; None where it is not alive.
        stream_receive_window: the same for the stream; None where it is not alive.
    """

    send_window: int
    receive_window: int
    stream: State | None
    stream_send_window: int | None
    stream_receive_window: int | None


@dataclass(frozen=True, slots=True)
class Observation:
    """A frame that passed.

    A frame that answers another one at once has the same states as that.

    Args:
        sent: whether this side sent it.
        frame: the frame.
        before: the state before it.
        after: the state after it.
        error: the rule that it broke.
    """

    sent: bool
    frame: Frame
    before: Snapshot
    after: Snapshot
    error: ProtocolError | StreamError | None = None


class Observer(Protocol):
    """Whoever is told of frames; it may not use the connection meanwhile."""

    def observe(self, observation: Observation) -> None:
        """Take a frame that was received, or is about to be sent."""


class ObservedConnection(Connection):
    """A connection that tells an observer of every frame.

    Args:
        role: which side this is.
        settings: as for `Connection`.
        window: as for `Connection`.
        budgets: as for `Connection`.
        observer: who is told.
    """

    def __init__(
        self,
        role: Role,
        settings: Settings | None = None,
        *,
        window: int = WINDOW_DEFAULT,
        budgets: Budgets = DEFAULT_BUDGETS,
        observer: Observer,
    ) -> None:
        super().__init__(role, settings, window=window, budgets=budgets)
        self._observer = observer
        self._unread = bytearray()
        self._error: ProtocolError | StreamError | None = None
        self._receiving = False
        self._tell_sent(0, self._snapshots(0))

    # What is sent

    def open_stream(
        self,
        fields: tuple[tuple[str, str], ...],
        metadata: Fields = (),
        *,
        end_stream: bool = False,
    ) -> Stream:
        """As `Connection` does."""
        with self._observed(self._next_id):
            return super().open_stream(fields, metadata, end_stream=end_stream)

    def send_headers(
        self,
        stream: Stream,
        fields: tuple[tuple[str, str], ...],
        metadata: Fields = (),
        *,
        end_stream: bool = False,
    ) -> None:
        """As `Connection` does."""
        with self._observed(stream.id):
            super().send_headers(stream, fields, metadata, end_stream=end_stream)

    def send_data(
        self, stream: Stream, data: bytes | memoryview, *, end_stream: bool = False
    ) -> int:
        """As `Connection` does, but a frame at a time: each has its own states."""
        rest = memoryview(data)
        sent = 0
        while True:
            piece = rest[: min(self.remote.max_frame_size, DATA_FRAME_MAX)]
            rest = rest[len(piece) :]
            with self._observed(stream.id):
                size = super().send_data(stream, piece, end_stream=end_stream and not rest)
            sent += size
            if size < len(piece) or not rest:
                return sent

    def reset(self, stream: Stream, code: ErrorCode) -> None:
        """As `Connection` does."""
        with self._observed(stream.id):
            super().reset(stream, code)

    def acknowledge(self, stream: Stream, size: int) -> bool:
        """As `Connection` does."""
        with self._observed(stream.id):
            return super().acknowledge(stream, size)

    def ping(self, payload: bytes) -> None:
        """As `Connection` does."""
        with self._observed(0):
            super().ping(payload)

    def goaway(
        self,
        code: ErrorCode = ErrorCode.NO_ERROR,
        *,
        last_stream_id: int | None = None,
        debug: bytes = b"",
    ) -> None:
        """As `Connection` does."""
        with self._observed(0):
            super().goaway(code, last_stream_id=last_stream_id, debug=debug)

    # What is received

    def receive(self, data: bytes) -> list[Event]:
        """As `Connection` does."""
        self._unread += data
        events: list[Event] = []
        position = 0
        if self._preface_left:
            position = min(len(self._preface_left), len(self._unread))
            events += super().receive(bytes(self._unread[:position]))
        while not self.failed and (end := self._end_of_frame(position)) is not None:
            events += self._receive_observed(bytes(self._unread[position:end]))
            position = end
        del self._unread[: len(self._unread) if self.failed else position]
        return events

    def _end_of_frame(self, position: int) -> int | None:
        """Return where the next frame ends, if it is here; one too large ends with its header."""
        start = position + frames.HEADER_SIZE
        if len(self._unread) < start:
            return None
        length = frames.read_header(self._unread, position)[0] >> 8
        if length > self.local.max_frame_size:
            return start
        return start + length if start + length <= len(self._unread) else None

    def _receive_observed(self, data: bytes) -> list[Event]:
        frame = next(_frames(data))
        self._error = None
        mark = len(self._out)
        before = self._snapshots(frame.stream_id)
        self._receiving = True
        events = super().receive(data)
        self._receiving = False
        after = self._snapshots(frame.stream_id)
        self._observer.observe(
            Observation(
                sent=False,
                frame=frame,
                before=before[frame.stream_id],
                after=after[frame.stream_id],
                error=self._error,
            )
        )
        self._tell_sent(mark, before)
        return events

    def _reset_broken(self, error: StreamError, events: list[Event]) -> None:
        self._error = error
        super()._reset_broken(error, events)

    def fail(self, error: ProtocolError) -> None:
        """As `Connection` does."""
        self._error = error
        super().fail(error)

    # What is told

    @contextmanager
    def _observed(self, stream_id: int) -> Iterator[None]:
        if self._receiving:  # the GOAWAY of a failure: it is told after the frame that failed
            yield
            return
        mark = len(self._out)
        before = self._snapshots(stream_id)
        yield
        self._tell_sent(mark, before)

    def _tell_sent(self, mark: int, before: dict[int, Snapshot]) -> None:
        """Tell of the frames that were put out since the mark."""
        output = b"".join(self._out[mark:]).removeprefix(PREFACE)
        after = {stream_id: self._snapshots(stream_id)[stream_id] for stream_id in before}
        for frame in _frames(output):
            stream_id = frame.stream_id
            self._observer.observe(
                Observation(
                    sent=True, frame=frame, before=before[stream_id], after=after[stream_id]
                )
            )

    def _snapshots(self, stream_id: int) -> dict[int, Snapshot]:
        """Return the state as a frame on the stream has it, and as one on stream 0 has it."""
        windows = self.send_window, self.receive_window
        stream = self.streams.get(stream_id)
        if stream is None:
            state = IDLE if self._is_idle(stream_id) else CLOSED
            of_stream = Snapshot(*windows, state, None, None)
        else:
            of_stream = Snapshot(*windows, stream.state, stream.send_window, stream.receive_window)
        return {stream_id: of_stream, 0: Snapshot(*windows, None, None, None)}


def _frames(data: bytes) -> Iterator[Frame]:
    """Cut bytes into frames."""
    position = 0
    while position < len(data):
        length_and_kind, flags, stream_id = frames.read_header(data, position)
        start = position + frames.HEADER_SIZE
        position = start + (length_and_kind >> 8)
        stream_id &= frames.RESERVED_BIT
        yield Frame(length_and_kind & 0xFF, flags, stream_id, data[start:position])
