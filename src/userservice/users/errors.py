"""What can go wrong with users; errors carry data, ``status.py`` gives them a status."""

from collections.abc import Sequence
from dataclasses import dataclass


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
