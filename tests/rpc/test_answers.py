"""What is answered to one odd thing at a time, by gRPC's documents, and that calls go on after it.

PROTOCOL-HTTP2.md, statuscodes.md and http-grpc-status-mapping.md of grpc say what; where they
leave it open, it is written here what ours does.
"""

import asyncio
from collections.abc import Callable

import pytest
from grpclib.const import Status
from tests.rpc.peers import (
    OK,
    PATH,
    REPLY,
    Peer,
    Serve,
    Start,
    Stock,
    request_fields,
    status_of,
)

from inventory._gen.inventory.v1 import GetStockRequest, GetStockResponse
from userservice.rpc import (
    Limits,
    Metadata,
    NotFoundError,
    ResourceExhaustedError,
    RpcError,
    current_call,
    reply_metadata,
)
from userservice.wire import framing, http2
from userservice.wire.http2 import ErrorCode
from userservice.wire.protobuf import encode

Fields = tuple[tuple[str, str], ...]
End = http2.ResponseReceived | http2.TrailersReceived | http2.StreamReset

CALL = request_fields("GetStock")


class Telling(Stock):
    """Keeps what came with the last call, and answers as it is told to."""

    metadata: Metadata
    time_left_s: float | None

    async def get_stock(self, message: GetStockRequest) -> GetStockResponse:
        call = current_call()
        self.metadata, self.time_left_s = call.metadata, call.time_remaining_s
        if message.item == "echo":
            call.initial_metadata.extend(call.metadata)
            call.trailing_metadata.extend(call.metadata)
        if message.item.startswith("fail: "):
            raise NotFoundError(message.item.removeprefix("fail: "))
        return await super().get_stock(message)


@pytest.fixture
def stock() -> Telling:
    """The service that the raw client calls."""
    return Telling()


def without(name: str) -> Fields:
    """A call without this field."""
    return tuple(field for field in CALL if field[0] != name)


def replaced(name: str, value: str) -> Fields:
    """A call whose field has another value."""
    return tuple((key, value if key == name else kept) for key, kept in CALL)


def end_of(peer: Peer, stream: http2.Stream) -> End | None:
    """How a call ended, if it has."""
    for event in peer.events:
        match event:
            case http2.TrailersReceived() | http2.StreamReset():
                ended = True
            case http2.ResponseReceived(end_stream=ended):
                pass
            case _:
                continue
        if ended and event.stream is stream:
            return event
    return None


async def answer_to(client: Peer, fields: Fields, item: str = "x") -> End:
    """Make a call with these header fields, and return what ends it."""
    stream = client.engine.open_stream(fields)
    message = framing.frame(encode(GetStockRequest(item=item)))
    client.engine.send_data(stream, message, end_stream=True)
    client.flush()
    async with asyncio.timeout(5):
        while (end := end_of(client, stream)) is None:
            await asyncio.sleep(0)
    return end


async def refusal_of(client: Peer, fields: Fields) -> tuple[str | None, str | None]:
    """The HTTP status and the grpc-status of a call that has no more; the next one is served."""
    end = await answer_to(client, fields)
    assert isinstance(end, http2.ResponseReceived)
    await goes_on(client)
    return end.headers.get(":status"), end.headers.get("grpc-status")


async def goes_on(client: Peer) -> None:
    """The next call on this connection is served."""
    end = await answer_to(client, CALL)
    assert isinstance(end, http2.TrailersReceived)
    assert status_of(end) == "0"


# Timeouts


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1H", 3600),
        ("2M", 120),
        ("30S", 30),
        ("00000030S", 30),
        ("60000m", 60),
        ("90000000u", 90),
        ("99999999u", 99.999999),
        ("99999999m", 99_999.999),
        ("99999999S", 99_999_999),
        ("99999999M", 99_999_999 * 60),
        ("99999999H", 99_999_999 * 3600),
    ],
)
async def test_a_timeout_has_a_number_and_a_unit(
    client: Peer, stock: Telling, value: str, seconds: float
) -> None:
    """Up to eight digits, and any of six units."""
    end = await answer_to(client, (*CALL, ("grpc-timeout", value)))
    assert isinstance(end, http2.TrailersReceived)
    assert stock.time_left_s is not None
    assert seconds - 5 < stock.time_left_s <= seconds


async def test_without_a_timeout_there_is_no_end(client: Peer, stock: Telling) -> None:
    """A server then assumes an infinite one."""
    await goes_on(client)
    assert stock.time_left_s is None


@pytest.mark.parametrize("value", ["1n", "99999999n", "1u", "1000u", "1m", "20m", "0n", "0H"])
async def test_a_short_timeout_passes(client: Peer, value: str) -> None:
    """DEADLINE_EXCEEDED, whatever its unit; none is the same as one that passed."""
    end = await answer_to(client, (*CALL, ("grpc-timeout", value)), "slow")
    assert isinstance(end, http2.ResponseReceived)
    assert status_of(end) == "4"
    await goes_on(client)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "1",
        "S",
        "-1S",
        "+1S",
        "1.5S",
        "1 S",
        "1s",
        "1h",
        "1ms",
        "100000000S",
        "0x1S",
        "1_0S",
        "\xb2S",
        "1S,2S",
    ],
)
async def test_a_timeout_that_is_none_is_refused(client: Peer, stock: Telling, value: str) -> None:
    """400 and INTERNAL, as grpc-go does it; the document does not say."""
    assert await refusal_of(client, (*CALL, ("grpc-timeout", value))) == ("400", "13")


# What is a call of gRPC


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS", "post"])
async def test_only_post_is_a_call(client: Peer, method: str) -> None:
    """405, which says what is allowed (RFC 9110 section 15.5.6)."""
    end = await answer_to(client, replaced(":method", method))
    assert isinstance(end, http2.ResponseReceived)
    assert end.headers.get(":status") == "405"
    assert end.headers.get("allow") == "POST"
    await goes_on(client)


@pytest.mark.parametrize(
    "content_type",
    [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc+",
        "application/grpc;charset=utf-8",
        "application/grpc+proto ; a=b",
        "Application/GRPC+Proto",
    ],
)
async def test_a_content_type_of_grpc_is_taken(client: Peer, content_type: str) -> None:
    """With parameters too: 415 is for one that does not begin with application/grpc."""
    end = await answer_to(client, replaced("content-type", content_type))
    assert isinstance(end, http2.TrailersReceived)
    assert status_of(end) == "0"


@pytest.mark.parametrize(
    "content_type",
    [
        "application/grpc+json",
        "application/grpc+protobuf",
        "application/grpc-web",
        "application/grpcfoo",
        "application/json",
        "text/html",
        "grpc",
        "",
    ],
)
async def test_another_content_type_is_refused(client: Peer, content_type: str) -> None:
    """415, so that nobody takes the answer for a page that is all right; also one for +json."""
    assert await refusal_of(client, replaced("content-type", content_type)) == ("415", "2")


async def test_a_content_type_must_be_there(client: Peer) -> None:
    """Like one that is not gRPC's."""
    assert await refusal_of(client, without("content-type")) == ("415", "2")


async def test_te_must_be_there(client: Peer) -> None:
    """It shows that no proxy on the way drops trailers."""
    assert await refusal_of(client, without("te")) == ("400", "2")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "*",
        "GetStock",
        PATH,
        PATH + "Get",
        PATH + "getstock",
        PATH + "GetStock/",
        PATH + "GetStock?x=1",
        "/" + PATH + "GetStock",
        "/No/GetStock",
        "/\xe9/GetStock",
    ],
)
async def test_an_unknown_path_is_unimplemented(client: Peer, path: str) -> None:
    """Also one that is no path; it is looked at as it is, and no other is tried."""
    assert await refusal_of(client, replaced(":path", path)) == ("200", "12")


# Metadata


@pytest.mark.parametrize(
    ("value", "octets"),
    [
        ("YWI", [b"ab"]),
        ("YWI=", [b"ab"]),
        ("AP/+", [b"\x00\xff\xfe"]),
        ("", [b""]),
        ("YWI,YWM=", [b"ab", b"ac"]),
        ("YWI=, YWM", [b"ab", b"ac"]),
        ("=!=", []),
        ("YWI,!,YWM", [b"ab", b"ac"]),
        ("YW I", []),
        ("Y", []),
        ("-_-_", []),
        ("\xe9", []),
    ],
)
async def test_binary_metadata_is_base64(
    client: Peer, stock: Telling, value: str, octets: list[bytes]
) -> None:
    """With or without padding, joined or not. What is none is left out, and the call goes on."""
    await answer_to(client, (*CALL, ("a-bin", value), ("a-bin", "enp6")))
    assert stock.metadata.getall("a-bin") == [*octets, b"zzz"]


async def test_repeated_keys_keep_their_order(client: Peer, stock: Telling) -> None:
    """It must be kept for values of one key; ours keeps that of all."""
    sent = (("b", "2"), ("a", "1"), ("b", "1"), ("b", "3, 4"), ("a", "0"))
    await answer_to(client, CALL + sent)
    assert list(stock.metadata.items()) == list(sent)


async def test_what_is_grpc_s_own_is_no_metadata(client: Peer, stock: Telling) -> None:
    """Nor what is HTTP's and has a meaning in gRPC; what has none is."""
    reserved = (("grpc-x", "y"), ("grpc-message-type", "T"), ("user-agent", "me"))
    await answer_to(client, (*CALL, *reserved, ("content-length", "8"), ("host", "test")))
    assert not {"grpc-x", "grpc-message-type", "user-agent", "te"} & set(stock.metadata)


@pytest.mark.parametrize(
    "value", ["", "\xe9", "a\tb", "a\x01b", "a\x7fb"], ids=["empty", "latin-1", "tab", "1", "del"]
)
async def test_what_came_can_be_sent_back(client: Peer, stock: Telling, value: str) -> None:
    """A handler that answers with the metadata it got triggers no error, whatever it is."""
    end = await answer_to(client, (*CALL, ("x", value), ("y-bin", "YWI=")), "echo")
    assert stock.metadata["x"] == value
    assert isinstance(end, http2.TrailersReceived)
    for answer in (client.of(http2.ResponseReceived)[0], end):
        assert answer.headers.get("x") == value
        assert answer.headers.get("y-bin") == "YWI"  # padding is taken, and not sent


async def test_a_call_is_defined_before_its_metadata(start: Start) -> None:
    """Pseudo-headers, then the timeout, then what the call is (PROTOCOL-HTTP2.md, "Requests")."""
    server, client = start()
    call = asyncio.create_task(client.get_stock(GetStockRequest(), metadata={"a": "1"}, timeout=20))
    request = await server.until(http2.RequestReceived)
    names = [name for name, _ in request.headers.fields]
    assert names[:6] == [":method", ":scheme", ":path", ":authority", "grpc-timeout", "te"]
    assert names[-1] == "a"
    server.answer(request.stream, GetStockResponse())
    await call


@pytest.mark.parametrize("value", [" a", "a\t", "  "])
async def test_blanks_around_a_value_are_not_sent(start: Start, value: str) -> None:
    """A field that has any is malformed (RFC 9113 section 8.2.1)."""
    server, client = start()
    call = asyncio.create_task(client.get_stock(GetStockRequest(), metadata={"x": value}))
    request = await server.until(http2.RequestReceived)
    assert request.headers.get("x") == value.strip()
    server.answer(request.stream, GetStockResponse())
    await call


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\0b", "\u2602"], ids=ascii)
async def test_what_is_no_value_is_not_sent(start: Start, value: str) -> None:
    """It is the program's fault, and raised there; nobody can be made to read a second field."""
    server, client = start()
    with pytest.raises(ValueError, match="x"):
        await client.get_stock(GetStockRequest(), metadata={"x": value})
    assert not server.of(http2.RequestReceived)


# The message of a status

MESSAGES = [
    ('plain: it\'s "so" ~!', 'plain: it\'s "so" ~!'),
    ("50 %", "50 %25"),
    ("%41", "%2541"),
    ("d\xe9j\xe0 \u2602 \U0001d11e", "d%C3%A9j%C3%A0 %E2%98%82 %F0%9D%84%9E"),
    ("a\r\nb\0\x7f\tc", "a%0D%0Ab%00%7F%09c"),
    (" in  between ", "%20in  between%20"),
    (" ", "%20"),
]


@pytest.mark.parametrize(("text", "encoded"), MESSAGES, ids=[ascii(text) for text, _ in MESSAGES])
async def test_a_message_is_percent_encoded(client: Peer, text: str, encoded: str) -> None:
    """Printable ASCII is as it is but for the percent sign, and a blank at either end."""
    end = await answer_to(client, CALL, f"fail: {text}")
    assert isinstance(end, http2.ResponseReceived)
    assert (status_of(end), end.headers.get("grpc-message")) == ("5", encoded)


async def test_a_message_that_is_no_text_does_not_hide_the_status(
    client: Peer, stock: Telling
) -> None:
    """Half a character, as names of files can have it, becomes a question mark."""

    async def get_stock(message: GetStockRequest) -> GetStockResponse:
        raise NotFoundError("a\udce9b", [])

    stock.get_stock = get_stock  # type: ignore[method-assign]  # a double
    end = await answer_to(client, CALL)
    assert isinstance(end, http2.ResponseReceived)
    assert (status_of(end), end.headers.get("grpc-message")) == ("5", "a?b")


async def error_of(start: Start, answer: Callable[[Peer, http2.Stream], None]) -> RpcError:
    """What a call raises that is answered so; the next one on this connection is answered."""
    server, client = start()
    call = asyncio.create_task(client.get_stock(GetStockRequest()))
    request = await server.until(http2.RequestReceived)
    answer(server, request.stream)
    server.flush()
    with pytest.raises(RpcError) as failed:
        await call
    call = asyncio.create_task(client.get_stock(GetStockRequest()))
    request = await server.until(http2.RequestReceived, 2)
    server.answer(request.stream, GetStockResponse(count=7))
    assert (await call).count == 7
    return failed.value


def says(*fields: tuple[str, str], first: Fields = REPLY) -> Callable[[Peer, http2.Stream], None]:
    """An answer that is one header block."""

    def answer(server: Peer, stream: http2.Stream) -> None:
        server.engine.send_headers(stream, (*first, *fields), end_stream=True)

    return answer


@pytest.mark.parametrize(
    ("encoded", "text"),
    [(encoded, text) for text, encoded in MESSAGES]
    + [
        ("%c3%a9", "\xe9"),
        ("100%", "100%"),
        ("%zz %4", "%zz %4"),
        ("%FF", "\ufffd"),
        ("a%0Ab", "a\nb"),
        ("no user ", "no user "),  # as grpcio sends it
    ],
    ids=ascii,
)
async def test_a_message_is_decoded_as_far_as_it_can_be(
    start: Start, encoded: str, text: str
) -> None:
    """It is never an error, nor thrown away."""
    error = await error_of(start, says(("grpc-status", "5"), ("grpc-message", encoded)))
    assert (error.status, error.message) == (Status.NOT_FOUND, text)


# Malformed requests


MALFORMED = {
    **{
        f"value {value!a}": (*CALL, ("x", value)) for value in ("a\rb", "a\nb", "a\0b", " a", "a\t")
    },
    **{
        f"name {name!a}": (*CALL, (name, "a"))
        for name in ("X-Upper", "x y", "x:y", "x\xe9", "x\0", "", "connection", "upgrade")
    },
    **{f"late {name}": (*CALL, (name, "a")) for name in (":path", ":status", ":x")},
    **{f"{name} twice": ((name, "a"), *CALL) for name in (":method", ":path", ":scheme")},
    ":authority twice": ((":authority", "test"), *CALL),
    **{f"no {name}": without(name) for name in (":method", ":path", ":scheme")},
    "an empty path": replaced(":path", ""),
    "CONNECT with a path": replaced(":method", "CONNECT"),
    "another host": (*CALL, ("host", "other")),
    **{f"te {value!a}": replaced("te", value) for value in ("gzip", "trailers, deflate", "")},
    **{
        f"content-length {value!a}": (*CALL, ("content-length", value))
        for value in ("3", "x", "-1", "")
    },
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_request_ends_its_stream_only(
    client: Peer, stock: Telling, fields: Fields
) -> None:
    """PROTOCOL_ERROR (RFC 9113 section 8.1.1); calls before it and after it are served."""
    before = client.call("GetStock", GetStockRequest(item="slow"))
    end = await answer_to(client, fields)
    assert isinstance(end, http2.StreamReset)
    assert end.code == ErrorCode.PROTOCOL_ERROR
    await goes_on(client)
    stock.go_on.set()
    await client.until(http2.TrailersReceived, 2)
    assert end_of(client, before) is client.of(http2.TrailersReceived)[1]


# Limits


async def test_a_list_of_fields_is_as_large_as_announced(serve: Serve) -> None:
    """By RFC 9113's measure, 32 more for each field; one byte more is 431 and no call."""
    size = sum(len(name) + len(value) + 32 for name, value in (*CALL, ("x", "")))
    client = serve(limits=Limits(max_header_list_bytes=size + 100))
    end = await answer_to(client, (*CALL, ("x", "y" * 100)))
    assert isinstance(end, http2.TrailersReceived)
    assert await refusal_of(client, (*CALL, ("x", "y" * 101))) == ("431", "8")


async def test_one_stream_too_many_is_refused(serve: Serve, stock: Telling) -> None:
    """REFUSED_STREAM says that nothing was done, so that anybody may try again."""
    client = serve(limits=Limits(max_concurrent_streams=2))
    # The settings are not here yet: the client does not know the limit.
    calls = [client.call("GetStock", GetStockRequest(item="slow")) for _ in range(3)]
    reset = await client.until(http2.StreamReset)
    assert (reset.stream, reset.code) == (calls[2], ErrorCode.REFUSED_STREAM)
    stock.go_on.set()
    await client.until(http2.TrailersReceived, 2)
    assert len(stock.seen) == 2
    await goes_on(client)


# What a client makes of answers


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (ErrorCode.NO_ERROR, Status.INTERNAL),
        (ErrorCode.PROTOCOL_ERROR, Status.INTERNAL),
        (ErrorCode.INTERNAL_ERROR, Status.INTERNAL),
        (ErrorCode.FLOW_CONTROL_ERROR, Status.INTERNAL),
        (ErrorCode.SETTINGS_TIMEOUT, Status.INTERNAL),
        (ErrorCode.STREAM_CLOSED, Status.INTERNAL),
        (ErrorCode.FRAME_SIZE_ERROR, Status.INTERNAL),
        (ErrorCode.REFUSED_STREAM, Status.UNAVAILABLE),
        (ErrorCode.CANCEL, Status.CANCELLED),
        (ErrorCode.COMPRESSION_ERROR, Status.INTERNAL),
        (ErrorCode.CONNECT_ERROR, Status.INTERNAL),
        (ErrorCode.ENHANCE_YOUR_CALM, Status.RESOURCE_EXHAUSTED),
        (ErrorCode.INADEQUATE_SECURITY, Status.PERMISSION_DENIED),
        (ErrorCode.HTTP_1_1_REQUIRED, Status.INTERNAL),
        (0xFF, Status.INTERNAL),
    ],
)
@pytest.mark.parametrize("begun", [False, True])
async def test_a_reset_has_a_status(
    start: Start, code: int, status: Status, *, begun: bool
) -> None:
    """PROTOCOL-HTTP2.md, "Errors"; the last two, and STREAM_CLOSED, are not in its table."""

    def reset(server: Peer, stream: http2.Stream) -> None:
        if begun:
            server.engine.send_headers(stream, REPLY)
            server.engine.send_data(stream, framing.frame(encode(GetStockResponse(count=1))))
        server.flush()
        server.transport.write(http2.frames.rst_stream(stream.id, code))

    assert (await error_of(start, reset)).status is status


@pytest.mark.parametrize(
    ("http_status", "status"),
    [
        (200, Status.UNKNOWN),
        (204, Status.UNKNOWN),
        (302, Status.UNKNOWN),
        (400, Status.INTERNAL),
        (401, Status.UNAUTHENTICATED),
        (403, Status.PERMISSION_DENIED),
        (404, Status.UNIMPLEMENTED),
        (405, Status.UNKNOWN),
        (415, Status.UNKNOWN),
        (429, Status.UNAVAILABLE),
        (431, Status.INTERNAL),
        (500, Status.UNKNOWN),
        (502, Status.UNAVAILABLE),
        (503, Status.UNAVAILABLE),
        (504, Status.UNAVAILABLE),
        (599, Status.UNKNOWN),
    ],
)
@pytest.mark.parametrize("page", [b"", b"<html>"])
async def test_an_answer_of_http_has_a_status(
    start: Start, http_status: int, status: Status, page: bytes
) -> None:
    """http-grpc-status-mapping.md: a proxy answered, with a page or without."""
    first = ((":status", str(http_status)), ("content-type", "text/html"))

    def answer(server: Peer, stream: http2.Stream) -> None:
        server.engine.send_headers(stream, first, end_stream=not page)
        if page:
            server.engine.send_data(stream, page, end_stream=True)

    error = await error_of(start, answer)
    assert error.status is status
    assert error.message


@pytest.mark.parametrize("http_status", ["200", "404", "503"])
async def test_the_status_of_grpc_goes_before_that_of_http(start: Start, http_status: str) -> None:
    """Where it is there, it is used, whatever else the answer is."""
    first = ((":status", http_status), ("content-type", "text/html"))
    assert (await error_of(start, says(("grpc-status", "9"), first=first))).status.value == 9


@pytest.mark.parametrize("number", range(1, 17))
async def test_every_status_is_known(start: Start, number: int) -> None:
    """From CANCELLED to UNAUTHENTICATED, also where nothing else is said."""
    error = await error_of(start, says(("grpc-status", str(number))))
    assert (error.status.value, error.message) == (number, None)


@pytest.mark.parametrize(
    "text", ["17", "-1", "", "5.0", "0x5", "NOT_FOUND", "99999999999999999999"]
)
async def test_a_status_that_is_none_is_unknown(start: Start, text: str) -> None:
    """statuscodes.md, "Error parsing returned status"."""
    assert (await error_of(start, says(("grpc-status", text)))).status is Status.UNKNOWN


@pytest.mark.parametrize(
    "content_type", ["application/grpc;charset=utf-8", "application/grpc+proto; a=b"]
)
async def test_an_answer_may_have_parameters(start: Start, content_type: str) -> None:
    """As a request may."""
    server, client = start()
    call = asyncio.create_task(client.get_stock(GetStockRequest()))
    stream = (await server.until(http2.RequestReceived)).stream
    server.engine.send_headers(stream, ((":status", "200"), ("content-type", content_type)))
    server.engine.send_data(stream, framing.frame(encode(GetStockResponse(count=3))))
    server.engine.send_headers(stream, OK, end_stream=True)
    server.flush()
    assert (await call).count == 3


def has_a_status_too_early(server: Peer, stream: http2.Stream) -> None:
    """Say how the call ended, and do not end it."""
    server.engine.send_headers(stream, (*REPLY, ("grpc-status", "5")))


def ends_before_all(server: Peer, stream: http2.Stream) -> None:
    """Say OK, and nothing else."""
    server.engine.send_headers(stream, REPLY + OK, end_stream=True)


def has_a_malformed_field(server: Peer, stream: http2.Stream) -> None:
    """Answer with a name that is none in HTTP/2."""
    server.engine.send_headers(stream, (*REPLY, ("X-Upper", "a")))


def has_malformed_trailers(server: Peer, stream: http2.Stream) -> None:
    """End with a pseudo-header, which has no place there."""
    server.engine.send_headers(stream, REPLY)
    server.engine.send_headers(stream, ((":status", "200"), *OK), end_stream=True)


def has_no_http_status(server: Peer, stream: http2.Stream) -> None:
    """Answer without the one field that HTTP asks for."""
    server.engine.send_headers(stream, (("content-type", "application/grpc"), *OK), end_stream=True)


def has_too_many_fields(server: Peer, stream: http2.Stream) -> None:
    """Answer with more than the client announced that it takes."""
    server.engine.send_headers(stream, (*REPLY, ("x", "y" * 70_000)))


def has_too_many_trailers(server: Peer, stream: http2.Stream) -> None:
    """End with more than the client announced that it takes."""
    server.engine.send_headers(stream, REPLY)
    server.engine.send_headers(stream, (*OK, ("x", "y" * 70_000)), end_stream=True)


def sends_more_than_it_said(server: Peer, stream: http2.Stream) -> None:
    """Answer with data beyond the content-length."""
    server.engine.send_headers(stream, (*REPLY, ("content-length", "1")))
    server.engine.send_data(stream, framing.frame(b""))


def says_something_odd(server: Peer, stream: http2.Stream) -> None:
    """Answer with a message that is none."""
    server.engine.send_headers(stream, REPLY)
    server.engine.send_data(stream, framing.frame(b"\xff\xff"))
    server.engine.send_headers(stream, OK, end_stream=True)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (has_a_status_too_early, Status.NOT_FOUND),
        (ends_before_all, Status.UNIMPLEMENTED),
        (has_a_malformed_field, Status.INTERNAL),
        (has_malformed_trailers, Status.INTERNAL),
        (has_no_http_status, Status.INTERNAL),
        (has_too_many_fields, Status.INTERNAL),
        (has_too_many_trailers, Status.INTERNAL),
        (sends_more_than_it_said, Status.INTERNAL),
        (says_something_odd, Status.INTERNAL),
    ],
)
async def test_a_broken_answer_has_a_status(
    start: Start, answer: Callable[[Peer, http2.Stream], None], status: Status
) -> None:
    """It ends its call, and no other one."""
    assert (await error_of(start, answer)).status is status


async def test_a_status_before_the_end_of_the_request_counts(start: Start) -> None:
    """NO_ERROR after it is no error: the server only wants no more of the request."""
    server, client = start(initial_window_size=10)
    await asyncio.sleep(0.01)
    call = asyncio.create_task(client.get_stock(GetStockRequest(item="x" * 100)))
    stream = (await server.until(http2.RequestReceived)).stream
    server.answer(stream, GetStockResponse(count=5))
    server.engine.reset(stream, ErrorCode.NO_ERROR)
    server.flush()
    assert (await call).count == 5


async def test_who_has_the_status_lets_go_of_the_call_without_an_error(start: Start) -> None:
    """NO_ERROR (PROTOCOL-HTTP2.md, "Early Server Closure"): nothing was cancelled."""
    server, client = start(initial_window_size=10)
    await asyncio.sleep(0.01)
    call = asyncio.create_task(client.get_stock(GetStockRequest(item="x" * 100)))
    stream = (await server.until(http2.RequestReceived)).stream
    says(("grpc-status", "8"))(server, stream)
    server.flush()
    with pytest.raises(ResourceExhaustedError):
        await call
    reset = await server.until(http2.StreamReset)
    assert (reset.stream, reset.code) == (stream, ErrorCode.NO_ERROR)


async def test_metadata_of_a_reply_is_read_as_that_of_a_request_is(start: Start) -> None:
    """Both kinds of it; a status does not need any."""
    server, client = start()
    with reply_metadata() as reply:
        call = asyncio.create_task(client.get_stock(GetStockRequest()))
        stream = (await server.until(http2.RequestReceived)).stream
        server.engine.send_headers(stream, (*REPLY, ("a-bin", "YWI=,YWM"), ("b", "2"), ("b", "1")))
        server.engine.send_data(stream, framing.frame(encode(GetStockResponse())))
        server.engine.send_headers(stream, (*OK, ("c", ""), ("d-bin", "!")), end_stream=True)
        server.flush()
        await call
    assert list(reply.initial.items()) == [
        ("a-bin", b"ab"),
        ("a-bin", b"ac"),
        ("b", "2"),
        ("b", "1"),
    ]
    assert list(reply.trailing.items()) == [("c", "")]
