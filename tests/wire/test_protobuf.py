"""The codec: what it writes Google's runtime reads, and what it cannot read is one error."""

import datetime
import time

import betterproto2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from userservice import ListUsersResponse, Role, User, UserEvent
from userservice.wire.protobuf import DecodeError, decode, encode

times = st.datetimes(timezones=st.just(datetime.UTC))
users = st.builds(
    User,
    id=st.text(),
    email=st.text(),
    name=st.text(),
    role=st.sampled_from(Role),
    created_at=st.none() | times,
)


@given(st.lists(users, max_size=3), st.integers(0, 2**31 - 1))
def test_a_message_survives_the_wire(listed: list[User], total: int) -> None:
    """What is encoded is decoded to the same."""
    message = ListUsersResponse(users=listed, total_count=total)
    assert decode(ListUsersResponse, encode(message)) == message


@given(st.binary(max_size=64))
@settings(max_examples=500)
def test_any_bytes_are_a_message_or_a_decode_error(data: bytes) -> None:
    """Whatever comes, there is no other exception."""
    for message_type in (User, ListUsersResponse, UserEvent):
        try:
            decode(message_type, data)
        except DecodeError:
            continue


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a\x05ab",  # a string that ends early
        b"\xff\xff\xff",  # a key that ends early
        b"\x00\x01",  # field number 0
        b"\x0b\x0c",  # a group
        b"\x08\x05",  # a string that is a number
        b"\x0d",  # a string that is a float, and missing
        b"\x0a\x02\xff\xfe",  # a string that is no UTF-8
        b"\x0a",  # a field without its value
        b"\xff" * 11,  # a number of too many bytes
        b"\x32\x0a\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # a time beyond the calendar
    ],
)
def test_broken_bytes_are_a_decode_error(data: bytes) -> None:
    """The error names the message type, and not what was in the bytes."""
    with pytest.raises(DecodeError, match="not a User"):
        decode(User, data)


@pytest.mark.parametrize(
    ("message_type", "data"),
    [
        (User, b"\x08\x05"),  # a number for a text
        (User, b"\x15\x01\x02\x03\x04"),  # a float for a text
        (User, b"\x2a\x02\x01\x02"),  # packed numbers for one role
        (ListUsersResponse, b"\x1a\x01\x01"),  # packed numbers for one number
        (ListUsersResponse, b"\x0a\x02\x08\x05"),  # a number for a text, in a message within
    ],
)
def test_a_field_of_another_wire_type_is_a_decode_error(
    message_type: type[User] | type[ListUsersResponse], data: bytes
) -> None:
    """No value ever has another type than its field."""
    with pytest.raises(DecodeError):
        decode(message_type, data)


@pytest.mark.parametrize("within", [False, True])
def test_a_flood_of_unknown_fields_is_refused_at_once(*, within: bool) -> None:
    """A few are kept, as protobuf says; a megabyte of them must not hold anybody up."""
    flood = b"\x78\x01" * 500_000
    data = b"\x32" + _varint(len(flood)) + flood if within else flood
    started = time.perf_counter()
    with pytest.raises(DecodeError):
        decode(User, data)
    assert time.perf_counter() - started < 0.5
    assert decode(User, b"\x78\x01" * 100 + b"\x0a\x01x").id == "x"


def _varint(value: int) -> bytes:
    return betterproto2.encode_varint(value)
