"""Header blocks that are received, and their cache (HPACK, RFC 7541).

The static table and the Huffman codes are the hpack library's. Its decoder copies the rest
of the block for every field (work that is not linear in the bytes), and takes five times
as long as this one.

Most calls of a connection have the very same block as the one before. A block that does
not change the dynamic table means the same as long as nothing else changes it, so its
decoded form is kept until then.
"""

from collections import deque
from typing import Final

from hpack.table import HeaderTable

from userservice.wire.http2 import huffman
from userservice.wire.http2.block import HeaderBlock
from userservice.wire.http2.codes import TABLE_SIZE_DEFAULT, ErrorCode
from userservice.wire.http2.errors import ProtocolError
from userservice.wire.http2.headers import mark_of

_ENTRY_OVERHEAD: Final = 32  # bytes (section 4.1)

# A field, what it takes of a table or list, and its mark.
_Entry = tuple[tuple[str, str], int, str]

# Appendix A: its indices begin with 1.
_STATIC: Final[tuple[_Entry, ...]] = (
    (("", ""), 0, ""),  # nobody's
    *(
        (field, len(field[0]) + len(field[1]) + _ENTRY_OVERHEAD, mark_of(*field))
        for field in ((name.decode(), value.decode()) for name, value in HeaderTable.STATIC_TABLE)
    ),
)
_DYNAMIC: Final = len(_STATIC)  # the index of the newest entry (section 2.3.3)

# Bounds of one connection's cache: 64 blocks of at most 1 KiB.
_CACHED_BLOCKS_MAX: Final = 64
_CACHED_BLOCK_BYTES_MAX: Final = 1024

# A block is bounded, but a byte of it can name 4 KiB of the table (the "HPACK bomb",
# CVE-2016-6581): what is kept, and looked at field by field, is bounded too.
_LIST_SIZE_MAX: Final = 256 * 1024

# How a field starts (section 6).
_INDEXED: Final = 0x80
_INDEXED_FURTHER: Final = 0xFF  # the index goes on in the next byte
_LITERAL_INDEXED: Final = 0x40
_TABLE_SIZE: Final = 0x20
_TABLE_SIZE_BITS: Final = 0xE0
_TABLE_SIZE_MASK: Final = 0x1F

# By the first byte of a field: the bits in it that are a number.
_INDEX_MASKS: Final = bytes(
    0x7F if first >= _INDEXED else 0x3F if first >= _LITERAL_INDEXED else 0x0F
    for first in range(256)
)

# How a string starts, and how a number goes on (sections 5.2 and 5.1).
_HUFFMAN: Final = 0x80
_LENGTH_MAX: Final = 0x7F
_CONTINUES: Final = 0x80
_SHIFTS: Final = range(0, 35, 7)  # five bytes after the prefix: more than 32 bits


class BlockDecoder:
    """Decodes the header blocks of one connection, which share the dynamic table.

    Args:
        list_size_max: the largest header list that is kept whole, in bytes; never more
            than 256 KiB are.
        table_size_allowed: what the other side may use of the dynamic table, in bytes.
    """

    def __init__(self, list_size_max: int, table_size_allowed: int = TABLE_SIZE_DEFAULT) -> None:
        self._list_size_max = min(list_size_max, _LIST_SIZE_MAX)
        self._allowed = table_size_allowed
        self._table: deque[_Entry] = deque()
        self._table_size = 0
        self._table_size_max = TABLE_SIZE_DEFAULT
        self._changes = 0
        self._cache: dict[bytes, HeaderBlock] = {}

    def allow(self, table_size: int) -> None:
        """Set what the other side may use of the dynamic table, from the next block on."""
        self._allowed = table_size
        if self._table_size_max > table_size:
            self._cache.clear()  # the next block has to say that it uses less

    def decode(self, block: bytes) -> HeaderBlock:
        """Return the fields of a block.

        Raises:
            ProtocolError: COMPRESSION_ERROR; the table is then unknown (RFC 9113 section 4.3).
        """
        known = self._cache.get(block)
        if known is not None:
            return known
        before = self._changes
        try:
            decoded = self._decode(block, self._start(block))
        except (IndexError, ValueError) as error:
            raise ProtocolError(
                ErrorCode.COMPRESSION_ERROR, f"a header block that cannot be read: {error}"
            ) from error
        if self._changes == before and len(block) <= _CACHED_BLOCK_BYTES_MAX:
            if len(self._cache) >= _CACHED_BLOCKS_MAX:
                self._cache.clear()
            self._cache[block] = decoded
        return decoded

    def _start(self, block: bytes) -> int:
        """Take the table sizes, which only stand before the first field (section 4.2)."""
        position = 0
        while block[position : position + 1] and block[position] & _TABLE_SIZE_BITS == _TABLE_SIZE:
            size, position = _integer(block, position, _TABLE_SIZE_MASK)
            if size > self._allowed:
                raise ValueError("a table larger than announced (section 6.3)")
            self._changes += 1
            self._cache.clear()
            self._table_size_max = size
            self._evict()
        if self._table_size_max > self._allowed:
            raise ValueError("a table that did not shrink as announced (section 4.2)")
        return position

    def _decode(self, block: bytes, position: int) -> HeaderBlock:
        table, limit = self._table, self._list_size_max
        fields: list[tuple[str, str]] = []
        shape = ""
        size = 0
        end = len(block)
        while position < end:
            first = block[position]
            if _INDEXED < first < _INDEXED_FURTHER:  # most fields are one byte
                position += 1
                index = first - _INDEXED
                entry = _STATIC[index] if index < _DYNAMIC else table[index - _DYNAMIC]
            else:
                entry, position = self._read_entry(block, position, first)
            field, field_size, mark = entry
            size += field_size
            # Past the limit the block is still read, for the table's sake.
            if size <= limit:
                fields.append(field)
                shape += mark
        return HeaderBlock(tuple(fields), size, shape, oversized=size > limit)

    def _read_entry(self, block: bytes, position: int, first: int) -> tuple[_Entry, int]:
        """Return the field at this position as an entry of a table, and where it ends."""
        index, position = _integer(block, position, _INDEX_MASKS[first])
        entry = _STATIC[index] if index < _DYNAMIC else self._table[index - _DYNAMIC]
        if first >= _INDEXED:  # section 6.1
            if index == 0:
                raise ValueError("index 0 (section 6.1)")
            return entry, position
        # Section 6.2: a literal, with a new name or that of an entry.
        if first & _TABLE_SIZE_BITS == _TABLE_SIZE:
            raise ValueError("a table size after a field (section 4.2)")
        if index == 0:
            name, position = _string(block, position)
        else:
            name = entry[0][0]
        value, position = _string(block, position)
        size = len(name) + len(value) + _ENTRY_OVERHEAD
        entry = ((name, value), size, mark_of(name, value))
        if first >= _LITERAL_INDEXED:
            self._add(entry)
        return entry, position

    def _add(self, entry: _Entry) -> None:
        self._changes += 1
        if self._cache:
            self._cache.clear()
        # Section 4.4: entries leave until the new one fits; one that never fits empties the table.
        self._table.appendleft(entry)
        self._table_size += entry[1]
        if self._table_size > self._table_size_max:
            self._evict()

    def _evict(self) -> None:
        size, largest, pop = self._table_size, self._table_size_max, self._table.pop
        while size > largest:
            size -= pop()[1]
        self._table_size = size


def _integer(block: bytes, position: int, mask: int) -> tuple[int, int]:
    """Return the integer at this position, and where it ends (section 5.1)."""
    number = block[position] & mask
    position += 1
    if number < mask:
        return number, position
    for shift in _SHIFTS:
        byte = block[position]
        position += 1
        number += (byte & 0x7F) << shift
        if byte < _CONTINUES:
            return number, position
    raise ValueError("an integer of too many bytes (section 5.1)")


def _string(block: bytes, position: int) -> tuple[str, int]:
    """Return the string at this position, and where it ends (section 5.2)."""
    first = block[position]
    length = first & _LENGTH_MAX
    start = position + 1
    if length == _LENGTH_MAX:
        length, start = _integer(block, position, _LENGTH_MAX)
    end = start + length
    octets = block[start:end]
    if len(octets) < length:
        raise ValueError("a string that ends after its block (section 5.2)")
    if first >= _HUFFMAN:
        octets = huffman.decode(octets)
    return octets.decode("latin-1"), end
