"""Fields that a message class does not know: found, checked and kept as they are.

What is kept is one slice of the data for all unknown fields in a row, so that a message
of nothing else costs no more than its length.
"""

from collections.abc import Mapping

from userservice.wire.protobuf import varint
from userservice.wire.protobuf.fields import TOO_DEEP, Wire

# As plain numbers: looking a member of an enum up, and comparing it, costs as much as
# all else that is done for a field of two bytes.
_VARINT = int(Wire.VARINT)
_LENGTH = int(Wire.LENGTH)
_GROUP = int(Wire.GROUP)
_GROUP_END = int(Wire.GROUP_END)
_FIXED32 = int(Wire.FIXED32)


def stray(
    data: bytes,
    pos: int,
    end: int,
    known: Mapping[int, tuple[int, int]],
    kept: list[bytes],
    depth: int,
) -> tuple[int, int]:
    """Go over unknown fields, up to a known one or the end of the message.

    A tag may be written with more bytes than it needs. Where it is a known field's, the
    position returned is such that its value lies where it would after the usual tag.

    Args:
        data: The bytes.
        pos: Where the first tag is.
        end: Where the message ends.
        known: By tag, what the decoder calls a field's tag, and its length.
        kept: Gets the unknown fields.
        depth: How many messages deeper a group may be.

    Returns:
        Where to go on, and the known field's tag there. At the end, or behind it where
        a field goes past it, the tag has no meaning.

    Raises:
        ValueError: a field is malformed.
        IndexError: a field ends early.
    """
    start = pos
    while pos < end:
        tag = data[pos]
        after = pos + 1
        if not 0x7 < tag < 0x80:  # of one byte, and no field number 0
            tag, after = varint.tag(data, pos)
        if tag in known:
            if start < pos:
                kept.append(data[start:pos])
            tag, length = known[tag]
            return after - length, tag
        if tag & 7 == _VARINT and data[after] < 0x80:
            pos = after + 1
        else:
            pos = _skipped(data, after, tag, depth)
    kept.append(data[start:pos])
    return pos, 0


def _skipped(data: bytes, pos: int, tag: int, depth: int) -> int:
    """Return where the value at this position ends, which may be behind the data."""
    wire = tag & 7
    if wire == _LENGTH:
        length = data[pos]
        pos += 1
        if length > 0x7F:
            length, pos = varint.size(data, pos, length)
        return pos + length
    if wire == _VARINT:
        first = data[pos]
        return pos + 1 if first < 0x80 else varint.varint(data, pos + 1, first)[1]
    if wire == _GROUP:
        return _group_skipped(data, pos, tag, depth)
    if wire == _GROUP_END:
        raise ValueError("an end of a group that has not begun")
    if wire > _FIXED32:
        raise ValueError("a wire type that does not exist")
    return pos + (4 if wire == _FIXED32 else 8)


def _group_skipped(data: bytes, pos: int, tag: int, depth: int) -> int:
    ends: list[int] = []  # the tags that end the groups we are in
    while True:
        if tag & 7 == _GROUP:
            if len(ends) >= depth:
                raise ValueError(TOO_DEEP)
            ends.append(tag + 1)
        elif tag == ends[-1]:
            ends.pop()
            if not ends:
                return pos
        else:
            # The end of another group, too, is found there to be none of ours.
            pos = _skipped(data, pos, tag, depth)
        tag = data[pos]
        pos += 1
        if not 0x7 < tag < 0x80:  # as above
            tag, pos = varint.tag(data, pos - 1)
