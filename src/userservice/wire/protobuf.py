"""The protobuf codec: betterproto2 messages to bytes and back.

It is the only place that turns bytes into messages, so that the errors of a
malformed message have one name.
"""

import enum
from typing import TypeVar

import betterproto2
from betterproto2 import ProtoClassMetadata

M = TypeVar("M", bound=betterproto2.Message)


class DecodeError(ValueError):
    """The bytes are no message of this type."""


def encode(message: betterproto2.Message) -> bytes:
    """Return the message in protobuf's binary form.

    Raises:
        ValueError: a value does not fit its field.
    """
    return bytes(message)


def decode(message_type: type[M], data: bytes) -> M:
    """Return the message of this type that the bytes hold.

    Raises:
        DecodeError: the bytes are no message of this type.
    """
    try:
        _Scan().message(message_type, data)
        return message_type.parse(data)
    except Exception as error:
        # betterproto2 0.10 lets whatever goes wrong inside it out: EOFError,
        # KeyError, struct.error, OverflowError, UnicodeDecodeError and others.
        raise DecodeError(f"not a {message_type.__name__}: {type(error).__name__}") from error


class _Wire(enum.IntEnum):
    """How a value is written (protobuf's encoding guide, "Message Structure")."""

    VARINT = 0
    FIXED64 = 1
    LENGTH = 2
    FIXED32 = 5


_WIRE_TYPES = {
    **dict.fromkeys(betterproto2.WIRE_VARINT_TYPES, _Wire.VARINT),
    **dict.fromkeys(betterproto2.WIRE_FIXED_64_TYPES, _Wire.FIXED64),
    **dict.fromkeys(betterproto2.WIRE_LEN_DELIM_TYPES, _Wire.LENGTH),
    **dict.fromkeys(betterproto2.WIRE_FIXED_32_TYPES, _Wire.FIXED32),
}
_PACKED = frozenset(betterproto2.PACKED_TYPES)
_DEPTH_MAX = 100  # protobuf's own limit of messages within messages
_UNKNOWN_MAX = 1_000  # fields: betterproto2 copies all of them again for each one more


class _Scan:
    """Walks over the fields of a message, to refuse what betterproto2 0.10 takes for good.

    That is: a value that ends early, a field number 0, a value of another wire type, and
    so many unknown fields that reading them holds everybody up.
    """

    def __init__(self) -> None:
        self._unknown = 0
        self._depth = 0

    def message(self, message_type: type[betterproto2.Message], data: bytes) -> None:
        """Check the fields of a message, and of those within it.

        Raises:
            ValueError, EOFError: it is malformed.
        """
        self._depth += 1
        if self._depth > _DEPTH_MAX:
            raise ValueError("messages within messages, too deep")
        fields: ProtoClassMetadata = message_type._betterproto  # type: ignore[arg-type]  # noqa: SLF001  # a descriptor mypy cannot read, and not public
        position = 0
        while position < len(data):
            key, position = betterproto2.decode_varint(data, position)
            number, wire_type = key >> 3, key & 7
            start, position = _value_of(data, position, wire_type)
            name = fields.field_name_by_number.get(number)
            if name is None:
                self._count_unknown(number)
            else:
                self._field(fields, name, wire_type, data[start:position])
        self._depth -= 1

    def _count_unknown(self, number: int) -> None:
        self._unknown += 1
        if number == 0 or self._unknown > _UNKNOWN_MAX:
            raise ValueError("field number 0, or too many unknown fields")

    def _field(self, fields: ProtoClassMetadata, name: str, wire_type: int, value: bytes) -> None:
        meta = fields.meta_by_field_name[name]
        packed = meta.repeated and wire_type == _Wire.LENGTH and meta.proto_type in _PACKED
        if wire_type != _WIRE_TYPES[meta.proto_type] and not packed:
            raise ValueError(f"wire type {wire_type} for a {meta.proto_type}")
        if meta.proto_type == betterproto2.TYPE_MESSAGE:
            self.message(meta.unwrap() if meta.unwrap else fields.cls_by_field[name], value)


def _value_of(data: bytes, position: int, wire_type: int) -> tuple[int, int]:
    """Return where the value at this position starts, and where it ends."""
    start = position
    match wire_type:
        case _Wire.VARINT:
            _, end = betterproto2.decode_varint(data, position)
        case _Wire.FIXED64:
            end = position + 8
        case _Wire.LENGTH:
            length, start = betterproto2.decode_varint(data, position)
            end = start + length
        case _Wire.FIXED32:
            end = position + 4
        case _:
            raise ValueError(f"wire type {wire_type}")
    if end > len(data):
        raise EOFError("the value ends early")
    return start, end
