"""A hostile peer on a bare socket: it sends what it is told, and remembers what it was told."""

from __future__ import annotations

import select
import socket
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, Self

from grpclib.const import Status
from hpack import Decoder
from tests.bench.headers import plain

from userservice.wire.http2 import ErrorCode, FrameType, Setting, frames
from userservice.wire.http2.codes import ACK, END_HEADERS, END_STREAM, PREFACE, WINDOW_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from tests.bench.contract import Exchange

# Only a fault that is not met takes as long as this.
PATIENCE_S: Final = 20.0
_READ_SIZE: Final = 2**16
_FRAME_MAX: Final = 2**14
_WINDOW: Final = 65_535

GREETING: Final = PREFACE + frames.settings({Setting.INITIAL_WINDOW_SIZE: WINDOW_MAX})
OPEN_WINDOW: Final = frames.window_update(0, WINDOW_MAX - _WINDOW)


def raw(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """Return a frame of any type, known or not."""
    return frames.write_header(len(payload) << 8 | kind, flags, stream) + payload


def head(stream: int, block: bytes, *, end: bool = False) -> bytes:
    """Return the HEADERS that open a call."""
    return raw(FrameType.HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block)


def content(stream: int, data: bytes, *, end: bool = True) -> bytes:
    """Return as many DATA as it takes."""
    pieces = [data[start : start + _FRAME_MAX] for start in range(0, len(data), _FRAME_MAX)]
    last = len(pieces) - 1
    return b"".join(
        raw(FrameType.DATA, END_STREAM if end and number == last else 0, stream, piece)
        for number, piece in enumerate(pieces)
    )


def block_of(path: str, extra: Iterable[tuple[str, str]] = ()) -> bytes:
    """Return the header block of a call, with other fields behind: literals of any length."""
    block = plain(path)
    for name, value in extra:
        block += b"\x00" + _string(name) + _string(value)
    return block


def call(stream: int, exchange: Exchange) -> bytes:
    """Return a whole call."""
    return head(stream, block_of(exchange.path)) + content(stream, exchange.request)


def _string(text: str) -> bytes:
    octets = text.encode()
    return integer(len(octets), 7) + octets


def integer(number: int, bits: int, first: int = 0) -> bytes:
    """Return an integer as HPACK has it (RFC 7541 section 5.1)."""
    most = (1 << bits) - 1
    if number < most:
        return bytes([first | number])
    out = bytearray([first | most])
    number -= most
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


class Peer:
    """A client that keeps to no rule but those it is told to.

    Args:
        port: where the server is.
        greeting: what it begins with.
    """

    def __init__(self, port: int, greeting: bytes = GREETING) -> None:
        self.saw: Counter[str] = Counter()
        """What the server said, in few words; what is no news is not here."""
        self.closed = False
        self.window = _WINDOW
        """What may be sent on the whole connection, once the server's greeting is read."""
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._unread = b""
        self._decoder = Decoder()
        self._decoder.max_header_list_size = 2**20
        self._next_stream = 1
        self._send(greeting, reads=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()

    def stream(self) -> int:
        """Return the number of a new stream."""
        number = self._next_stream
        self._next_stream += 2
        return number

    def streams(self, count: int) -> range:
        """Return the numbers of new streams."""
        first = self._next_stream
        self._next_stream += 2 * count
        return range(first, self._next_stream, 2)

    def send(self, data: bytes) -> bool:
        """Send all of it, and read what comes meanwhile; False where the server closed."""
        return self._send(data, reads=True)

    def send_unread(self, data: bytes) -> bool:
        """Send as much as the server takes, and read nothing."""
        return self._send(data, reads=False)

    def _send(self, data: bytes, *, reads: bool) -> bool:
        left = memoryview(data)
        limit = time.monotonic() + PATIENCE_S
        while left and not self.closed:
            ready = self._ready((select.POLLIN if reads else 0) | select.POLLOUT, 0.5)
            if ready & ~select.POLLOUT:
                self._read()
            if ready & select.POLLOUT and not self.closed:
                try:
                    left = left[self._socket.send(left) :]
                except OSError:
                    self._closed("reset")
            if not reads and not ready:
                return False  # both sides' buffers are full
            if time.monotonic() > limit:
                raise TimeoutError("the server takes nothing, and does not close")
        return not self.closed

    def until(self, condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
        """Read until it is so, or the server closed.

        Raises:
            TimeoutError: it did not come.
        """
        limit = time.monotonic() + patience_s
        while not self.closed and not condition():
            if time.monotonic() > limit:
                raise TimeoutError(f"after {patience_s:g} s, the peer saw no more than {self.saw}")
            self.read(0.05)

    def until_saw(self, what: str, count: int = 1) -> None:
        """Read until the server said it so often, or closed."""
        self.until(lambda: self.saw[what] >= count)

    def until_closed(self) -> None:
        """Read until the server closes."""
        self.until(lambda: False)

    def spend(self, size: int) -> None:
        """Wait until so much may be sent on the whole connection, and count it as sent."""
        self.until(lambda: self.window >= size)
        self.window -= size

    def settle(self) -> None:
        """Wait for the server's greeting, which opens its windows."""
        self.until(lambda: self.window > _WINDOW)

    def read(self, seconds: float) -> None:
        """Read what comes in this time, or at first."""
        if not self.closed and self._ready(select.POLLIN, seconds):
            self._read()

    def read_for(self, seconds: float) -> None:
        """Read all that comes in this time."""
        limit = time.monotonic() + seconds
        while not self.closed and (left := limit - time.monotonic()) > 0:
            self.read(left)

    def ask(self, exchange: Exchange) -> None:
        """Make a call, and wait until it is over."""
        ended = self._ended
        self.send(call(self.stream(), exchange))
        self.until(lambda: self._ended > ended)

    def _ready(self, events: int, seconds: float) -> int:
        # Not `select`: there may be more than 1,024 peers.
        poller = select.poll()
        poller.register(self._socket, events)
        ready = poller.poll(seconds * 1e3)
        return ready[0][1] if ready else 0

    @property
    def _ended(self) -> int:
        return sum(
            count
            for what, count in self.saw.items()
            if what == "answered" or what.startswith(("status", "RST_STREAM"))
        )

    def _read(self) -> None:
        try:
            received = self._socket.recv(_READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            self._closed("reset")
            return
        if not received:
            self._closed("closed")
            return
        data = self._unread + received if self._unread else received
        position = 0
        while len(data) - position >= frames.HEADER_SIZE:
            length_and_kind, flags, stream = frames.read_header(data, position)
            start = position + frames.HEADER_SIZE
            end = start + (length_and_kind >> 8)
            if end > len(data):
                break
            self._take(length_and_kind & 0xFF, flags, stream, data[start:end])
            position = end
        self._unread = data[position:]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == FrameType.HEADERS:
            self._take_headers(payload, ended=flags & END_STREAM != 0)
        elif kind == FrameType.RST_STREAM:
            code = int.from_bytes(payload, "big")
            if code != ErrorCode.NO_ERROR:  # after a whole answer: it is no news
                self.saw[f"RST_STREAM {ErrorCode(code).name}"] += 1
        elif kind == FrameType.GOAWAY:
            _, code, debug = frames.read_goaway(payload)
            self.saw[f"GOAWAY {ErrorCode(code).name}: {debug.decode()}"] += 1
        elif kind == FrameType.WINDOW_UPDATE and stream == 0:
            self.window += int.from_bytes(payload, "big")
        elif kind == FrameType.PING and flags & ACK:
            self.saw["PING ACK"] += 1

    def _take_headers(self, payload: bytes, *, ended: bool) -> None:
        fields = {str(name): str(value) for name, value in self._decoder.decode(payload)}
        if ended:
            status = Status(int(fields["grpc-status"]))
            self.saw["answered" if status is Status.OK else f"status {status.name}"] += 1

    def _closed(self, how: str) -> None:
        self.closed = True
        self.saw[how] += 1
