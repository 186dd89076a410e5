"""What can go wrong with users; errors carry data, ``status.py`` gives them a status."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_SHOWN_CHARACTERS = 40


def excerpt(text: str) -> str:
    """Quote a caller's text for an error: in ASCII, and at most 42 characters.

    Errors travel in headers. Escaped first and cut then, no text makes them long.
    """
    escaped = ascii(str(text))  # a parser's token is a str with a repr of its own
    if len(escaped) <= _SHOWN_CHARACTERS + 2:
        return escaped
    return f"{escaped[: _SHOWN_CHARACTERS - 2]}...{escaped[0]}"


class UsersError(Exception):
    """Any error of this domain."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One field that breaks a rule.

    Args:
        field: the field's path in the request; with ``update_mask``, the mask itself.
        description: what is wrong, and what would be right.
    """

    field: str
    description: str


class InvalidRequestError(UsersError):
    """A request breaks rules; it names every one of them."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__("; ".join(f"{v.field}: {v.description}" for v in violations))
        self.violations = tuple(violations)


class UserNotFoundError(UsersError):
    """There is no user with this id."""

    def __init__(self, user_id: str) -> None:
        super().__init__(f"there is no user {user_id}")
        self.user_id = user_id


class EmailTakenError(UsersError):
    """Another user has this email, perhaps in other case."""

    def __init__(self, email: str) -> None:
        super().__init__(f"the email {email} is taken")
        self.email = email


class StorageUnavailableError(UsersError):
    """The database does not answer now; nothing was stored."""


class StorageUnusableError(UsersError):
    """The database cannot be opened as it is: the address, the file or its version is wrong."""


class SignInFailedError(UsersError):
    """The email or the password is wrong; nobody is told which."""

    def __init__(self) -> None:
        super().__init__("the email or the password is wrong")


class SessionEndedError(UsersError):
    """A refresh token, or the session of an access token, is not good any more."""

    def __init__(self) -> None:
        super().__init__("the session is over: sign in again")


class UserGoneError(UsersError):
    """Who calls is known, and is no user here (any more)."""

    def __init__(self) -> None:
        super().__init__("the caller is no user of this service any more")


class TooManyAttemptsError(UsersError):
    """Somebody tries too often to sign in."""

    def __init__(self, wait_s: float) -> None:
        # What is told is whole: the fraction is nobody's concern.
        self.wait_s = max(1, math.ceil(wait_s))
        super().__init__(f"too many attempts: try again in {self.wait_s} s")


class NotAllowedError(UsersError):
    """Who calls is known, and may not do this.

    Args:
        what: what was tried.
        allowed: who may do it, or what may be done instead.
    """

    def __init__(self, what: str, allowed: str) -> None:
        super().__init__(f"you may not {what} (allowed: {allowed})")
        self.allowed = allowed
