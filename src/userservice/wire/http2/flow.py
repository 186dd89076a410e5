"""Flow control on both levels: the stream's and the connection's (RFC 9113 sections 5.2, 6.9).

For what is received, on each level: window + what was not acknowledged yet + what was, but
was not given back yet, is what this side announced. Nothing else changes it, however a
stream ends. `Sender.send_data` takes from the windows of what is sent.
"""

from typing import Final

from userservice.wire.http2 import frames
from userservice.wire.http2.codes import WINDOW_MAX, ErrorCode, FrameType
from userservice.wire.http2.endpoint import Endpoint, Rule
from userservice.wire.http2.errors import ProtocolError, StreamError
from userservice.wire.http2.events import Event, WindowOpened
from userservice.wire.http2.stream import HALF_CLOSED_LOCAL, OPEN, Stream


class FlowControl(Endpoint):
    """The windows of one connection."""

    def acknowledge(self, stream: Stream, size: int) -> bool:
        """Give back flow-control credit, once data were read (section 6.9).

        Credit goes back when it is half a window, so that a frame is not answered by a frame.

        Args:
            stream: the stream the data came on; it may be over.
            size: their ``flow_size``, in bytes; all together no more than was received.

        Returns:
            Whether credit is on its way: there is something to be sent.
        """
        goes_back = False
        credit = self._credit = self._credit + size
        if credit >= self._credit_least:
            self._give_back()
            goes_back = True
        state = stream.state
        if state is OPEN or state is HALF_CLOSED_LOCAL:
            credit = stream.credit = stream.credit + size
            if credit >= self._stream_credit_least:
                self._out.append(frames.window_update(stream.id, credit))
                stream.receive_window += credit
                stream.credit = 0
                goes_back = True
        return goes_back

    def _give_back(self) -> None:
        self._out.append(frames.window_update(0, self._credit))
        self.receive_window += self._credit
        self._credit = 0

    def _discard(self, size: int) -> None:
        """Acknowledge data that nobody will read, on the connection."""
        self._credit += size
        if self._credit >= self._credit_least:
            self._give_back()

    def _receive_window_update(
        self, _flags: int, stream_id: int, payload: bytes, events: list[Event]
    ) -> None:
        """Section 6.9."""
        if len(payload) != frames.WINDOW_UPDATE_SIZE:
            raise ProtocolError(
                ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE has 4 bytes (section 6.9)"
            )
        increment = frames.WORD.unpack(payload)[0] & frames.RESERVED_BIT
        self.spend_glitch()
        if stream_id == 0:
            self.send_window += increment
            self._granted += increment
            if not increment or self.send_window > WINDOW_MAX:
                raise ProtocolError(*_problem_of(increment))
            events.append(WindowOpened(None))
            return
        stream = self.streams.get(stream_id)
        if stream is not None:
            stream.send_window += increment
            if not increment or stream.send_window > WINDOW_MAX:
                raise StreamError(stream_id, *_problem_of(increment))
            events.append(WindowOpened(stream))
        elif self._is_idle(stream_id):
            raise ProtocolError(
                ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream (section 5.1)"
            )

    flow_rules: Final[dict[FrameType, Rule]] = {FrameType.WINDOW_UPDATE: _receive_window_update}

    def _move_send_windows(self, difference: int) -> None:
        """Section 6.9.2: a change of the peer's initial window moves those of all streams.

        The one rule whose work is a step for each open stream, and not for each byte.
        """
        for stream in self.streams.values():
            stream.send_window += difference
            if stream.send_window > WINDOW_MAX:
                raise ProtocolError(
                    ErrorCode.FLOW_CONTROL_ERROR, "a window over 2^31-1 (section 6.9.2)"
                )

    def _move_receive_windows(self) -> None:
        """Section 6.9.2, the other way: the peer now uses the initial window we announced."""
        difference = self.local.initial_window_size - self._stream_window
        if difference:
            self._stream_window += difference
            for stream in self.streams.values():
                stream.receive_window += difference


def _problem_of(increment: int) -> tuple[ErrorCode, str]:
    if not increment:
        return ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by 0 (section 6.9)"
    return ErrorCode.FLOW_CONTROL_ERROR, "a window over 2^31-1 (section 6.9.1)"
