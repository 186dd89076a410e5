"""The feed of several processes: one order for all, and nobody waits for a hub that is gone."""

import asyncio
import datetime
from collections import deque
from collections.abc import AsyncIterator
from contextlib import ExitStack

import pytest

from userservice.users.chat import chat
from userservice.users.feed import Mailbox, Overflow, Topic
from userservice.users.model import Change, ChangeKind, Role, User
from userservice.users.relayed_feed import RelayedFeed

NUMBERS: Topic[int] = Topic("numbers")
NOW = datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC)
ANN = User("1", "ann@example.com", "Ann", "", Role.ADMIN, NOW, NOW)


class Together:
    """Feeds on one hub, which moves one message whenever the test says so."""

    def __init__(self, count: int) -> None:
        self.listening = ExitStack()
        self.sent: deque[tuple[RelayedFeed, bytes | None]] = deque()
        self.feeds = [RelayedFeed(self.Way(self)) for _ in range(count)]
        for feed in self.feeds:
            feed._hub.feed = feed  # type: ignore[attr-defined]  # the double's own

    class Way:
        """One process's way to the hub."""

        def __init__(self, together: "Together") -> None:
            self.together = together
            self.feed: RelayedFeed

        def publish(self, item: bytes) -> None:
            self.together.sent.append((self.feed, item))

        def mark(self) -> None:
            self.together.sent.append((self.feed, None))

    def numbers(self, number: int = 0) -> Mailbox[int]:
        """A mailbox of one feed; it listens as long as the test."""
        listening = self.feeds[number].listen(
            NUMBERS, limit=8, overflow=Overflow.DROP_OLDEST, lost=-1
        )
        return self.listening.enter_context(listening)

    def move(self) -> None:
        sender, item = self.sent.popleft()
        if item is None:
            sender.echoed()
            return
        for feed in self.feeds:
            feed.deliver(item)

    def move_all(self) -> None:
        while self.sent:
            self.move()


async def drained(mailbox: Mailbox[int]) -> list[int]:
    """All that the mailbox holds."""
    mailbox.close()
    return [item async for item in mailbox]


async def test_all_hear_all_in_the_order_of_the_hub() -> None:
    """The publisher too: it has its own items from the hub, and not before."""
    hub = Together(3)
    mailboxes = [hub.numbers(number) for number in range(3)]
    hub.feeds[0].publish(NUMBERS, 1)
    hub.feeds[1].publish(NUMBERS, 2)
    hub.sent.reverse()
    hub.feeds[0].publish(Topic[int]("others"), 3)
    hub.move_all()
    assert [await drained(mailbox) for mailbox in mailboxes] == [[2, 1]] * 3


async def test_items_arrive_as_they_were() -> None:
    """A change crosses whole: its kind, its times, its user, and the revision before it."""
    hub = Together(2)
    topic: Topic[Change] = Topic("users/ä")
    change = Change(7, ChangeKind.DELETED, ANN, NOW, previous=5)
    with hub.feeds[1].listen(topic, limit=8, overflow=Overflow.KEEP_LATEST) as mailbox:
        hub.feeds[0].publish(topic, change)
        hub.move_all()
        arrived = await anext(mailbox)
    assert arrived == change
    assert arrived.previous == 5
    assert arrived.kind is ChangeKind.DELETED


async def test_what_nobody_listens_to_is_not_unpacked() -> None:
    """Most changes concern nobody in most processes."""
    hub = Together(1)
    hub.feeds[0].deliver(b"\x00\x04name" + b"no pickle")
    mailbox = hub.numbers()
    assert await drained(mailbox) == []


async def test_settled_means_in_the_mailboxes_here() -> None:
    """It waits until the hub has sent back what was published before."""
    hub = Together(2)
    mailbox = hub.numbers()
    hub.feeds[0].publish(NUMBERS, 1)
    settling = asyncio.create_task(hub.feeds[0].settled())
    cancelled = asyncio.create_task(hub.feeds[0].settled())
    await asyncio.sleep(0)
    cancelled.cancel()
    hub.move()
    await asyncio.sleep(0)
    assert not settling.done()
    hub.move_all()
    await settling
    assert await drained(mailbox) == [1]


async def test_without_its_hub_a_feed_is_that_of_one_process() -> None:
    """Nobody waits for an echo that does not come, and those here hear each other."""
    hub = Together(2)
    feed = hub.feeds[0]
    mailbox = hub.numbers()
    settling = asyncio.create_task(feed.settled())
    await asyncio.sleep(0)
    feed.cut_off()
    await settling
    feed.publish(NUMBERS, 1)
    await feed.settled()
    assert await drained(mailbox) == [1]


async def test_listeners_learn_that_items_may_be_lost() -> None:
    """Those who asked for it find the sign among their items."""
    hub = Together(1)
    feed = hub.feeds[0]
    mailbox = hub.numbers()
    feed.publish(NUMBERS, 1)
    hub.move_all()
    feed.lose()
    with feed.listen(NUMBERS, limit=8, overflow=Overflow.DROP_OLDEST) as other:
        feed.lose()
        assert await drained(other) == []
    assert await drained(mailbox) == [1, -1, -1]


@pytest.mark.parametrize("lines", [1, 40])
async def test_a_speaker_hears_its_last_line_and_has_one_under_way(lines: int) -> None:
    """However slow the hub is: the room waits for it before it lets a speaker go."""
    hub = Together(2)
    most = 0

    async def nothing() -> None:
        return

    async def speech() -> AsyncIterator[tuple[str, str]]:
        for number in range(lines):
            yield "ann", str(number)

    async def hear() -> list[str]:
        return [line.text async for line in chat(hub.feeds[0], speech(), nothing)]

    hearing = asyncio.create_task(hear())
    while not hearing.done():
        await asyncio.sleep(0)
        most = max(most, len(hub.sent))
        if hub.sent:
            hub.move()
    assert await hearing == [str(number) for number in range(lines)]
    assert most == 2  # a line, and the mark behind it
