"""Who may call what: the whole of it is one table, and the few laws below it.

Nothing here knows of connections. ``authorization.py`` asks about each call.
"""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from userservice._gen.userservice.v1 import (
    ChangePasswordRequest,
    ChatMessage,
    CreateUserRequest,
    DeleteUserRequest,
    GetUserRequest,
    UpdateUserRequest,
    WatchUserRequest,
)
from userservice.users import rules
from userservice.users.errors import NotAllowedError
from userservice.users.mask import masked
from userservice.users.model import Field, Role


class Reach(enum.Enum):
    """To whom a caller may do something; the values are read by people."""

    NOBODY = "nobody"
    SELF = "themselves"
    LOWER = "themselves and lower roles"
    ALL = "all"


NOBODY, SELF, LOWER, ALL = Reach


@dataclass(frozen=True, slots=True)
class Rule:
    """How far the callers of each role reach."""

    user: Reach
    moderator: Reach
    admin: Reach

    def of(self, role: Role) -> Reach:
        """Return how far a caller of this role reaches."""
        match role:
            case Role.USER:
                return self.user
            case Role.MODERATOR:
                return self.moderator
            case Role.ADMIN:
                return self.admin

    def __str__(self) -> str:
        reaches = {"users": self.user, "moderators": self.moderator, "admins": self.admin}
        return ", ".join(
            f"{who} for {reach.value}"
            for who, reach in reaches.items()
            if reach is not Reach.NOBODY
        )


USERS: Final = "/userservice.v1.UserService/"
AUTH: Final = "/userservice.v1.AuthService/"

POLICY: Final[Mapping[str, Rule]] = {
    # The method, or a field of its request: users, moderators, admins
    f"{USERS}GetUser": Rule(SELF, ALL, ALL),
    f"{USERS}WatchUser": Rule(SELF, ALL, ALL),
    f"{USERS}ListUsers": Rule(NOBODY, ALL, ALL),
    f"{USERS}CreateUser": Rule(NOBODY, ALL, ALL),
    f"{USERS}BatchCreateUsers": Rule(NOBODY, ALL, ALL),
    f"{USERS}UpdateUser": Rule(SELF, LOWER, ALL),
    f"{USERS}UpdateUser:role": Rule(NOBODY, NOBODY, ALL),
    f"{USERS}DeleteUser": Rule(SELF, SELF, ALL),
    f"{USERS}Chat": Rule(SELF, SELF, SELF),
    f"{AUTH}ChangePassword": Rule(SELF, SELF, SELF),
}
"""Who may call a method, or set a field. Besides, nobody grants a role above its own."""

UNLISTED: Final = Rule(NOBODY, NOBODY, ALL)
"""Who may call what the table does not have."""

OPEN: Final = (f"{AUTH}SignIn", f"{AUTH}Refresh", f"{AUTH}SignOut")
"""What needs no caller: a password or a refresh token says enough."""

STREAMS: Final = frozenset({f"{USERS}WatchUser", f"{USERS}BatchCreateUsers", f"{USERS}Chat"})
"""Calls that may be open for long: what their caller may do can change meanwhile."""

RANKS: Final = (Role.USER, Role.MODERATOR, Role.ADMIN)
"""The roles from the lowest to the highest; the contract numbers them in another order."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and what it may do now.

    Args:
        id: the user's id, or the name of a certificate.
        role: its role.
    """

    id: str
    role: Role


RoleOf = Callable[[str], Role | None]
"""Returns the role of a user now; None where there is none."""


def check_call(method: str, caller: Caller) -> None:
    """Check whether a caller may make a call at all, before its request is known.

    Raises:
        NotAllowedError: whatever the request is, it may not.
    """
    rule = POLICY.get(method, UNLISTED)
    if rule.of(caller.role) is NOBODY:
        raise NotAllowedError(f"call {_name(method)}", str(rule))


def check_request(method: str, caller: Caller, request: Any, role_of: RoleOf) -> None:
    """Check whether a caller may make a request, or send a message of a stream.

    Args:
        method: the path of the method.
        caller: who calls.
        request: the message.
        role_of: tells the role of whom it is about.

    Raises:
        NotAllowedError: it may not.
    """
    about = _about(caller, request)
    _check_reach(method, method, caller, about, role_of)
    if isinstance(request, UpdateUserRequest):
        for field in _fields_set(request):
            if (named := f"{method}:{field}") in POLICY:
                _check_reach(method, named, caller, about, role_of)
    granted = _granted(request)
    if granted is not None and is_above(granted, caller.role):
        raise NotAllowedError(f"grant {granted.name}", "roles up to your own")


def is_above(role: Role, other: Role) -> bool:
    """Return whether a role is above another one."""
    return RANKS.index(role) > RANKS.index(other)


def _check_reach(
    method: str, named: str, caller: Caller, about: str | None, role_of: RoleOf
) -> None:
    rule = POLICY.get(named, UNLISTED)
    reach = rule.of(caller.role)
    if not _reaches(reach, caller, about, role_of):
        field = named.removeprefix(method)[1:]
        what = f"set {field} in {_name(method)}" if field else f"call {_name(method)} for this user"
        raise NotAllowedError(what, str(rule))


def _reaches(reach: Reach, caller: Caller, about: str | None, role_of: RoleOf) -> bool:
    if reach is ALL:
        return True
    if reach is NOBODY or about is None:
        return False
    if about == caller.id:
        return True
    if reach is SELF:
        return False
    role = role_of(about)
    return role is None or is_above(caller.role, role)  # nobody is NOT_FOUND, for who asks


def _about(caller: Caller, request: Any) -> str | None:
    """Return which user a request is about; None where it is about no single one."""
    match request:
        case GetUserRequest() | WatchUserRequest() | UpdateUserRequest() | DeleteUserRequest():
            return request.id.lower()  # upper case is the same id
        case ChatMessage():
            return request.sender_id
        case ChangePasswordRequest():
            return caller.id
        case _:
            return None


def _fields_set(request: UpdateUserRequest) -> set[Field]:
    paths = request.update_mask.paths if request.update_mask else []
    given = {Field.NAME: request.name, Field.AVATAR: request.avatar, Field.ROLE: request.role}
    return masked(paths, given)


def _granted(request: Any) -> Role | None:
    """Return the role that a request grants."""
    match request:
        case CreateUserRequest():
            role = request.role
        case UpdateUserRequest() if Field.ROLE in _fields_set(request):
            role = request.role
        case _:
            return None
    try:
        return rules.role(role)
    except rules.RuleError:
        return None  # the service refuses it


def _name(method: str) -> str:
    return method.rpartition("/")[2]
