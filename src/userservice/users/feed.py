"""The change feed: what happens is published under a topic, and pushed to who listens.

Watch and Chat stand on this port. In one process it is a table of mailboxes.
``relayed_feed.py`` crosses processes.
"""

import asyncio
import enum
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)  # slots=True breaks Topic[int](...) before Python 3.12
class Topic(Generic[T]):
    """What can be listened to; its items are of one type."""

    name: str


class Overflow(enum.Enum):
    """What a full mailbox does with the next item."""

    KEEP_LATEST = enum.auto()
    """It forgets all it had: only the latest item counts."""
    DROP_OLDEST = enum.auto()
    """It forgets the oldest item."""


class Mailbox(AsyncIterator[T], Generic[T]):
    """The items that one listener has not taken yet, at most ``limit``, to iterate.

    Putting never waits: a slow listener loses items, and holds up nobody. Only one
    task may iterate.

    Args:
        limit: how many items may wait, at least two.
        overflow: what happens to more of them.
        lost: stands in the place of items that were lost; None where the listener
            need not know.
    """

    def __init__(self, limit: int, overflow: Overflow, lost: T | None = None) -> None:
        self._items: deque[T] = deque()
        self._limit = limit
        self._overflow = overflow
        self._lost = lost
        self._closed = False
        self._changed = asyncio.Event()

    def put(self, item: T) -> None:
        """Add an item; a full mailbox makes room as its overflow rule says."""
        if len(self._items) == self._limit:
            if self._overflow is Overflow.KEEP_LATEST:
                self._items.clear()
                if self._lost is not None:
                    self._items.append(self._lost)
            else:
                self._items.popleft()
        self._items.append(item)
        self._changed.set()

    def lose(self) -> None:
        """Tell the listener, if it wants to know, that items may have been lost."""
        if self._lost is not None:
            self.put(self._lost)

    def close(self) -> None:
        """Let the iteration end after the items that are there."""
        self._closed = True
        self._changed.set()

    async def __anext__(self) -> T:
        while not self._items:
            if self._closed:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        return self._items.popleft()


class ChangeFeed(Protocol):
    """The port: publish items, and listen to them, in one order for all who listen."""

    def publish(self, topic: Topic[T], item: T) -> None:
        """Push an item to everyone who listens to the topic."""
        ...

    async def settled(self) -> None:
        """Return when what was published here so far is in the mailboxes here."""
        ...

    def listen(
        self, topic: Topic[T], *, limit: int, overflow: Overflow, lost: T | None = None
    ) -> AbstractContextManager[Mailbox[T]]:
        """Listen to the topic for as long as the block runs.

        Args:
            topic: what to listen to.
            limit: how many items may wait to be taken.
            overflow: what happens to more of them.
            lost: what the mailbox has in the place of items that were lost, there
                or on their way; None for nothing.
        """
        ...


class LocalFeed:
    """The change feed of one process."""

    def __init__(self) -> None:
        self._mailboxes: dict[str, set[Mailbox[Any]]] = {}

    def publish(self, topic: Topic[T], item: T) -> None:
        """Push an item to everyone who listens to the topic now."""
        for mailbox in self._mailboxes.get(topic.name, ()):
            mailbox.put(item)

    async def settled(self) -> None:
        """Give whoever listens a turn; the items are in the mailboxes already."""
        await asyncio.sleep(0)

    @contextmanager
    def listen(
        self, topic: Topic[T], *, limit: int, overflow: Overflow, lost: T | None = None
    ) -> Iterator[Mailbox[T]]:
        """Listen to the topic for as long as the block runs."""
        mailbox = Mailbox(limit, overflow, lost)
        mailboxes = self._mailboxes.setdefault(topic.name, set())
        mailboxes.add(mailbox)
        try:
            yield mailbox
        finally:
            mailboxes.discard(mailbox)
            if not mailboxes:
                self._mailboxes.pop(topic.name, None)

    def listens(self, topic: Topic[Any]) -> bool:
        """Whether anyone listens to the topic."""
        return topic.name in self._mailboxes

    def lose(self) -> None:
        """Tell all who listen that items may have been lost."""
        for mailboxes in self._mailboxes.values():
            for mailbox in mailboxes:
                mailbox.lose()
