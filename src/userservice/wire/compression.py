"""Compression of messages, one by one (gRPC over HTTP/2, "Message-Encoding").

A message is never inflated further than its limit, whatever it claims to be.
"""

import enum
import zlib
from typing import Final


class Encoding(enum.StrEnum):
    """What a message may be compressed with, by its name in the header fields."""

    GZIP = "gzip"
    DEFLATE = "deflate"
    """zlib's format (RFC 1950), as in HTTP."""


ENCODINGS: Final = {encoding.value: encoding for encoding in Encoding}
"""The encodings by their names."""

IDENTITY: Final = "identity"
"""The name of no compression."""

ACCEPTED: Final = ",".join([IDENTITY, *Encoding])
"""What this side reads, as ``grpc-accept-encoding`` has it."""

_WINDOW_BITS: Final = {
    Encoding.GZIP: 16 + zlib.MAX_WBITS,
    Encoding.DEFLATE: zlib.MAX_WBITS,
}
# zlib's fastest level takes a third of the time of its default, for a tenth more bytes.
_LEVEL: Final = 1


class InflatedTooLargeError(ValueError):
    """A message that is larger than its limit once it is inflated."""


def compress(message: bytes, encoding: Encoding) -> bytes:
    """Return a message compressed."""
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW_BITS[encoding])
    return compressor.compress(message) + compressor.flush()


def decompress(data: bytes, encoding: Encoding, limit: int) -> bytes:
    """Return what a compressed message is.

    Args:
        data: the compressed message.
        encoding: with what it is compressed.
        limit: how large it may become, in bytes.

    Raises:
        InflatedTooLargeError: it would become larger; it was not inflated further.
        ValueError: it is not so compressed, ends early, or has something behind its end.
    """
    decompressor = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        message = decompressor.decompress(data, limit + 1)
    except zlib.error as error:
        raise ValueError(f"the message is no {encoding} data") from error
    if len(message) > limit:
        raise InflatedTooLargeError(f"the message is larger than {limit} bytes")
    if not decompressor.eof:
        raise ValueError(f"the {encoding} data of the message end early")
    if decompressor.unused_data:
        # gzip allows several members. To read them one by one copies the rest for each, which
        # is work that is not linear in the bytes; nobody who compresses one message makes any.
        raise ValueError(f"something follows the {encoding} data of the message")
    return message
