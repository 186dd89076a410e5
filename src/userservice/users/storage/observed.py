"""SQLite with an observer: a class of its own, so that storage without one pays nothing."""

import sqlite3
import time
from collections.abc import Callable
from typing import Any, TypeVar

from userservice.users.model import Change
from userservice.users.storage.observer import Commit, Operation, StorageObserver
from userservice.users.storage.repository import Committed
from userservice.users.storage.sqlite import SqliteRepository

T = TypeVar("T")


class ObservedSqliteRepository(SqliteRepository):
    """Keeps users as SqliteRepository does, and tells how long that takes.

    Args:
        path: the file; None keeps the users in memory, until closed.
        committed: is told of every change, after its commit.
        observer: is told of every operation and transaction.
    """

    def __init__(self, path: str | None, committed: Committed, observer: StorageObserver) -> None:
        super().__init__(path, committed)
        self._observer = observer
        self._commit_s = 0.0  # of the last transaction; there is one at a time

    async def _point(self, statement: str, *key: str) -> tuple[Any, ...] | None:
        with self._observer.around(Operation.POINT_READ):
            return await super()._point(statement, *key)

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._observer.around(Operation.READ):
            return await super()._read(work)

    async def _write(self, work: Callable[[sqlite3.Connection], tuple[T, list[Change]]]) -> T:
        with self._observer.around(Operation.WRITE):
            return await super()._write(work)

    def _commit(self, group: list[Any]) -> list[Any]:
        began_at = time.perf_counter()
        try:
            return super()._commit(group)
        finally:
            self._commit_s = time.perf_counter() - began_at

    def _announce(self, group: list[Any], outcomes: list[Any]) -> None:
        self._observer.committed(Commit(len(group), self._commit_s))
        super()._announce(group, outcomes)
