"""What a message class says of its fields, in the terms of protobuf.

Everything that the decoder and the encoder know of a class, they know from here.
"""

import datetime
import enum
import keyword
from dataclasses import dataclass
from functools import cache
from typing import Any

import betterproto2
from betterproto2 import FieldMetadata, ProtoClassMetadata

from userservice.wire.protobuf import _seams

# protobuf's own limit of messages within messages, the outermost not counted; a map's
# entry and an unknown group are messages, too.
DEPTH_MAX = 100
TOO_DEEP = f"messages within messages, more than {DEPTH_MAX} deep"


class Wire(enum.IntEnum):
    """How a value is written (protobuf's encoding guide, "Message Structure")."""

    VARINT = 0
    FIXED64 = 1
    LENGTH = 2
    GROUP = 3
    GROUP_END = 4
    FIXED32 = 5


class Presence(enum.Enum):
    """How a field says that it is there."""

    IMPLICIT = enum.auto()  # by another value than the default
    EXPLICIT = enum.auto()  # by a value at all
    REPEATED = enum.auto()
    MAP = enum.auto()


class Wrapping(enum.Enum):
    """What betterproto2 puts in the place of a message of a well-known type."""

    NONE = enum.auto()
    TIMESTAMP = enum.auto()  # a datetime
    DURATION = enum.auto()  # a timedelta
    OTHER = enum.auto()  # what the class's own to_wrapped() returns


# struct's letters of the types of fixed width, and that width in bytes.
FIXED = {
    "double": ("d", 8),
    "fixed64": ("Q", 8),
    "sfixed64": ("q", 8),
    "float": ("f", 4),
    "fixed32": ("I", 4),
    "sfixed32": ("i", 4),
}
_LENGTH = frozenset(["string", "bytes", "message", "map"])


@dataclass(frozen=True, slots=True)
class Value:
    """The type of a value, or of each value of a repeated field."""

    proto_type: str
    python_type: type[Any] = object  # of a message or an enum: its class
    wrapping: Wrapping = Wrapping.NONE

    @property
    def wire(self) -> Wire:
        """How one value is written."""
        if self.proto_type in FIXED:
            return Wire.FIXED64 if FIXED[self.proto_type][1] == 8 else Wire.FIXED32  # bytes
        return Wire.LENGTH if self.proto_type in _LENGTH else Wire.VARINT

    @property
    def packable(self) -> bool:
        """Whether many values may be written as one (the guide, "Packed Repeated Fields")."""
        return self.wire is not Wire.LENGTH


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message class."""

    number: int
    name: str
    value: Value
    presence: Presence
    oneof: str | None = None
    key: Value | None = None  # of a map

    def tag(self, wire: Wire | None = None) -> bytes:
        """Return what stands before a value of this field, as its type or another writes it."""
        number = self.number << 3 | (self.value.wire if wire is None else wire)
        tag = bytearray()
        while number > 0x7F:  # seven bits a byte
            tag.append(number & 0x7F | 0x80)
            number >>= 7
        tag.append(number)
        return bytes(tag)


@cache
def fields_of(message_type: type[betterproto2.Message]) -> tuple[Field, ...]:
    """Return the fields of a class in the order of their numbers.

    Raises:
        TypeError: it is no message class, or it or a field has a name that is none.
    """
    if not (isinstance(message_type, type) and issubclass(message_type, betterproto2.Message)):
        raise TypeError(f"not a message class of betterproto2: {message_type!r}")
    _check_name(message_type.__name__)
    metadata = _seams.metadata_of(message_type)
    fields = [
        _field(name, meta, metadata) for name, meta in _seams.field_metadata(metadata).items()
    ]
    return tuple(sorted(fields, key=lambda field: field.number))


def names_of(message_type: type[betterproto2.Message]) -> tuple[str, ...]:
    """Return the names of a class's fields in the order of declaration."""
    return tuple(_seams.field_metadata(_seams.metadata_of(message_type)))


def _check_name(name: str) -> None:
    """Refuse what is no name: these become part of generated source."""
    if not (name.isascii() and name.isidentifier()) or keyword.iskeyword(name):
        raise TypeError(f"not a name for a message or a field: {name!r}")


def _field(name: str, meta: FieldMetadata, metadata: ProtoClassMetadata) -> Field:
    _check_name(name)
    if meta.map_meta is not None:
        key, value = meta.map_meta
        return Field(
            meta.number,
            name,
            _value(value, metadata.cls_by_field[f"{name}.value"]),
            Presence.MAP,
            key=Value(key.proto_type),
        )
    return Field(
        meta.number,
        name,
        _value(meta, metadata.cls_by_field[name]),
        _presence(meta),
        oneof=None if meta.repeated else meta.group,
    )


def _presence(meta: FieldMetadata) -> Presence:
    if meta.repeated:
        return Presence.REPEATED
    if meta.optional or meta.group or meta.proto_type == betterproto2.TYPE_MESSAGE:
        return Presence.EXPLICIT
    return Presence.IMPLICIT


def _value(meta: FieldMetadata, python_type: type) -> Value:
    if meta.unwrap is None:
        return Value(meta.proto_type, python_type)
    wrappings = {
        datetime.datetime: Wrapping.TIMESTAMP,
        datetime.timedelta: Wrapping.DURATION,
    }
    return Value(meta.proto_type, meta.unwrap(), wrappings.get(python_type, Wrapping.OTHER))
