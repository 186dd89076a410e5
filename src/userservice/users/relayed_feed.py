"""The change feed of several processes: a hub sends to all what one of them publishes.

What a process publishes comes back to it from the hub, and only what comes from the
hub is put in mailboxes. So everyone hears everything in the hub's one order.
"""

import asyncio
import pickle
import struct
from collections import deque
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol, TypeVar

from userservice.users.feed import LocalFeed, Mailbox, Overflow, Topic

T = TypeVar("T")

_TOPIC_SIZE: Final = struct.Struct("!H")


class Hub(Protocol):
    """The way to the hub. Neither method waits; both keep the order of their calls."""

    def publish(self, item: bytes) -> None:
        """Send an item to every process, this one included."""
        ...

    def mark(self) -> None:
        """Ask for an echo, which comes after all that was published before."""
        ...


class RelayedFeed:
    """The change feed of one process among several.

    Items cross as pickles. A pickle runs what it says, so it may only come from the
    same program; the sockets that these come over are inherited and have no name.

    Args:
        hub: the way to the hub. Whoever reads what comes from there calls ``deliver``,
            ``echoed``, ``lose`` and ``cut_off``.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._here = LocalFeed()
        self._settling: deque[asyncio.Future[None]] = deque()
        self._cut_off = False

    def publish(self, topic: Topic[T], item: T) -> None:
        """Push an item to everyone who listens to the topic, in any process."""
        if self._cut_off:
            self._here.publish(topic, item)
        else:
            self._hub.publish(_packed(topic, item))

    async def settled(self) -> None:
        """Return when what was published here so far is in the mailboxes here."""
        if self._cut_off:
            await self._here.settled()
            return
        echo: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._settling.append(echo)
        self._hub.mark()
        await echo

    def listen(
        self, topic: Topic[T], *, limit: int, overflow: Overflow, lost: T | None = None
    ) -> AbstractContextManager[Mailbox[T]]:
        """Listen to the topic for as long as the block runs."""
        return self._here.listen(topic, limit=limit, overflow=overflow, lost=lost)

    def deliver(self, packed: bytes) -> None:
        """Take an item from the hub."""
        topic, item = _topic(packed)
        # Most items concern nobody here: those are not unpacked.
        if self._here.listens(topic):
            self._here.publish(topic, pickle.loads(item))  # noqa: S301  # from this program; see above

    def echoed(self) -> None:
        """Take the echo of the oldest mark."""
        echo = self._settling.popleft()
        if not echo.done():  # whoever waited may have been cancelled
            echo.set_result(None)

    def lose(self) -> None:
        """Take the word that a process ended, and what it was about to publish with it."""
        self._here.lose()

    def cut_off(self) -> None:
        """Go on alone: the hub is gone. Nobody waits for it any more."""
        self._cut_off = True
        while self._settling:
            self.echoed()


def _packed(topic: Topic[T], item: T) -> bytes:
    name = topic.name.encode()
    return _TOPIC_SIZE.pack(len(name)) + name + pickle.dumps(item, pickle.HIGHEST_PROTOCOL)


def _topic(packed: bytes) -> tuple[Topic[Any], bytes]:
    """Return the topic of an item, and the item, which is not unpacked yet."""
    (size,) = _TOPIC_SIZE.unpack_from(packed)
    end = _TOPIC_SIZE.size + size
    return Topic(packed[_TOPIC_SIZE.size : end].decode()), packed[end:]
