"""HPACK (RFC 7541): its own examples, and the hpack library as the oracle."""

import time
from collections.abc import Callable, Sequence

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire.http2.joined import FIXED, REQUEST, RESPONSE, TRAILERS

from userservice.wire.http2 import ErrorCode, HeaderBlock, ProtocolError, headers
from userservice.wire.http2.decoder import BlockDecoder
from userservice.wire.http2.encoder import BlockEncoder
from userservice.wire.http2.headers import Fields, Kind

LARGE = 2**32 - 1

# Appendix C: what a connection's blocks are, and what they say.
FIRST = ((":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com"))
SECOND = (*FIRST, ("cache-control", "no-cache"))
THIRD = (
    (":method", "GET"),
    (":scheme", "https"),
    (":path", "/index.html"),
    (":authority", "www.example.com"),
    ("custom-key", "custom-value"),
)
MOVED = (
    (":status", "302"),
    ("cache-control", "private"),
    ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
    ("location", "https://www.example.com"),
)
MOVED_AGAIN = ((":status", "307"), *MOVED[1:])
WITH_COOKIE = (
    (":status", "200"),
    ("cache-control", "private"),
    ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
    ("location", "https://www.example.com"),
    ("content-encoding", "gzip"),
    ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
)

# Section C.5 and C.6: a table of 256 bytes, which only a first block can say.
PLAIN_RESPONSES = (
    (
        "3fe1014803333032580770726976617465611d4d6f6e2c203231204f63742032303133"
        "2032303a31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d"
    ),
    "4803333037c1c0bf",
    (
        "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738"
        "666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d33"
        "3630303b2076657273696f6e3d31"
    ),
)
CODED_RESPONSES = (
    (
        "3fe101488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1b"
        "ff6e919d29ad171863c78f0b97c8e9ae82ae43d3"
    ),
    "4883640effc1c0bf",
    (
        "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7"
        "b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007"
    ),
)


@pytest.mark.parametrize(
    ("blocks", "said"),
    [
        pytest.param(
            ["400a637573746f6d2d6b65790d637573746f6d2d686561646572"],
            [(("custom-key", "custom-header"),)],
            id="C.2.1",
        ),
        pytest.param(["040c2f73616d706c652f70617468"], [((":path", "/sample/path"),)], id="C.2.2"),
        pytest.param(
            ["100870617373776f726406736563726574"], [(("password", "secret"),)], id="C.2.3"
        ),
        pytest.param(["82"], [((":method", "GET"),)], id="C.2.4"),
        pytest.param(
            [
                "828684410f7777772e6578616d706c652e636f6d",
                "828684be58086e6f2d6361636865",
                "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
            ],
            [FIRST, SECOND, THIRD],
            id="C.3",
        ),
        pytest.param(
            [
                "828684418cf1e3c2e5f23a6ba0ab90f4ff",
                "828684be5886a8eb10649cbf",
                "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
            ],
            [FIRST, SECOND, THIRD],
            id="C.4",
        ),
        pytest.param(PLAIN_RESPONSES, [MOVED, MOVED_AGAIN, WITH_COOKIE], id="C.5"),
        pytest.param(CODED_RESPONSES, [MOVED, MOVED_AGAIN, WITH_COOKIE], id="C.6"),
    ],
)
def test_the_examples_of_the_rfc(blocks: Sequence[str], said: list[Fields]) -> None:
    """Appendix C: one table for all blocks of an example."""
    decoder = BlockDecoder(LARGE)
    assert [decoder.decode(bytes.fromhex(block)).fields for block in blocks] == said


@pytest.mark.parametrize(
    "block",
    [
        pytest.param("80", id="6.1 index 0"),
        pytest.param("be", id="2.3.3 an index of nothing"),
        pytest.param("ff", id="5.1 a number that does not end"),
        pytest.param("ff8080808080", id="5.1 a number of too many bytes"),
        pytest.param("00", id="6.2 no name"),
        pytest.param("0001", id="5.2 a name that ends after its block"),
        pytest.param("00016105", id="5.2 a value that ends after its block"),
        pytest.param("000161ff", id="5.2 a length that does not end"),
        pytest.param("00016181ff", id="5.2 padding of eight bits"),
        pytest.param("00016184ffffffff", id="5.2 the code of EOS"),
        pytest.param("823f00", id="4.2 a table size after a field"),
        pytest.param("823f", id="4.2 the start of one"),
        pytest.param("3fe21f", id="6.3 a table larger than announced"),
        pytest.param("3f", id="6.3 a size that does not end"),
    ],
)
def test_a_block_that_cannot_be_read(block: str) -> None:
    """Section 4.3 of RFC 9113: the connection cannot go on."""
    with pytest.raises(ProtocolError) as raised:
        BlockDecoder(LARGE).decode(bytes.fromhex(block))
    assert raised.value.code is ErrorCode.COMPRESSION_ERROR


def test_a_table_that_has_to_shrink() -> None:
    """RFC 7541 section 4.2: once it has to, the next block says so first."""
    decoder = BlockDecoder(LARGE)
    decoder.decode(b"\x82")
    decoder.allow(100)
    with pytest.raises(ProtocolError):
        decoder.decode(b"\x82")
    decoder = BlockDecoder(LARGE)
    decoder.allow(100)
    assert decoder.decode(b"\x3f\x45\x82").fields == ((":method", "GET"),)
    assert decoder.decode(b"\x82").fields == ((":method", "GET"),)


def test_a_list_that_is_too_large_is_read_to_its_end() -> None:
    """Section 10.5.1 of RFC 9113: its table is everybody's; what is kept is its start."""
    decoder = BlockDecoder(100)
    large = decoder.decode(b"\x82\x40\x01a\x20" + b"b" * 32 + b"\x40\x01c\x01d")
    assert large.oversized
    assert large.fields == ((":method", "GET"),)
    assert large.size == 42 + 65 + 34
    assert decoder.decode(b"\xbe").fields == (("c", "d"),)


names = st.sampled_from(["a", "b", ":path", "user-agent", "grpc-timeout", "x" * 40, "x" * 200, ""])
values = st.text(st.characters(max_codepoint=255), max_size=40) | st.sampled_from(["v", "w" * 300])
fields = st.tuples(names, values, st.booleans())
header_lists = st.lists(fields, max_size=6)
table_sizes = st.none() | st.integers(0, 4096) | st.sampled_from([0, 32, 100, 4096])
steps = st.lists(st.tuples(header_lists, st.booleans(), table_sizes), min_size=1, max_size=12)
Step = tuple[list[tuple[str, str, bool]], bool, int | None]


def encoded(given_steps: Sequence[Step]) -> list[bytes]:
    """Return the blocks that hpack's encoder makes; each comes twice."""
    encoder = hpack.Encoder()
    blocks = []
    for header_list, huffman, size in given_steps:
        if size is not None and size != encoder.header_table_size:
            encoder.header_table_size = size
        coded = [(n.encode("latin-1"), v.encode("latin-1"), never) for n, v, never in header_list]
        blocks += [encoder.encode(coded, huffman=huffman) for _ in range(2)]
    return blocks


def hpack_decoder() -> hpack.Decoder:
    """Return the library's decoder, without a bound on the list."""
    return hpack.Decoder(max_header_list_size=2**31)


def by_hpack(decoder: hpack.Decoder, block: bytes) -> Fields:
    """Return the fields of a block as the library reads it."""
    read = decoder.decode(block, raw=True)
    return tuple((bytes(n).decode("latin-1"), bytes(v).decode("latin-1")) for n, v in read)


@FIXED
@given(steps)
def test_what_hpack_writes_is_read(given_steps: Sequence[Step]) -> None:
    """Every form of a field, any size of the table, coded or not."""
    ours, theirs = BlockDecoder(LARGE), hpack_decoder()
    for block in encoded(given_steps):
        assert ours.decode(block).fields == by_hpack(theirs, block)


@FIXED
@given(steps)
def test_the_cache_stays_right_while_the_table_changes(given_steps: Sequence[Step]) -> None:
    """A decoder that keeps blocks says the same as one that does not."""
    keeping, reading = BlockDecoder(LARGE), BlockDecoder(LARGE)
    for block in encoded(given_steps):
        reading._cache.clear()
        assert keeping.decode(block).fields == reading.decode(block).fields


names = st.sampled_from((":method", ":scheme", ":path", ":authority", ":status")) | st.sampled_from(
    ("te", "host", "content-length", "connection", "x", "grpc-timeout", "X", "a b", "", "y" * 65)
)
values = st.sampled_from(["POST", "CONNECT", "200", "101", "trailers", "3", "", "a", " a", "a\r"])
usual = st.just(REQUEST) | st.just(RESPONSE) | st.just(())


@FIXED
@given(usual, st.lists(st.tuples(names, values), max_size=4), st.sampled_from(Kind))
def test_blocks_of_one_shape_are_well_formed_alike(
    start: Fields, more: Sequence[tuple[str, str]], kind: Kind
) -> None:
    """What is found by the shape of a block is what a look at all of its fields finds."""
    fields = (*start, *more)
    encoder, decoder = hpack.Encoder(), BlockDecoder(LARGE)
    for _ in range(2):  # new fields, and then those of the table
        decoded = decoder.decode(encoder.encode(fields))
        looked_at = HeaderBlock(fields, 0)
        assert decoded.problem(kind) == looked_at.problem(kind)
        assert decoded.content_length == looked_at.content_length


def test_what_is_remembered_of_shapes_and_names_is_bounded() -> None:
    """Who makes up names, or blocks of another shape each time, only costs more time."""
    decoder = BlockDecoder(LARGE)
    for number in range(3_000):
        name = b"%d" % number
        block = b"\x00%c%b\x00" % (len(name), name) * (number % 300)
        assert decoder.decode(block).problem(Kind.TRAILERS) is None
    assert len(headers._regular_names) <= headers._REGULAR_NAMES_MAX
    assert len(headers._found) <= headers._SHAPES_MAX


def test_a_block_that_comes_again_is_the_same_object() -> None:
    """Until the table changes: what was worked out from it is there for every call."""
    decoder = BlockDecoder(LARGE)
    decoder.decode(b"\x40\x01a\x01b")
    kept = decoder.decode(b"\xbe")
    assert decoder.decode(b"\xbe") is kept
    decoder.decode(b"\x40\x01c\x01d")
    assert decoder.decode(b"\xbe").fields == (("c", "d"),)


# Blocks that hpack reads, and this decoder does not. There are none the other way.
REFUSED_HERE_ONLY = {
    "an integer of too many bytes (section 5.1)": "no rule allows more than 32 bits",
}


@FIXED
@given(
    steps,
    st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=3),
    st.integers(0, 3),
)
def test_mutated_blocks_are_read_or_refused_as_hpack_does(
    given_steps: Sequence[Step], mutations: list[tuple[int, int]], cut: int
) -> None:
    """Both take a block with equal fields, or both refuse it."""
    ours, theirs = BlockDecoder(LARGE), hpack_decoder()
    *intact, last = encoded(given_steps)
    for block in intact:
        ours.decode(block)
        theirs.decode(block, raw=True)
    broken = bytearray(last)
    for position, value in mutations if broken else []:
        broken[position % len(broken)] = value
    assert_same(ours, theirs, bytes(broken[: len(broken) - cut]))


@FIXED
@given(st.lists(st.binary(max_size=30), max_size=5))
def test_random_blocks_are_read_or_refused_as_hpack_does(blocks: list[bytes]) -> None:
    """Both take a block with equal fields, or both refuse it."""
    ours, theirs = BlockDecoder(LARGE), hpack_decoder()
    for block in blocks:
        if not assert_same(ours, theirs, block):
            return


def assert_same(ours: BlockDecoder, theirs: hpack.Decoder, block: bytes) -> bool:
    """Compare two decoders; tell whether they can go on."""
    try:
        expected: Fields | None = by_hpack(theirs, block)
    except hpack.HPACKError:
        expected = None
    found, reason = by_us(ours, block)
    assert found == expected or (found is None and reason in REFUSED_HERE_ONLY)
    return found is not None


def by_us(ours: BlockDecoder, block: bytes) -> tuple[Fields | None, str]:
    """Return the fields of a block, or None and why it has none."""
    try:
        return ours.decode(block).fields, ""
    except ProtocolError as error:
        return None, error.reason.removeprefix("a header block that cannot be read: ")


usual = st.sampled_from([REQUEST, RESPONSE, TRAILERS, (), (*REQUEST, ("user-agent", "me"))])
any_fields = st.lists(st.tuples(names, values), max_size=4).map(tuple)
metadata = st.lists(st.tuples(names, values), max_size=3).map(tuple)


@FIXED
@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 5000), max_size=3), usual | any_fields, metadata),
        max_size=12,
    )
)
def test_what_is_written_hpack_reads(
    calls: list[tuple[list[int], tuple[tuple[str, str], ...], Fields]],
) -> None:
    """With the cache, and while the peer changes the size of the table."""
    encoder, decoder = BlockEncoder(), hpack_decoder()
    for sizes, header_list, more in calls:
        for size in sizes:
            encoder.resize(size)
            decoder.max_allowed_table_size = size
        for _ in range(2):
            block = encoder.encode(header_list, more)
            assert by_hpack(decoder, block) == (*header_list, *more)


def test_blocks_that_are_kept_are_those_of_the_table_as_it_is() -> None:
    """A new entry moves the others: what was kept before means something else."""
    encoder, decoder = BlockEncoder(), hpack_decoder()
    for header_list in (REQUEST, REQUEST, RESPONSE, REQUEST, RESPONSE, TRAILERS, REQUEST):
        assert by_hpack(decoder, encoder.encode(header_list)) == header_list
    assert REQUEST in encoder._cache


def test_the_smallest_size_of_the_table_is_said() -> None:
    """RFC 7541 section 4.2: the entries that had to go are gone on the other side too."""
    encoder, decoder = BlockEncoder(), BlockDecoder(LARGE)
    assert decoder.decode(encoder.encode(REQUEST)).fields == REQUEST
    for size in (0, 4096, 4096):
        encoder.resize(size)
    block = encoder.encode(REQUEST)
    assert block.startswith(b"\x20\x3f\xe1\x1f")
    assert decoder.decode(block).fields == REQUEST


def test_what_changes_with_each_call_enters_no_table() -> None:
    """Section 7.1: it could be guessed at there; and it would push out what comes again."""
    encoder = BlockEncoder()
    metadata = (("authorization", "Bearer x"),)
    blocks = [encoder.encode(REQUEST, metadata) for _ in range(3)]
    assert blocks[1] == blocks[2]
    assert len(blocks[1]) < len(blocks[0])
    assert blocks[2].endswith(b"\x10\x0dauthorization\x08Bearer x")


def test_the_caches_are_bounded() -> None:
    """A connection lives long, and each block of a peer may be another one."""
    decoder, encoder = BlockDecoder(LARGE), BlockEncoder()
    for number in range(500):
        header_list = ((f"x-{number}", "v"),)
        decoder.decode(encoder.encode(header_list))
        decoder.decode(b"\x00\x01a\x7f\x81\x0f" + b"b" * 2048)
        assert len(decoder._cache) <= 64
        assert len(encoder._cache) <= 64
    assert max(map(len, decoder._cache)) <= 1024


def test_many_entries_of_the_table_are_one_list_of_bounded_size() -> None:
    """CVE-2016-6581, the "HPACK bomb": a byte names 4 KiB; what is kept is bounded."""
    decoder = BlockDecoder(LARGE)
    decoder.decode(b"\x40\x01a\x7f\xc0\x1e" + b"b" * 4031)
    bomb = decoder.decode(b"\xbe" * 100_000)
    assert bomb.oversized
    assert bomb.size == 100_000 * (1 + 4031 + 32)
    assert sum(len(value) for _, value in bomb.fields) <= 256 * 1024


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda count: b"\x82" * count, id="indexed"),
        pytest.param(lambda count: b"\x00\x01a\x01b" * (count // 5), id="literals"),
        pytest.param(lambda count: b"\x40\x01a\x01b" * (count // 5), id="entries"),
        pytest.param(lambda count: b"\x20" * count, id="table sizes"),
        pytest.param(lambda count: b"\x00\x81\x1f\x81\x1f" * (count // 5), id="coded"),
    ],
)
def test_the_work_is_linear_in_the_bytes(make: Callable[[int], bytes]) -> None:
    """Sixteen times the bytes take sixteen times as long; were it quadratic, 256 times."""

    def took(block: bytes) -> float:
        decoder = BlockDecoder(65_536)
        start = time.process_time()
        decoder.decode(block)
        return time.process_time() - start

    small, large = make(5_000), make(80_000)
    assert min(took(large) for _ in range(3)) < 64 * max(min(took(small) for _ in range(3)), 1e-4)
