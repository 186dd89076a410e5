"""The room: everyone hears everything, and nobody is held up."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from userservice.users.chat import UNREAD_MAX, Line, chat
from userservice.users.errors import InvalidRequestError
from userservice.users.feed import LocalFeed


async def nothing() -> None:
    """Nobody waits for anyone to join."""


class Voice(AsyncIterator[tuple[str, str]]):
    """What one participant says, as the test goes on."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._said: asyncio.Queue[tuple[str, str] | None] = asyncio.Queue()

    def say(self, text: str) -> None:
        self._said.put_nowait((self.name, text))

    def leave(self) -> None:
        self._said.put_nowait(None)

    async def __anext__(self) -> tuple[str, str]:
        said = await self._said.get()
        if said is None:
            raise StopAsyncIteration
        return said


async def joined(feed: LocalFeed, voice: Voice) -> AsyncGenerator[Line, None]:
    """Return what this participant hears, from now on."""
    inside = asyncio.Event()

    async def mark() -> None:
        inside.set()

    lines = chat(feed, voice, mark)
    first = asyncio.ensure_future(anext(lines))
    await inside.wait()

    async def all_lines() -> AsyncGenerator[Line, None]:
        try:
            yield await first
            async for line in lines:
                yield line
        except StopAsyncIteration:
            return

    return all_lines()


async def test_everyone_hears_everyone_themselves_included(feed: LocalFeed) -> None:
    """Two participants hear the same lines, in one order, with the server's time."""
    ann, bob = Voice("ann"), Voice("bob")
    to_ann, to_bob = await joined(feed, ann), await joined(feed, bob)
    ann.say("hello")
    first = await anext(to_ann)
    bob.say("hi")
    second = await anext(to_ann)
    assert [(line.sender_id, line.text) for line in (first, second)] == [
        ("ann", "hello"),
        ("bob", "hi"),
    ]
    assert first.time <= second.time
    assert [await anext(to_bob), await anext(to_bob)] == [first, second]
    ann.leave()
    bob.leave()
    assert [line async for line in to_ann] == []
    assert [line async for line in to_bob] == []
    assert feed._mailboxes == {}


async def test_whoever_leaves_hears_what_was_said_until_then(feed: LocalFeed) -> None:
    """Half-closing ends the stream after the lines heard so far, one's own included."""
    ann = Voice("ann")
    for number in range(5):
        ann.say(str(number))
    ann.leave()
    assert [line.text async for line in chat(feed, ann, nothing)] == list("01234")


@pytest.mark.parametrize(
    ("sender", "text", "field"),
    [
        ("", "hello", "sender_id"),
        ("a\x00", "hello", "sender_id"),
        ("ann", "", "text"),
        ("ann", "x" * 4001, "text"),
    ],
)
async def test_a_bad_message_ends_its_own_stream_only(
    feed: LocalFeed, sender: str, text: str, field: str
) -> None:
    """The sender gets the error after the good lines; the others hear nothing of it."""
    bob = Voice("bob")
    to_bob = await joined(feed, bob)
    bad = Voice(sender)
    good = Voice("ann")
    bad.name = "ann"
    bad.say("good")
    bad.name = sender
    bad.say(text)
    heard = []
    with pytest.raises(InvalidRequestError) as invalid:  # noqa: PT012  # the lines before count
        async for line in chat(feed, bad, nothing):
            heard.append(line.text)  # noqa: PERF401  # it ends with an error
    assert heard == ["good"]
    assert [violation.field for violation in invalid.value.violations] == [field]
    to_good = await joined(feed, good)
    good.say("still here")
    assert (await anext(to_good)).text == "still here"
    assert [(await anext(to_bob)).text for _ in range(2)] == ["good", "still here"]
    await to_good.aclose()
    await to_bob.aclose()


async def test_a_slow_reader_loses_its_oldest_lines(feed: LocalFeed) -> None:
    """256 lines wait for a reader; beyond, the oldest go, and the others hear everything."""
    slow, fast = Voice("slow"), Voice("fast")
    to_slow = await joined(feed, slow)
    slow.say("first")
    await anext(to_slow)
    said = [str(number) for number in range(UNREAD_MAX + 50)]
    for text in said:
        fast.say(text)
    fast.leave()
    heard = [line.text async for line in chat(feed, fast, nothing)]
    slow.leave()
    late = [line.text async for line in to_slow]
    assert late == said[-UNREAD_MAX:]
    assert heard[-1] == said[-1]


async def test_a_burst_is_heard_by_whoever_listens(feed: LocalFeed) -> None:
    """A thousand lines that are there at once overflow nobody who takes them as they come."""
    ann, bob = Voice("ann"), Voice("bob")
    to_bob = await joined(feed, bob)

    async def bob_hears() -> list[str]:
        return [(await anext(to_bob)).text for _ in range(1000)]

    hearing = asyncio.create_task(bob_hears())
    said = [str(number) for number in range(1000)]
    for text in said:
        ann.say(text)
    ann.leave()
    assert [line.text async for line in chat(feed, ann, nothing)] == said
    assert await hearing == said
    await to_bob.aclose()


async def test_leaving_at_any_time_leaves_nothing_behind(feed: LocalFeed) -> None:
    """A participant whose connection breaks is out of the room, and no task is left."""
    before = asyncio.all_tasks()
    ann = Voice("ann")
    lines = chat(feed, ann, nothing)
    waiting = asyncio.ensure_future(anext(lines))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert feed._mailboxes == {}
    assert asyncio.all_tasks() == before
