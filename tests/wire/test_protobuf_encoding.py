"""Encoding: what is written of each value, and which values are refused."""

import datetime
import enum
import math
from typing import Any

import betterproto2
import pytest
from tests.wire._gen.everything import (
    Color,
    Maps,
    Oneof,
    Optionals,
    Repeated,
    Scalars,
    Tree,
    WellKnown,
)

from userservice.wire.protobuf import DecodeError, decode, encode

UTC = datetime.UTC


def of(message_type: Any, **values: Any) -> Any:
    """Return a message with values that its types do not allow."""
    return message_type(**values)


def test_defaults_are_not_written() -> None:
    """Nor are empty lists and maps, nor what is None."""
    for message in (Scalars(), Repeated(), Maps(), Optionals(), Oneof(), WellKnown(), Tree()):
        assert encode(message) == b""


def test_none_stands_for_absence_in_every_field() -> None:
    """betterproto2 takes it so, whatever the field's type."""
    for message_type in (Scalars, Repeated, Maps, Optionals, Oneof, WellKnown, Tree):
        nothing = {name: None for name in vars(message_type()) if name != "_unknown_fields"}
        message = of(message_type, **nothing)
        assert encode(message) == bytes(message) == b""


def test_a_default_with_presence_is_written() -> None:
    """That is what presence is for; also in a oneof, and in a wrapper."""
    assert encode(Optionals(an_int32=0, a_bool=False, a_string="")) == b"\x08\x00\x28\x00\x32\x00"
    assert encode(Oneof(a_double=0.0)) == b"\x39" + b"\0" * 8
    assert encode(WellKnown(int32_value=0, chosen_string="")) == b"\x22\x00\xba\x01\x00"


def test_negative_zero_and_nan_are_no_defaults() -> None:
    """Equality does not tell, the bits do."""
    assert encode(Scalars(a_double=-0.0)) == b"\x61" + b"\0" * 7 + b"\x80"
    assert encode(Scalars(a_float=-0.0)) == b"\x5d\0\0\0\x80"
    for value in (math.nan, math.inf, -math.inf):
        message = decode(Scalars, encode(Scalars(a_float=value, a_double=value)))
        assert repr((message.a_float, message.a_double)) == repr((value, value))


def test_fields_are_in_the_order_of_their_numbers() -> None:
    """And unknown ones come last."""
    message = Scalars(a_color=Color.RED, a_string="s", an_int32=1)
    message._unknown_fields = b"\xf8\x01\x01"
    assert encode(message) == b"\x08\x01\x72\x01s\x80\x01\x01\xf8\x01\x01"


def test_entries_are_in_the_order_of_the_dict() -> None:
    """With key and value, also where these are defaults."""
    message = Maps(int32s={2: 0, 1: 5})
    assert encode(message) == b"\x0a\x04\x08\x02\x10\x00\x0a\x04\x08\x01\x10\x05"


def test_repeated_numbers_are_packed() -> None:
    """betterproto2's classes do not tell of [packed = false]."""
    assert encode(Repeated(int32s=[1, -1])) == b"\x0a\x0b\x01" + b"\xff" * 9 + b"\x01"
    assert encode(Repeated(unpacked=[1, 2])) == b"\x92\x01\x02\x01\x02"


LIMITS = [
    ("an_int32", -(2**31), 2**31 - 1),
    ("an_int64", -(2**63), 2**63 - 1),
    ("a_uint32", 0, 2**32 - 1),
    ("a_uint64", 0, 2**64 - 1),
    ("a_sint32", -(2**31), 2**31 - 1),
    ("a_sint64", -(2**63), 2**63 - 1),
    ("a_fixed32", 0, 2**32 - 1),
    ("a_fixed64", 0, 2**64 - 1),
    ("an_sfixed32", -(2**31), 2**31 - 1),
    ("an_sfixed64", -(2**63), 2**63 - 1),
    ("a_color", -(2**31), 2**31 - 1),
]


@pytest.mark.parametrize(("name", "low", "high"), LIMITS)
def test_numbers_have_the_range_of_their_type(name: str, low: int, high: int) -> None:
    """The first and the last are written, those beyond are refused."""
    for value in (low, high, 1, 63, 64, 127, 128, 16383, 16384, 2**21, 2**28, 2**31 - 1):
        message = of(Scalars, **{name: value})
        assert encode(message) == bytes(message)
        assert getattr(decode(Scalars, encode(message)), name) == value
    for value in (low - 1, high + 1, 2**70, -(2**70)):
        with pytest.raises(ValueError, match=f"^Scalars.{name}: out of range for "):
            encode(of(Scalars, **{name: value}))


@pytest.mark.parametrize(("name", "low", "high"), LIMITS)
def test_numbers_in_lists_have_the_same_range(name: str, low: int, high: int) -> None:
    """One that is wrong is enough."""
    plural = name.partition("_")[2] + "s"
    for values in ([low, high, 0], [1, 2, 3], [127, 128], [high] * 100):
        message = of(Repeated, **{plural: values})
        assert encode(message) == bytes(message)
        assert getattr(decode(Repeated, encode(message)), plural) == values
    for value in (low - 1, high + 1):
        with pytest.raises(ValueError, match=f"^Repeated.{plural}: out of range for repeated "):
            encode(of(Repeated, **{plural: [0, value]}))


def test_a_float_has_32_bits() -> None:
    """A number beyond them is refused, and one between is rounded."""
    with pytest.raises(ValueError, match=r"Scalars.a_float: out of range for float"):
        encode(Scalars(a_float=1e39))
    assert decode(Scalars, encode(Scalars(a_float=0.1))).a_float == pytest.approx(0.1)


WRONG = [
    (of(Scalars, an_int32="1"), "Scalars.an_int32: a str for int32"),
    (of(Scalars, an_int32=1.5), "Scalars.an_int32: a float for int32"),
    (of(Scalars, an_int64=1e9), "Scalars.an_int64: a float for int64"),
    (of(Scalars, an_int32=[]), "Scalars.an_int32: a list for int32"),
    (of(Scalars, a_fixed32=1.0), "Scalars.a_fixed32: a float for fixed32"),
    (of(Scalars, a_double="1"), "Scalars.a_double: a str for double"),
    (of(Scalars, a_double=""), "Scalars.a_double: a str for double"),
    (of(Scalars, a_bool="yes"), "Scalars.a_bool: a str for bool"),
    (of(Scalars, a_bool=[]), "Scalars.a_bool: a list for bool"),
    (of(Scalars, a_string=b"text"), "Scalars.a_string: a bytes for string"),
    (of(Scalars, a_string=0), "Scalars.a_string: a int for string"),
    (of(Scalars, some_bytes="text"), "Scalars.some_bytes: a str for bytes"),
    (of(Scalars, some_bytes=3), "Scalars.some_bytes: a int for bytes"),
    (of(Scalars, a_color="RED"), "Scalars.a_color: a str for Color"),
    (of(Optionals, scalars=Tree()), "Optionals.scalars: a Tree for Scalars"),
    (of(Optionals, scalars={}), "Optionals.scalars: a dict for Scalars"),
    (of(Repeated, int32s=5), "Repeated.int32s: a int for repeated int32"),
    (of(Repeated, int32s=0), "Repeated.int32s: a int for repeated int32"),
    (of(Repeated, int32s=["1"]), "Repeated.int32s: a list for repeated int32"),
    (of(Repeated, strings=[None]), "Repeated.strings: a list for repeated string"),
    (of(Repeated, doubles=["1"]), "Repeated.doubles: a list for repeated double"),
    (of(Repeated, bools=["1"]), "Repeated.bools: a list for repeated bool"),
    (of(Repeated, scalars=[Scalars(), None]), "Repeated.scalars: a list for repeated Scalars"),
    (of(Maps, strings={"a": 1}), "Maps.strings: a dict for map<string, string>"),
    (of(Maps, strings=[1]), "Maps.strings: a list for map<string, string>"),
    (of(Maps, strings=""), "Maps.strings: a str for map<string, string>"),
    (of(WellKnown, timestamp=5), "WellKnown.timestamp: a int for Timestamp"),
    (
        of(WellKnown, timestamp=datetime.date(2025, 1, 1)),
        "WellKnown.timestamp: a date for Timestamp",
    ),
    (
        of(WellKnown, timestamp=datetime.datetime(2025, 1, 1)),  # noqa: DTZ001  # what it is about
        "WellKnown.timestamp: a datetime for Timestamp: .*offset-naive",
    ),
    (of(WellKnown, duration=5), "WellKnown.duration: a int for Duration"),
    (of(WellKnown, int32_value="5"), "WellKnown.int32_value: a str for Int32Value"),
]


@pytest.mark.parametrize(("message", "text"), WRONG, ids=[text for _, text in WRONG])
def test_a_value_of_another_type_is_refused(message: betterproto2.Message, text: str) -> None:
    """The error names the message and the field."""
    with pytest.raises(TypeError, match=f"^{text}"):
        encode(message)


def test_the_error_names_the_message_within() -> None:
    """However deep it is, and without its value."""
    wrong = Scalars(a_string="\ud800")
    for message in (
        wrong,
        Optionals(scalars=wrong),
        Repeated(scalars=[Scalars(), wrong]),
        Maps(maps={"a": Maps(scalars={"b": wrong})}),
        Tree(child=Tree(children=[Tree(), Tree(scalars=wrong)])),
    ):
        with pytest.raises(ValueError, match=r"^Scalars.a_string: a surrogate in a text"):
            encode(message)


def test_times_of_any_zone_are_written_in_utc() -> None:
    """Those that are before year 1 or after 9999 there are refused."""
    east = datetime.timezone(datetime.timedelta(hours=14))
    noon = datetime.datetime(2025, 5, 6, 12, tzinfo=east)
    assert encode(WellKnown(timestamp=noon)) == encode(WellKnown(timestamp=noon.astimezone(UTC)))
    with pytest.raises(ValueError, match=r"WellKnown.timestamp: out of range for Timestamp"):
        encode(WellKnown(timestamp=datetime.datetime(1, 1, 1, tzinfo=east)))
    west = datetime.timezone(-datetime.timedelta(hours=1))
    with pytest.raises(ValueError, match=r"WellKnown.timestamp: out of range for Timestamp"):
        encode(WellKnown(timestamp=datetime.datetime(9999, 12, 31, 23, 30, tzinfo=west)))


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (datetime.timedelta(), b""),
        (datetime.timedelta(seconds=1), b"\x08\x01"),
        (-datetime.timedelta(seconds=1), b"\x08" + b"\xff" * 9 + b"\x01"),
        (datetime.timedelta(microseconds=1), b"\x10\xe8\x07"),
        (-datetime.timedelta(microseconds=1), b"\x10\x98\xf8" + b"\xff" * 7 + b"\x01"),
    ],
)
def test_a_duration_has_one_sign(value: datetime.timedelta, data: bytes) -> None:
    """Seconds and nanoseconds both have it, where betterproto2 0.10 mixes them up."""
    assert encode(WellKnown(duration=value)) == b"\x12" + bytes([len(data)]) + data
    assert decode(WellKnown, encode(WellKnown(duration=value))).duration == value


def test_what_betterproto2_writes_is_written() -> None:
    """Numbers for truths and for enums, tuples for lists, any kind of bytes, subclasses."""

    class Number(enum.IntEnum):
        ONE = 1

    class Sub(Scalars):
        pass

    messages = [
        of(Scalars, a_bool=1, an_int32=True, a_double=2, a_color=1),
        of(Scalars, an_int32=Number.ONE, a_float=True, a_bool=0, a_double=0),
        of(Scalars, some_bytes=bytearray(b"a")),
        of(Scalars, some_bytes=memoryview(b"a")),
        of(Scalars, some_bytes=bytearray()),
        of(Repeated, int32s=(1, 2), strings=("a",), bools=(1, 0), doubles=(1,)),
        of(Repeated, colors=range(3)),
        of(Optionals, a_bool=0, scalars=Sub(an_int32=1)),
        of(Maps, bools={1: 0}, colors={"a": 1}),
    ]
    for message in messages:
        assert encode(message) == bytes(message)
    assert encode(of(Repeated, int32s=(), strings=iter("ab"))) == b"\x72\x01a\x72\x01b"


def test_messages_are_at_most_100_deep() -> None:
    """An entry of a map is one, too; one that contains itself is deeper."""
    tree = Tree()
    for _ in range(100):
        tree = Tree(child=tree)
    assert encode(tree)
    with pytest.raises(ValueError, match=r"not encodable as a Tree: .*more than 100 deep"):
        encode(Tree(child=tree))
    maps = Maps()
    for _ in range(50):
        maps = Maps(maps={"": maps})
    assert decode(Maps, encode(maps))
    with pytest.raises(ValueError, match=r"not encodable as a Maps: .*more than 100 deep"):
        encode(Maps(maps={"": maps}))
    tree.children = [tree, tree]
    with pytest.raises(ValueError, match=r"not encodable as a Tree: .*more than 100 deep"):
        encode(tree)


@pytest.mark.parametrize("length", [0, 1, 127, 128, 16383, 16384, 1 << 21])
def test_sizes_are_of_any_length(length: int) -> None:
    """Of strings, bytes, lists and messages."""
    messages: list[betterproto2.Message] = [
        Scalars(a_string="a" * length),
        Scalars(some_bytes=b"a" * length),
        Repeated(bools=[True] * length),
        Optionals(scalars=Scalars(a_string="a" * length)),
        Maps(strings={"": "a" * length}),
    ]
    for message in messages:
        data = encode(message)
        assert decode(type(message), data) == message
        if data:
            with pytest.raises(DecodeError):
                decode(type(message), data[:-1])
