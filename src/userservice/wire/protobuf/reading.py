"""What a decoder does about one field: the variables it reads it into, and the code."""

import dataclasses
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import betterproto2

from userservice.wire.protobuf import _seams, times
from userservice.wire.protobuf.fields import FIXED, Field, Presence, Value, Wire, Wrapping
from userservice.wire.protobuf.writing import Source

Decoders = Mapping[type[betterproto2.Message], Callable[..., Any]]

# How a number of 64 bits without sign becomes a value: what is left of it where it has
# more bits than its type (the encoding guide, "Signed Integers" and proto3's "Updating A
# Message Type"), which a number of one byte never has; and what it then means.
_NUMBERS = {
    "int32": ("{n} if {n} < 0x80000000 else ({n} & 0xFFFFFFFF ^ 0x80000000) - 0x80000000", "{n}"),
    "int64": ("{n} if {n} < 0x8000000000000000 else {n} - 0x10000000000000000", "{n}"),
    "uint32": ("{n} & 0xFFFFFFFF", "{n}"),
    "uint64": (None, "{n}"),
    "sint32": (None, "({n} >> 1 & 0x7FFFFFFF) ^ -({n} & 1)"),
    "sint64": (None, "{n} >> 1 ^ -({n} & 1)"),
    "bool": (None, "{n} != 0"),
}
# Numbers of an enum that are kept with their value, which takes microseconds to make: as
# many as have one or two bytes, so that a flood of them is cheap, and not any number, for
# peers choose them.
_MEMBERS_MAX = 1 << 14
_TIMES = {
    Wrapping.TIMESTAMP: times.timestamp_decoder,
    Wrapping.DURATION: times.duration_decoder,
}
_DEFAULTS = {"string": '""', "bytes": 'b""', "bool": "False", "float": "0.0", "double": "0.0"}


@dataclass(frozen=True, slots=True)
class Case:
    """A tag, and the code that reads what stands behind it."""

    tag: bytes
    write: Callable[[], None]
    many: bool  # whether more of the same are likely to follow

    @property
    def key(self) -> int:
        """The tag as decoders compare it."""
        return int.from_bytes(self.tag, "little")


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """The part of a decoder that is about one field."""

    source: Source
    field: Field
    label: str  # ends the names of the field's variables
    decoders: Decoders
    rivals: list["Reading"] = dataclasses.field(
        default_factory=list
    )  # the other members of its oneof

    def __post_init__(self) -> None:
        value = self.field.value
        if value.proto_type == betterproto2.TYPE_ENUM:
            self.source.name(f"enum{self.label}", _Members(value.python_type))
        elif value.proto_type == betterproto2.TYPE_MESSAGE:
            self.source.name_later(f"decode{self.label}", lambda: self._decoder(value))
        if value.wire in (Wire.FIXED32, Wire.FIXED64):
            letter = FIXED[value.proto_type][0]
            self.source.name(f"unpack_{letter}", struct.Struct(f"<{letter}").unpack_from)

    @property
    def merged(self) -> bool:
        """Whether the field is a message that is read when all of it was seen."""
        return self.field.value.proto_type == betterproto2.TYPE_MESSAGE and self.field.presence in (
            Presence.EXPLICIT,
            Presence.IMPLICIT,
        )

    def starts(self) -> list[tuple[str, str]]:
        """Return the variables of the field, and their values where it is absent."""
        if self.merged:
            return [
                (f"start{self.label}", "0"),
                (f"end{self.label}", "0"),
                (f"rest{self.label}", "None"),
            ]
        return [(f"value{self.label}", self._default())]

    def _default(self) -> str:
        match self.field.presence:
            case Presence.EXPLICIT:
                return "None"
            case Presence.REPEATED:
                return "[]"
            case Presence.MAP:
                return "{}"
        if self.field.value.proto_type == betterproto2.TYPE_ENUM:
            return f"enum{self.label}[0]"
        return _DEFAULTS.get(self.field.value.proto_type, "0")

    def result(self) -> str:
        """Return the expression of the field's value, for after the loop."""
        if not self.merged:
            return f"value{self.label}"
        if self.field.presence is Presence.EXPLICIT:
            return f"{self.message()} if end{self.label} else None"
        return self.message()

    def message(self) -> str:
        """Return the expression that reads all occurrences of a message as one."""
        span = f"start{self.label}, end{self.label}, rest{self.label}"
        return f"decode{self.label}(data, {span}, depth - 1){self._unwrapped}"

    @property
    def _unwrapped(self) -> str:
        return ".to_wrapped()" if self.field.value.wrapping is Wrapping.OTHER else ""

    def cases(self) -> Iterator[Case]:
        """Yield the tags of the field in the order of their keys."""
        value, presence = self.field.value, self.field.presence
        if presence is Presence.MAP:
            yield Case(self.field.tag(Wire.LENGTH), self._write_entry, many=True)
        elif presence is Presence.REPEATED:
            one = Case(self.field.tag(), self._write_item, many=True)
            packed = Case(self.field.tag(Wire.LENGTH), self._write_packed, many=False)
            if value.packable:
                yield from sorted((one, packed), key=lambda case: case.key)
            else:
                yield one
        elif self.merged:
            yield Case(self.field.tag(), self._write_span, many=False)
        else:
            yield Case(self.field.tag(), self._write_single, many=False)

    def _write_single(self) -> None:
        self._write_rivals_away()
        self._write_value(f"value{self.label} = {{}}")

    def _write_item(self) -> None:
        self._write_value(f"value{self.label}.append({{}})")

    def _write_rivals_away(self) -> None:
        """Write that the last member of a oneof is the one that counts."""
        for rival in self.rivals:
            if not rival.merged:
                self.source.line(f"value{rival.label} = None")
                continue
            with self.source.block(f"if end{rival.label}:"):
                # It does not count, and still must not be malformed.
                self.source.line(rival.message())
                self.source.line(f"end{rival.label} = 0", f"rest{rival.label} = None")

    def _write_value(self, store: str) -> None:
        source, value = self.source, self.field.value
        behind = len(self.field.tag())  # the value starts so far behind the tag
        if value.wire is Wire.VARINT:
            source.line(f"n = data[pos + {behind}]", f"pos += {behind + 1}")
            shortened, meaning = self._number()
            with source.block("if n > 0x7F:"):
                self._write_more("varint", "pos")
                if shortened:
                    source.line(f"n = {shortened.format(n='n')}")
            source.line(store.format(meaning.format(n="n")))
        elif value.wire is Wire.LENGTH:
            self._write_size()
            source.line(store.format(self._sized()))
        else:
            letter, width = FIXED[value.proto_type]
            source.line(f"(n,) = unpack_{letter}(data, pos + {behind})")
            source.line(store.format("n"), f"pos += {behind + width}")

    def _write_more(self, function: str, pos: str) -> None:
        """Write what reads the other bytes of a number: one, without a call, or more."""
        source = self.source
        source.line(f"more = data[{pos}]")
        with source.block("if more < 0x80:"):
            source.line("n += (more << 7) - 0x80", f"{pos} += 1")
        with source.block("else:"):
            source.line(f"n, {pos} = {function}(data, {pos}, n)")

    def _number(self) -> tuple[str | None, str]:
        if self.field.value.proto_type == betterproto2.TYPE_ENUM:
            return _NUMBERS["int32"][0], f"enum{self.label}[{{n}}]"
        return _NUMBERS[self.field.value.proto_type]

    def _write_size(self) -> None:
        """Write that a value of this size goes from `start` to `pos`."""
        behind = len(self.field.tag(Wire.LENGTH))
        self.source.line(f"n = data[pos + {behind}]", f"start = pos + {behind + 1}")
        with self.source.block("if n > 0x7F:"):
            self._write_more("size", "start")
        self.source.line("pos = start + n")

    def _sized(self) -> str:
        match self.field.value.proto_type:
            case betterproto2.TYPE_STRING:
                return "data[start:pos].decode()"
            case betterproto2.TYPE_BYTES:
                return "data[start:pos]"
        return f"decode{self.label}(data, start, pos, None, depth - 1){self._unwrapped}"

    def _write_span(self) -> None:
        source, label = self.source, self.label
        self._write_rivals_away()
        self._write_size()
        with source.block(f"if not end{label}:"):
            source.line(f"start{label} = start", f"end{label} = pos")
        with source.block("elif n:"):  # an empty one adds nothing
            with source.block(f"if rest{label} is None:"):
                source.line(f'rest{label} = array("q")')
            source.line(f"rest{label}.append(start)", f"rest{label}.append(pos)")

    def _write_packed(self) -> None:
        self._write_size()
        value = f"value{self.label}"
        if self.field.value.wire is Wire.VARINT:
            shortened, meaning = self._number()
            item = meaning.format(n=f"({shortened})" if shortened else "n").format(n="n")
            read = "numbers(data, start, pos)"
            self.source.line(f"{value} += {read if item == 'n' else f'[{item} for n in {read}]'}")
        else:
            letter, width = FIXED[self.field.value.proto_type]
            self.source.line(f'{value} += fixed(data, start, pos, "{letter}", {width})')

    def _write_entry(self) -> None:
        self._write_size()
        self.source.line(
            f"key, item = entry{self.field.number}(data, start, pos, None, depth - 1)",
            f"value{self.label}[key] = item",
        )

    def _decoder(self, value: Value) -> Callable[..., Any]:
        decoder = self.decoders[value.python_type]
        wrap = _TIMES.get(value.wrapping)
        return decoder if wrap is None else wrap(decoder)


class _Members(dict[int, Any]):
    """The members of an enum by their numbers; open, as proto3's enums are."""

    def __init__(self, enum_type: type[betterproto2.Enum]) -> None:
        super().__init__((int(member), member) for member in enum_type)
        self._enum_type = enum_type

    def __missing__(self, number: int) -> Any:
        """Return the value of a number without a name."""
        member = _seams.enum_member(self._enum_type, number)
        if len(self) < _MEMBERS_MAX:
            self[number] = member
        return member


def fixed(data: bytes, pos: int, end: int, letter: str, width: int) -> tuple[Any, ...]:
    """Return the packed values of a type of fixed width.

    Raises:
        ValueError: the last one ends early.
    """
    count, left = divmod(end - pos, width)
    if left:
        raise ValueError("packed values that end early")
    return struct.unpack_from(f"<{count}{letter}", data, pos)
