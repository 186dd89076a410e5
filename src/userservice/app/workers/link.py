"""The link between the supervisor and a worker: messages over a Unix socket pair.

A message is its kind, the length of its body, and the body. ``Link`` is the thin part
that does I/O.
"""

import asyncio
import enum
import itertools
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, cast

_HEAD: Final = struct.Struct("!BI")

BODY_MAX: Final = 1 << 20
"""Bytes of a message: far more than a user, or a line of the chat, can have."""

UNREAD_MAX: Final = 64 << 20
"""Bytes that the other side may leave unread. Beyond, it is taken for hung."""

TOLD_A_TURN: Final = 64
"""Messages told in one turn of the event loop. Whoever listens to the feed has a turn before the
next ones, or a burst that is here already would overflow every mailbox."""


class Kind(enum.IntEnum):
    """What a message says. Its body is empty where nothing else is said."""

    # From a worker to the supervisor.
    READY = 1
    """It serves what it is handed."""
    FAILED = 2
    """It cannot start with these settings; the body says why, in UTF-8."""
    TOOK = 3
    """It has the oldest connection that it was handed and has not told of."""
    CLOSED = 4
    """A connection that it took is gone."""
    DRAINING = 5
    """It takes no more; connections that it has not told of are not taken."""
    FULL = 11
    """It lives, and has no room now for the connections that it has not told of."""

    # From the supervisor to a worker.
    DRAIN = 6
    """Take what was handed over; then end when the calls have ended."""
    END = 7
    """End now."""
    LOST = 8
    """A worker died, and maybe items of the feed with it."""

    # Both ways.
    ITEM = 9
    """An item of the feed: from its publisher, and then to everyone."""
    MARK = 10
    """Echoed by the supervisor, after all items before it."""


_KINDS: Final = {kind.value: kind for kind in Kind}


@dataclass(frozen=True, slots=True)
class Message:
    """A message of the link."""

    kind: Kind
    body: bytes = b""

    def encoded(self) -> bytes:
        """Return its bytes."""
        assert len(self.body) <= BODY_MAX
        return _HEAD.pack(self.kind, len(self.body)) + self.body


class LinkError(Exception):
    """What came is no message of ours."""


class Messages:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._received = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """Add what was received, and return the messages that are whole now.

        Raises:
            LinkError: the bytes are no messages.
        """
        received = self._received
        received += data
        start = 0
        while len(received) - start >= _HEAD.size:
            number, size = _HEAD.unpack_from(received, start)
            kind = _KINDS.get(number)
            if kind is None or size > BODY_MAX:
                raise LinkError(f"no message: kind {number}, {size} bytes")
            end = start + _HEAD.size + size
            if len(received) < end:
                break
            yield Message(kind, bytes(received[start + _HEAD.size : end]))
            start = end
        del received[:start]


class Link(asyncio.Protocol):
    """One end of a link.

    Args:
        received: is told of each message, in order.
        lost: is told once that no message comes any more: the other side has ended,
            or leaves too much unread, or sends what is no message.
    """

    def __init__(self, received: Callable[[Message], None], lost: Callable[[], None]) -> None:
        self._messages = Messages()
        self._untold: Iterator[Message] | None = None
        self._received = received
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []
        self.closed = asyncio.Event()
        """Set when nothing is sent or received any more."""
        self.overrun = False
        """Whether the other side left too much unread."""

    async def connect(self, end: socket.socket) -> None:
        """Use this end of a socket pair."""
        await self._loop.create_unix_connection(lambda: self, sock=end)

    def send(self, message: bytes) -> None:
        """Send an encoded message, after those before it; never waits."""
        if not self._unsent:
            # What is sent in one turn of the loop leaves in one write.
            self._loop.call_soon(self._flush)
        self._unsent.append(message)

    def _flush(self) -> None:
        data = b"".join(self._unsent)
        self._unsent.clear()
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > UNREAD_MAX:
            self.overrun = True
            self._transport.abort()

    def close(self) -> None:
        """Send what is there, and close this end, which tells of nothing more."""
        self._flush()
        self._untold = None
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Tell of the messages that are whole now."""
        self._untold = self._messages.feed(data)
        self._tell(TOLD_A_TURN)

    def _tell(self, most: int | None) -> None:
        """Tell of so many, or of all. Others wait for their turn, and nothing is read before."""
        if self._untold is None:
            return
        assert self._transport is not None
        told = 0
        try:
            for message in itertools.islice(self._untold, most):
                self._received(message)
                told += 1
        except LinkError:
            self._untold = None
            self._transport.abort()
            return
        if told == most:
            self._transport.pause_reading()
            self._loop.call_soon(self._tell, most)
        else:
            self._untold = None
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell of what came before, and that it is over."""
        del exc
        self._tell(None)
        self.closed.set()
        self._lost()
