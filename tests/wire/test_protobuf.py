"""The codec's two functions: what goes through them is the same, and what cannot is an error."""

import datetime
from types import SimpleNamespace

import betterproto2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wire._gen import everything

from userservice._gen.userservice.v1 import ListUsersResponse, Role, User, UserEvent
from userservice.wire.protobuf import DecodeError, decode, encode, source

times = st.datetimes(timezones=st.just(datetime.UTC))
users = st.builds(
    User,
    id=st.text(),
    email=st.text(),
    name=st.text(),
    role=st.sampled_from(Role),
    created_at=st.none() | times,
    updated_at=st.none() | times,
)


@given(st.lists(users, max_size=3), st.integers(0, 2**31 - 1))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_a_message_survives_the_wire(listed: list[User], total: int) -> None:
    """What is encoded is decoded to the same."""
    message = ListUsersResponse(users=listed, total_count=total)
    assert decode(ListUsersResponse, encode(message)) == message


@given(st.binary(max_size=64))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_any_bytes_are_a_message_or_a_decode_error(data: bytes) -> None:
    """Whatever comes, there is no other exception."""
    for message_type in (User, ListUsersResponse, UserEvent, everything.Maps):
        try:
            decode(message_type, data)
        except DecodeError:
            continue


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_data_may_be_of_any_kind_of_bytes(kind: type[bytes | bytearray | memoryview]) -> None:
    """What a transport hands over need not be copied first; what comes out is bytes."""
    message = decode(everything.Scalars, kind(b"\x72\x01a\x7a\x01b"))
    assert (message.a_string, message.some_bytes) == ("a", b"b")
    assert type(message.some_bytes) is bytes


def test_only_message_classes_have_a_codec() -> None:
    """Anything else is a mistake of the program, and not of the bytes."""
    with pytest.raises(TypeError, match="not a message class"):
        decode(int, b"")  # type: ignore[type-var]  # what the test is about
    with pytest.raises(TypeError, match="not a message class"):
        encode("text")  # type: ignore[arg-type]  # likewise


def test_the_source_of_a_codec_can_be_read() -> None:
    """It has a function each, with a line for each attribute of a message."""
    text = source(User)
    assert "def decode(data, pos, end, rest, depth):" in text
    assert "def encode(message, depth):" in text
    for field in ("id", "email", "name", "avatar", "role", "created_at", "updated_at"):
        assert f"    message.{field} = " in text
        assert f"    value = message.{field}\n" in text
    compile(text, "source", "exec")


@pytest.mark.parametrize("name", ["x = 1\nimport os #", "not a name", "class", "naïve"])
def test_a_name_that_is_none_never_becomes_source(name: str) -> None:
    """Classes can be made with any name, of theirs and of their fields."""
    with_name = type(name, (everything.Old,), {})
    with pytest.raises(TypeError, match="not a name"):
        source(with_name)
    metadata = SimpleNamespace(
        meta_by_field_name={name: betterproto2.FieldMetadata(1, betterproto2.TYPE_STRING)},
        cls_by_field={name: str},
    )
    with_field = type("Fine", (betterproto2.Message,), {"_betterproto": metadata})
    with pytest.raises(TypeError, match="not a name"):
        source(with_field)
