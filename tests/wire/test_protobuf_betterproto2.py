"""The codec beside betterproto2's own: its messages cannot be told from those of `parse`."""

import copy
import pickle
from random import Random
from typing import Any

import betterproto2
import pytest
from hypothesis import given
from tests.wire._gen import everything
from tests.wire.test_protobuf_google import NAMES, google_message, quick, randoms

from userservice.wire.protobuf import decode


def assert_same(one: Any, other: Any) -> None:
    """Fail where two values differ in anything that can be seen."""
    assert type(one) is type(other)
    if isinstance(one, betterproto2.Message):
        assert list(vars(one)) == list(vars(other))
        for name, value in vars(one).items():
            assert_same(value, vars(other)[name])
    elif isinstance(one, list | dict):
        assert len(one) == len(other)
        for first, second in zip(one, other, strict=True):
            assert_same(first, second)
        if isinstance(one, dict):
            assert_same([*one.values()], [*other.values()])
    else:
        assert repr(one) == repr(other)  # also tells -0.0, NaN and enums without a name


@pytest.mark.parametrize("name", NAMES)
@given(random=randoms)
@quick
def test_a_message_is_as_parse_makes_it(name: str, random: Random) -> None:
    """Attributes, their order and types, defaults and unknown fields."""
    message_type = getattr(everything, name)
    data = google_message(random, name).SerializeToString() + b"\xf8\xff\x01\x05"
    decoded, parsed = decode(message_type, data), message_type.parse(data)
    assert_same(decoded, parsed)
    assert repr(decoded) == repr(parsed)
    assert bool(decoded) is bool(parsed)


def test_a_message_behaves_as_one_that_parse_made() -> None:
    """It is compared, copied, pickled, changed and shown alike."""
    data = b"\x08\x01\xf8\x01\x01"
    message_type: type[betterproto2.Message]
    for message_type in (everything.Optionals, everything.Oneof):
        decoded: Any = decode(message_type, data)
        parsed = message_type.parse(data)
        assert decoded == parsed
        assert decoded.to_dict() == parsed.to_dict()
        assert decoded.to_json() == parsed.to_json()
        assert copy.deepcopy(decoded) == parsed
        assert pickle.loads(pickle.dumps(decoded)) == parsed
        assert decoded.is_set("an_int32")
        assert not decoded.is_set("a_string")
        decoded.an_int32 = 2
        assert decoded != parsed
    oneof = decode(everything.Oneof, b"\x08\x01")
    assert betterproto2.which_one_of(oneof, "choice") == ("an_int32", 1)
    assert betterproto2.which_one_of(oneof, "other") == ("", None)


def test_no_two_messages_share_what_can_be_changed() -> None:
    """Every list and every map is the message's own."""
    for message_type in (everything.Repeated, everything.Maps):
        one, other = decode(message_type, b""), decode(message_type, b"")
        for name, value in vars(one).items():
            assert name == "_unknown_fields" or value is not getattr(other, name)
