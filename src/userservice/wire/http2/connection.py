"""One HTTP/2 connection, of either side: the rules of RFC 9113, without I/O.

What the socket receives goes into `receive`, which returns what happened; what is to be
sent is asked for with the other methods, and taken with `take_output`. A rule that the
peer breaks is never raised: it is said to the peer, and told as an event.

Here the bytes become frames, and each goes to the rule of its type:

    endpoint   the state that all of them share
    flow       windows: WINDOW_UPDATE
    messages   requests and responses: HEADERS, CONTINUATION, DATA
    control    the other types of frames
    sender     what this side sends
"""

from typing import Final

from userservice.wire.http2 import frames
from userservice.wire.http2.budget import DEFAULT_BUDGETS, Budgets
from userservice.wire.http2.codes import PREFACE, WINDOW_DEFAULT, ErrorCode, FrameType
from userservice.wire.http2.control import Control
from userservice.wire.http2.endpoint import Role
from userservice.wire.http2.errors import ProtocolError, StreamError
from userservice.wire.http2.events import ConnectionFailed, Event, StreamReset
from userservice.wire.http2.messages import Messages
from userservice.wire.http2.sender import Sender
from userservice.wire.http2.settings import Settings
from userservice.wire.http2.stream import RESET

_TLS_HANDSHAKE: Final = b"\x16\x03"  # a record's type and version (RFC 8446 section 5.1)


class Connection(Sender, Messages, Control):
    """The protocol's state on one connection.

    The client's preface and the settings are in the output from the start.

    Args:
        role: which side this is.
        settings: what to announce; a copy stays in force. A client announces no push.
        window: what the peer may send on the whole connection until it is acknowledged, in
            bytes, from 65,535 to 2^31-1.
        budgets: how much of what brings nothing the peer may send.

    Raises:
        ValueError: no peer can be told such a window.
    """

    def __init__(
        self,
        role: Role,
        settings: Settings | None = None,
        *,
        window: int = WINDOW_DEFAULT,
        budgets: Budgets = DEFAULT_BUDGETS,
    ) -> None:
        super().__init__(role, settings, window=window, budgets=budgets)
        self._preface_left = PREFACE if role is Role.SERVER else b""
        self._held = bytearray()
        self._needed = 0

    def receive(self, data: bytes) -> list[Event]:
        """Take what the socket received.

        Returns:
            What happened, in order. `ConnectionFailed` is the last event of a connection: what
            is left is to send the output, and to close.
        """
        events: list[Event] = []
        if self.failed:
            return events
        try:
            start = self._receive_preface(data) if self._preface_left else 0
            if self._held:
                start = self._finish_frame(data, events)
            end = self._receive_frames(data, start, events)
        except ProtocolError as error:
            self.fail(error)
            events.append(ConnectionFailed(error))
            return events
        if end < len(data):
            self._held += data[end:]
            self._needed = self._size_of_held()
        return events

    def _finish_frame(self, data: bytes, events: list[Event]) -> int:
        """Take the rest of the frame that is held, and return where it ends in the data.

        Nothing is tried before all of its header is here, and then all of it, so that a frame
        in many pieces costs no more than its bytes.
        """
        held = self._held
        position = 0
        while held and position < len(data):
            start = position
            position += self._needed - len(held)
            held += data[start:position]
            if len(held) == self._needed:
                if self._receive_frames(bytes(held), 0, events):
                    held.clear()
                else:
                    self._needed = self._size_of_held()
        return position

    def _size_of_held(self) -> int:
        """Return how much must be held before there is something to do."""
        size = frames.HEADER_SIZE
        if len(self._held) >= size:
            size += frames.read_header(self._held, 0)[0] >> 8
        return size

    def _receive_preface(self, data: bytes) -> int:
        """Return where the client's preface ends in the data (section 3.4)."""
        size = min(len(self._preface_left), len(data))
        if data[:size] != self._preface_left[:size]:
            fault = "no HTTP/2 client preface (section 3.4)"
            if data.startswith(_TLS_HANDSHAKE):
                fault += ", but TLS: it is not spoken here"
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, fault)
        self._preface_left = self._preface_left[size:]
        return size

    def _receive_frames(self, data: bytes, position: int, events: list[Event]) -> int:
        """Take the whole frames in the data, and return where the last one ends."""
        read_header, rules = frames.read_header, _RULES  # looked up once, not for each frame
        size = len(data)
        largest = self.local.max_frame_size
        while (start := position + frames.HEADER_SIZE) <= size:
            length_and_kind, flags, stream_id = read_header(data, position)
            end = start + (length_and_kind >> 8)
            if end - start > largest:
                raise ProtocolError(
                    ErrorCode.FRAME_SIZE_ERROR,
                    f"a frame of {end - start} bytes, where {largest} are allowed (section 4.2)",
                )
            if end > size:
                break
            kind = length_and_kind & 0xFF
            expected = self._expected
            if expected is not None and kind != expected:
                raise ProtocolError(
                    ErrorCode.PROTOCOL_ERROR,
                    f"{expected.name} must come next (sections 3.4 and 6.10)",
                )
            if kind < len(rules):
                try:
                    stream_id &= frames.RESERVED_BIT
                    rules[kind](self, flags, stream_id, data[start:end], events)
                except StreamError as error:
                    self._reset_broken(error, events)
            else:  # section 5.5: another type is ignored
                self.spend_glitch()
            position = end
        return position

    def _reset_broken(self, error: StreamError, events: list[Event]) -> None:
        """Reset the stream on which the peer broke a rule (section 5.4.2).

        The event is for a stream that the layer above knows: another has none.
        """
        self._resets.spend()
        stream = self.streams.get(error.stream_id)
        self._out.append(frames.rst_stream(error.stream_id, error.code))
        self._remember_reset(error.stream_id, by_peer=False)
        if stream is not None:
            self._step(stream, RESET)
            events.append(StreamReset(stream, error.code, by_peer=False, reason=error.reason))

    @property
    def holds_block(self) -> bool:
        """Whether a header block has begun, and has not ended."""
        return self._block is not None

    def fail(self, error: ProtocolError) -> None:
        """Say why nothing more is read (section 5.4.1)."""
        self.failed = True
        self._held.clear()
        self._block = None
        self.goaway(error.code, debug=error.reason.encode("ascii", "replace"))


_BY_TYPE: Final = Connection.message_rules | Connection.control_rules | Connection.flow_rules
_RULES: Final = tuple(_BY_TYPE[kind] for kind in FrameType)
