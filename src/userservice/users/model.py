"""The values of the domain: users as stored, and what happens to them."""

import datetime
import enum
from dataclasses import dataclass, field


class Role(enum.IntEnum):
    """What a user may do; the numbers are those of the contract."""

    USER = 1
    ADMIN = 2
    MODERATOR = 3


class Field(enum.StrEnum):
    """The fields of a user, by the names that filters, orders and masks use."""

    ID = "id"
    EMAIL = "email"
    NAME = "name"
    AVATAR = "avatar"
    ROLE = "role"
    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"


@dataclass(frozen=True, slots=True)
class User:
    """A user as stored; times are aware, in UTC, to the microsecond."""

    id: str
    email: str
    name: str
    avatar: str
    role: Role
    created_at: datetime.datetime
    updated_at: datetime.datetime


class ChangeKind(enum.IntEnum):
    """What a revision did; the numbers are those of the contract."""

    UPDATED = 1
    DELETED = 2


@dataclass(frozen=True, slots=True)
class Change:
    """One revision of a user.

    Args:
        revision: its number; later revisions have higher ones, over all users.
        kind: what happened.
        user: the user after the change, or as it was when deleted.
        time: when it happened.
        previous: the revision of this user before it, 0 for the first; None where it
            was not asked for. It shows whether one is missing in between.
    """

    revision: int
    kind: ChangeKind
    user: User
    time: datetime.datetime
    previous: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user to be created: checked, and its password hashed."""

    email: str
    name: str
    role: Role
    password_hash: str | None = None


@dataclass(frozen=True, slots=True)
class UserUpdate:
    """New values for the fields of a user; None leaves a field as it is."""

    name: str | None = None
    avatar: str | None = None
    role: Role | None = None
