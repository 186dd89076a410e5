"""The link of a worker: messages keep their order and their borders, and nothing piles up."""

import asyncio
import random
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from userservice.app.workers import link as link_module
from userservice.app.workers.link import BODY_MAX, Kind, Link, LinkError, Message, Messages
from userservice.users.chat import UNREAD_MAX
from userservice.users.feed import Mailbox, Overflow

messages = st.lists(st.builds(Message, st.sampled_from(Kind), st.binary(max_size=40)))


@given(messages, st.randoms(use_true_random=False))
def test_messages_come_out_as_they_went_in(sent: list[Message], cuts: random.Random) -> None:
    """However the stream is cut into pieces."""
    stream = b"".join(message.encoded() for message in sent)
    reading = Messages()
    received: list[Message] = []
    while stream:
        size = cuts.randint(1, 50)
        received += reading.feed(stream[:size])
        stream = stream[size:]
    assert received == sent


@pytest.mark.parametrize("head", [b"\0\0\0\0\0", b"\x63\0\0\0\0", b"\x09\xff\xff\xff\xff"])
def test_what_is_no_message_is_refused(head: bytes) -> None:
    """An unknown kind, and a length that none of ours has."""
    with pytest.raises(LinkError):
        list(Messages().feed(head))


class End:
    """One end of a link, and what came to it."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.over = asyncio.Event()
        self.link = Link(self.messages.put_nowait, self.over.set)


async def test_messages_cross_in_order_and_the_end_is_told() -> None:
    """What one end sends before it closes, the other gets; then it is told of the end."""
    here, there = socket.socketpair()
    one, other = End(), End()
    await one.link.connect(here)
    await other.link.connect(there)
    sent = [Message(Kind.ITEM, bytes([number]) * 50_000) for number in range(50)]
    for message in sent:
        one.link.send(message.encoded())
    other.link.send(Message(Kind.READY).encoded())
    assert await one.messages.get() == Message(Kind.READY)
    one.link.close()
    await other.over.wait()
    assert [other.messages.get_nowait() for _ in sent] == sent
    assert other.messages.empty()
    other.link.send(Message(Kind.READY).encoded())  # nobody is there; nothing happens
    other.link.close()
    await one.over.wait()


async def test_who_listens_has_a_turn_before_a_burst_overflows_its_mailbox() -> None:
    """However much is there to read at once, whoever takes what it gets loses nothing."""
    here, there = socket.socketpair()
    mailbox: Mailbox[bytes] = Mailbox(UNREAD_MAX, Overflow.DROP_OLDEST)
    link = Link(lambda message: mailbox.put(message.body), mailbox.close)

    async def listened() -> list[bytes]:
        return [body async for body in mailbox]

    listening = asyncio.create_task(listened())
    await asyncio.sleep(0)  # it waits for the first one
    await link.connect(here)
    sent = [str(number).encode() for number in range(5_000)]
    there.setblocking(False)
    with there:
        stream = b"".join(Message(Kind.ITEM, body).encoded() for body in sent)
        await asyncio.get_running_loop().sock_sendall(there, stream)
    assert await listening == sent


async def test_what_was_received_is_told_before_the_end() -> None:
    """Also where the end is noticed by sending, while much was not told yet."""
    here, there = socket.socketpair()
    one = End()
    await one.link.connect(here)
    with there:
        there.sendall(b"".join([Message(Kind.TOOK).encoded()] * 1_000))
        await one.messages.get()
    one.link.send(Message(Kind.DRAIN).encoded())
    await one.over.wait()
    assert one.messages.qsize() == 999


async def test_who_has_closed_its_end_is_told_nothing_more() -> None:
    """What was received and not told is dropped: it does not listen any more."""
    here, there = socket.socketpair()
    one = End()
    await one.link.connect(here)
    with there:
        there.sendall(b"".join([Message(Kind.MARK).encoded()] * 1_000))
        await one.messages.get()
        told = one.messages.qsize()
        one.link.close()
        await one.over.wait()
    assert one.messages.qsize() == told < 999


async def test_who_sends_no_messages_is_given_up() -> None:
    """Whatever it is, it is not ours."""
    here, there = socket.socketpair()
    one = End()
    await one.link.connect(here)
    there.send(b"GET / HTTP/1.1")
    await one.over.wait()
    there.close()


async def test_who_reads_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes that wait for the other side have a bound."""
    monkeypatch.setattr(link_module, "UNREAD_MAX", 4 * BODY_MAX)
    here, there = socket.socketpair()
    one = End()
    await one.link.connect(here)
    sent = 0
    while not one.over.is_set():
        one.link.send(Message(Kind.ITEM, bytes(BODY_MAX)).encoded())
        sent += 1
        await asyncio.sleep(0)
    assert sent <= 10
    there.close()
