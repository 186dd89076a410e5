"""Header blocks that are sent, and their cache (HPACK, RFC 7541).

The encoder is the hpack library's. A block that it made without a change of its dynamic
table means the same as long as nothing else changes that, so it is kept until then.
"""

from typing import Final

from hpack import Encoder

from userservice.wire.http2.codes import TABLE_SIZE_DEFAULT
from userservice.wire.http2.headers import Fields

# Bounds of one connection's cache: 64 blocks of at most 1 KiB.
_CACHED_BLOCKS_MAX: Final = 64
_CACHED_BLOCK_BYTES_MAX: Final = 1024

# How a string's length starts, and how a number goes on (sections 5.2 and 5.1).
_LENGTH_MAX: Final = 0x7F
_CONTINUES: Final = 0x80

# Fields whose values are few, and come with every call. The others are sent as literals
# that no table keeps: they would push these out, and a secret in a table can be guessed
# at by its compressed size (section 7.1).
_INDEXED: Final = frozenset(
    {
        ":authority",
        ":method",
        ":path",
        ":scheme",
        ":status",
        "accept-encoding",
        "content-type",
        "grpc-accept-encoding",
        "grpc-encoding",
        "grpc-status",
        "te",
        "user-agent",
    }
)


class BlockEncoder:
    """Encodes the header blocks of one connection.

    Args:
        table_max: the largest table that is kept, whatever the peer allows, in bytes.
    """

    def __init__(self, table_max: int = TABLE_SIZE_DEFAULT) -> None:
        self._encoder = Encoder()
        self._table_max = table_max
        self._cache: dict[Fields, bytes] = {}
        self.resize(TABLE_SIZE_DEFAULT)

    def resize(self, size: int) -> None:
        """Keep the table within what the peer allows, and within this side's own bound."""
        size = min(size, self._table_max)
        encoder = self._encoder
        # hpack forgets to say a change where the same size is set once more before a block.
        if size != encoder.header_table_size:
            encoder.header_table_size = size
            # Section 4.2: the smallest since the last block is said, and the last. hpack would
            # say all of them: larger ones than are now allowed, and more than can be counted.
            smallest = min(encoder.table_size_changes)
            encoder.table_size_changes = [smallest] if smallest == size else [smallest, size]
            self._cache.clear()

    def encode(self, fields: tuple[tuple[str, str], ...], metadata: Fields = ()) -> bytes:
        """Return the block of these fields.

        Args:
            fields: those that are the same for many calls; their block is kept.
            metadata: those that are not.

        Raises:
            UnicodeEncodeError: a field is not Latin-1. The table is as before: the peer, who
                never sees the block, has the same.
        """
        literals = b"".join([_literal(*field) for field in metadata]) if metadata else b""
        block = self._cache.get(fields)
        if block is None:
            block = self._encode(fields)
        return block + literals if literals else block

    def _encode(self, fields: tuple[tuple[str, str], ...]) -> bytes:
        coded = [
            (name.encode("latin-1"), value.encode("latin-1"), name not in _INDEXED)
            for name, value in fields
        ]
        table = self._encoder.header_table
        resized = table.resized
        entries = list(table.dynamic_entries)
        block = self._encoder.encode(coded, huffman=False)
        if resized or entries != list(table.dynamic_entries):
            # A new entry moves the others: each other block is encoded once again.
            self._cache.clear()
        elif len(block) <= _CACHED_BLOCK_BYTES_MAX:
            if len(self._cache) >= _CACHED_BLOCKS_MAX:
                self._cache.clear()
            self._cache[fields] = block
        return block


def _literal(name: str, value: str) -> bytes:
    """Return a literal field that is never indexed (section 6.2.3)."""
    key, octets = name.encode("latin-1"), value.encode("latin-1")
    return b"\x10%b%b%b%b" % (_length(len(key)), key, _length(len(octets)), octets)


def _length(number: int) -> bytes:
    """Return a string's length, uncoded, behind its 7-bit prefix (section 5.1)."""
    if number < _LENGTH_MAX:
        return _SHORT_LENGTHS[number]
    octets = bytearray([_LENGTH_MAX])
    number -= _LENGTH_MAX
    while number >= _CONTINUES:
        octets.append(number & 0x7F | _CONTINUES)
        number >>= 7
    octets.append(number)
    return bytes(octets)


_SHORT_LENGTHS: Final = tuple(bytes([number]) for number in range(_LENGTH_MAX))
