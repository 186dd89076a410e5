"""Who has which connection: what a worker was handed, what it took, and who is next."""

from collections import deque
from typing import Final, Generic, TypeVar

T = TypeVar("T")

UNTOLD_MAX: Final = 16
"""Connections that a worker was handed and has not told of. More wait for another, or in the
queues of the listening sockets, which lose nothing when a worker dies."""


class Ledger(Generic[T]):
    """The connections of one worker.

    A connection is kept here until the worker has told that it took it: were it to die
    before, another worker gets it.
    """

    def __init__(self) -> None:
        self._untold: deque[T] = deque()
        self._open = 0
        self._dealt = 0

    @property
    def load(self) -> int:
        """How many connections it has, those on their way included."""
        return self._open + len(self._untold)

    @property
    def has_room(self) -> bool:
        """Whether it may be handed one more."""
        return len(self._untold) < UNTOLD_MAX

    @property
    def oldest(self) -> T | None:
        """The connection that it has not told of for the longest time."""
        return self._untold[0] if self._untold else None

    def handed(self, connection: T, turn: int) -> None:
        """Note a connection that was sent to it, as the one with this number."""
        self._untold.append(connection)
        self._dealt = turn

    def took(self) -> T:
        """Return the connection that it took just now; it is the worker's alone from here on."""
        self._open += 1
        return self._untold.popleft()

    def closed(self) -> None:
        """Note that one of those that it took is gone."""
        self._open -= 1

    def not_taken(self) -> list[T]:
        """Give back what it does not take any more."""
        connections = list(self._untold)
        self._untold.clear()
        return connections

    @property
    def rank(self) -> tuple[int, int]:
        """The lowest is next: the fewest connections, then who waited longest for one."""
        return self.load, self._dealt
