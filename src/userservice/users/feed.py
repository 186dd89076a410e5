"""The change feed: what happens is published under a topic, and pushed to who listens.

Watch and Chat stand on this port. In one process it is a table of mailboxes; the
port lets another stand behind it that crosses processes.
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
    """

    def __init__(self, limit: int, overflow: Overflow) -> None:
        self._items: deque[T] = deque()
        self._limit = limit
        self._overflow = overflow
        self._closed = False
        self._changed = asyncio.Event()

    def put(self, item: T) -> None:
        """Add an item; a full mailbox makes room as its overflow rule says."""
        if len(self._items) == self._limit:
            if self._overflow is Overflow.KEEP_LATEST:
                self._items.clear()
            else:
                self._items.popleft()
        self._items.append(item)
        self._changed.set()

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
    """The port: publish items, and listen to them in the order of publication."""

    def publish(self, topic: Topic[T], item: T) -> None:
        """Push an item to everyone who listens to the topic now."""
        ...

    def listen(
        self, topic: Topic[T], *, limit: int, overflow: Overflow
    ) -> AbstractContextManager[Mailbox[T]]:
        """Listen to the topic for as long as the block runs.

        Args:
            topic: what to listen to.
            limit: how many items may wait to be taken.
            overflow: what happens to more of them.
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

    @contextmanager
    def listen(self, topic: Topic[T], *, limit: int, overflow: Overflow) -> Iterator[Mailbox[T]]:
        """Listen to the topic for as long as the block runs."""
        mailbox: Mailbox[T] = Mailbox(limit, overflow)
        mailboxes = self._mailboxes.setdefault(topic.name, set())
        mailboxes.add(mailbox)
        try:
            yield mailbox
        finally:
            mailboxes.discard(mailbox)
            if not mailboxes:
                self._mailboxes.pop(topic.name, None)
