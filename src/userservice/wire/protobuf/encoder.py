"""Encoders: for each message class, a function that is written from its fields.

An encoder collects the parts of a message in a list, and joins them once. A value of the
wrong type, or out of range, makes some operation on it fail; which field it was is found
out afterwards (`blame`), so that messages without a fault do not pay for it.
"""

import struct
from collections.abc import Callable
from typing import Any

import betterproto2

from userservice.wire.protobuf import _seams, scalars, times, varint
from userservice.wire.protobuf.fields import (
    FIXED,
    TOO_DEEP,
    Field,
    Presence,
    Value,
    Wire,
    Wrapping,
    fields_of,
)
from userservice.wire.protobuf.writing import Source

_TIMES: dict[Wrapping, Callable[[Any], bytes]] = {
    Wrapping.TIMESTAMP: times.timestamp_bytes,
    Wrapping.DURATION: times.duration_bytes,
}


class _Encoders(dict[type[betterproto2.Message], Callable[..., Any]]):
    """The encoders of the classes that needed one so far."""

    def __missing__(self, message_type: type[betterproto2.Message]) -> Callable[..., Any]:
        encoder = self[message_type] = encoder_source(message_type).function("encode")
        return encoder


encoders = _Encoders()


def encoder_source(message_type: type[betterproto2.Message]) -> Source:
    """Return the source of this class's encoder, a function `encode`."""
    fields = fields_of(message_type)
    source = Source(f"encoder of {message_type.__name__}")
    for function in (varint.encoded, scalars.truth, scalars.octets, scalars.no_value, subclass):
        source.name(function.__name__, function)
    with source.block("def encode(message, depth):"):
        _write_depth_check(source, "depth < 0")
        source.line("parts = []")
        for field in fields:
            source.line(f"value = message.{field.name}")
            _write_field(source, field)
        source.line(f"value = message.{_seams.UNKNOWN_FIELDS}")
        with source.block("if value:"):
            source.line("parts.append(value)")
        source.line('return b"".join(parts)')
    return source


def subclass(value: Any, message_type: type[betterproto2.Message], depth: int) -> Any:
    """Encode a value of a message field whose type is not the field's.

    Raises:
        TypeError: it is not of a subclass, either.
    """
    if not isinstance(value, message_type):
        scalars.no_value()
    return encoders[type(value)](value, depth)


def _write_depth_check(source: Source, too_deep: str) -> None:
    with source.block(f"if {too_deep}:"):
        source.line(f'raise ValueError("{TOO_DEEP}")')


def _write_field(source: Source, field: Field) -> None:
    match field.presence:
        case Presence.IMPLICIT:
            _write_implicit(source, field)
        case Presence.EXPLICIT:
            with source.block("if value is not None:"):
                _Writing(source, field.value, field.tag(), str(field.number)).write()
        case Presence.REPEATED:
            _write_repeated(source, field)
        case Presence.MAP:
            _write_map(source, field)


def _write_implicit(source: Source, field: Field) -> None:
    """Write a field whose default is not written, and None is taken for the default."""
    writing = _Writing(source, field.value, field.tag(), str(field.number))
    match field.value.proto_type:
        case "float" | "double":
            letter, width = FIXED[field.value.proto_type]
            # -0.0 is false, and not the default.
            zero = f"pack_{letter}(value) != {bytes(width)!r}"
            with source.block(f"if value or (value is not None and {zero}):"):
                writing.write()
        case "bool":
            # A truth is one of two objects, but for what else is taken for one.
            other = "(value is not False and value is not None and truth(value))"
            with source.block(f"if value is True or {other}:"):
                writing.write()
        case proto_type:
            default = {"string": '""', "bytes": 'b""'}.get(proto_type, "0")
            with source.block("if value:"):
                writing.write()
            with source.block(f"elif value is not None and value != {default}:"):
                source.line("no_value()")


def _write_repeated(source: Source, field: Field) -> None:
    number = str(field.number)
    with source.block("if value:"):
        if field.value.packable:
            source.name(f"packed{number}", scalars.packed_encoder(field.value.proto_type))
            source.line(f"value = packed{number}(value)")
            packed = Value("bytes")
            _Writing(source, packed, field.tag(Wire.LENGTH), number).write_sized()
        else:
            with source.block("for value in value:"):
                _Writing(source, field.value, field.tag(), number).write()
    with source.block("elif value is not None and value != []:"):
        source.line("iter(value)")


def _write_map(source: Source, field: Field) -> None:
    assert field.key is not None
    number = str(field.number)
    key, value = Field(1, "key", field.key, Presence.EXPLICIT), field.value
    with source.block("if value:"):
        _write_depth_check(source, "depth < 1")
        source.line("within = depth - 1")  # an entry is a message
        with source.block("for key, item in value.items():"):
            source.line("entry = []")
            _Writing(source, field.key, key.tag(), f"{number}_1", "key", "entry").write()
            item = Field(2, "value", value, Presence.EXPLICIT)
            _Writing(source, value, item.tag(), f"{number}_2", "item", "entry", "within").write()
            source.line('value = b"".join(entry)')
            _Writing(source, value, field.tag(Wire.LENGTH), number).write_sized()
    with source.block("elif value is not None and value != {}:"):
        source.line("no_value()")


class _Writing:
    """The part of an encoder that adds one value, and its tag, to the parts of a message."""

    def __init__(
        self,
        source: Source,
        value: Value,
        tag: bytes,
        label: str,
        variable: str = "value",
        parts: str = "parts",
        depth: str = "depth",
    ) -> None:
        self._source = source
        self._value = value
        self._variable = variable
        self._parts = parts
        self._depth = depth
        self._label = label
        self._tag = source.name(f"tag{label}", tag)
        self._short = source.name(f"short{label}", varint.with_one_byte(tag))

    def write(self) -> None:
        """Write it for a value that is there."""
        value = self._variable
        match self._value.proto_type:
            case "string":
                self._source.line(f"{value} = {value}.encode()")
                self.write_sized()
            case "bytes":
                with self._source.block(f"if type({value}) is not bytes:"):
                    self._source.line(f"{value} = octets({value})")
                self.write_sized()
            case "message":
                self._write_message()
                self.write_sized()
            case "bool":
                self._source.line(f"{self._parts}.append({self._short}[truth({value})])")
            case proto_type if proto_type in FIXED:
                letter = FIXED[proto_type][0]
                self._source.name(f"pack_{letter}", struct.Struct(f"<{letter}").pack)
                self._source.line(f"{self._parts} += ({self._tag}, pack_{letter}({value}))")
            case proto_type:
                self._write_number(proto_type)

    def _write_number(self, proto_type: str) -> None:
        encode = self._source.name(f"encode_{proto_type}", scalars.number_encoder(proto_type))
        value = self._variable
        limit, short = ("0x80", value)
        if proto_type in scalars.ZIGZAG:
            limit, short = ("0x40", f"{value} << 1")
        with self._source.block(f"if 0 <= {value} < {limit}:"):
            self._source.line(f"{self._parts}.append({self._short}[{short}])")
        with self._source.block("else:"):
            self._source.line(f"{self._parts} += ({self._tag}, {encode}({value}))")

    def _write_message(self) -> None:
        source, value, label, depth = self._source, self._variable, self._label, self._depth
        message_type = self._value.python_type
        time = _TIMES.get(self._value.wrapping)
        if time is not None:
            _write_depth_check(source, f"{depth} < 1")
            source.line(f"{value} = {source.name(time.__name__, time)}({value})")
            return
        encode = source.name_later(f"encode{label}", lambda: encoders[message_type])
        if self._value.wrapping is Wrapping.OTHER:
            wrap = source.name(f"wrap{label}", message_type.from_wrapped)
            source.line(f"{value} = {encode}({wrap}({value}), {depth} - 1)")
            return
        name = source.name(f"type{label}", message_type)
        with source.block(f"if type({value}) is {name}:"):
            source.line(f"{value} = {encode}({value}, {depth} - 1)")
        with source.block("else:"):
            source.line(f"{value} = subclass({value}, {name}, {depth} - 1)")

    def write_sized(self) -> None:
        """Write it for a value that is bytes by now."""
        source, value = self._source, self._variable
        source.line(f"n = len({value})")
        with source.block("if n < 0x80:"):
            source.line(f"{self._parts} += ({self._short}[n], {value})")
        with source.block("else:"):
            source.line(f"{self._parts} += ({self._tag}, encoded(n), {value})")
