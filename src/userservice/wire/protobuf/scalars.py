"""Numbers, truths and bytes in their binary form, and the ranges they must be in."""

import struct
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from userservice.wire.protobuf.fields import FIXED
from userservice.wire.protobuf.varint import ONE_BYTE, UINT64, encoded

# The first number of each type, and the one behind its last. An enum is open, but it has
# 32 bits (proto3, "Enumerations").
_RANGES = {
    "int32": (-(1 << 31), 1 << 31),
    "sint32": (-(1 << 31), 1 << 31),
    "enum": (-(1 << 31), 1 << 31),
    "uint32": (0, 1 << 32),
    "int64": (-(1 << 63), 1 << 63),
    "sint64": (-(1 << 63), 1 << 63),
    "uint64": (0, 1 << 64),
}
ZIGZAG = frozenset(["sint32", "sint64"])


def number_encoder(proto_type: str) -> Callable[[int], bytes]:
    """Return what encodes numbers of a type as varints.

    What is returned raises ValueError where one is out of range, and TypeError where it
    is no whole number.
    """
    low, end = _RANGES[proto_type]

    def encode(number: int) -> bytes:
        if not low <= number < end:
            raise ValueError("out of range")
        return encoded(number & UINT64)  # a negative one has ten bytes, of all types

    def encode_zigzag(number: int) -> bytes:
        if not low <= number < end:
            raise ValueError("out of range")
        return encoded(_zigzag(number))

    return encode_zigzag if proto_type in ZIGZAG else encode


def packed_encoder(proto_type: str) -> Callable[[Iterable[Any]], bytes]:
    """Return what encodes many values of a type as one, as `number_encoder` does."""
    if proto_type in FIXED:
        return _fixed_encoder(FIXED[proto_type][0])
    if proto_type == "bool":
        return _truths
    return _numbers_encoder(proto_type)


def _fixed_encoder(letter: str) -> Callable[[Iterable[Any]], bytes]:
    def encode(values: Iterable[Any]) -> bytes:
        values = [*values]
        return struct.pack(f"<{len(values)}{letter}", *values)

    return encode


def _numbers_encoder(proto_type: str) -> Callable[[Iterable[int]], bytes]:
    low, end = _RANGES[proto_type]
    zigzag = proto_type in ZIGZAG

    def encode(values: Iterable[int]) -> bytes:
        numbers = [*values]
        if not low <= min(numbers) <= max(numbers) < end:
            raise ValueError("out of range")
        if zigzag:
            numbers = [_zigzag(number) for number in numbers]
        if min(numbers) >= 0 and max(numbers) < 0x80:  # each is a byte
            return bytes(numbers)
        return b"".join(
            [
                ONE_BYTE[number] if 0 <= number < 0x80 else encoded(number & UINT64)
                for number in numbers
            ]
        )

    return encode


def _zigzag(number: int) -> int:
    return number << 1 ^ number >> 63


def _truths(values: Iterable[Any]) -> bytes:
    return bytes(map(truth, values))


def truth(value: Any) -> bool:
    """Return a value of a bool field; betterproto2 takes numbers for truths, too.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, int):
        no_value()
    return bool(value)


def octets(value: Any) -> bytes:
    """Return a value of a bytes field that is no `bytes` itself.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, bytes | bytearray | memoryview):
        no_value()
    return bytes(value)


def no_value() -> NoReturn:
    """Refuse something empty that is no value of its field."""
    raise TypeError("not a value of this field")
