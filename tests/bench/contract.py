"""The exchanges that are measured: what is asked, and every byte that must come back.

The messages are cut by hand here, so that no implementation under test says what is right.
The servers under ``servers`` answer these requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

ROOT = Path(__file__).parents[2]
SERVICE = "/userservice.v1.UserService/"

USER_ID = "01931d52-9a1f-7c3e-8f3d-3b1c5f0e7a11"
EMAIL = "ann.example@example.com"
NAME = "Ann Example"
AVATAR = "https://example.com/avatars/ann.png"
ROLE = 1
CREATED = datetime(2025, 1, 2, 3, 4, 5, 678_000, UTC)
UPDATED = datetime(2025, 2, 3, 4, 5, 6, 789_000, UTC)

# A message of 64 KiB is a small one with this in it.
LARGE_TEXT = "x" * 65_536
SMALL_TEXT = "How are you?"
# The resume token of a WatchUser request says which events are asked for.
LARGE = "large"
SMALL = "small"
_PREFIX_SIZE = 5
# As the number of events: none, and the stream stays open.
HELD_OPEN = 0


@dataclass(frozen=True, slots=True)
class Exchange:
    """One call.

    Args:
        method: the name of the method.
        request: the bytes of the request's DATA frames, message prefixes included.
        reply: the same of the reply.
        messages: how many messages are counted.
        fixed: how much of the reply never differs; None for all of it.
        metadata: what the call brings with it.
    """

    method: str
    request: bytes
    reply: bytes
    messages: int = 1
    fixed: int | None = None
    metadata: tuple[tuple[str, str], ...] = ()

    @property
    def path(self) -> str:
        """The method's path."""
        return SERVICE + self.method

    def is_right(self, reply: bytes) -> bool:
        """Say whether these bytes are the reply."""
        if self.fixed is None:
            return reply == self.reply
        return reply[_PREFIX_SIZE : self.fixed] == self.reply[_PREFIX_SIZE : self.fixed]


class Creation(Exchange):
    """Stores a user: what comes back has an id and times of its own."""

    __slots__ = ()

    def is_right(self, reply: bytes) -> bool:
        """Say whether this is a user that was stored."""
        return created(reply)


def framed(message: bytes) -> bytes:
    """Return a message with the prefix that gRPC puts before each."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def user_message() -> bytes:
    """Return the user that every GetUser returns."""
    return (
        _text(1, USER_ID)
        + _text(2, EMAIL)
        + _text(3, NAME)
        + _text(4, AVATAR)
        + _number(5, ROLE)
        + _timestamp(6, CREATED)
        + _timestamp(7, UPDATED)
    )


def get_user() -> Exchange:
    """Ask for one user, and get the constant one."""
    return Exchange("GetUser", framed(_text(1, USER_ID)), framed(user_message()))


def events(count: int, size: str = SMALL) -> Exchange:
    """Ask for a stream of events."""
    request = _text(1, str(count)) + _text(2, size)
    event = _number(1, 1) + _bytes(2, user_message()) + _timestamp(3, UPDATED)
    if size == LARGE:
        event += _text(4, LARGE_TEXT)
    return Exchange("WatchUser", framed(request), framed(event) * count, count)


def endless(count: int, size: str = SMALL) -> Exchange:
    """Ask for more events than anybody waits for; the reply is not looked at."""
    return Exchange("WatchUser", framed(_text(1, str(count)) + _text(2, size)), b"")


def batch(count: int, size: str = SMALL) -> Exchange:
    """Send a stream of users, and get their number."""
    user = _text(1, EMAIL) + _text(2, NAME)
    if size == LARGE:
        user += _text(3, LARGE_TEXT)
    return Exchange("BatchCreateUsers", framed(user) * count, framed(_number(1, count)), count)


def chat(size: str = SMALL) -> Exchange:
    """Say one thing, and get it back."""
    message = framed(_text(1, USER_ID) + _text(2, LARGE_TEXT if size == LARGE else SMALL_TEXT))
    return Exchange("Chat", message, message)


def create_user(email: str) -> bytes:
    """Return the request that stores a user."""
    return framed(_text(1, email) + _text(2, NAME) + _number(4, ROLE))


def created(reply: bytes) -> bool:
    """Say whether a reply is a user that was stored."""
    return reply[1:_PREFIX_SIZE] == (len(reply) - _PREFIX_SIZE).to_bytes(4, "big") and (
        _text(3, NAME) in reply
    )


def stored_user(reply: bytes) -> Exchange:
    """Ask for a user that was stored: as it came back then, it comes back again."""
    return Exchange("GetUser", framed(_text(1, _first_text(reply))), reply)


def page_of_users(size: int) -> bytes:
    """Return the request for a page of users."""
    return framed(_number(1, size))


def listed_users(size: int, reply: bytes, stored: Collection[bytes]) -> Exchange:
    """Ask for a page of users again, after a first reply.

    Args:
        size: how many users are on the page.
        reply: that first reply. The token at its end is signed, and may differ.
        stored: the replies of CreateUser.

    Raises:
        ValueError: the reply is not a page of so many users of these.
    """
    fields = [_bytes(1, user[_PREFIX_SIZE:]) for user in stored]
    position = _PREFIX_SIZE
    for _ in range(size):
        found = next((field for field in fields if reply.startswith(field, position)), None)
        if found is None:
            raise ValueError("a page has something else than the users that were stored")
        fields.remove(found)
        position += len(found)
    return Exchange("ListUsers", page_of_users(size), reply, fixed=position)


def _first_text(reply: bytes) -> str:
    """Return the text in field 1 of a message: the id of a user."""
    size = reply[_PREFIX_SIZE + 1]
    start = _PREFIX_SIZE + 2
    return reply[start : start + size].decode()


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _text(number: int, value: str) -> bytes:
    return _bytes(number, value.encode())


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _timestamp(number: int, value: datetime) -> bytes:
    seconds = int(value.timestamp())
    return _bytes(number, _number(1, seconds) + _number(2, value.microsecond * 1000))
