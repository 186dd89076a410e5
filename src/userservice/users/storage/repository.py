"""The port to storage: what every database must do, whatever it is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from userservice.users.filter import Expression
from userservice.users.model import Change, NewUser, User, UserUpdate
from userservice.users.order import OrderTerm

KEPT_REVISIONS = 65
"""How many revisions of a user are kept: one more than a watcher may be behind, so
that whoever is further behind shows as such."""

Committed = Callable[[Sequence[Change]], None]
"""Called on the event loop after a commit, with the changes in the order of their revisions."""


@dataclass(frozen=True, slots=True)
class PageQuery:
    """Which users a page has.

    Args:
        expression: which users match; None for all of them.
        order: the sort order; it ends in a field that no two users share.
        size: how many users at most.
        after: the sort key of the last user of the page before; None for the first page.
    """

    expression: Expression | None
    order: Sequence[OrderTerm]
    size: int
    after: Sequence[str | int] | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """One page of users.

    Args:
        users: the users, in order.
        next: the sort key of the last of them; None where no user comes after it.
        total: how many users match in all; counted for the first page only.
    """

    users: Sequence[User]
    next: Sequence[str | int] | None
    total: int | None


class UserRepository(Protocol):
    """Keeps users and their revisions.

    A write that returns is durable. Each change and its revision are one
    transaction. Every method raises StorageUnavailableError where the database
    does not answer.
    """

    async def create(self, users: Sequence[NewUser]) -> list[User | None]:
        """Store users; None stands for each whose email is taken, before or among them."""
        ...

    async def get(self, user_id: str) -> User | None:
        """Return a user, or None where there is none."""
        ...

    async def update(self, user_id: str, update: UserUpdate) -> User | None:
        """Change a user, and return it, or None where there is none.

        An update that changes nothing makes no revision.
        """
        ...

    async def delete(self, user_id: str) -> bool:
        """Delete a user; False where there was none."""
        ...

    async def page(self, query: PageQuery) -> Page:
        """Return one page of users."""
        ...

    async def current(self, user_id: str) -> Change | None:
        """Return the latest revision of a user that exists, or None."""
        ...

    async def revisions(self, user_id: str, after: int) -> list[Change]:
        """Return the revisions of a user after this one, oldest first.

        At most KEPT_REVISIONS of them, the latest. Those of a deleted user are kept.
        """
        ...

    async def secret(self, name: str) -> bytes:
        """Return 32 random bytes that stay the same for the life of the database."""
        ...

    async def ping(self) -> None:
        """Return when the database can be written to."""
        ...

    async def close(self) -> None:
        """Finish the writes under way, and close the database."""
        ...
