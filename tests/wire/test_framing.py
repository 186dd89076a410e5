"""Messages come out as they went in, however the bytes between are split."""

from hypothesis import given, settings
from hypothesis import strategies as st

from userservice.wire.framing import PREFIX_SIZE, CompressedMessage, MessageReader, frame

MESSAGES = st.lists(st.binary(max_size=40) | st.just(b"x" * 300), max_size=8)


def all_of(reader: MessageReader) -> list[bytes]:
    """Every whole message that the reader has."""
    return list(reader.messages)


@settings(derandomize=True, deadline=None)
@given(MESSAGES, st.lists(st.integers(0, 60), max_size=60))
def test_splits_do_not_matter(messages: list[bytes], sizes: list[int]) -> None:
    """Any split gives the same messages, empty pieces too; and no part is left."""
    data = b"".join(map(frame, messages))
    reader = MessageReader(2**31)
    for size in sizes:
        reader.feed(data[:size])
        data = data[size:]
    reader.feed(data)
    assert all_of(reader) == messages
    assert not reader.has_part


@settings(derandomize=True, deadline=None)
@given(st.binary(min_size=1, max_size=40), st.data())
def test_a_start_is_not_a_message(message: bytes, data: st.DataObject) -> None:
    """Without its last byte a message is only a part."""
    framed = frame(message)
    cut = data.draw(st.integers(1, len(framed) - 1))
    reader = MessageReader(2**31)
    reader.feed(framed[:cut])
    assert reader.has_part
    assert not reader.messages
    reader.feed(framed[cut:])
    assert all_of(reader) == [message]


def test_a_compressed_message_says_so() -> None:
    """In one piece or in two, and the next one is as its own flag says."""
    framed = b"\x01" + frame(b"squeezed")[1:] + frame(b"plain")
    for cut in (0, 3, PREFIX_SIZE, 8):
        reader = MessageReader(2**31)
        reader.feed(framed[:cut])
        reader.feed(framed[cut:])
        assert [type(message) for message in all_of(reader)] == [CompressedMessage, bytes]


def test_empty_frames_leave_nothing() -> None:
    """Any number of them may come within a message: no memory grows."""
    reader = MessageReader(2**31)
    reader.feed(frame(b"ab")[:6])
    for _ in range(1000):
        reader.feed(b"")
    assert reader._parts == [b"a"]
