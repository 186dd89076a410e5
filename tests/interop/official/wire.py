"""What a connection received, read from its bytes alone."""

import struct
from collections import defaultdict
from collections.abc import Iterator

_DATA, _PADDED = 0, 0x8


def compressed_flags(received: bytes) -> list[bool]:
    """Return for each message of a connection, in the order of their ends, its flag.

    Args:
        received: the bytes from a server, to the end of the last message.
    """
    flags: list[bool] = []
    parts: dict[int, bytes] = defaultdict(bytes)
    for stream, content in _data_frames(received):
        rest = parts.pop(stream, b"") + content
        while len(rest) >= 5:
            flag, length = struct.unpack_from(">BI", rest)
            if len(rest) < 5 + length:
                break
            flags.append(flag == 1)
            rest = rest[5 + length :]
        if rest:
            parts[stream] = rest
    assert not parts, "a message has no end"
    return flags


def _data_frames(received: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the stream and the content of each DATA frame (RFC 9113 section 4.1)."""
    position = 0
    while len(received) - position >= 9:
        high, low, kind, flags, stream = struct.unpack_from(">BHBBI", received, position)
        length = high << 16 | low
        payload = received[position + 9 : position + 9 + length]
        position += 9 + length
        if kind == _DATA:
            if flags & _PADDED:
                payload = payload[1 : len(payload) - payload[0]]
            yield stream, payload
