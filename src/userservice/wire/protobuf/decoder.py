"""Decoders: for each message class, a function that is written from its fields.

A decoder goes over the fields of a message, which lies from `pos` to `end` in `data`:

- Fields mostly come in the order of their numbers. So after each one the next tag is
  tried with the fields that follow; only where it is none of them, the search begins
  again, or the field is unknown.
- No read is checked against the end of the message. Reads only go forward, so one that
  goes past the end leaves the position past it, and that is looked at once, after the
  last field. What was read from behind the end is thrown away with the message.
- The occurrences of a message within a message are merged (the encoding guide, "Last One
  Wins") by reading one after the other into one. So it is read after the loop, when all
  of them are known: the first from `pos` to `end`, the others as `rest` says. No byte is
  copied for it, and none read twice.
- A tag is compared as the number that its bytes make in little-endian order, so that one
  of two bytes needs no arithmetic. These numbers, too, have the order of the fields.
"""

from array import array
from collections.abc import Callable, Sequence
from typing import Any

import betterproto2

from userservice.wire.protobuf import _seams, unknown, varint
from userservice.wire.protobuf.fields import TOO_DEEP, Field, Presence, Value, fields_of, names_of
from userservice.wire.protobuf.reading import Case, Reading, fixed
from userservice.wire.protobuf.writing import Source

# Tags that are tried one after the other. A message with more has them in blocks, and
# a block where the tag cannot be is left out.
_BLOCK = 8


class _Decoders(dict[type[betterproto2.Message], Callable[..., Any]]):
    """The decoders of the classes that needed one so far."""

    def __missing__(self, message_type: type[betterproto2.Message]) -> Callable[..., Any]:
        decoder = self[message_type] = decoder_source(message_type).function("decode")
        return decoder


decoders = _Decoders()


def decoder_source(message_type: type[betterproto2.Message]) -> Source:
    """Return the source of this class's decoder, a function `decode`."""
    fields = fields_of(message_type)
    source = Source(f"decoder of {message_type.__name__}")
    for function in (varint.varint, varint.size, varint.numbers, fixed, unknown.stray, array):
        source.name(function.__name__, function)
    for field in fields:
        if field.key is not None:
            _write_entry(source, field, field.key)
    readings = _readings(source, fields)
    with source.block("def decode(data, pos, end, rest, depth):"):
        _write_loop(source, "decode", readings)
        _write_message(source, message_type, readings)
    return source


def _readings(source: Source, fields: Sequence[Field], prefix: str = "") -> list[Reading]:
    readings = [Reading(source, field, f"{prefix}{field.number}", decoders) for field in fields]
    for reading in readings:
        reading.rivals.extend(
            other
            for other in readings
            if other is not reading and other.field.oneof == reading.field.oneof is not None
        )
    return readings


def _write_entry(source: Source, field: Field, key: Value) -> None:
    """Write the function that reads a map's entries: messages with a key and a value."""
    fields = (
        Field(1, "key", key, Presence.IMPLICIT),
        Field(2, "value", field.value, Presence.IMPLICIT),
    )
    name = f"entry{field.number}"
    readings = _readings(source, fields, prefix=f"{field.number}_")
    with source.block(f"def {name}(data, pos, end, rest, depth):"):
        _write_loop(source, name, readings)
        source.line(f"return {readings[0].result()}, {readings[1].result()}")
    source.line("")


def _write_message(
    source: Source, message_type: type[betterproto2.Message], readings: Sequence[Reading]
) -> None:
    source.name("message_type", message_type)
    if _seams.is_plain(message_type):
        source.name("new", object.__new__)
        source.line("message = new(message_type)")
    else:
        source.line("message = message_type()")
    results = {reading.field.name: reading.result() for reading in readings}
    # In the order of __init__, so that all instances share one table of attributes.
    for name in names_of(message_type):
        source.line(f"message.{name} = {results[name]}")
    source.line(
        f'message.{_seams.UNKNOWN_FIELDS} = b"" if kept is None else b"".join(kept)',
        "return message",
    )


def _write_loop(source: Source, name: str, readings: Sequence[Reading]) -> None:
    with source.block("if depth < 0:"):
        source.line(f'raise ValueError("{TOO_DEEP}")')
    _write_starts(source, readings)
    source.line("kept = None", "used = 0")
    with source.block("while True:"):
        with source.block("if pos < end:"):
            _write_tags(source, name, [case for reading in readings for case in reading.cases()])
        with source.block("if pos != end:"):
            source.line('raise ValueError("a field goes past the end of its message")')
        with source.block("if rest is None or used == len(rest):"):
            source.line("break")
        source.line("pos = rest[used]", "end = rest[used + 1]", "used += 2")


def _write_starts(source: Source, readings: Sequence[Reading]) -> None:
    shared: dict[str, list[str]] = {}
    for variable, value in (start for reading in readings for start in reading.starts()):
        if value in ("[]", "{}"):
            source.line(f"{variable} = {value}")
        else:
            shared.setdefault(value, []).append(variable)
    for value, variables in shared.items():
        source.line(" = ".join([*variables, value]))


def _write_tags(source: Source, name: str, cases: Sequence[Case]) -> None:
    known = {varint.tag(case.tag, 0)[0]: (case.key, len(case.tag)) for case in cases}
    source.name(f"{name}_known", known)
    source.name(f"{name}_keys", frozenset(case.key for case in cases))
    next_tag = _next_tag(max((len(case.tag) for case in cases), default=1))
    source.line(*next_tag)
    with source.block("while True:"):
        for first in range(0, len(cases), _BLOCK):
            block = cases[first : first + _BLOCK]
            if len(cases) <= _BLOCK:
                _write_cases(source, block, next_tag)
                continue
            with source.block(f"if tag <= {block[-1].key:#x}:"):
                _write_cases(source, block, next_tag)
        with source.block(f"if tag not in {name}_keys:"):
            with source.block("if kept is None:"):
                source.line("kept = []")
            source.line(f"pos, tag = stray(data, pos, end, {name}_known, kept, depth)")
            _write_end(source)


def _next_tag(length: int) -> list[str]:
    """Return the lines that read a tag of at most so many bytes."""
    lines = ["tag = data[pos]"]
    for byte in range(1, length):
        # The high bit of the byte before says that there is another one.
        indent = "    " * (byte - 1)
        lines.append(f"{indent}if tag >= {0x80 << 8 * (byte - 1):#x}:")
        lines.append(f"{indent}    tag |= data[pos + {byte}] << {8 * byte}")
    return lines


def _write_cases(source: Source, cases: Sequence[Case], next_tag: Sequence[str]) -> None:
    for case in cases:
        with source.block(f"if tag == {case.key:#x}:"):
            if case.many:
                with source.block("while True:"):
                    case.write()
                    _write_end(source)
                    source.line(*next_tag)
                    with source.block(f"if tag != {case.key:#x}:"):
                        source.line("break")
                _write_end(source)
            else:
                case.write()
                _write_end(source)
                source.line(*next_tag)


def _write_end(source: Source) -> None:
    with source.block("if pos >= end:"):
        source.line("break")
