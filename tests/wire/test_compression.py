"""A message is what it was before it was compressed, and never more than its limit."""

import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from userservice.wire.compression import Encoding, InflatedTooLargeError, compress, decompress

MESSAGES = st.binary(max_size=200) | st.just(b"x" * 10_000)


@pytest.mark.parametrize("encoding", Encoding)
@settings(derandomize=True, deadline=None)
@given(message=MESSAGES)
def test_what_is_compressed_comes_back(encoding: Encoding, message: bytes) -> None:
    """With either encoding, and with a limit that is just large enough."""
    assert decompress(compress(message, encoding), encoding, len(message)) == message


@pytest.mark.parametrize("encoding", Encoding)
def test_the_limit_is_that_of_the_inflated_message(encoding: Encoding) -> None:
    """One byte more is too much, however few they were."""
    data = compress(b"x" * 10_000, encoding)
    assert len(data) < 100
    with pytest.raises(InflatedTooLargeError):
        decompress(data, encoding, 9_999)


def test_a_bomb_is_not_inflated_beyond_the_limit() -> None:
    """64 MiB of nothing, in 64 KiB: no more is made of it than the limit."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    bomb = b"".join(compressor.compress(bytes(2**20)) for _ in range(64)) + compressor.flush()
    tracemalloc.start()
    try:
        with pytest.raises(InflatedTooLargeError):
            decompress(bomb, Encoding.GZIP, 2**20)
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("encoding", Encoding)
def test_what_is_broken_is_an_error(encoding: Encoding) -> None:
    """It ends early, has something behind it, or is something else."""
    data = compress(b"a message", encoding)
    for broken in (data[:-1], data[:-9], data + b"x", data + data, b"", b"a message"):
        with pytest.raises(ValueError, match="message"):
            decompress(broken, encoding, 1000)


def test_deflate_is_zlibs_format() -> None:
    """gRPC over HTTP/2 means RFC 1950 by it, as HTTP does."""
    assert zlib.decompress(compress(b"a message", Encoding.DEFLATE)) == b"a message"
