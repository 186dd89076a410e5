"""One frame: its header, its padding, and how it is written (RFC 9113 sections 4 and 6)."""

import struct
from typing import Final

from userservice.wire.http2.codes import ACK, PADDED, PRIORITY, ErrorCode, FrameType
from userservice.wire.http2.errors import ProtocolError

HEADER_SIZE: Final = 9

# The sizes of payloads, in bytes (section 6).
PRIORITY_SIZE: Final = 5
RST_STREAM_SIZE: Final = 4
SETTING_SIZE: Final = 6
PING_SIZE: Final = 8
GOAWAY_SIZE_MIN: Final = 8
WINDOW_UPDATE_SIZE: Final = 4

# Length (24 bits) and type (8 bits) are read as one number: three calls less a frame.
_HEADER: Final = struct.Struct(">IBI")
read_header: Final = _HEADER.unpack_from
write_header: Final = _HEADER.pack

_SETTING: Final = struct.Struct(">HI")
_TWO_WORDS: Final = struct.Struct(">II")
WORD: Final = struct.Struct(">I")

RESERVED_BIT: Final = 0x7FFF_FFFF
"""The first bit of a stream identifier or window has no meaning (section 4.1)."""


def frame(kind: FrameType, flags: int, stream_id: int, payload: bytes) -> bytes:
    """Return a frame as it goes on the wire."""
    return write_header(len(payload) << 8 | kind, flags, stream_id) + payload


def settings(changes: dict[int, int]) -> bytes:
    """Return a SETTINGS frame (section 6.5)."""
    payload = b"".join(_SETTING.pack(*change) for change in changes.items())
    return frame(FrameType.SETTINGS, 0, 0, payload)


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """Return the settings of a SETTINGS frame, in order; the same may come twice."""
    return list(_SETTING.iter_unpack(payload))


SETTINGS_ACK: Final = frame(FrameType.SETTINGS, ACK, 0, b"")


def ping(payload: bytes, *, ack: bool) -> bytes:
    """Return a PING frame (section 6.7)."""
    return frame(FrameType.PING, ACK if ack else 0, 0, payload)


def goaway(last_stream_id: int, code: int, debug: bytes) -> bytes:
    """Return a GOAWAY frame (section 6.8)."""
    return frame(FrameType.GOAWAY, 0, 0, _TWO_WORDS.pack(last_stream_id, code) + debug)


def read_goaway(payload: bytes) -> tuple[int, int, bytes]:
    """Return the last stream, the error code and the debug data of a GOAWAY frame."""
    last_stream_id, code = _TWO_WORDS.unpack_from(payload)
    return last_stream_id & RESERVED_BIT, code, payload[_TWO_WORDS.size :]


def rst_stream(stream_id: int, code: int) -> bytes:
    """Return a RST_STREAM frame (section 6.4)."""
    return frame(FrameType.RST_STREAM, 0, stream_id, WORD.pack(code))


def window_update(stream_id: int, increment: int) -> bytes:
    """Return a WINDOW_UPDATE frame (section 6.9)."""
    return frame(FrameType.WINDOW_UPDATE, 0, stream_id, WORD.pack(increment))


def without_padding(flags: int, payload: bytes) -> bytes:
    """Return what is left of DATA or HEADERS without padding and priority.

    Raises:
        ProtocolError: there is more padding than frame (sections 6.1 and 6.2), or
            less frame than its fields need.
    """
    start, end = 0, len(payload)
    if flags & PADDED:
        if not payload:
            raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, "padded, and empty (section 4.2)")
        start, end = 1, end - payload[0]
    if flags & PRIORITY:
        if start + PRIORITY_SIZE > len(payload):
            raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, "too short (section 4.2)")
        start += PRIORITY_SIZE
    if start > end:
        raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "more padding than frame (section 6.1)")
    return payload[start:end]
