"""Times: google.protobuf's Timestamp and Duration as `datetime` and `timedelta`.

Both are messages of seconds (field 1, int64) and nanoseconds (field 2, int32). Python's
types end at microseconds: the digits below are cut.
"""

import datetime
from array import array
from collections.abc import Callable
from struct import Struct
from typing import Any

from userservice.wire.protobuf import varint

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_UTC = datetime.UTC
_FROM_TIMESTAMP = datetime.datetime.fromtimestamp
_DAY_S = 86_400
_SECOND_NS = 1_000_000_000
# timestamp.proto: from 0001-01-01T00:00:00Z to 9999-12-31T23:59:59Z.
_TIMESTAMP_S_MIN = -62_135_596_800
_TIMESTAMP_S_END = 253_402_300_800

_SECONDS = 1 << 3  # the fields' tags
_NANOS = 2 << 3
_MORE = 0x80
_FIVE_BYTES = 1 << 28  # the first number of five bytes
_SIX_BYTES = 1 << 35
_EXACT = 1 << 4  # the fifth byte: a float holds microseconds of up to 32 bits of seconds
_ELEVEN_BYTES = Struct("11B").unpack_from
_TWELVE_BYTES = Struct("=BHHBBHHB").pack
_BITS_14 = (1 << 14) - 1


def _two_bytes() -> "array[int]":
    """Return what 14 bits are as two bytes of a varint, each of which says that more follow."""
    octets = bytearray(2 << 14)
    octets[::2] = bytes(range(128, 256)) * 128
    octets[1::2] = b"".join(bytes([high]) * 128 for high in range(128, 256))
    return array("H", bytes(octets))


_TWO_BYTES = _two_bytes()  # 32 KiB; to look there is cheaper than to shift and to mask

Decoder = Callable[..., Any]


def timestamp_decoder(decode: Decoder) -> Decoder:
    """Return what reads a Timestamp as a datetime, from the decoder of its class."""

    def timestamp(data: bytes, pos: int, end: int, rest: Any, depth: int) -> datetime.datetime:
        size = end - pos
        if 11 <= size <= 12 and rest is None and depth >= 0:  # see below
            # The times of our days, with microseconds: five bytes of seconds, and four
            # or five of nanoseconds. It is half the price of the decoder. Numbers of
            # many bytes are sums here, less the high bits that say that more follow.
            field1, s1, s2, s3, s4, s5, field2, n1, n2, n3, n4 = _ELEVEN_BYTES(data, pos)
            if (
                field1 == _SECONDS
                and field2 == _NANOS
                and s1 & s2 & s3 & s4 & n1 & n2 & n3 >= _MORE
                and s5 < _EXACT
            ):
                nanos = n1 + (n2 << 7) + (n3 << 14) + (n4 << 21) - 0x204080
                if size == 12:  # a fifth byte
                    nanos += (data[pos + 11] - 1) << 28
                if 0 <= nanos < _SECOND_NS and (n4 >= _MORE) == (size == 12):
                    seconds = s1 + (s2 << 7) + (s3 << 14) + (s4 << 21) + (s5 << 28) - 0x10204080
                    return _FROM_TIMESTAMP(seconds + nanos // 1000 / 1e6, _UTC)
        message = decode(data, pos, end, rest, depth)
        return _EPOCH + datetime.timedelta(0, message.seconds, message.nanos // 1000)

    return timestamp


def duration_decoder(decode: Decoder) -> Decoder:
    """Return what reads a Duration as a timedelta, from the decoder of its class."""

    def duration(data: bytes, pos: int, end: int, rest: Any, depth: int) -> datetime.timedelta:
        message = decode(data, pos, end, rest, depth)
        # Cut towards zero: the sign of both numbers is the same (duration.proto).
        return datetime.timedelta(0, message.seconds, int(message.nanos / 1000))

    return duration


def timestamp_bytes(value: datetime.datetime) -> bytes:
    """Return a datetime as a Timestamp.

    Raises:
        TypeError: it is none, or has no time zone.
        ValueError: it is no time of the years 1 to 9999 in UTC.
    """
    since = value - _EPOCH
    s = since.days * _DAY_S + since.seconds
    n = since.microseconds * 1000
    if _FIVE_BYTES <= s < _SIX_BYTES and n >= _FIVE_BYTES:
        # The times of our days, at half the price.
        return _TWELVE_BYTES(
            _SECONDS,
            _TWO_BYTES[s & _BITS_14],
            _TWO_BYTES[s >> 14 & _BITS_14],
            s >> 28,
            _NANOS,
            _TWO_BYTES[n & _BITS_14],
            _TWO_BYTES[n >> 14 & _BITS_14],
            n >> 28,
        )
    if not _TIMESTAMP_S_MIN <= s < _TIMESTAMP_S_END:
        raise ValueError("a time out of range")
    return _message(s, n)


def duration_bytes(value: datetime.timedelta) -> bytes:
    """Return a timedelta as a Duration.

    Raises:
        TypeError: it is none.
    """
    seconds = value.days * _DAY_S + value.seconds
    nanos = value.microseconds * 1000
    if seconds < 0 and nanos:
        # timedelta counts microseconds forward, Duration away from zero.
        seconds, nanos = seconds + 1, nanos - _SECOND_NS
    return _message(seconds, nanos)


def _message(seconds: int, nanos: int) -> bytes:
    message = b""
    if seconds:
        message = b"\x08" + varint.encoded(seconds & varint.UINT64)
    if nanos:
        message += b"\x10" + varint.encoded(nanos & varint.UINT64)
    return message
