"""The registries of RFC 9113 section 11, and the numbers that its rules name."""

import enum
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client sends first (section 3.4)."""

WINDOW_MAX: Final = 2**31 - 1
"""No window may grow beyond this (section 6.9.1)."""

WINDOW_DEFAULT: Final = 65_535
"""Each window before anything is announced, in bytes (section 6.9.2)."""

TABLE_SIZE_DEFAULT: Final = 4096
"""What a decoder keeps before anything is announced, in bytes (section 6.5.2)."""

STREAM_ID_MAX: Final = 2**31 - 1

FRAME_SIZE_MIN: Final = 2**14
FRAME_SIZE_MAX: Final = 2**24 - 1

# Flags (section 6); the same bit means another thing on another type of frame.
# Plain integers: an IntFlag's `&` costs half a microsecond, twice a frame.
END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITY: Final = 0x20


class FrameType(enum.IntEnum):
    """The types of frames (section 6); one that is not here is ignored (section 5.5)."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class ErrorCode(enum.IntEnum):
    """Why a stream or a connection ends (section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class Setting(enum.IntEnum):
    """What an endpoint announces (section 6.5.2)."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6
