"""The port to whoever measures or traces the storage; it knows neither who nor how."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Operation(Enum):
    """What the storage is asked to do."""

    POINT_READ = "point read"
    """One row by its key, on the event loop."""
    READ = "read"
    """A query on a reader thread, with the wait for one."""
    WRITE = "write"
    """A change, with the wait for its transaction, until it is durable."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A transaction that was tried.

    Args:
        writes: how many changes share it.
        duration_s: how long it took, in seconds, to the disk and back.
    """

    writes: int
    duration_s: float


class StorageObserver(Protocol):
    """Hears what the storage does, on the event loop."""

    def around(self, operation: Operation) -> AbstractContextManager[None]:
        """Return what is entered before an operation, and left after it, by who asked for it."""
        ...

    def committed(self, commit: Commit) -> None:
        """Hear of a transaction, before those who wait for it do."""
        ...
