"""The rules of the frames around messages: RST_STREAM, SETTINGS, PING, GOAWAY (RFC 9113 section 6).

And of those that have no effect here: PRIORITY, and PUSH_PROMISE, which nobody may send.
"""

from typing import Final, NoReturn

from userservice.wire.http2 import frames
from userservice.wire.http2.codes import ACK, ErrorCode, FrameType, Setting
from userservice.wire.http2.endpoint import Rule
from userservice.wire.http2.errors import ProtocolError, StreamError
from userservice.wire.http2.events import (
    Event,
    GoawayReceived,
    PingAcknowledged,
    PingReceived,
    SettingsAcknowledged,
    SettingsReceived,
    StreamReset,
    WindowOpened,
)
from userservice.wire.http2.flow import FlowControl
from userservice.wire.http2.stream import RESET


class Control(FlowControl):
    """The rules of the frames that steer streams and the connection."""

    def _receive_priority(
        self, _flags: int, stream_id: int, payload: bytes, _events: list[Event]
    ) -> None:
        """Section 6.3: deprecated, and without effect."""
        self.spend_glitch()
        if stream_id == 0:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0 (section 6.3)")
        if len(payload) == frames.PRIORITY_SIZE:
            return
        problem = ErrorCode.FRAME_SIZE_ERROR, "PRIORITY has 5 bytes (section 6.3)"
        if self._is_idle(stream_id):
            raise ProtocolError(*problem)  # section 6.4: no RST_STREAM on an idle stream
        if self._reset_by_peer.get(stream_id) is not False:
            raise StreamError(stream_id, *problem)

    def _receive_rst_stream(
        self, _flags: int, stream_id: int, payload: bytes, events: list[Event]
    ) -> None:
        """Section 6.4."""
        if len(payload) != frames.RST_STREAM_SIZE:
            raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM has 4 bytes (section 6.4)")
        if self._is_idle(stream_id):
            raise ProtocolError(
                ErrorCode.PROTOCOL_ERROR, "RST_STREAM on an idle stream (section 6.4)"
            )
        stream = self.streams.get(stream_id)
        if stream is None:
            self.spend_glitch()
            if stream_id in self._reset_by_peer:
                # Both have reset it: what follows was not on its way before the peer knew.
                self._reset_by_peer[stream_id] = True
        else:
            self._resets.spend()
            (code,) = frames.WORD.unpack(payload)
            self._remember_reset(stream_id, by_peer=True)
            self._step(stream, RESET)
            events.append(StreamReset(stream, code, by_peer=True, reason="reset by the peer"))

    def _receive_settings(
        self, flags: int, stream_id: int, payload: bytes, events: list[Event]
    ) -> None:
        """Section 6.5."""
        if stream_id != 0:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream (section 6.5)")
        if len(payload) % frames.SETTING_SIZE or (flags & ACK and payload):
            raise ProtocolError(
                ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of the wrong length (section 6.5)"
            )
        self.spend_glitch()
        if not flags & ACK:
            self._receive_changes(payload, events)
        elif self._expected is not None:
            raise ProtocolError(
                ErrorCode.PROTOCOL_ERROR, "the first SETTINGS acknowledges (section 3.4)"
            )
        else:
            # Sections 6.5.3 and 4.3.1: from here on the peer keeps to what we announced.
            self._move_receive_windows()
            self._decoder.allow(self.local.header_table_size)
            events.append(SettingsAcknowledged())

    def _receive_changes(self, payload: bytes, events: list[Event]) -> None:
        """Section 6.5.3: the settings are taken in their order, and acknowledged at once."""
        self._expected = None
        window_before = self.remote.initial_window_size
        changes = {}
        for place, (number, value) in enumerate(frames.read_settings(payload)):
            if place:
                self.spend_glitch()  # one frame holds 2,730 changes: 3 ms of work
            self.remote.change(number, value)
            changes[number] = value
            if number == Setting.HEADER_TABLE_SIZE:
                # Each one: the smallest that was in force has to be said (RFC 7541 section 4.2).
                self._encoder.resize(value)
            elif number == Setting.ENABLE_PUSH and value and not self._is_server:
                raise ProtocolError(
                    ErrorCode.PROTOCOL_ERROR, "a server sets ENABLE_PUSH (section 6.5.2)"
                )
        self._out.append(frames.SETTINGS_ACK)
        events.append(SettingsReceived(changes))
        if self.remote.initial_window_size != window_before:
            self._move_send_windows(self.remote.initial_window_size - window_before)
            events.append(WindowOpened(None))

    def _receive_push_promise(
        self, _flags: int, _stream_id: int, _payload: bytes, _events: list[Event]
    ) -> NoReturn:
        """Section 8.4: a client never pushes, and ours never asks for it."""
        raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "nobody may push here (section 8.4)")

    def _receive_ping(
        self, flags: int, stream_id: int, payload: bytes, events: list[Event]
    ) -> None:
        """Section 6.7."""
        if stream_id != 0:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "PING on a stream (section 6.7)")
        if len(payload) != frames.PING_SIZE:
            raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, "PING has 8 bytes (section 6.7)")
        self.spend_glitch()
        if flags & ACK:
            events.append(PingAcknowledged(payload))
        else:
            self._out.append(frames.ping(payload, ack=True))
            events.append(PingReceived(payload))

    def _receive_goaway(
        self, _flags: int, stream_id: int, payload: bytes, events: list[Event]
    ) -> None:
        """Section 6.8: streams after the last one were not looked at; the others go on."""
        if stream_id != 0:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream (section 6.8)")
        if len(payload) < frames.GOAWAY_SIZE_MIN:
            raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY has 8 bytes (section 6.8)")
        goaway = GoawayReceived(*frames.read_goaway(payload))
        self.goaway_received = goaway
        events.append(goaway)
        if not self._is_server:
            self._end_unseen(goaway.last_stream_id, events)

    def _end_unseen(self, last_stream_id: int, events: list[Event]) -> None:
        unseen = []
        for stream in reversed(self.streams.values()):  # the newest first
            if stream.id <= last_stream_id:
                break
            unseen.append(stream)
        for stream in reversed(unseen):
            self._remember_reset(stream.id, by_peer=True)
            self._step(stream, RESET)
            reason = "the peer goes away, and did not look at it"
            events.append(
                StreamReset(stream, ErrorCode.REFUSED_STREAM, by_peer=True, reason=reason)
            )

    control_rules: Final[dict[FrameType, Rule]] = {
        FrameType.PRIORITY: _receive_priority,
        FrameType.RST_STREAM: _receive_rst_stream,
        FrameType.SETTINGS: _receive_settings,
        FrameType.PUSH_PROMISE: _receive_push_promise,
        FrameType.PING: _receive_ping,
        FrameType.GOAWAY: _receive_goaway,
    }
