"""Database URLs, and the repository that each one names."""

from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

from userservice.users.errors import StorageUnusableError
from userservice.users.storage.accounts import AccountRepository
from userservice.users.storage.keys import KeyRepository
from userservice.users.storage.observed import ObservedSqliteRepository
from userservice.users.storage.observer import StorageObserver
from userservice.users.storage.repository import Committed, UserRepository
from userservice.users.storage.sqlite import SqliteRepository

_FORMS = "sqlite:///users.db (in the working folder), sqlite:////var/lib/users.db, or memory:"


def is_in_memory(url: str) -> bool:
    """Whether this database belongs to one process, and ends with it."""
    return url in ("memory:", "sqlite:///:memory:")


class Repository(UserRepository, AccountRepository, KeyRepository, Protocol):
    """What every database must do."""


def open_repository(
    url: str,
    committed: Committed,
    observer: StorageObserver | None = None,
    *,
    new: bool = True,
) -> Repository:
    """Open the database that the URL names, and bring its tables up to date.

    Blocks while it does: call it before serving. Needs a running event loop.

    Args:
        url: ``sqlite:///path``, with a fourth slash for an absolute path, or
            ``memory:`` for a database that ends with the process.
        committed: is told of every change, after its commit.
        observer: is told of every operation and transaction.
        new: whether a database that is not there is made.

    Raises:
        StorageUnusableError: the URL is of no known form, or its database cannot
            be used.
    """
    if is_in_memory(url):
        if not new:
            raise StorageUnusableError("a database in memory belongs to the process that has it")
        return _sqlite(None, committed, observer)
    prefix, path = url[:10], unquote(url[10:])
    if prefix != "sqlite:///" or not path or "\0" in path:
        # Without the URL itself: it may hold a password.
        raise StorageUnusableError(f"not a database URL; one is {_FORMS}")
    if not new and not Path(path).exists():
        raise StorageUnusableError(f"there is no file {path}")
    return _sqlite(path, committed, observer)


def _sqlite(
    path: str | None, committed: Committed, observer: StorageObserver | None
) -> SqliteRepository:
    if observer is None:
        return SqliteRepository(path, committed)
    return ObservedSqliteRepository(path, committed, observer)
