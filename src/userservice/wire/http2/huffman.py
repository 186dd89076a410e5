"""HPACK's Huffman code (RFC 7541 section 5.2 and appendix B), decoded a byte a step.

The codes are the hpack library's. Its own decoder goes half a byte a step, and takes five
times as long; grpc-go codes every string, so each of its calls would pay for it.

A long string is decoded by zlib. HPACK's code is canonical, and its codes of up to 15 bits
leave one code of 15 bits free, which starts all the longer ones. So they are a Huffman code
as a deflate block has it (RFC 1951 section 3.2.7), with its "end of block" as the free one.
"""

import zlib
from collections.abc import Iterator
from typing import Final

from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

_END_OF_STRING: Final = 256
_PADDING_BITS_MAX: Final = 7

# From here on zlib is faster: it takes 2 us and next to nothing a byte, a step 0.07 us.
_LONG: Final = 32  # bytes


class _Node:
    """A place within a code: what the bits so far may still become.

    Its steps say for each next byte which symbols that completes, and where the decoder
    then is; None for the code of EOS. They are made when the place is first reached: all
    256 places together have some 65,000 steps, and a program meets a few thousand.
    """

    __slots__ = ("branches", "ends", "steps")

    def __init__(self) -> None:
        self.branches: list[_Node | int] = []
        self.ends = False
        self.steps: list[tuple[bytes, _Node] | None] = []


def _tree() -> _Node:
    codes = zip(REQUEST_CODES, REQUEST_CODES_LENGTH, strict=True)
    symbols = {(length, code): symbol for symbol, (code, length) in enumerate(codes)}

    def grow(length: int, code: int) -> _Node | int:
        symbol = symbols.get((length, code))
        if symbol is not None:
            return symbol
        node = _Node()
        node.branches = [grow(length + 1, code << 1), grow(length + 1, code << 1 | 1)]
        return node

    root = grow(0, 0)
    assert isinstance(root, _Node)
    # Padding is the start of the code of EOS, all ones, and shorter than a byte.
    place: _Node | int = root
    for _ in range(_PADDING_BITS_MAX + 1):
        assert isinstance(place, _Node)
        place.ends = True
        place = place.branches[1]
    return root


_ROOT: Final = _tree()


def decode(data: bytes) -> bytes:
    """Return the string that was coded.

    Raises:
        ValueError: the padding is wrong, or the code of EOS is within (section 5.2).
    """
    if len(data) >= _LONG:
        decoder = _BLOCK_DECODER.copy()
        decoded = decoder.decompress(data.translate(_REVERSED))
        if not decoder.eof:  # no code of over 15 bits
            # The sum of all lengths, but for a multiple of 255: 2^8 is 1 then, so that bytes
            # read as one number are as much as their sum, at half the price. What is left
            # are less bits than the longest code here has.
            bits = int.from_bytes(decoded.translate(_LENGTHS), "big")
            _check_padding(data, (len(data) * 8 - bits) % 255)
            return decoded
    return _decode_by_steps(data)


def _decode_by_steps(data: bytes) -> bytes:
    node = _ROOT
    parts = []
    for byte in data:
        step = (node.steps or _steps(node))[byte]
        if step is None:
            raise ValueError("the code of EOS within a string (RFC 7541 section 5.2)")
        part, node = step
        parts.append(part)
    if not node.ends:
        raise ValueError(_WRONG_PADDING)
    return b"".join(parts)


_WRONG_PADDING: Final = "the padding of a string is wrong (RFC 7541 section 5.2)"


def _steps(node: _Node) -> list[tuple[bytes, _Node] | None]:
    node.steps = [_step(node, byte) for byte in range(256)]
    return node.steps


def _step(node: _Node, byte: int) -> tuple[bytes, _Node] | None:
    symbols = bytearray()
    for shift in range(7, -1, -1):
        branch = node.branches[byte >> shift & 1]
        if isinstance(branch, _Node):
            node = branch
        elif branch == _END_OF_STRING:
            return None
        else:
            symbols.append(branch)
            node = _ROOT
    return bytes(symbols), node


def _check_padding(data: bytes, bits: int) -> None:
    """Refuse what is left after the last symbol, where it is no padding."""
    ones = (1 << bits) - 1
    if bits > _PADDING_BITS_MAX or data[-1] & ones != ones:
        raise ValueError(_WRONG_PADDING)


# Deflate fills each byte from its other end.
_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_DEFLATED_BITS_MAX: Final = 15
_LENGTHS: Final = bytes(
    length if length <= _DEFLATED_BITS_MAX else 0 for length in REQUEST_CODES_LENGTH[:256]
)
# The order in which a block says how long the codes of its code lengths are.
_LENGTH_ORDER: Final = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)


def _block_header() -> bytes:
    """Return what starts a deflate block with HPACK's code, up to the first symbol."""
    bits = "".join(_block_header_bits())
    return bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8))


def _block_header_bits() -> Iterator[str]:
    # Three empty blocks, so that the symbols start with a byte: "fixed code", and its end.
    yield from ("0100000000",) * 3
    # The last block, with a code of its own: 257 symbols, one distance, 19 code lengths.
    yield "10100000000001111"
    # Each code length from 0 to 15 is coded in four bits, as itself; no other is used.
    yield from ("001" if length <= _DEFLATED_BITS_MAX else "000" for length in _LENGTH_ORDER)
    for length in (*_LENGTHS, _DEFLATED_BITS_MAX, 0):  # the symbols, the end, and the distance
        yield f"{length:04b}"


_BLOCK_DECODER: Final = zlib.decompressobj(-zlib.MAX_WBITS)
_BLOCK_DECODER.decompress(_block_header())
