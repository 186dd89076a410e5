"""The protobuf codec: betterproto2's messages to bytes and back.

For each message class a decoder and an encoder are written in Python, from its fields and
when they are needed first; `source` shows them. It is the only place that turns bytes
into messages, so that the errors of a malformed message have one name. What the bytes
travel on is not known here.
"""

import struct
from typing import TypeVar

import betterproto2

from userservice.wire.protobuf.blame import blamed
from userservice.wire.protobuf.decoder import decoder_source, decoders
from userservice.wire.protobuf.encoder import encoder_source, encoders
from userservice.wire.protobuf.fields import DEPTH_MAX, TOO_DEEP

__all__ = ["DecodeError", "decode", "encode", "source"]

M = TypeVar("M", bound=betterproto2.Message)

# What it means that a decoder ran into one of these; a ValueError says it itself.
_REASONS: dict[type[Exception], str] = {
    IndexError: "the bytes end early",
    struct.error: "the bytes end early",
    UnicodeDecodeError: "a string is not UTF-8",
    OverflowError: "a time that Python's types cannot hold",
    RecursionError: TOO_DEEP,  # only for a caller who is deep in the stack already
}
_FAILURES: tuple[type[Exception], ...] = (ValueError, *_REASONS)


class DecodeError(ValueError):
    """The bytes are no message of this type."""


def encode(message: betterproto2.Message) -> bytes:
    """Return the message in protobuf's binary form.

    Fields are in the order of their numbers, unknown ones after them, and the entries of
    a map in its own order.

    Raises:
        TypeError: a value is of another type than its field; both are named.
        ValueError: a value is out of range, or messages are nested too deep.
    """
    encode_message = encoders[type(message)]
    try:
        data: bytes = encode_message(message, DEPTH_MAX)
    except Exception as error:
        raise blamed(message, error) from error
    return data


def decode(message_type: type[M], data: bytes | bytearray | memoryview) -> M:
    """Return the message of this type that the bytes hold.

    A Timestamp or Duration loses the digits below a microsecond: `datetime` has none.

    Raises:
        DecodeError: the bytes are no message of this type.
    """
    decode_message = decoders[message_type]
    if type(data) is not bytes:
        data = bytes(data)
    try:
        message: M = decode_message(data, 0, len(data), None, DEPTH_MAX)
    except _FAILURES as error:
        reason = _REASONS.get(type(error), str(error))
        raise DecodeError(f"not a {message_type.__name__}: {reason}") from error
    return message


def source(message_type: type[betterproto2.Message]) -> str:
    """Return the Python source of this class's decoder and encoder."""
    return f"{decoder_source(message_type)}\n\n{encoder_source(message_type)}\n"
