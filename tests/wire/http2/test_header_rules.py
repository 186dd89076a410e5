"""What a header block may hold, by the clause of RFC 9113 section 8."""

import pytest
from tests.wire.http2.joined import REQUEST, RESPONSE

from userservice.wire.http2.block import HeaderBlock
from userservice.wire.http2.headers import Fields, Kind

METHOD, SCHEME, PATH, AUTHORITY, _ = REQUEST


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Kind.REQUEST, REQUEST),
        (Kind.REQUEST, (METHOD, SCHEME, PATH)),  # section 8.3.1 wants an authority of clients only
        (Kind.REQUEST, (*REQUEST, ("host", "HERE"))),
        (Kind.REQUEST, (*REQUEST, ("x", "a"), ("x", "b"), ("cookie", "a=b"), ("cookie", "c=d"))),
        (Kind.REQUEST, (*REQUEST, ("content-length", "3"), ("content-length", "3"))),
        (Kind.REQUEST, (*REQUEST[:4], ("te", "Trailers"))),
        (Kind.REQUEST, (*REQUEST, ("x", ""), ("y", "a b\tc"), ("z", "\x80\xff\x01\x7f"))),
        (Kind.REQUEST, ((":method", "CONNECT"), AUTHORITY)),
        (Kind.RESPONSE, RESPONSE),
        (Kind.RESPONSE, ((":status", "100"),)),
        (Kind.TRAILERS, (("grpc-status", "0"),)),
        (Kind.TRAILERS, ()),
        # As grpcio sends it; 8.2.1 would forbid it.
        (Kind.TRAILERS, (("grpc-status", "5"), ("grpc-message", "there is no user "))),
    ],
)
def test_a_well_formed_block(kind: Kind, fields: Fields) -> None:
    """Nothing more is asked of it than what the RFC asks of a recipient."""
    assert HeaderBlock(fields, 0).problem(kind) is None


@pytest.mark.parametrize(
    ("clause", "kind", "fields"),
    [
        ("8.2.1 an upper-case name", Kind.TRAILERS, (("Grpc-Status", "0"),)),
        ("8.2.1 an empty name", Kind.TRAILERS, (("", "0"),)),
        ("8.2.1 a space in a name", Kind.TRAILERS, (("a b", "0"),)),
        ("8.2.1 a line feed in a name", Kind.TRAILERS, (("a\nb", "0"),)),
        ("8.2.1 a line feed after a name", Kind.TRAILERS, (("a\n", "0"),)),
        ("8.2.1 a name beyond ASCII", Kind.TRAILERS, (("é", "0"),)),
        ("8.2.1 a colon in a name", Kind.TRAILERS, (("a:b", "0"),)),
        ("8.2.1 NUL in a value", Kind.TRAILERS, (("a", "b\0c"),)),
        ("8.2.1 CR in a value", Kind.TRAILERS, (("a", "b\rc"),)),
        ("8.2.1 LF in a value", Kind.TRAILERS, (("a", "b\nc"),)),
        ("8.2.1 LF in two values", Kind.TRAILERS, (("a", "\n"), ("b", "\n"))),
        ("8.2.1 LF in a pseudo-header", Kind.REQUEST, (METHOD, SCHEME, (":path", "/\nx"))),
        ("8.2.1 a space before a value", Kind.TRAILERS, (("a", " b"),)),
        ("8.2.1 a tab after a value", Kind.TRAILERS, (("a", "b\t"),)),
        ("8.2.1 only a space", Kind.TRAILERS, (("z", "b"), ("a", " "))),
        ("8.2.2 connection", Kind.REQUEST, (*REQUEST, ("connection", "close"))),
        ("8.2.2 transfer-encoding", Kind.RESPONSE, (*RESPONSE, ("transfer-encoding", "chunked"))),
        ("8.2.2 te: gzip", Kind.REQUEST, (METHOD, SCHEME, PATH, ("te", "gzip"))),
        ("8.2.2 te: gzip, and then trailers", Kind.TRAILERS, (("te", "gzip"), ("te", "trailers"))),
        ("8.3 a pseudo-header after a field", Kind.REQUEST, (METHOD, SCHEME, ("a", "b"), PATH)),
        ("8.3 one that nobody knows", Kind.REQUEST, (*REQUEST[:4], (":protocol", "websocket"))),
        ("8.3 one twice", Kind.REQUEST, (METHOD, SCHEME, PATH, PATH)),
        ("8.3 :status in a request", Kind.REQUEST, (*REQUEST[:4], (":status", "200"))),
        ("8.3 :path in a response", Kind.RESPONSE, (*RESPONSE[:1], PATH)),
        ("8.1 one in trailers", Kind.TRAILERS, ((":status", "200"),)),
        ("8.3.1 no :method", Kind.REQUEST, (SCHEME, PATH)),
        ("8.3.1 no :scheme", Kind.REQUEST, (METHOD, PATH)),
        ("8.3.1 no :path", Kind.REQUEST, (METHOD, SCHEME)),
        ("8.3.1 an empty :path", Kind.REQUEST, (METHOD, SCHEME, (":path", ""))),
        ("8.3.1 host differs", Kind.REQUEST, (*REQUEST, ("host", "there"))),
        ("8.3.1 host twice", Kind.REQUEST, (*REQUEST, ("host", "here"), ("host", "here"))),
        ("8.3.2 no :status", Kind.RESPONSE, (("a", "b"),)),
        ("8.3.2 :status of two digits", Kind.RESPONSE, ((":status", "20"),)),
        ("8.3.2 :status of other digits", Kind.RESPONSE, ((":status", "\xb200"),)),
        ("8.5 CONNECT with :path", Kind.REQUEST, ((":method", "CONNECT"), AUTHORITY, PATH)),
        ("8.5 CONNECT to nowhere", Kind.REQUEST, ((":method", "CONNECT"),)),
        ("8.6 101", Kind.RESPONSE, ((":status", "101"),)),
        ("8.1.1 two lengths", Kind.TRAILERS, (("content-length", "1"), ("content-length", "2"))),
        ("8.1.1 no number", Kind.REQUEST, (*REQUEST, ("content-length", "+1"))),
        ("8.1.1 too long a number", Kind.REQUEST, (*REQUEST, ("content-length", "1" * 20))),
    ],
)  # fmt: skip
def test_a_malformed_block(clause: str, kind: Kind, fields: Fields) -> None:
    """The reason names the section; a rule on one kind says nothing of another."""
    problem = HeaderBlock(fields, 0).problem(kind)
    assert problem is not None
    assert "section" in problem


def test_what_was_found_is_kept() -> None:
    """A block comes again with each call: it is looked at once for each kind."""
    block = HeaderBlock((*RESPONSE, ("content-length", "12")), 0)
    assert block.problem(Kind.RESPONSE) is None
    assert block.content_length == 12
    assert block.problem(Kind.TRAILERS) is not None
    assert block.problem(Kind.TRAILERS) is block.problem(Kind.TRAILERS)
    assert block.content_length == 12
    assert block.get("content-length") == "12"
    assert block.get("x") is None
