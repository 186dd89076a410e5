"""Which field of a message it was that could not be encoded."""

import struct
from typing import Any

import betterproto2

from userservice.wire.protobuf import _seams
from userservice.wire.protobuf.encoder import encoders
from userservice.wire.protobuf.fields import DEPTH_MAX, TOO_DEEP, Field, Presence, fields_of

_PLAIN = (int, float, bool, str, bytes)


def blamed(message: betterproto2.Message, error: Exception) -> Exception:
    """Return the error to raise for a message that cannot be encoded.

    Args:
        message: The message.
        error: What went wrong in its encoder.

    Returns:
        A ValueError where a value is out of range, or else a TypeError. It names the
        class and the field, and does not tell the value.
    """
    for field in fields_of(type(message)):
        value = getattr(message, field.name)
        cause = _failure(_only(message, field, value))
        if cause is None or str(cause) == TOO_DEEP:
            continue
        for inner in _messages(value):
            inner_error = _failure(inner)
            if inner_error is not None:
                return blamed(inner, inner_error)
        return _complaint(f"{type(message).__name__}.{field.name}", field, value, cause)
    return ValueError(f"not encodable as a {type(message).__name__}: {error}")


def _only(message: betterproto2.Message, field: Field, value: Any) -> betterproto2.Message:
    """Return a message that has this field, and no other."""
    alone = object.__new__(type(message))
    alone.__dict__.update(dict.fromkeys(message.__dict__))
    alone.__dict__[_seams.UNKNOWN_FIELDS] = b""
    alone.__dict__[field.name] = value
    return alone


def _failure(message: betterproto2.Message) -> Exception | None:
    try:
        encoders[type(message)](message, DEPTH_MAX)
    except Exception as error:  # noqa: BLE001  # whatever an operation on a wrong value raises
        return error
    return None


def _messages(value: Any) -> list[betterproto2.Message]:
    """Return the messages that a field holds."""
    match value:
        case list() | tuple():
            values = list(value)
        case dict():
            values = list(value.values())
        case _:
            values = [value]
    return [item for item in values if isinstance(item, betterproto2.Message)]


def _complaint(name: str, field: Field, value: Any, cause: Exception) -> Exception:
    if isinstance(cause, UnicodeEncodeError):
        return ValueError(f"{name}: a surrogate in a text, which UTF-8 has no bytes for")
    out_of_range = isinstance(cause, ValueError | OverflowError) or (
        isinstance(cause, struct.error) and "required argument" not in str(cause)
    )
    if out_of_range:
        return ValueError(f"{name}: out of range for {_type_of(field)}")
    return TypeError(f"{name}: a {type(value).__name__} for {_type_of(field)}: {cause}")


def _type_of(field: Field) -> str:
    """Return a field's type as a .proto file has it."""
    value = field.value
    name = value.proto_type if value.python_type in _PLAIN else value.python_type.__name__
    match field.presence:
        case Presence.MAP:
            return f"map<{field.key.proto_type}, {name}>" if field.key else name
        case Presence.REPEATED:
            return f"repeated {name}"
    return name
