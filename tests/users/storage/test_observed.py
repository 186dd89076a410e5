"""An observed repository tells of every operation and transaction, and does the same as ever."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from userservice.users.errors import StorageUnavailableError
from userservice.users.model import NewUser, Role
from userservice.users.order import parse_order
from userservice.users.storage.observer import Commit, Operation
from userservice.users.storage.repository import PageQuery
from userservice.users.storage.sqlite import SqliteRepository
from userservice.users.storage.urls import open_repository


class Diary:
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.commits: list[Commit] = []

    @contextmanager
    def around(self, operation: Operation) -> Iterator[None]:
        self.lines.append(f"begin {operation.value}")
        try:
            yield
        finally:
            self.lines.append(f"end {operation.value}")

    def committed(self, commit: Commit) -> None:
        self.lines.append("committed")
        self.commits.append(commit)


def ignore(_changes: object) -> None:
    """Nobody listens."""


@pytest.fixture(params=["memory:", "sqlite:///{}/users.db"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each kind."""
    kind: str = request.param
    return kind.format(tmp_path)


async def test_each_operation_is_heard(url: str) -> None:
    """From its begin to its end; a transaction before the writes that wait for it end."""
    diary = Diary()
    repository = open_repository(url, ignore, diary)
    [user] = await repository.create([NewUser("ann@example.com", "Ann", Role.USER)])
    assert user is not None
    assert diary.lines == ["begin write", "committed", "end write"]
    diary.lines.clear()
    assert await repository.get(user.id) == user
    assert diary.lines == ["begin point read", "end point read"]
    diary.lines.clear()
    await repository.page(PageQuery(None, parse_order("email"), 10))
    assert diary.lines == ["begin read", "end read"]
    await repository.close()
    [commit] = diary.commits
    assert commit.writes == 1
    assert 0 < commit.duration_s < 5


async def test_one_that_fails_is_heard_too(url: str) -> None:
    """Its end as well."""
    diary = Diary()
    repository = open_repository(url, ignore, diary)
    await repository.close()
    with pytest.raises(StorageUnavailableError):
        await repository.ping()
    assert diary.lines == ["begin write", "end write"]


async def test_without_an_observer_there_is_nothing_in_the_way(url: str) -> None:
    """The repository is of the plain class."""
    repository = open_repository(url, ignore)
    assert type(repository) is SqliteRepository
    await repository.close()
