"""What hostile peers do: each attack is one function, bounded in bytes and in time.

An attack ends when the server has made up its mind, or was given the time to. It returns what
its peers were told, and closes their connections.
"""

from __future__ import annotations

import gzip
import resource
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from tests.bench import contract
from tests.faults.peer import GREETING, OPEN_WINDOW, Peer, block_of, call, content, head, raw

from userservice.wire.http2 import ErrorCode, FrameType, Setting, frames
from userservice.wire.http2.codes import END_HEADERS, PREFACE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MIB: Final = 2**20

# More than any budget allows within the time that they take.
FRAMES: Final = 20_000
RESETS: Final = 3_000

GET: Final = contract.get_user()
BATCH: Final = contract.batch(1)
HELD_OPEN: Final = contract.events(contract.HELD_OPEN)
FAST: Final = contract.endless(10**9)
FAST_LARGE: Final = contract.endless(10**9, contract.LARGE)

STREAMS_MAX: Final = 100
MESSAGE_MAX: Final = 4 * MIB
BLOCK_MAX: Final = 128 * 1024
# Of a large body, in as much as the connection's window is opened at a time, or less.
_PIECE: Final = 62 * 1024

Saw = Counter[str]

# What a peer sees that is answered, and one whose connection and calls are as they were.
ANSWERED: Final = "answered"
EXHAUSTED: Final = "status RESOURCE_EXHAUSTED"
LEFT_ALONE: Final = "left alone"


@dataclass(frozen=True, slots=True)
class Target:
    """What an attack is put on.

    Args:
        port: where the server is.
        full: whether it goes as far as it can.
    """

    port: int
    full: bool

    @property
    def hold_s(self) -> float:
        """How long a state is held that does not change."""
        return 2.0 if self.full else 0.2

    def times(self, full: int, small: int) -> range:
        """Return the numbers of so many times."""
        return range(full if self.full else small)


# Resets


def rapid_reset(target: Target) -> Saw:
    """Open a stream and reset it, again and again."""
    with Peer(target.port) as peer:
        head_block = block_of(GET.path)
        peer.send(
            b"".join(
                head(stream, head_block) + frames.rst_stream(stream, ErrorCode.CANCEL)
                for stream in peer.streams(RESETS)
            )
        )
        peer.until_closed()
        return peer.saw


def rapid_resets(target: Target) -> Saw:
    """The same from twenty connections at once."""
    saw: Saw = Counter()
    head_block = block_of(GET.path)
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(target.port)) for _ in target.times(20, 3)]
        streams = peers[0].streams(RESETS)
        flood = b"".join(
            head(stream, head_block) + frames.rst_stream(stream, ErrorCode.CANCEL)
            for stream in streams
        )
        for start in range(0, len(flood), 2**14):
            for peer in peers:
                peer.send(flood[start : start + 2**14])
        for peer in peers:
            peer.until_closed()
            saw.update(peer.saw)
    return saw


def zero_window_updates(target: Target) -> Saw:
    """Open a stream and make the server reset it: WINDOW_UPDATE of 0."""
    return _made_you_reset(target, lambda stream: frames.window_update(stream, 0), ())


def too_much_content(target: Target) -> Saw:
    """Open a stream and make the server reset it: more data than content-length says."""
    length = [("content-length", "1")]
    return _made_you_reset(target, lambda stream: content(stream, b"ab", end=False), length)


def _made_you_reset(
    target: Target, provoke: Callable[[int], bytes], fields: Iterable[tuple[str, str]]
) -> Saw:
    with Peer(target.port) as peer:
        block = block_of(BATCH.path, fields)
        peer.send(
            b"".join(head(stream, block) + provoke(stream) for stream in peer.streams(RESETS))
        )
        peer.until_closed()
        return peer.saw


def cancelled_uploads(target: Target) -> Saw:
    """Cancel many calls with large bodies: more than the connection's window in all.

    Their credit must come back: a body as large as the window goes through at the end.
    """
    body = contract.framed(bytes(16_000))[:-1]  # a byte is missing: its call waits for it
    with Peer(target.port) as peer:
        peer.settle()
        block = block_of(BATCH.path)
        for _ in range(5):
            for stream in peer.streams(80):
                peer.spend(len(body))
                peer.send(head(stream, block) + content(stream, body, end=False))
            peer.send(
                b"".join(
                    frames.rst_stream(number, ErrorCode.CANCEL)
                    for number in range(stream - 158, stream + 1, 2)
                )
            )
        _upload(peer, GET.path, contract.framed(_long_field(3 * MIB)))
        peer.until_saw(ANSWERED)
        return peer.saw


def _long_field(size: int) -> bytes:
    """Return a message of one long field that nobody knows."""
    return b"\x7a" + _varint(size) + bytes(size)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _upload(
    peer: Peer,
    path: str,
    body: bytes,
    fields: Iterable[tuple[str, str]] = (),
    *,
    end: bool = True,
) -> int:
    """Make a call with a large body, as the connection's window allows; return its stream."""
    peer.settle()
    stream = peer.stream()
    peer.send(head(stream, block_of(path, fields)))
    for start in range(0, len(body), _PIECE):
        piece = body[start : start + _PIECE]
        peer.spend(len(piece))
        peer.send(content(stream, piece, end=end and start + _PIECE >= len(body)))
    return stream


# Frames that bring nothing


def _flood(target: Target, unit: bytes, *, count: int = FRAMES, opens: bool = False) -> Saw:
    """Send the same again and again, perhaps on an open call."""
    with Peer(target.port) as peer:
        if opens:
            peer.send(head(peer.stream(), block_of(BATCH.path)))
        peer.send(unit * count)
        peer.until_closed()
        return peer.saw


PING: Final = frames.ping(b"are you?", ack=False)


def ping_flood(target: Target) -> Saw:
    """Ping, and read the answers."""
    return _flood(target, PING)


def unread_ping_flood(target: Target) -> Saw:
    """Ping, and read nothing until the end."""
    with Peer(target.port) as peer:
        peer.send_unread(PING * FRAMES)
        peer.until_closed()
        return peer.saw


def early_pings(target: Target) -> Saw:
    """Ping five times: two are let go by (gRFC A8)."""
    return _flood(target, PING, count=5)


def settings_flood(target: Target) -> Saw:
    """Change nothing, again and again."""
    return _flood(target, frames.settings({}))


def long_settings_flood(target: Target) -> Saw:
    """Change the same setting 2,730 times in one frame, again and again."""
    change = Setting.INITIAL_WINDOW_SIZE.to_bytes(2, "big")
    changes = b"".join(change + size.to_bytes(4, "big") for size in range(2_730))
    with Peer(target.port) as peer:
        for stream in peer.streams(STREAMS_MAX):
            peer.send(call(stream, HELD_OPEN))
        unit = raw(FrameType.SETTINGS, 0, 0, changes)
        limit = time.monotonic() + 10 * target.hold_s
        while not peer.closed and time.monotonic() < limit:
            peer.send(unit * 4)
        if not peer.closed:
            peer.saw[LEFT_ALONE] += 1
        return peer.saw


def empty_data_flood(target: Target) -> Saw:
    """Send nothing within a call, again and again."""
    return _flood(target, raw(FrameType.DATA, 0, 1), opens=True)


def one_byte_data(target: Target) -> Saw:
    """Send a large message byte by byte."""
    with Peer(target.port) as peer:
        stream = peer.stream()
        peer.send(head(stream, block_of(BATCH.path)) + content(stream, _prefix(MIB), end=False))
        peer.send(raw(FrameType.DATA, 0, stream, b"x") * FRAMES)
        peer.until_closed()
        return peer.saw


def _prefix(size: int) -> bytes:
    return b"\0" + size.to_bytes(4, "big")


def priority_flood(target: Target) -> Saw:
    """Make one stream depend on another, again and again."""
    return _flood(target, raw(FrameType.PRIORITY, 0, 1, bytes([0, 0, 0, 3, 1])))


def window_update_flood(target: Target) -> Saw:
    """Open the connection's window byte by byte."""
    return _flood(target, frames.window_update(0, 1))


def unknown_frame_flood(target: Target) -> Saw:
    """Send frames of a type that nobody knows."""
    return _flood(target, raw(99))


def dead_stream_flood(target: Target) -> Saw:
    """Send data on a stream that the server has reset."""
    with Peer(target.port) as peer:
        stream = peer.stream()
        peer.send(head(stream, block_of(BATCH.path)) + frames.window_update(stream, 0))
        peer.until_saw("RST_STREAM PROTOCOL_ERROR")
        peer.send(raw(FrameType.DATA, 0, stream) * FRAMES * 3)
        peer.ask(GET)
        return peer.saw


# What does not end


def continuation_flood(target: Target) -> Saw:
    """Begin a header block that has no end."""
    with Peer(target.port) as peer:
        peer.send(raw(FrameType.HEADERS, 0, peer.stream(), block_of(GET.path)))
        peer.send(raw(FrameType.CONTINUATION, 0, 1, b"\x00\x01a\x01b" * 2_000) * 1_000)
        peer.until_closed()
        return peer.saw


def _each(target: Target, count: range, begin: bytes, then: bytes = b"") -> Saw:
    """Begin on many connections at once, and wait until the server has closed them all."""
    saw: Saw = Counter()
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(target.port, begin)) for _ in count]
        for peer in peers:
            peer.send(then)
        for peer in peers:
            peer.until_closed()
            saw.update(peer.saw)
    return saw


def half_a_preface(target: Target) -> Saw:
    """Connect, begin the preface, and stop."""
    return _each(target, target.times(200, 20), PREFACE[:12])


def preface_without_settings(target: Target) -> Saw:
    """Connect, send the preface, and stop."""
    return _each(target, target.times(200, 20), PREFACE)


def half_a_header_block(target: Target) -> Saw:
    """Begin a header block, and stop."""
    begun = raw(FrameType.HEADERS, 0, 1, block_of(GET.path)[:20])
    return _each(target, target.times(200, 20), GREETING, begun)


def slow_preface(target: Target) -> Saw:
    """Send preface, settings and a call one byte at a time, on many connections."""
    saw: Saw = Counter()
    with ExitStack() as stack:
        count = target.times(100, 10)
        peers = [stack.enter_context(Peer(target.port, PREFACE[:1])) for _ in count]
        for byte in (GREETING + call(1, GET))[1:]:
            for peer in peers:
                peer.send(bytes([byte]))
                peer.read(0)
            time.sleep(0.03)
            if all(peer.closed for peer in peers):
                break
        for peer in peers:
            peer.until_closed()
            saw.update(peer.saw)
    return saw


# Too many, too large


def _room_for_files() -> int:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most - 500


def idle_connections(target: Target) -> Saw:
    """Connect as often as the server allows, and do nothing."""
    return _connections(target, min(2_000 if target.full else 200, _room_for_files()))


def too_many_connections(target: Target) -> Saw:
    """Connect twice as often as the server allows."""
    return _connections(target, min(2_000 if target.full else 200, _room_for_files()))


def _connections(target: Target, count: int) -> Saw:
    saw: Saw = Counter()
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(target.port)) for _ in range(count)]
        for peer in peers:
            peer.settle()
        limit = time.monotonic() + target.hold_s
        for peer in peers:
            peer.read_for(0)
        time.sleep(max(0.0, limit - time.monotonic()))
        for peer in peers:
            if peer.saw:  # turned away: the server lets it have the reason first
                peer.until_closed()
            else:
                peer.ask(GET)
            saw.update(peer.saw)
    return saw


def too_many_streams(target: Target) -> Saw:
    """Open half as many streams again as the server allows."""
    with Peer(target.port) as peer:
        peer.settle()
        peer.send(b"".join(call(stream, HELD_OPEN) for stream in peer.streams(150)))
        peer.until_saw("RST_STREAM REFUSED_STREAM", 50)
        peer.send(PING)
        peer.until_saw("PING ACK")
        del peer.saw["PING ACK"]
        return peer.saw


def endless_streams(target: Target) -> Saw:
    """Open streams beyond what the server allows, and never stop."""
    with Peer(target.port) as peer:
        peer.send(b"".join(call(stream, HELD_OPEN) for stream in peer.streams(RESETS)))
        peer.until_closed()
        return peer.saw


def hpack_bomb(target: Target) -> Saw:
    """Put 4 KiB into the table, and name it with one byte each, as often as a block allows."""
    entry = b"\x40\x01x\x7f\xa1\x1e" + b"v" * 4_000
    return _blocks(target, _full_of(b"\xbe"), block_of(GET.path) + entry)


def many_fields(target: Target) -> Saw:
    """Send blocks of as many fields of the static table as fit."""
    return _blocks(target, _full_of(b"\x90"))


def many_literals(target: Target) -> Saw:
    """Send blocks of as many short literals, each new in the table, as fit."""
    return _blocks(target, _full_of(b"\x40\x01a\x01b"))


def coded_literals(target: Target) -> Saw:
    """Send blocks of short literals in Huffman code."""
    return _blocks(target, _full_of(b"\x00\x81\x1f\x81\x1f"))


def large_header_list(target: Target) -> Saw:
    """Send one field that is larger than the list may be."""
    return _blocks(target, block_of(GET.path, [("x", "v" * 100_000)]))


def _full_of(field: bytes) -> bytes:
    start = block_of(GET.path)
    return start + field * ((BLOCK_MAX - len(start)) // len(field))


def _blocks(target: Target, block: bytes, first: bytes | None = None) -> Saw:
    """Make a call, and then others with a large block, one after the other."""
    with Peer(target.port) as peer:
        stream = peer.stream()
        peer.send(head(stream, first or block_of(GET.path)) + content(stream, GET.request))
        peer.until_saw(ANSWERED)
        for number in target.times(50, 3):
            peer.send(_in_frames(peer.stream(), block))
            peer.until_saw(EXHAUSTED, number + 1)
        return peer.saw


def _in_frames(stream: int, block: bytes) -> bytes:
    pieces = [block[start : start + 16_384] for start in range(0, len(block), 16_384)]
    last = len(pieces) - 1
    return b"".join(
        raw(
            FrameType.CONTINUATION if number else FrameType.HEADERS,
            (END_HEADERS if number == last else 0) | (0 if number else 1),
            stream,
            piece,
        )
        for number, piece in enumerate(pieces)
    )


def huge_encoder_table(target: Target) -> Saw:
    """Allow the server's encoder a table of 4 GiB, and let it answer."""
    greeting = PREFACE + frames.settings({Setting.HEADER_TABLE_SIZE: 2**32 - 1})
    with Peer(target.port, greeting + OPEN_WINDOW) as peer:
        for number in target.times(2_000, 200):
            peer.ask(GET)
            if number % 100 == 0:
                peer.send(frames.settings({Setting.HEADER_TABLE_SIZE: number % 7 * 1_000}))
                peer.send(frames.settings({Setting.HEADER_TABLE_SIZE: 2**32 - 1}))
        return peer.saw


def message_over_the_limit(target: Target) -> Saw:
    """Say that a message of 4 GiB follows, and send as much of it as the server takes."""
    with Peer(target.port) as peer:
        peer.settle()
        for _ in target.times(20, 2):
            answers = peer.saw[EXHAUSTED]
            stream = peer.stream()
            peer.send(head(stream, block_of(GET.path)))
            peer.send(content(stream, _prefix(2**32 - 1) + bytes(32_000), end=False))
            peer.window -= 32_005
            peer.until_saw(EXHAUSTED, answers + 1)
        return peer.saw


def message_just_over_the_limit(target: Target) -> Saw:
    """Send whole messages of a byte too many."""
    body = contract.framed(bytes(MESSAGE_MAX + 1))
    with Peer(target.port) as peer:
        peer.settle()
        for _ in target.times(10, 2):
            answers = peer.saw[EXHAUSTED]
            _upload(peer, GET.path, body)
            peer.until_saw(EXHAUSTED, answers + 1)
        return peer.saw


def small_fields(target: Target) -> Saw:
    """Send messages of 4 MiB that are one field of three bytes, 1.4 million times."""
    return _large_messages(target, b"\x0a\x01a")


def small_unknown_fields(target: Target) -> Saw:
    """Send messages of 4 MiB of fields that nobody knows."""
    return _large_messages(target, b"\xa0\x06\x01")


def _large_messages(target: Target, field: bytes) -> Saw:
    """Send messages on a few connections, and end them all at once."""
    message = field * ((MESSAGE_MAX - 16) // len(field))
    body = contract.framed(message)
    saw: Saw = Counter()
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(target.port)) for _ in target.times(8, 2)]
        for _ in target.times(2, 1):
            streams = [_upload(peer, GET.path, body[:-1], end=False) for peer in peers]
            for peer, stream in zip(peers, streams, strict=True):
                peer.send(content(stream, body[-1:]))
            for peer in peers:
                peer.until_saw(ANSWERED)
                saw.update(peer.saw)
                peer.saw.clear()
    return saw


def fields_at_once(target: Target) -> Saw:
    """Send messages of 127 KiB of fields that nobody knows, all that a window holds, at once."""
    field = b"\xa0\x06\x01"
    body = contract.framed(field * (127 * 1024 // len(field)))
    with Peer(target.port) as peer:
        for _ in target.times(3, 1):
            streams = [_upload(peer, GET.path, body[:-1], end=False) for _ in range(30)]
            answers = peer.saw[ANSWERED]
            peer.send(b"".join(content(stream, body[-1:]) for stream in streams))
            peer.until_saw(ANSWERED, answers + len(streams))
        return peer.saw


def gzip_bomb(target: Target) -> Saw:
    """Send a small message that inflates to a large one."""
    bomb = _bomb(1024 if target.full else 64)
    body = b"\1" + len(bomb).to_bytes(4, "big") + bomb
    with Peer(target.port) as peer:
        peer.settle()
        for _ in target.times(20, 2):
            answers = peer.saw[EXHAUSTED]
            _upload(peer, GET.path, body, [("grpc-encoding", "gzip")])
            peer.until_saw(EXHAUSTED, answers + 1)
        return peer.saw


@cache
def _bomb(mib: int) -> bytes:
    # gzip's members may follow each other, but one is enough where its content is all zeros.
    return gzip.compress(bytes(mib * MIB), compresslevel=1)


# Who does not read, and who reads fast


def never_reads(target: Target) -> Saw:
    """Ask for large replies with every window open, and read nothing."""
    saw: Saw = Counter()
    with ExitStack() as stack:
        peers = [
            stack.enter_context(Peer(target.port, GREETING + OPEN_WINDOW))
            for _ in target.times(20, 2)
        ]
        for peer in peers:
            peer.send_unread(
                b"".join(call(stream, FAST_LARGE) for stream in peer.streams(STREAMS_MAX))
            )
        time.sleep(target.hold_s)
        for peer in peers:
            saw.update(peer.saw)
    return saw or Counter((LEFT_ALONE,))


def closed_window(target: Target) -> Saw:
    """Ask for large replies, and never open the window."""
    greeting = PREFACE + frames.settings({Setting.INITIAL_WINDOW_SIZE: 0})
    saw: Saw = Counter()
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(target.port, greeting)) for _ in target.times(20, 2)]
        for peer in peers:
            peer.send(b"".join(call(stream, FAST_LARGE) for stream in peer.streams(STREAMS_MAX)))
        limit = time.monotonic() + target.hold_s
        while time.monotonic() < limit:
            for peer in peers:
                peer.read(0.01)
        for peer in peers:
            saw.update(peer.saw)
    return saw or Counter((LEFT_ALONE,))


def fast_stream(target: Target) -> Saw:
    """Read one server stream as fast as it comes."""
    with Peer(target.port, GREETING + OPEN_WINDOW) as peer:
        stream = peer.stream()
        peer.send(call(stream, FAST))
        peer.read_for(target.hold_s)
        peer.send(frames.rst_stream(stream, ErrorCode.CANCEL))
        peer.ask(GET)
        return peer.saw


def fast_streams(target: Target) -> Saw:
    """Read a hundred server streams as fast as they come."""
    with Peer(target.port, GREETING + OPEN_WINDOW) as peer:
        peer.send(b"".join(call(stream, FAST) for stream in peer.streams(STREAMS_MAX)))
        peer.read_for(target.hold_s)
        return peer.saw or Counter((LEFT_ALONE,))
