"""The protobuf codec: betterproto2 messages to bytes and back.

It is the only place that turns bytes into messages, so that the errors of a
malformed message have one name.
"""

from typing import TypeVar

import betterproto2
from betterproto2 import FieldMetadata, ProtoClassMetadata

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
        _scan(data)
        message = message_type.parse(data)
    except Exception as error:
        # betterproto2 0.10 lets whatever goes wrong inside it out: EOFError,
        # KeyError, struct.error, OverflowError, UnicodeDecodeError and others.
        raise DecodeError(f"not a {message_type.__name__}: {type(error).__name__}") from error
    if not _well_typed(message):
        raise DecodeError(f"not a {message_type.__name__}: a field of another wire type")
    return message


def _scan(data: bytes) -> None:
    """Walk over the fields, to see that the last one is whole.

    betterproto2 0.10 takes a value that ends early for a shorter one.

    Raises:
        ValueError, IndexError: it is not, or a field has no valid number or wire type.
    """
    position = 0
    while position < len(data):
        key, position = betterproto2.decode_varint(data, position)
        if key >> 3 == 0:
            raise ValueError("field number 0")
        match key & 7:
            case betterproto2.WIRE_VARINT:
                _, position = betterproto2.decode_varint(data, position)
            case betterproto2.WIRE_FIXED_64:
                position += 8
            case betterproto2.WIRE_LEN_DELIM:
                length, position = betterproto2.decode_varint(data, position)
                position += length
            case betterproto2.WIRE_FIXED_32:
                position += 4
            case wire_type:
                raise ValueError(f"wire type {wire_type}")
    if position > len(data):
        raise ValueError("the last field ends early")


_PYTHON_TYPES: dict[str, type] = {
    betterproto2.TYPE_STRING: str,
    betterproto2.TYPE_BYTES: bytes,
    betterproto2.TYPE_BOOL: bool,
    betterproto2.TYPE_FLOAT: float,
    betterproto2.TYPE_DOUBLE: float,
    betterproto2.TYPE_ENUM: int,
    **dict.fromkeys(betterproto2.ALL_INT_TYPES, int),
}


def _well_typed(message: betterproto2.Message) -> bool:
    """Tell whether every field has a value of its type.

    Where one came in another wire type, betterproto2 0.10 keeps what it read.
    """
    metadata: ProtoClassMetadata = message._betterproto  # type: ignore[arg-type]  # noqa: SLF001  # a descriptor mypy cannot read, and not public
    return all(
        _has_type(getattr(message, name), meta)
        for name, meta in metadata.meta_by_field_name.items()
    )


def _has_type(value: object, meta: FieldMetadata) -> bool:
    if value is None or meta.map_meta is not None:
        return True
    items = value if isinstance(value, list) else (value,)
    if isinstance(value, list) != bool(meta.repeated):
        return False
    if meta.proto_type == betterproto2.TYPE_MESSAGE:
        return all(_well_typed(item) for item in items if isinstance(item, betterproto2.Message))
    return all(isinstance(item, _PYTHON_TYPES[meta.proto_type]) for item in items)
