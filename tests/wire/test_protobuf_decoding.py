"""Decoding: each rule of protobuf's encoding guide that a message is read by."""

import datetime
import time
import warnings
from collections.abc import Callable

import betterproto2
import pytest
from tests.wire._gen.everything import (
    Color,
    Maps,
    Old,
    Oneof,
    Optionals,
    Outdated,
    Repeated,
    Scalars,
    Tree,
    WellKnown,
)

from userservice._gen.userservice.v1 import ListUsersResponse, User
from userservice.wire.protobuf import DecodeError, decode, encode

MIB = 1 << 20


def field(number: int, value: bytes) -> bytes:
    """Return a field that has a length."""
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    """Return a number as betterproto2 writes it."""
    return betterproto2.encode_varint(value)


MALFORMED = {
    "a string that ends early": b"\x0a\x05ab",
    "a tag that ends early": b"\xff\xff\xff",
    "a field without its value": b"\x0a",
    "a size that ends early": b"\x0a\x80",
    "a size of a string beyond everything": b"\x0a\xff\xff\xff\xff\x7f",
    "a size of six bytes": b"\x0a\x81\x80\x80\x80\x80\x00a",
    "field number 0": b"\x00\x01",
    "field number 0, of another wire type": b"\x02\x00",
    "field number 0 in a group": b"\x7b\x00\x01\x7c",
    "a field number over 2**29 - 1": b"\x80\x80\x80\x80\x10\x01",
    "a tag of six bytes": b"\xa8\x80\x80\x80\x80\x00\x01",
    "wire type 6": b"\x7e\x00",
    "wire type 7": b"\x0f\x00",
    "wire type 6 in a group": b"\x7b\x7e\x00\x7c",
    "a group without its end": b"\x7b",
    "the end of a group without its start": b"\x7c",
    "the end of another group": b"\x7b\x74",
    "groups that cross": b"\x7b\x73\x7c\x74",
    "a string that is not UTF-8": b"\x0a\x02\xff\xfe",
    "a string with a surrogate": b"\x0a\x03\xed\xa0\x80",
    "a number of eleven bytes": b"\x28" + b"\xff" * 10 + b"\x01",
    "an unknown number of eleven bytes": b"\x78" + b"\xff" * 10 + b"\x01",
    "a number that ends early": b"\x28\xff",
    "an unknown field of fixed width that ends early": b"\x7d\x01\x02\x03",
    "a time beyond the calendar": b"\x32\x0a\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    "a field that ends behind its message": b"\x32\x02\x08\x80\x01\x00",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_malformed_bytes_are_a_decode_error(data: bytes) -> None:
    """The error names the message type, and not what was in the bytes."""
    with pytest.raises(DecodeError, match=r"not a User: [a-zA-Z]"):
        decode(User, data)


MALFORMED_WITHIN = {
    "a message that ends within a string": field(17, b"\x72\x02a"),
    "packed numbers that end early": field(1, b"\x01\x80"),
    "a packed number of eleven bytes": field(1, b"\x80" * 10 + b"\x01"),
    "packed floats that end early": field(11, b"\x00" * 5),
    "packed floats that are cut off": b"\x5a\x04\x00\x00",
    "packed numbers that are cut off": b"\x0a\x05\x01",
}


@pytest.mark.parametrize("data", MALFORMED_WITHIN.values(), ids=MALFORMED_WITHIN)
def test_what_is_packed_or_within_is_checked_too(data: bytes) -> None:
    """There is no value in part."""
    with pytest.raises(DecodeError):
        decode(Repeated, data)


@pytest.mark.parametrize("length", range(1, 80))
def test_a_message_cut_short_is_never_another_message(length: int) -> None:
    """Wherever it is cut: it is an error, or the fields before the cut and no more."""
    whole = User(
        id="x" * 30,
        role=300,  # type: ignore[arg-type]  # an enum is open
        created_at=datetime.datetime(2025, 1, 2, 3, 4, 5, 678901, datetime.UTC),
        updated_at=datetime.datetime(1, 1, 1, tzinfo=datetime.UTC),
    )
    data = encode(whole)[:length]
    try:
        cut = decode(User, data)
    except DecodeError:
        return
    assert encode(cut) == data


def test_a_number_may_have_more_bytes_than_it_needs() -> None:
    """Up to ten, for a value; up to five, for a tag and for a size."""
    assert decode(Scalars, b"\x08" + b"\x85" + b"\x80" * 8 + b"\x00").an_int32 == 5
    assert decode(Scalars, b"\x88\x80\x80\x80\x00\x05").an_int32 == 5
    assert decode(Scalars, b"\x80\x81\x80\x00\x05").a_color == 5
    assert decode(Scalars, b"\xf2\x80\x00\x81\x80\x80\x80\x00a").a_string == "a"


def test_bits_that_a_type_does_not_have_are_dropped() -> None:
    """A number of another type is read as C would cast it (proto3, "Updating")."""
    bits = varint((0xABCDE << 32) + 0x80000001)
    assert decode(Scalars, b"\x08" + bits).an_int32 == -0x7FFFFFFF
    assert decode(Scalars, b"\x18" + bits).a_uint32 == 0x80000001
    assert decode(Scalars, b"\x28" + bits).a_sint32 == -0x40000001
    assert decode(Scalars, b"\x80\x01" + bits).a_color == -0x7FFFFFFF
    beyond = b"\xff" * 9 + b"\x7f"
    assert decode(Scalars, b"\x10" + beyond).an_int64 == -1
    assert decode(Scalars, b"\x20" + beyond).a_uint64 == 2**64 - 1
    assert decode(Scalars, b"\x30" + beyond).a_sint64 == -(2**63)
    assert decode(Repeated, field(1, bits)).int32s == [-0x7FFFFFFF]
    assert decode(Repeated, field(4, beyond)).uint64s == [2**64 - 1]


@pytest.mark.parametrize("number", [1, 2, 0x80, 1 << 32, 1 << 63, 2**64 - 1])
def test_any_number_but_0_is_true(number: int) -> None:
    """Whatever bits it has."""
    assert decode(Scalars, b"\x68" + varint(number)).a_bool is True
    assert decode(Repeated, field(13, b"\x00" + varint(number))).bools == [False, True]


def test_the_last_of_a_field_counts() -> None:
    """Fields come in any order, and any number of times."""
    message = decode(Scalars, b"\x72\x01a\x08\x01\x72\x01b\x08\x02")
    assert (message.an_int32, message.a_string) == (2, "b")


@pytest.mark.parametrize("number", [1, 13])
def test_repeated_numbers_are_packed_or_not_or_both(number: int) -> None:
    """Whatever the field says, readers take both (the guide, "Packed Repeated Fields")."""
    one = varint(number << 3) + b"\x01"
    values = [*vars(decode(Repeated, one + field(number, b"\x00\x01") + one)).values()]
    assert values[number - 1] == [1, 0, 1, 1]


def test_repeated_values_of_fixed_width_are_packed_or_not_or_both() -> None:
    """Likewise, in one go."""
    data = b"\x3d\x01\0\0\0" + field(7, b"\x02\0\0\0\x03\0\0\0") + field(7, b"")
    assert decode(Repeated, data).fixed32s == [1, 2, 3]


def test_the_occurrences_of_a_message_are_merged() -> None:
    """Scalars by the last one, repeated fields joined, messages merged again."""
    first = field(33554431, b"\x7a\x01a" + field(33554432, b"\x7a\x01c"))
    second = field(33554431, field(16, b"b") + field(33554432, b"") + field(33554432, b""))
    tree = decode(Tree, first + field(33554431, b"") + second)
    assert tree.child == Tree(class_="a", data="b", children=[Tree(class_="c"), Tree(), Tree()])


def test_the_occurrences_of_a_time_are_merged() -> None:
    """Also of one that would be out of range by itself."""
    far = b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x10\x80\x89\x7a"
    message = decode(WellKnown, field(1, far) + field(1, b"\x08\x05"))
    assert message.timestamp == datetime.datetime(1970, 1, 1, 0, 0, 5, 2000, datetime.UTC)


def test_the_last_member_of_a_oneof_counts() -> None:
    """All others are as if they had not been there."""
    scalars = field(5, b"\x08\x01")
    assert decode(Oneof, b"\x08\x01\x12\x01a") == Oneof(a_string="a")
    assert decode(Oneof, scalars + b"\x12\x01a") == Oneof(a_string="a")
    assert decode(Oneof, b"\x12\x01a" + scalars) == Oneof(scalars=Scalars(an_int32=1))
    assert decode(Oneof, b"\xa2\x01\x01l\x08\x01").left == "l"


def test_a_message_in_a_oneof_is_merged_where_nothing_comes_between() -> None:
    """Another member takes away what was there."""
    one, two = field(5, b"\x08\x01"), field(5, b"\x10\x02")
    assert decode(Oneof, one + two).scalars == Scalars(an_int32=1, an_int64=2)
    assert decode(Oneof, one + b"\x12\x00" + two).scalars == Scalars(an_int64=2)


def test_a_message_that_does_not_count_may_not_be_malformed() -> None:
    """It is still part of the bytes."""
    with pytest.raises(DecodeError):
        decode(Oneof, field(5, b"\x00\x01") + b"\x08\x01")


def test_presence_is_told_by_the_wire() -> None:
    """A default that was sent is there, and one that was not is None."""
    sent = (
        b"\x08\x00\x10\x00\x1d\0\0\0\0\x21"
        + b"\0" * 8
        + b"\x28\x00\x32\x00\x3a\x00\x40\x00\x4a\x00"
    )
    assert decode(Optionals, sent) == Optionals(
        an_int32=0,
        a_sint64=0,
        a_fixed32=0,
        a_double=0.0,
        a_bool=False,
        a_string="",
        some_bytes=b"",
        a_color=Color(0),
        scalars=Scalars(),
    )
    assert set(vars(decode(Optionals, b"")).values()) == {None, b""}


def test_enums_are_open() -> None:
    """A number without a name is what the enum makes of it, and is written again."""
    message = decode(Scalars, b"\x80\x01\x07")
    assert repr(message.a_color) == repr(Color(7))
    assert type(message.a_color) is Color
    assert decode(Scalars, b"\x80\x01\x01").a_color is Color.RED
    below = b"\x80\x01" + b"\xff" * 9 + b"\x01"
    assert decode(Scalars, below).a_color is Color.BELOW
    assert encode(message) == b"\x80\x01\x07"


def test_what_a_map_entry_lacks_is_the_default() -> None:
    """Also a message, a time or a wrapped number."""
    assert decode(Maps, field(12, b"")).strings == {"": ""}
    assert decode(Maps, field(1, b"\x10\x05")).int32s == {0: 5}
    assert decode(Maps, field(16, b"\x0a\x01a")).colors == {"a": Color.UNSPECIFIED}
    assert decode(Maps, field(17, b"\x0a\x01a")).scalars == {"a": Scalars()}
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    assert decode(Maps, field(19, b"")).timestamps == {0: epoch}
    assert decode(Maps, field(20, b"\x08\x01")).wrappers == {1: 0}


def test_a_map_has_the_last_entry_of_a_key() -> None:
    """An entry is a message: its fields come in any order, and unknown ones are left out."""
    entries = field(12, b"\x0a\x01a\x12\x01b") + field(12, b"\x18\x01\x12\x01c\x0a\x01a")
    assert decode(Maps, entries).strings == {"a": "c"}
    merged = field(17, b"\x0a\x01a" + field(2, b"\x08\x01") + field(2, b"\x10\x02"))
    assert decode(Maps, merged).scalars == {"a": Scalars(an_int32=1, an_int64=2)}


def test_unknown_fields_are_kept_byte_for_byte() -> None:
    """In their order, after the known ones; groups whole, tags as long as they were."""
    unknown = [
        b"\x78\x85\x80\x00",
        b"\x7d\x01\x02\x03\x04",
        b"\x79\x01\x02\x03\x04\x05\x06\x07\x08",
        b"\x7a\x02ab",
        b"\x7b\x08\x01\x73\x7a\x01a\x74\x7c",
        b"\xf8\x80\x00\x01",
    ]
    data = unknown[0] + b"\x0a\x01x" + b"".join(unknown[1:])
    message = decode(User, data)
    assert message._unknown_fields == b"".join(unknown)
    assert encode(message) == b"\x0a\x01x" + b"".join(unknown)


@pytest.mark.parametrize(
    ("message_type", "data"),
    [
        (User, b"\x08\x05"),  # a number for a text
        (User, b"\x0d\x01\x02\x03\x04"),  # a float for a text
        (User, b"\x2a\x02\x01\x02"),  # packed numbers for one role
        (User, b"\x0b\x0c"),  # a group for a text
        (User, b"\x33\x08\x01\x34"),  # a group for a message
        (ListUsersResponse, b"\x1a\x01\x01"),  # packed numbers for one number
        (Repeated, b"\x70\x01"),  # a number for texts
        (Repeated, b"\x39" + b"\0" * 8),  # 64 bits for 32
        (Maps, b"\x08\x01"),  # a number for an entry
    ],
)
def test_a_field_of_another_wire_type_is_unknown(
    message_type: type[betterproto2.Message], data: bytes
) -> None:
    """As in Google's runtimes: no value ever has another type than its field."""
    message = decode(message_type, data)
    assert message._unknown_fields == data
    assert message == message_type()


@pytest.mark.parametrize(
    "nested", [lambda data: field(33554431, data), lambda data: field(33554432, data)]
)
def test_messages_are_at_most_100_deep(nested: Callable[[bytes], bytes]) -> None:
    """More are refused, however deep."""
    data = b""
    for _ in range(100):
        data = nested(data)
    assert encode(decode(Tree, data)) == data
    with pytest.raises(DecodeError, match="more than 100 deep"):
        decode(Tree, nested(data))
    for _ in range(2_000):
        data = nested(data)
    with pytest.raises(DecodeError, match="more than 100 deep"):
        decode(Tree, data)


def test_groups_and_entries_count_as_messages() -> None:
    """The limit is of all together."""
    groups = b"\x7b" * 100 + b"\x7c" * 100
    assert encode(decode(User, groups)) == groups
    for data in (b"\x7b" * 101 + b"\x7c" * 101, b"\x7b" * MIB):
        with pytest.raises(DecodeError, match="more than 100 deep"):
            decode(User, data)
    data = b"\x7b" * 50 + b"\x7c" * 50
    for _ in range(50):
        data = field(33554431, data)
    assert decode(Tree, data)
    with pytest.raises(DecodeError, match="more than 100 deep"):
        decode(Tree, field(33554431, data))
    data = b""
    for _ in range(50):
        data = field(18, field(2, data))
    assert decode(Maps, data)
    with pytest.raises(DecodeError, match="more than 100 deep"):
        decode(Maps, field(18, field(2, data)))


FLOODS = {
    "unknown fields": (User, b"\x78\x01"),
    "unknown fields between known ones": (User, b"\x28\x01\x78\x01"),
    "values one by one": (Repeated, b"\x08\x01"),
    "fields in reverse": (Repeated, b"\x90\x01\x01\x68\x01\x08\x01"),
    "occurrences of one message": (User, b"\x32\x02\x08\x01"),
    "groups": (User, b"\x7b\x7c"),
    "members of a oneof": (Oneof, b"\x2a\x02\x08\x01\x08\x01"),
    "numbers that an enum does not know": (Repeated, b"\x80\x01\x07"),
}


@pytest.mark.parametrize(("message_type", "part"), FLOODS.values(), ids=FLOODS)
def test_a_flood_takes_linear_time(message_type: type[betterproto2.Message], part: bytes) -> None:
    """Four times as much takes four times as long, and not sixteen times."""

    def seconds(size: int) -> float:
        data = part * (size // len(part))
        started = time.process_time()
        decode(message_type, data)
        return time.process_time() - started

    # Other programs may slow one down: it is enough that it can be so.
    assert any(seconds(MIB // 4) < 8 * seconds(MIB // 16) for _ in range(10))


def test_a_megabyte_of_unknown_fields_holds_nobody_up() -> None:
    """Half a million fields; betterproto2 takes minutes for them."""
    flood = b"\x78\x01" * (MIB // 2)
    started = time.process_time()
    assert decode(User, field(6, flood) + flood)._unknown_fields == flood
    assert time.process_time() - started < 5


NANOS = b"\x10\xb8\xbf\x9a\xe7\x02"  # 753311672
TIMES = {
    b"": datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC),
    b"\x08\xd9\xea\xe6\xc0\x06": datetime.datetime(2025, 5, 6, 7, 8, 9, tzinfo=datetime.UTC),
    b"\x08\xd9\xea\xe6\xc0\x06" + NANOS: datetime.datetime(
        2025, 5, 6, 7, 8, 9, 753311, tzinfo=datetime.UTC
    ),
    NANOS + b"\x08\xd9\xea\xe6\xc0\x06": datetime.datetime(
        2025, 5, 6, 7, 8, 9, 753311, tzinfo=datetime.UTC
    ),
    b"\x08" + varint(-62135596800): datetime.datetime(1, 1, 1, tzinfo=datetime.UTC),
    b"\x08" + varint(253402300799) + b"\x10" + varint(999_999_999): datetime.datetime(
        9999, 12, 31, 23, 59, 59, 999999, tzinfo=datetime.UTC
    ),
}


@pytest.mark.parametrize(("data", "value"), TIMES.items())
def test_a_timestamp_is_a_datetime_in_utc(data: bytes, value: datetime.datetime) -> None:
    """To the microsecond: what is below is cut."""
    assert decode(WellKnown, field(1, data)).timestamp == value
    assert decode(WellKnown, field(17, data)).timestamps == [value]


@pytest.mark.parametrize("seconds", [-62135596801, 253402300800, 2**63 - 1, -(2**63)])
def test_a_timestamp_out_of_range_is_a_decode_error(seconds: int) -> None:
    """`datetime` has the years 1 to 9999, as Timestamp does."""
    with pytest.raises(DecodeError, match="a time that Python's types cannot hold"):
        decode(WellKnown, field(1, b"\x08" + varint(seconds)))


@pytest.mark.parametrize(
    ("seconds", "nanos", "value"),
    [
        (0, 0, datetime.timedelta()),
        (1, 1_999, datetime.timedelta(seconds=1, microseconds=1)),
        (-1, -1_999, -datetime.timedelta(seconds=1, microseconds=1)),
        (0, -500_000_000, -datetime.timedelta(milliseconds=500)),
        (315_576_000_000, 0, datetime.timedelta(seconds=315_576_000_000)),
    ],
)
def test_a_duration_is_a_timedelta(seconds: int, nanos: int, value: datetime.timedelta) -> None:
    """To the microsecond: what is below is cut, towards zero."""
    data = b"\x08" + varint(seconds) + b"\x10" + varint(nanos)
    assert decode(WellKnown, field(2, data)).duration == value


def test_a_duration_out_of_range_is_a_decode_error() -> None:
    """`timedelta` ends before an int64 of seconds does."""
    with pytest.raises(DecodeError, match="a time that Python's types cannot hold"):
        decode(WellKnown, field(2, b"\x08" + varint(2**62)))


def test_a_deprecated_message_warns_as_betterproto2_does() -> None:
    """Where an instance is made, and not for its fields."""
    with pytest.warns(DeprecationWarning, match="Old is deprecated"):
        assert decode(Outdated, b"\x0a\x01a\x12\x03\x0a\x01b").old is not None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(Outdated, b"\x0a\x01a").text == "a"
    with pytest.warns(DeprecationWarning, match="Old is deprecated"):
        assert decode(Old, b"\x0a\x01a").text == "a"
