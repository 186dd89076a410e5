"""gRPC's length-prefixed messages (gRPC over HTTP/2, "Length-Prefixed-Message").

A message is a flag of one byte (compressed or not), four bytes of length, and its bytes.
"""

import struct
from collections import deque
from typing import Final

_PREFIX: Final = struct.Struct(">BI")
PREFIX_SIZE: Final = _PREFIX.size


class CompressedMessage(bytes):
    """A message whose flag says that it is compressed."""

    __slots__ = ()


def frame(message: bytes) -> bytes:
    """Return a message with its prefix, which says whether it is compressed."""
    compressed = type(message) is CompressedMessage
    return _PREFIX.pack(compressed, len(message)) + message


class MessageReader:
    """Cuts what comes on a stream into messages; how the bytes are split does not matter.

    Args:
        limit: the largest message that is taken, in bytes.
    """

    __slots__ = (
        "_compressed",
        "_held",
        "_limit",
        "_needed",
        "_parts",
        "has_part",
        "messages",
        "refused_size",
    )

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.has_part = False
        """Whether there is the start of a message, without its end."""
        self.refused_size: int | None = None
        """The size of a message over the limit, in bytes: neither it nor what follows is kept."""
        self.messages: deque[bytes] = deque()
        """The whole messages, without their prefixes; take them from the left."""

    def feed(self, data: bytes) -> None:
        """Take the data of a frame; they may hold a part of a message, or many messages."""
        if not data or self.refused_size is not None:
            return  # any number of empty frames may come, and nothing is kept of them
        if self.has_part:
            missing = self._needed - self._held
            self._parts.append(data[:missing])
            self._held += len(data)
            if self._held < self._needed:
                return
            data = self._join(data[missing:])
        size, position = len(data), 0
        while size - position >= PREFIX_SIZE:
            flag, length = _PREFIX.unpack_from(data, position)
            start = position + PREFIX_SIZE
            end = start + length
            if length > self._limit:  # known from the prefix, before anything of it is kept
                self.refused_size = length
                return
            if end > size:
                self._hold(data[start:], length, compressed=flag != 0)
                return
            message = data[start:end]
            self.messages.append(CompressedMessage(message) if flag else message)
            position = end
        if position < size:
            self._hold(data[position:], PREFIX_SIZE, compressed=None)

    def _hold(self, part: bytes, needed: int, *, compressed: bool | None) -> None:
        """Hold the start of a message, or of a prefix: then nothing is known of the flag.

        In parts, so that a message in many frames is copied once.
        """
        self.has_part = True
        self._parts = [part]
        self._held = len(part)
        self._needed = needed
        self._compressed = compressed

    def _join(self, rest: bytes) -> bytes:
        """Finish the message or the prefix that is held, and return what is not read yet."""
        data = b"".join(self._parts)
        self._parts.clear()
        self.has_part = False
        if self._compressed is None:
            return data + rest
        self.messages.append(CompressedMessage(data) if self._compressed else data)
        return rest
