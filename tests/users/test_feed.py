"""The change feed pushes, in order, and a slow listener holds up nobody."""

import asyncio

import pytest

from userservice.users.feed import LocalFeed, Mailbox, Overflow, Topic

NUMBERS: Topic[int] = Topic("numbers")


async def drained(mailbox: Mailbox[int]) -> list[int]:
    """All that the mailbox holds."""
    mailbox.close()
    return [item async for item in mailbox]


async def test_everyone_who_listens_gets_every_item_in_order() -> None:
    """Each listener of a topic gets what is published under it, in order."""
    feed = LocalFeed()
    with (
        feed.listen(NUMBERS, limit=8, overflow=Overflow.DROP_OLDEST) as one,
        feed.listen(NUMBERS, limit=8, overflow=Overflow.DROP_OLDEST) as two,
        feed.listen(Topic[int]("others"), limit=8, overflow=Overflow.DROP_OLDEST) as other,
    ):
        for number in range(3):
            feed.publish(NUMBERS, number)
        assert await drained(one) == [0, 1, 2]
        assert await drained(two) == [0, 1, 2]
        assert await drained(other) == []


async def test_nothing_comes_before_or_after_listening() -> None:
    """A listener gets what is published while it listens, and leaves nothing behind."""
    feed = LocalFeed()
    feed.publish(NUMBERS, 1)
    with feed.listen(NUMBERS, limit=8, overflow=Overflow.DROP_OLDEST) as mailbox:
        feed.publish(NUMBERS, 2)
    feed.publish(NUMBERS, 3)
    assert await drained(mailbox) == [2]
    assert feed._mailboxes == {}


@pytest.mark.parametrize(
    ("overflow", "kept"),
    [(Overflow.DROP_OLDEST, [2, 3, 4]), (Overflow.KEEP_LATEST, [3, 4])],
)
async def test_a_full_mailbox_makes_room_by_its_rule(overflow: Overflow, kept: list[int]) -> None:
    """DROP_OLDEST forgets the oldest item, KEEP_LATEST all but the one that comes."""
    mailbox: Mailbox[int] = Mailbox(3, overflow)
    for number in range(5):
        mailbox.put(number)
    assert await drained(mailbox) == kept


async def test_a_waiting_listener_wakes_when_an_item_comes() -> None:
    """Nothing polls: an item wakes the one who waits for it."""
    mailbox: Mailbox[int] = Mailbox(3, Overflow.DROP_OLDEST)
    waiting = asyncio.ensure_future(anext(mailbox))
    await asyncio.sleep(0)
    assert not waiting.done()
    mailbox.put(7)
    assert await waiting == 7


async def test_a_closed_mailbox_ends_after_what_it_holds() -> None:
    """Closing lets the listener take what is there, and then stop, also while it waits."""
    mailbox: Mailbox[int] = Mailbox(3, Overflow.DROP_OLDEST)

    async def taken() -> list[int]:
        return [item async for item in mailbox]

    taking = asyncio.create_task(taken())
    mailbox.put(1)
    await asyncio.sleep(0)
    mailbox.close()
    assert await taking == [1]


async def test_a_sign_stands_where_all_items_were_forgotten() -> None:
    """A listener that asked for it learns that its mailbox was emptied, and has the latest."""
    feed = LocalFeed()
    with feed.listen(NUMBERS, limit=3, overflow=Overflow.KEEP_LATEST, lost=-1) as mailbox:
        for number in range(5):
            feed.publish(NUMBERS, number)
        assert await drained(mailbox) == [-1, 3, 4]
        feed.lose()
        assert await drained(mailbox) == [-1]
