"""A repository in memory, and the change feed that it tells of its commits."""

from collections.abc import AsyncIterator, Sequence

import pytest

from userservice.users.feed import LocalFeed
from userservice.users.model import Change, NewUser, Role, User
from userservice.users.storage.urls import Repository, open_repository
from userservice.users.watch import user_topic


@pytest.fixture
def feed() -> LocalFeed:
    """A change feed."""
    return LocalFeed()


@pytest.fixture
async def repository(feed: LocalFeed) -> AsyncIterator[Repository]:
    """A repository in memory that tells the feed of its commits."""

    def publish(changes: Sequence[Change]) -> None:
        for change in changes:
            feed.publish(user_topic(change.user.id), change)

    opened = open_repository("memory:", publish)
    yield opened
    await opened.close()


@pytest.fixture
async def ann(repository: Repository) -> User:
    """A user."""
    [user] = await repository.create([NewUser("ann@example.com", "Ann", Role.USER)])
    assert user is not None
    return user
