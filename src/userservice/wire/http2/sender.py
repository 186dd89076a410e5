"""What this side sends: header blocks, data, and the end of streams (RFC 9113 section 6)."""

from typing import Final

from userservice.wire.http2 import frames
from userservice.wire.http2.codes import (
    END_HEADERS,
    END_STREAM,
    STREAM_ID_MAX,
    ErrorCode,
    FrameType,
)
from userservice.wire.http2.errors import GoingAwayError, StreamClosedError, TooManyStreamsError
from userservice.wire.http2.flow import FlowControl
from userservice.wire.http2.headers import Fields
from userservice.wire.http2.stream import CLOSED, HALF_CLOSED_REMOTE, OPEN, RESET, SENT_END, Stream

# A larger frame would hold up the other streams; a smaller one costs more a byte.
DATA_FRAME_MAX: Final = 64 * 1024

_DATA: Final = FrameType.DATA.value
_HEADERS: Final = FrameType.HEADERS.value
_LAST_HEADERS: Final = END_HEADERS | END_STREAM


class Sender(FlowControl):
    """The half of a connection that its user drives.

    Fields are sent as they are given: that they are well-formed is the caller's duty. What
    is asked for is held until `take_output`, and so are the answers to the peer's frames: a
    caller that reads without writing is the one to bound that.
    """

    @property
    def has_output(self) -> bool:
        """Whether there is something to be sent."""
        return bool(self._out)

    def take_output(self) -> bytes:
        """Return what is to be sent, and forget it."""
        output = b"".join(self._out)
        self._out.clear()
        return output

    def open_stream(
        self,
        fields: tuple[tuple[str, str], ...],
        metadata: Fields = (),
        *,
        end_stream: bool = False,
    ) -> Stream:
        """Open a stream with the header block of a request (a client only).

        Args:
            fields: those that are the same for many requests, pseudo-headers first.
            metadata: those that are not.
            end_stream: whether nothing follows.

        Raises:
            GoingAwayError: the peer takes no new streams, or the connection failed.
            TooManyStreamsError: the peer takes no more streams at a time.
            UnicodeEncodeError: a field is not Latin-1; nothing was sent.
        """
        if self.failed or self.goaway_received is not None or self._next_id > STREAM_ID_MAX:
            raise GoingAwayError("the connection takes no new streams")
        remote = self.remote
        if len(self.streams) >= remote.max_concurrent_streams:
            raise TooManyStreamsError(
                f"the peer takes {remote.max_concurrent_streams} streams at a time"
            )
        block = self._encoder.encode(fields, metadata)  # before there is a stream: it may raise
        stream = Stream(self._next_id, remote.initial_window_size, self._stream_window)
        self._next_id += 2
        stream.state = OPEN
        self.streams[stream.id] = stream
        self._send_block(stream, block, end_stream)
        return stream

    def send_headers(
        self,
        stream: Stream,
        fields: tuple[tuple[str, str], ...],
        metadata: Fields = (),
        *,
        end_stream: bool = False,
    ) -> None:
        """Send a header block: a response, or trailers.

        Args:
            stream: the stream it belongs to.
            fields: those that are the same for many calls, pseudo-headers first.
            metadata: those that are not.
            end_stream: whether nothing follows.

        Raises:
            StreamClosedError: this side was ended, or the stream was reset.
            UnicodeEncodeError: a field is not Latin-1; nothing was sent.
        """
        state = stream.state
        if not (state is OPEN or state is HALF_CLOSED_REMOTE):
            raise StreamClosedError(f"stream {stream.id} is {state.name}")
        self._send_block(stream, self._encoder.encode(fields, metadata), end_stream)

    def _send_block(self, stream: Stream, block: bytes, end_stream: bool) -> None:  # noqa: FBT001  internal
        size = len(block)
        if size > self.remote.max_frame_size:
            self._send_split(stream.id, block, END_STREAM if end_stream else 0)
        else:
            flags = _LAST_HEADERS if end_stream else END_HEADERS
            self._out.append(frames.write_header(size << 8 | _HEADERS, flags, stream.id) + block)
        if end_stream:
            self._step(stream, SENT_END)

    def _send_split(self, stream_id: int, block: bytes, flags: int) -> None:
        """Section 6.10: END_HEADERS is on the last frame, END_STREAM on the first."""
        largest = self.remote.max_frame_size
        kind = FrameType.HEADERS
        last = (len(block) - 1) // largest * largest
        for start in range(0, last + 1, largest):
            flags |= END_HEADERS if start == last else 0
            fragment = block[start : start + largest]
            self._out.append(frames.frame(kind, flags, stream_id, fragment))
            kind, flags = FrameType.CONTINUATION, 0

    def send_data(
        self, stream: Stream, data: bytes | memoryview, *, end_stream: bool = False
    ) -> int:
        """Send as much of the data as the windows allow.

        Args:
            stream: the stream they belong to.
            data: they may not change until the output is taken.
            end_stream: whether nothing follows; said with the last byte only.

        Returns:
            How many bytes were sent. Where it is not all, wait for `WindowOpened`.

        Raises:
            StreamClosedError: this side was ended, or the stream was reset.
        """
        state = stream.state
        if not (state is OPEN or state is HALF_CLOSED_REMOTE):
            raise StreamClosedError(f"stream {stream.id} is {state.name}")
        size = len(data)
        # Section 6.9: an empty frame needs no window, even where that is negative.
        if size > stream.send_window or size > self.send_window:
            size = max(min(size, stream.send_window, self.send_window), 0)
            if size < len(data):
                end_stream = False
                data = memoryview(data)[:size]
        if size > DATA_FRAME_MAX or size > self.remote.max_frame_size:
            data = self._send_full_frames(stream.id, memoryview(data))
        if size or end_stream:
            flags = END_STREAM if end_stream else 0
            self._out += (frames.write_header(len(data) << 8 | _DATA, flags, stream.id), data)
            stream.send_window -= size
            self.send_window -= size
            if end_stream:
                self._step(stream, SENT_END)
        return size

    def _send_full_frames(self, stream_id: int, data: memoryview) -> memoryview:
        """Send all but the last frame, without copying, and return what that will hold."""
        largest = min(self.remote.max_frame_size, DATA_FRAME_MAX)
        header = frames.write_header(largest << 8 | _DATA, 0, stream_id)
        last = (len(data) - 1) // largest * largest
        for start in range(0, last, largest):
            self._out += (header, data[start : start + largest])
        return data[last:]

    def reset(self, stream: Stream, code: ErrorCode) -> None:
        """End a stream at once with RST_STREAM; nothing happens where it is over."""
        if stream.state is not CLOSED:
            self._out.append(frames.rst_stream(stream.id, code))
            self._remember_reset(stream.id, by_peer=False)
            self._step(stream, RESET)

    def ping(self, payload: bytes) -> None:
        """Ask the peer for a sign of life (section 6.7).

        Args:
            payload: eight bytes, which come back.

        Raises:
            ValueError: they are not eight.
        """
        if len(payload) != frames.PING_SIZE:
            raise ValueError("a PING has 8 bytes (section 6.7)")
        self._out.append(frames.ping(payload, ack=False))

    def goaway(
        self,
        code: ErrorCode = ErrorCode.NO_ERROR,
        *,
        last_stream_id: int | None = None,
        debug: bytes = b"",
    ) -> None:
        """Tell the peer that no new streams are taken; those that are open go on (section 6.8).

        A graceful drain says 2^31-1 first, and some time later where it really ended.

        Args:
            code: why.
            last_stream_id: the last stream that is taken; None for the last one received. A
                larger one than before is not said again.
            debug: what a person may read.
        """
        last = self._last_peer_id if last_stream_id is None else last_stream_id
        # Section 6.8: an endpoint must not raise what it said before.
        self._last_accepted_id = min(self._last_accepted_id, last)
        self._out.append(frames.goaway(self._last_accepted_id, code, debug))
