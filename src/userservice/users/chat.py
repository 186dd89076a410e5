"""Chat: one room of everyone connected."""

import asyncio
import datetime
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from userservice.users import rules
from userservice.users.feed import ChangeFeed, Mailbox, Overflow, Topic

UNREAD_MAX = 256
"""How many messages may wait for a slow reader; it loses the oldest beyond."""


@dataclass(frozen=True, slots=True)
class Line:
    """What someone said in the room, and when the server heard it."""

    sender_id: str
    text: str
    time: datetime.datetime


ROOM: Topic[Line] = Topic("chat")


async def chat(
    feed: ChangeFeed,
    said: AsyncIterator[tuple[str, str]],
    joined: Callable[[], Awaitable[None]],
) -> AsyncGenerator[Line, None]:
    """Publish what one participant says, and yield what anybody says.

    It ends when the participant has nothing more to say, after the lines heard until
    then.

    Args:
        feed: the room.
        said: the participant's messages: sender and text.
        joined: called when the participant hears everyone.

    Raises:
        InvalidRequestError: a message breaks a rule; nobody hears it.
    """
    with feed.listen(ROOM, limit=UNREAD_MAX, overflow=Overflow.DROP_OLDEST) as mailbox:
        await joined()
        speaking = asyncio.create_task(_speak(feed, said, mailbox))
        try:
            async for line in mailbox:
                yield line
            await speaking  # raises what ended it
        finally:
            speaking.cancel()
            await asyncio.wait({speaking})


async def _speak(
    feed: ChangeFeed, said: AsyncIterator[tuple[str, str]], mailbox: Mailbox[Line]
) -> None:
    try:
        async for sender_id, text in said:
            checks = rules.Checks()
            checks.check("sender_id", rules.sender_id, sender_id)
            checks.check("text", rules.chat_text, text)
            checks.done()
            feed.publish(ROOM, Line(sender_id, text, datetime.datetime.now(datetime.UTC)))
            # One line is under way at a time. Whoever listens has a turn before the
            # next, or a burst that is here already would overflow every mailbox; and
            # the last one is heard before the mailbox is closed.
            await feed.settled()
    finally:
        mailbox.close()
