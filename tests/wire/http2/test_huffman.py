"""HPACK's Huffman code (RFC 7541 section 5.2), against the hpack library's."""

import pytest
from hpack.exceptions import HPACKDecodingError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman
from hypothesis import example, given
from hypothesis import strategies as st
from tests.wire.http2.joined import FIXED

from userservice.wire.http2 import huffman

ENCODER = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)

# From 32 bytes on the code takes another way; both have to be met.
texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=100)
strings = st.binary(max_size=100) | texts.map(str.encode)


@FIXED
@given(strings)
@example(b"a" * 200)
@example(b"a" * 200 + b"\\" * 3)  # a code of 19 bits
@example(bytes(range(256)))
def test_what_is_coded_is_decoded(data: bytes) -> None:
    """Every symbol, in short and in long strings."""
    assert huffman.decode(ENCODER.encode(data)) == data


@FIXED
@given(st.binary(max_size=100), strings, st.integers(0, 255))
def test_any_bytes_are_decoded_or_refused_as_hpack_does(
    data: bytes, text: bytes, last: int
) -> None:
    """Random bytes, and strings whose last byte is another one."""
    for coded in (data, ENCODER.encode(text)[:-1] + bytes([last])):
        try:
            expected = bytes(decode_huffman(coded))
        except HPACKDecodingError:
            with pytest.raises(ValueError, match="RFC 7541"):
                huffman.decode(coded)
        else:
            assert huffman.decode(coded) == expected


@pytest.mark.parametrize("length", [1, 100])
def test_padding(length: int) -> None:
    """Section 5.2: at most seven bits, all of them ones."""
    whole = ENCODER.encode(b"aaaaaaaa" * length)  # eight times five bits
    assert huffman.decode(whole) == b"aaaaaaaa" * length
    for wrong in (whole + b"\xff", whole[:-1] + b"\x18", whole + b"\x00"):
        with pytest.raises(ValueError, match="padding"):
            huffman.decode(wrong)


@pytest.mark.parametrize("length", [0, 100])
def test_the_code_of_eos(length: int) -> None:
    """Section 5.2: it is an error within a string."""
    with pytest.raises(ValueError, match="EOS"):
        huffman.decode(ENCODER.encode(b"aaaaaaaa" * length) + b"\xff" * 4)
