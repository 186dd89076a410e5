"""Requests and responses: the rules of HEADERS, CONTINUATION and DATA (RFC 9113 section 8.1).

A message that is malformed ends its stream. What the fields mean is not known here.
"""

from typing import Final

from userservice.wire.http2 import frames
from userservice.wire.http2.block import HeaderBlock, HeldBlock
from userservice.wire.http2.codes import (
    END_HEADERS,
    END_STREAM,
    PADDED,
    PRIORITY,
    ErrorCode,
    FrameType,
)
from userservice.wire.http2.endpoint import Rule
from userservice.wire.http2.errors import ProtocolError, StreamError
from userservice.wire.http2.events import (
    DataReceived,
    Event,
    InformationReceived,
    RequestReceived,
    ResponseReceived,
    TrailersReceived,
)
from userservice.wire.http2.flow import FlowControl
from userservice.wire.http2.headers import REQUEST, RESPONSE, TRAILERS
from userservice.wire.http2.stream import HALF_CLOSED_LOCAL, OPEN, RECEIVED_END, Stream

_LENGTH_DIFFERS: Final = "data differ from content-length (section 8.1.1)"
_TOO_LARGE: Final = "a header list larger than announced (section 10.5.1)"

# A named tuple's own `__new__` is a Python function: 0.5 us, where this takes 0.25.
_event: Final = tuple.__new__


class Messages(FlowControl):
    """The rules of the frames that make up messages."""

    def _receive_data(
        self, flags: int, stream_id: int, payload: bytes, events: list[Event]
    ) -> None:
        """Section 6.1."""
        flow_size = len(payload)
        window = self.receive_window = self.receive_window - flow_size
        if window < 0:
            raise ProtocolError(
                ErrorCode.FLOW_CONTROL_ERROR, "more data than the window (section 6.9.1)"
            )
        if flags & PADDED:
            payload = frames.without_padding(PADDED, payload)
        stream = self.streams.get(stream_id)
        if stream is None or not (stream.state is OPEN or stream.state is HALF_CLOSED_LOCAL):
            self._discard(flow_size)
            self._refuse_frame(stream_id)
            return
        window = stream.receive_window = stream.receive_window - flow_size
        if not payload and not flags & END_STREAM:
            self.spend_glitch()
        if window < 0 or stream.length_left is not None or not stream.message_begun:
            self._check_data(stream, flow_size, len(payload), flags & END_STREAM)
        if flags & END_STREAM:
            self._step(stream, RECEIVED_END)
            events.append(_event(DataReceived, (stream, payload, flow_size, True)))
        else:
            events.append(_event(DataReceived, (stream, payload, flow_size, False)))

    def _check_data(self, stream: Stream, flow_size: int, size: int, end_stream: int) -> None:
        """Refuse data beyond the window, before a message, or beyond its length (8.1.1)."""
        problem = None
        if stream.receive_window < 0:
            problem = ErrorCode.FLOW_CONTROL_ERROR, "more data than the window (section 6.9.1)"
        elif not stream.message_begun:
            problem = ErrorCode.PROTOCOL_ERROR, "data before headers (section 8.1)"
        elif stream.length_left is not None:
            stream.length_left -= size
            if stream.length_left < 0 or (end_stream and stream.length_left):
                problem = ErrorCode.PROTOCOL_ERROR, _LENGTH_DIFFERS
        if problem is not None:
            self._discard(flow_size)
            raise StreamError(stream.id, *problem)

    def _receive_headers(
        self, flags: int, stream_id: int, payload: bytes, events: list[Event]
    ) -> None:
        """Section 6.2."""
        if stream_id == 0:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "HEADERS on stream 0 (section 6.2)")
        if flags & (PADDED | PRIORITY):
            payload = frames.without_padding(flags, payload)
        if flags & END_HEADERS:
            self._receive_block(stream_id, payload, flags & END_STREAM, events)
        else:
            self._block = HeldBlock(stream_id, flags & END_STREAM, payload, self._budgets)
            self._expected = FrameType.CONTINUATION

    def _receive_continuation(
        self, flags: int, stream_id: int, payload: bytes, events: list[Event]
    ) -> None:
        """Section 6.10."""
        block = self._block
        if block is None or block.stream_id != stream_id:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing (section 6.10)")
        block.add(payload)
        if flags & END_HEADERS:
            self._block = self._expected = None
            self._receive_block(stream_id, b"".join(block.fragments), block.end_stream, events)

    def _receive_block(
        self, stream_id: int, block: bytes, end_stream: int, events: list[Event]
    ) -> None:
        # Whatever becomes of the stream, the block is read: the table is everybody's.
        headers = self._decoder.decode(block)
        stream = self.streams.get(stream_id)
        if stream is None:
            if self._is_server and stream_id & 1 and stream_id > self._last_peer_id:
                self._receive_request(stream_id, headers, end_stream, events)
            else:
                self._refuse_headers(stream_id)
        elif not (stream.state is OPEN or stream.state is HALF_CLOSED_LOCAL):
            raise StreamError(stream_id, ErrorCode.STREAM_CLOSED, "after the end (section 5.1)")
        elif stream.message_begun:
            self._receive_trailers(stream, headers, end_stream, events)
        else:
            self._receive_response(stream, headers, end_stream, events)

    def _receive_request(
        self, stream_id: int, headers: HeaderBlock, end_stream: int, events: list[Event]
    ) -> None:
        """A client opens a stream (section 5.1.1).

        A header list that is too large is for the layer above to answer (section 10.5.1).
        """
        self._use_peer_id(stream_id)
        if stream_id > self._last_accepted_id:
            # Section 6.8: what comes after the last stream that we said is ignored.
            self._remember_reset(stream_id, by_peer=False)
            return
        if len(self.streams) >= self.local.max_concurrent_streams:
            raise StreamError(
                stream_id, ErrorCode.REFUSED_STREAM, "one stream too many (section 5.1.2)"
            )
        problem = None if headers.oversized else headers.problem(REQUEST)
        if problem is None and end_stream and headers.content_length:
            problem = _LENGTH_DIFFERS
        if problem is not None:
            raise StreamError(stream_id, ErrorCode.PROTOCOL_ERROR, problem)
        stream = Stream(stream_id, self.remote.initial_window_size, self._stream_window)
        stream.state = OPEN
        stream.message_begun = True
        stream.length_left = headers.content_length
        self.streams[stream_id] = stream
        if end_stream:
            self._step(stream, RECEIVED_END)
        events.append(_event(RequestReceived, (stream, headers, bool(end_stream))))

    def _receive_response(
        self, stream: Stream, headers: HeaderBlock, end_stream: int, events: list[Event]
    ) -> None:
        """Section 8.1: any number of interim responses, and the final one."""
        problem = _TOO_LARGE if headers.oversized else headers.problem(RESPONSE)
        interim = problem is None and headers.is_interim
        if problem is None and end_stream:
            if interim:
                problem = "an interim response that ends the stream (section 8.1)"
            elif headers.content_length:
                problem = _LENGTH_DIFFERS
        if problem is not None:
            raise StreamError(stream.id, ErrorCode.PROTOCOL_ERROR, problem)
        if interim:
            events.append(InformationReceived(stream, headers))
            return
        stream.message_begun = True
        stream.length_left = headers.content_length
        if end_stream:
            self._step(stream, RECEIVED_END)
        events.append(_event(ResponseReceived, (stream, headers, bool(end_stream))))

    def _receive_trailers(
        self, stream: Stream, headers: HeaderBlock, end_stream: int, events: list[Event]
    ) -> None:
        """Section 8.1: they come last, and end the stream."""
        problem = _TOO_LARGE if headers.oversized else headers.problem(TRAILERS)
        if problem is None and not end_stream:
            problem = "trailers that do not end the stream (section 8.1)"
        if problem is None and stream.length_left:
            problem = _LENGTH_DIFFERS
        if problem is not None:
            raise StreamError(stream.id, ErrorCode.PROTOCOL_ERROR, problem)
        self._step(stream, RECEIVED_END)
        events.append(_event(TrailersReceived, (stream, headers)))

    message_rules: Final[dict[FrameType, Rule]] = {
        FrameType.DATA: _receive_data,
        FrameType.HEADERS: _receive_headers,
        FrameType.CONTINUATION: _receive_continuation,
    }
