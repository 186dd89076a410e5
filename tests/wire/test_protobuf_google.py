"""The codec beside Google's runtime: both read the same bytes, and read the same in them.

Where they differ:

- Google's upb does not look at the field numbers within an unknown group; 0 is no number
  (the encoding guide: "field number 0 is reserved"), and its own C++ refuses it, too.
- A Timestamp or Duration may hold a time that Python's types cannot. It is refused, and
  its unknown fields and the digits below a microsecond are gone: a `datetime` has neither.
  The unknown fields of wrappers (Int32Value and so on) have no place either.
- upb keeps a map's entry that has unknown fields as an unknown field of its message, and
  the map lacks it. Here the map has it, and these fields are left out, as in C++ and Go.
- A signaling NaN of 32 bits becomes a quiet one: a Python float has 64 bits.
"""

import math
import re
from pathlib import Path
from random import Random
from typing import Any

import betterproto2
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.internal import api_implementation
from google.protobuf.message import DecodeError as GoogleDecodeError
from google.protobuf.message import Message as GoogleMessage
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wire._gen import everything

from userservice.wire.protobuf import DecodeError, decode, encode

NAMES = ["Scalars", "Optionals", "Repeated", "Oneof", "Tree", "Maps", "WellKnown", "Everything"]
# What is said where only Google reads it, as above.
KNOWN_DIFFERENCES = re.compile("a time that Python's types cannot hold|a field number 0")
# Those that hold neither a map nor a time nor a wrapper.
EXACT = ["Scalars", "Optionals", "Repeated", "Oneof", "Tree"]


def google_classes() -> dict[str, type[GoogleMessage]]:
    """Return Google's classes of the test messages, from what protoc made of the .proto."""
    descriptors = Path(everything.__file__).parents[1] / "descriptors.binpb"
    files = descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"everything.{name}"))
        for name in NAMES
    }


GOOGLE = google_classes()
# Hypothesis draws the seed only: it would draw a message with thousands of choices slowly.
randoms = st.randoms(use_true_random=True)
quick = settings(max_examples=60, deadline=None, derandomize=True)


class Filler:
    """Fills messages of Google's runtime with values that are likely to make a difference."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def fill(self, message: GoogleMessage, depth: int) -> None:
        """Set about half of the fields, and those of messages so many levels deep."""
        if message.DESCRIPTOR.full_name in TIMES:
            self._fill_time(message)
            return
        for field in message.DESCRIPTOR.fields:
            if self._random.random() < 0.5:
                self._fill_field(message, field, depth)

    def _fill_field(self, message: GoogleMessage, field: Any, depth: int) -> None:
        value = getattr(message, field.name)
        kind = field.message_type
        if kind is None and field.is_repeated:
            value.extend(self._scalar(field) for _ in range(self._random.randrange(5)))
        elif kind is None:
            setattr(message, field.name, self._scalar(field))
        elif kind.GetOptions().map_entry:
            for _ in range(self._random.randrange(4)):
                self._fill_entry(value, kind.fields_by_name, depth)
        elif depth and field.is_repeated:
            for _ in range(self._random.randrange(3)):
                self.fill(value.add(), depth - 1)
        elif depth:
            value.SetInParent()
            self.fill(value, depth - 1)

    def _fill_entry(self, entries: Any, fields: Any, depth: int) -> None:
        key = self._scalar(fields["key"])
        if fields["value"].message_type is None:
            entries[key] = self._scalar(fields["value"])
        elif depth:
            self.fill(entries[key], depth - 1)

    def _fill_time(self, message: Any) -> None:
        low, high = TIMES[message.DESCRIPTOR.full_name]
        choose = self._random.choice
        message.seconds = choose(
            [0, 1, 1746515289, 2**32, low, high, self._random.randint(low, high)]
        )
        nanos = 1000 * choose([0, 1, 999_999, 654_321, self._random.randrange(10**6)])
        negative = low == -high and message.seconds < 0
        message.nanos = -nanos if negative else nanos

    def _scalar(self, field: Any) -> Any:
        random = self._random
        match field.type:
            case FieldDescriptor.TYPE_BOOL:
                return random.random() < 0.5
            case FieldDescriptor.TYPE_STRING:
                return random.choice(["", "a", "é€😀", "x" * 127, "y" * 128])
            case FieldDescriptor.TYPE_BYTES:
                return random.choice([b"", b"\x00\xff", b"x" * 127, b"y" * 16384])
            case FieldDescriptor.TYPE_DOUBLE:
                return random.choice([0.0, -0.0, 1.5, math.inf, math.nan, random.random() * 1e300])
            case FieldDescriptor.TYPE_FLOAT:
                return random.choice([0.0, -0.0, 1.5, -math.inf, math.nan, 0.1])
        low, high = RANGES[field.type]
        near = [0, 1, 127, 128, 16384, low, high, max(low, -1)]
        return random.choice([*near, random.randint(low, high), random.randint(0, 300)])


# From the first to the last second (timestamp.proto, duration.proto).
TIMES = {
    "google.protobuf.Timestamp": (-62_135_596_800, 253_402_300_799),
    "google.protobuf.Duration": (-315_576_000_000, 315_576_000_000),
}
SIGNED32, SIGNED64 = (-(2**31), 2**31 - 1), (-(2**63), 2**63 - 1)
UNSIGNED32, UNSIGNED64 = (0, 2**32 - 1), (0, 2**64 - 1)
RANGES = {
    FieldDescriptor.TYPE_INT32: SIGNED32,
    FieldDescriptor.TYPE_SINT32: SIGNED32,
    FieldDescriptor.TYPE_SFIXED32: SIGNED32,
    FieldDescriptor.TYPE_ENUM: SIGNED32,
    FieldDescriptor.TYPE_INT64: SIGNED64,
    FieldDescriptor.TYPE_SINT64: SIGNED64,
    FieldDescriptor.TYPE_SFIXED64: SIGNED64,
    FieldDescriptor.TYPE_UINT32: UNSIGNED32,
    FieldDescriptor.TYPE_FIXED32: UNSIGNED32,
    FieldDescriptor.TYPE_UINT64: UNSIGNED64,
    FieldDescriptor.TYPE_FIXED64: UNSIGNED64,
}


def google_message(random: Random, name: str) -> GoogleMessage:
    """Return a message of Google's runtime."""
    message = GOOGLE[name]()
    Filler(random).fill(message, depth=3)
    return message


def canonical(message: GoogleMessage) -> bytes:
    """Return the bytes by which two messages are equal, unknown fields included."""
    return message.SerializeToString(deterministic=True)


def mutated(random: Random, data: bytes) -> bytes:
    """Return bytes that are nearly these."""
    changed = bytearray(data[:400])
    for _ in range(random.randint(1, 3)):
        place = random.randrange(len(changed) + 1)
        match random.randrange(4):
            case 0:
                changed[place : place + 1] = random.randbytes(1)
            case 1:
                del changed[place : place + random.randint(1, 3)]
            case 2:
                changed[place:place] = random.randbytes(random.randint(1, 3))
            case 3:
                changed = changed[:place] + changed  # fields twice
    return bytes(changed)


def read_by_both(name: str, data: bytes) -> tuple[GoogleMessage, betterproto2.Message] | None:
    """Return the message that both read; they must agree whether there is one."""
    try:
        theirs = GOOGLE[name].FromString(data)
    except GoogleDecodeError:
        with pytest.raises(DecodeError):
            decode(getattr(everything, name), data)
        return None
    try:
        return theirs, decode(getattr(everything, name), data)
    except DecodeError as error:
        if KNOWN_DIFFERENCES.search(str(error)) is None:
            raise
        return None


def test_google_has_its_fast_runtime() -> None:
    """It is what others run, and what differs above is said of."""
    assert api_implementation.Type() == "upb"


@pytest.mark.parametrize("name", NAMES)
@given(random=randoms)
@quick
def test_what_google_writes_is_read_and_written_again(name: str, random: Random) -> None:
    """Nothing is lost on the way, and nothing changes."""
    theirs = google_message(random, name)
    ours = decode(getattr(everything, name), theirs.SerializeToString())
    assert canonical(GOOGLE[name].FromString(encode(ours))) == canonical(theirs)


@pytest.mark.parametrize("name", EXACT)
@given(random=randoms)
@quick
def test_changed_bytes_are_read_alike(name: str, random: Random) -> None:
    """Both refuse them, or both read the same message."""
    both = read_by_both(name, mutated(random, canonical(google_message(random, name))))
    if both is not None:
        theirs, ours = both
        again = canonical(GOOGLE[name].FromString(encode(ours)))
        assert without_signaling(again) == without_signaling(canonical(theirs))


def without_signaling(data: bytes) -> bytes:
    """Return bytes without the bit that tells NaNs of 32 bits apart."""
    return re.sub(rb"[\x80-\xff][\x7f\xff]", lambda nan: b"\xc0" + nan[0][1:], data)


@pytest.mark.parametrize("name", sorted({*NAMES} - {*EXACT}))
@given(random=randoms)
@quick
def test_changed_bytes_are_refused_alike(name: str, random: Random) -> None:
    """Also where a message that was read may differ."""
    read_by_both(name, mutated(random, canonical(google_message(random, name))))


@pytest.mark.parametrize("name", NAMES)
@given(data=st.binary(max_size=40))
@quick
def test_any_bytes_are_refused_alike(name: str, data: bytes) -> None:
    """Bytes that are hardly ever a message."""
    read_by_both(name, data)
