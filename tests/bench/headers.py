"""Blocks of request headers, as two real clients write them (HPACK, RFC 7541).

Both were taken down from the clients themselves, with a timeout, a bearer token and a
traceparent on each call:

- grpcio 1.85.1 adds the constant headers and each new timeout to the dynamic table, and
  sends metadata as literals without indexing. It uses no Huffman code. Its timeouts are
  rounded, so that few differ.
- grpc-go 1.85.0 adds every header to the dynamic table, with Huffman code, also those that
  come once: the table overflows all the time.
"""

from __future__ import annotations

import random

from hpack import Encoder

AUTHORITY = "127.0.0.1:50051"
_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_HEX = "0123456789abcdef"
_TOKEN_SIZE = 200
_GRPCIO_TIMEOUTS = ("30S", "29100m", "28200m", "27300m", "26400m")
_TABLE_SIZE = 4096
# A ring starts again with an empty dynamic table: the size is set to 0, and back.
_EMPTY_TABLE = b"\x20\x3f\xe1\x1f"
_FIRST_DYNAMIC = 62


def plain(path: str, metadata: tuple[tuple[str, str], ...] = ()) -> bytes:
    """Return a block that leaves the dynamic table alone."""
    block = b"\x83\x86"
    for name, value in (
        (":path", path),
        (":authority", AUTHORITY),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        *metadata,
    ):
        block += b"\x00" + _string(name) + _string(value)
    return block


def grpcio(path: str, count: int, seed: int) -> list[bytes]:
    """Return a ring of blocks as grpcio writes them on one connection."""
    chance = random.Random(seed)
    constant = [
        (":path", path),
        (":authority", AUTHORITY),
        (":method", "POST"),
        (":scheme", "http"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-accept-encoding", "identity, deflate, gzip"),
    ]
    agent = ("user-agent", "grpc-python-asyncio/1.85.1 grpc-c/58.0.0 (linux; chttp2)")
    table: list[tuple[str, str]] = []
    blocks = []
    for number in range(count):
        block = b"" if number else _EMPTY_TABLE
        for header in (*constant, ("grpc-timeout", chance.choice(_GRPCIO_TIMEOUTS)), agent):
            if header == (":method", "POST"):
                block += b"\x83"
            elif header == (":scheme", "http"):
                block += b"\x86"
            elif header in table:
                index = _FIRST_DYNAMIC + table[::-1].index(header)
                block += bytes((0x80 | index,))
            else:
                table.append(header)
                block += b"\x40" + _string(header[0]) + _string(header[1])
        for name, value in (("traceparent", _trace(chance)), ("authorization", _bearer(chance))):
            block += b"\x00" + _string(name) + _string(value)
        blocks.append(block)
    return blocks


def go(path: str, count: int, seed: int) -> list[bytes]:
    """Return a ring of blocks as grpc-go writes them on one connection."""
    chance = random.Random(seed)
    encoder = Encoder()
    blocks = []
    for number in range(count):
        if number == 0:
            encoder.header_table_size = 0
            encoder.header_table_size = _TABLE_SIZE
        blocks.append(
            encoder.encode(
                [
                    (":method", "POST"),
                    (":scheme", "http"),
                    (":path", path),
                    (":authority", AUTHORITY),
                    ("content-type", "application/grpc"),
                    ("user-agent", "grpc-go/1.85.0"),
                    ("te", "trailers"),
                    ("grpc-timeout", f"{29_990_000 + chance.randrange(10_000)}u"),
                    ("authorization", _bearer(chance)),
                    ("traceparent", _trace(chance)),
                ],
                huffman=True,
            )
        )
    return blocks


def _bearer(chance: random.Random) -> str:
    return "Bearer " + "".join(chance.choices(_BASE64, k=_TOKEN_SIZE))


def _trace(chance: random.Random) -> str:
    trace, span = ("".join(chance.choices(_HEX, k=size)) for size in (32, 16))
    return f"00-{trace}-{span}-01"


def _string(text: str) -> bytes:
    data = text.encode()
    size = len(data)
    if size < 0x7F:
        return bytes((size,)) + data
    # An integer that does not fit into seven bits (RFC 7541 section 5.1).
    rest = size - 0x7F
    encoded = bytearray((0x7F,))
    while rest > 0x7F:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded) + data
