"""Numbers of variable length, and what is told by them: tags and sizes.

Protobuf's encoding guide, "Base 128 Varints": seven bits a byte, the lowest first, the
high bit of a byte says that more follow. A number has at most 64 bits in ten bytes;
Google's runtimes drop the bits above, and so does this module.

The readers take the first byte from their callers, who know the case of one byte.
"""

import functools

_BYTES_MAX = 10
_TAG_BYTES_MAX = 5  # as Google's upb has it: a tag has 32 bits, a size 31
_TAG_END = 1 << 32
UINT64 = (1 << 64) - 1
_SHIFTS = tuple(range(14, 7 * _BYTES_MAX, 7))  # of the third byte and those behind it
_ONES = b"\xff" * 6 + b"\x01"  # behind the third byte of -1, and of all to -(1 << 21)


def varint(data: bytes, pos: int, first: int) -> tuple[int, int]:
    """Read a number of more than one byte.

    Args:
        data: The bytes.
        pos: Where its second byte is.
        first: Its first byte.

    Returns:
        The number, and where it ends.

    Raises:
        ValueError: it is too long.
        IndexError: it ends early.
    """
    byte = data[pos]
    number = first + (byte << 7) - 0x80
    if byte < 0x80:  # more follow
        return number, pos + 1
    for shift in _SHIFTS:
        pos += 1
        byte = data[pos]
        number += (byte - 1) << shift  # less the high bit of the byte before
        if byte < 0x80:
            return number & UINT64, pos + 1
        if shift == 14 and data[pos + 1 : pos + 8] == _ONES:
            return number - (1 << 22) + (1 << 64), pos + 8  # a small negative number
    raise ValueError("a number of too many bytes")


def size(data: bytes, pos: int, first: int) -> tuple[int, int]:
    """Read a size of more than one byte, as `varint` does.

    One beyond the data needs no error here: reading goes on where the value would end,
    and the message's reader finds that this is not where the message ends.

    Raises:
        ValueError: it is too long.
        IndexError: it ends early.
    """
    number, end = varint(data, pos, first)
    if end - pos >= _TAG_BYTES_MAX:
        raise ValueError("a size of too many bytes")
    return number, end


def tag(data: bytes, pos: int) -> tuple[int, int]:
    """Read a tag: a field's number and its wire type.

    Raises:
        ValueError: it is too long, or the field's number out of range.
        IndexError: it ends early.
    """
    number = data[pos]
    end = pos + 1
    if number > 0x7F:  # more follow
        number, end = varint(data, end, number)
        if number >= _TAG_END or end - pos > _TAG_BYTES_MAX:
            raise ValueError("a field number out of range")
    if number < 1 << 3:
        raise ValueError("a field number 0")
    return number, end


def numbers(data: bytes, pos: int, end: int) -> list[int]:
    """Read numbers that are packed, without sign.

    Raises:
        ValueError: the last one ends early, or one is too long.
    """
    chunk = data[pos:end]
    if chunk.isascii():  # each is a byte: three in four times that is so
        return list(chunk)
    if len(chunk) == end - pos and chunk[-1] > 0x7F:  # more follow
        raise ValueError("packed numbers that end early")
    read = []
    number = shift = 0
    for byte in chunk:
        if byte < 0x80:
            read.append((number | byte << shift) & UINT64 if shift else byte)
            number = shift = 0
        else:
            number |= (byte & 0x7F) << shift
            shift += 7
            if shift >= 7 * _BYTES_MAX:
                raise ValueError("a number of too many bytes")
    return read


ONE_BYTE = tuple(bytes([number]) for number in range(0x80))


def encoded(number: int) -> bytes:
    """Return a number of at most 64 bits and without sign as a varint."""
    if number < 0x80:  # seven bits a byte
        return ONE_BYTE[number]
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    if number < 0x200000:
        return bytes((number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, number >> 14))
    if number < 0x10000000:
        return bytes(
            (number & 127 | 128, number >> 7 & 127 | 128, number >> 14 & 127 | 128, number >> 21)
        )
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


@functools.cache
def with_one_byte(tag: bytes) -> tuple[bytes, ...]:
    """Return the tag before each number of one byte: a field's value, or its size."""
    return tuple(tag + byte for byte in ONE_BYTE)
