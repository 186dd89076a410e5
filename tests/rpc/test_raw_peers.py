"""What a peer does frame by frame, and what the other side makes of it, without a socket."""

import asyncio
import gc
import itertools
import time
from collections.abc import AsyncIterator, Callable

import pytest
from grpclib.config import Configuration
from grpclib.const import Cardinality
from tests.rpc.peers import (
    OK,
    PATH,
    REPLY,
    Peer,
    Serve,
    Start,
    Stock,
    data_frame,
    request_fields,
    status_of,
)

from inventory._gen.inventory.v1 import (
    GetStockRequest,
    GetStockResponse,
    ListStockRequest,
    ListStockResponse,
    PickItemsRequest,
    PickItemsResponse,
    ReceiveDeliveriesRequest,
    ReceiveDeliveriesResponse,
)
from inventory.client import InventoryClient
from userservice.rpc import (
    DeadlineExceededError,
    InternalError,
    Limits,
    NotFoundError,
    ResourceExhaustedError,
    Server,
    UnavailableError,
    UnimplementedError,
    UnknownError,
    connect,
)
from userservice.rpc.details import ErrorInfo
from userservice.rpc.server_stream import ServerStream
from userservice.rpc.testing import MemoryTransport, join
from userservice.wire import framing, http2
from userservice.wire.compression import Encoding
from userservice.wire.http2 import frames
from userservice.wire.http2.codes import PREFACE
from userservice.wire.protobuf import encode

# A server and what its client does


async def test_the_replies_to_one_read_leave_in_one_write(client: Peer) -> None:
    """Eight calls that arrive together are answered together: headers, messages and trailers."""
    await client.until(http2.SettingsAcknowledged)
    before = len(client.writes)
    for number in range(8):
        stream = client.engine.open_stream(request_fields("GetStock"))
        message = framing.frame(encode(GetStockRequest(item="x" * number)))
        client.engine.send_data(stream, message, end_stream=True)
    client.flush()
    await client.until(http2.TrailersReceived, 8)
    assert len(client.writes) == before + 1


async def test_a_stream_answers_a_message_in_the_turn_it_comes_in(stock: Stock) -> None:
    """Whoever waits for a message goes on at once, and the answer has left when it is read."""
    server = Server([stock])
    peer = Peer(http2.Role.CLIENT, enable_push=0)
    connection = server.new_connection()
    join(connection, peer)
    await peer.until(http2.SettingsAcknowledged)
    stream = peer.engine.open_stream(request_fields("PickItems"))
    message = framing.frame(encode(PickItemsRequest(count=3)))
    peer.engine.send_data(stream, message)
    peer.flush()
    await peer.until(http2.DataReceived)
    written: list[bytes] = []
    transport = connection._transport
    assert transport is not None

    def receive() -> None:
        transport.write = written.append  # type: ignore[assignment, method-assign]  # a note of it
        connection.data_received(data_frame(stream, message))
        del transport.write

    asyncio.get_running_loop().call_soon(receive)
    await asyncio.sleep(0)
    assert written == [data_frame(stream, framing.frame(encode(PickItemsResponse(left=3))))]
    await server.drain(0)


@pytest.mark.parametrize("size", [1, 3, 9, 16])
async def test_how_a_message_is_split_does_not_matter(client: Peer, size: int) -> None:
    """Also empty DATA frames, before, within and after it, are legal."""
    stream = client.engine.open_stream(request_fields("GetStock"))
    message = framing.frame(encode(GetStockRequest(item="a screw")))
    for start in range(0, len(message), size):
        client.flush()
        client.transport.write(data_frame(stream))
        client.engine.send_data(stream, message[start : start + size])
        client.flush()
        await asyncio.sleep(0)
    client.engine.send_data(stream, b"", end_stream=True)
    client.flush()
    assert status_of(await client.until(http2.TrailersReceived)) == "0"
    [reply] = client.of(http2.DataReceived)
    assert reply.data == framing.frame(encode(GetStockResponse(count=7)))


async def test_a_message_larger_than_the_windows_arrives(serve: Serve, stock: Stock) -> None:
    """While a message is incomplete, what is here of it opens the window for the rest."""
    client = serve(limits=Limits(max_receive_message_bytes=10 * 2**20))
    await client.until(http2.SettingsReceived)
    stream = client.engine.open_stream(request_fields("GetStock"))
    left = memoryview(framing.frame(encode(GetStockRequest(item="x" * (9 * 2**20)))))
    async with asyncio.timeout(10):
        while left:
            left = left[client.engine.send_data(stream, left, end_stream=True) :]
            client.flush()
            await asyncio.sleep(0)
    assert status_of(await client.until(http2.TrailersReceived)) == "0"
    assert len(stock.seen[0]) == 9 * 2**20


async def test_a_handler_that_does_not_read_stops_the_client(client: Peer, stock: Stock) -> None:
    """No more than a window is held: credit goes back as messages are read."""
    await client.until(http2.SettingsReceived)
    stream = client.engine.open_stream(request_fields("ReceiveDeliveries"))
    message = framing.frame(encode(ReceiveDeliveriesRequest(item="x" * 60_000)))
    sent = 0
    for _ in range(400):
        taken = client.engine.send_data(stream, message)
        client.flush()
        await asyncio.sleep(0)
        sent += taken
        if taken < len(message):
            break
    assert 4 * 2**20 <= sent < 5 * 2**20
    stock.go_on.set()
    assert status_of(await client.until(http2.TrailersReceived)) == "0"
    # The handler ended without reading the rest: the stream is stopped, its credit is back.
    reset = await client.until(http2.StreamReset)
    assert reset.code == http2.ErrorCode.NO_ERROR


async def test_goaway_of_a_client_leaves_its_calls_alive(client: Peer, stock: Stock) -> None:
    """It only says that the server may open no streams, which ours never does."""
    client.call("GetStock", GetStockRequest(item="slow"))
    await asyncio.sleep(0.01)
    client.engine.goaway()
    client.flush()
    await asyncio.sleep(0.01)
    stock.go_on.set()
    assert status_of(await client.until(http2.TrailersReceived)) == "0"


async def test_a_handler_that_ignores_its_deadline_is_late_all_the_same(client: Peer) -> None:
    """Whatever it returns after it was cancelled, the status is DEADLINE_EXCEEDED."""
    client.call("GetStock", GetStockRequest(item="stubborn"), grpc_timeout="20m")
    assert status_of(await client.until(http2.ResponseReceived)) == "4"


async def test_a_call_without_time_is_not_begun(client: Peer, stock: Stock) -> None:
    """Its deadline passed before it came."""
    client.call("GetStock", GetStockRequest(item="x"), grpc_timeout="0m")
    assert status_of(await client.until(http2.ResponseReceived)) == "4"
    assert not stock.seen


@pytest.mark.parametrize(
    ("fields", "http_status", "grpc_status"),
    [
        ({"_method": "GET"}, "405", ""),
        ({"content_type": "text/plain"}, "415", "2"),
        ({"content_type": "application/grpc+json"}, "415", "2"),
        ({"grpc_timeout": "soon"}, "400", "13"),
        ({"grpc_timeout": "9" * 400 + "S"}, "400", "13"),
        ({"grpc_encoding": "br"}, "200", "12"),
    ],
)
async def test_what_is_no_call_is_refused(
    client: Peer, fields: dict[str, str], http_status: str, grpc_status: str
) -> None:
    """It gets an answer, and the connection goes on."""
    client.call("GetStock", GetStockRequest(item="x"), **fields)
    refusal = await client.until(http2.ResponseReceived)
    assert refusal.headers.get(":status") == http_status
    assert status_of(refusal) == grpc_status
    client.call("GetStock", GetStockRequest(item="x"))
    assert status_of(await client.until(http2.TrailersReceived)) == "0"


async def test_headers_that_are_too_large_are_refused(client: Peer) -> None:
    """431, and RESOURCE_EXHAUSTED: the call ends, the connection goes on."""
    client.call("GetStock", GetStockRequest(), x_long="x" * 70_000)
    refusal = await client.until(http2.ResponseReceived)
    assert refusal.headers.get(":status") == "431"
    client.call("GetStock", GetStockRequest(item="x"))
    assert status_of(await client.until(http2.TrailersReceived)) == "0"


async def test_a_broken_frame_is_answered_before_the_end(client: Peer) -> None:
    """GOAWAY says what was wrong; then the connection is closed."""
    client.transport.write(http2.frames.frame(http2.FrameType.PING, 0, 0, b"short"))
    goaway = await client.until(http2.GoawayReceived)
    assert goaway.code == http2.ErrorCode.FRAME_SIZE_ERROR
    assert b"PING" in goaway.debug
    await asyncio.sleep(0.01)
    assert client.lost


async def test_a_refused_call_that_is_reset_at_once_hurts_nobody(client: Peer) -> None:
    """Both in one read: there is nothing left to refuse, and the connection goes on."""
    stream = client.engine.open_stream(request_fields("GetStock", content_type="text/plain"))
    client.engine.reset(stream, http2.ErrorCode.CANCEL)
    client.call("GetStock", GetStockRequest(item="x"))
    assert status_of(await client.until(http2.TrailersReceived)) == "0"


async def test_a_long_reply_does_not_keep_the_credit_of_its_request(
    client: Peer, stock: Stock
) -> None:
    """What was read is given back while the handler still runs."""
    await client.until(http2.SettingsReceived)
    for _ in range(50):
        client.call("GetStock", GetStockRequest(item="slow" + "x" * 100_000))
        client.call("GetStock", GetStockRequest(item="slow"))
        await asyncio.sleep(0)
    while len(stock.seen) < 100:
        await asyncio.sleep(0)
    assert client.engine.send_window > 2 * 2**20
    stock.go_on.set()
    await client.until(http2.TrailersReceived, 100)


async def test_a_handler_whose_stream_is_over_ends_with_the_connection(stock: Stock) -> None:
    """Also one that has reset or finished its own call, and works on."""
    server = Server([stock])
    peer = Peer(http2.Role.CLIENT, enable_push=0)
    connection = server.new_connection()
    join(connection, peer)
    stream = peer.call("GetStock", GetStockRequest(item="slow"))
    while not stock.seen:
        await asyncio.sleep(0)
    [call] = connection.calls
    await call.cancel()
    await peer.until(http2.StreamReset)
    assert stream.state is http2.State.CLOSED
    peer.transport.close()
    async with asyncio.timeout(5):
        while connection.calls:
            await asyncio.sleep(0)


async def test_a_deadline_may_pass_before_the_handler_takes_a_step(stock: Stock) -> None:
    """Where the loop is late; the client hears the same as in any other case."""
    server = Server([stock])
    peer = Peer(http2.Role.CLIENT, enable_push=0)
    connection = server.new_connection()
    join(connection, peer)
    await peer.until(http2.SettingsAcknowledged)
    stream = peer.engine.open_stream(request_fields("GetStock", grpc_timeout="1S"))
    message = framing.frame(encode(GetStockRequest(item="slow")))
    peer.engine.send_data(stream, message, end_stream=True)
    connection.data_received(peer.engine.take_output())
    [call] = connection.calls
    call.pass_deadline()
    assert status_of(await peer.until(http2.ResponseReceived)) == "4"
    await server.drain(0)
    assert not connection.calls


async def test_a_broken_connection_is_told_although_nobody_reads(stock: Stock) -> None:
    """Calls hear of it at once, and the end of the server does not wait for the peer."""
    server = Server([stock])
    peer = Peer(http2.Role.CLIENT, enable_push=0)
    connection = server.new_connection()
    join(connection, peer)
    peer.call("GetStock", GetStockRequest(item="slow"))
    while not stock.seen:
        await asyncio.sleep(0)
    connection.data_received(http2.frames.frame(http2.FrameType.PING, 0, 0, b"short"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not connection.calls
    await server.drain(0)


async def test_who_pings_and_does_not_read_is_cut_off(stock: Stock) -> None:
    """The answers may fill a bounded buffer, and no more."""
    server = Server([stock])
    peer = Peer(http2.Role.CLIENT, enable_push=0)
    connection = server.new_connection()
    join(connection, peer)
    await peer.until(http2.SettingsReceived)
    connection.pause_writing()
    assert isinstance(connection._transport, MemoryTransport)
    connection._transport.unread = 2**20 + 1  # what a socket's transport would hold
    peer.engine.ping(b"12345678")
    peer.flush()
    async with asyncio.timeout(5):
        while not peer.lost:
            await asyncio.sleep(0)
    assert connection.reason == "the other side does not read"


async def test_a_call_leaves_no_reference_cycle(client: Peer, stock: Stock) -> None:
    """What it held is gone when it is over, and not when the collector runs."""
    gc.collect()
    gc.disable()
    try:
        client.call("GetStock", GetStockRequest(item="x"))
        await client.until(http2.TrailersReceived)
        await asyncio.sleep(0)
        left = [each for each in gc.get_objects() if isinstance(each, ServerStream)]
    finally:
        gc.enable()
    assert left == []


async def test_a_timeout_around_receiving_loses_no_message(stock: Stock) -> None:
    """What a handler did not get is there when it asks again."""
    received: list[str] = []

    async def patient(
        messages: AsyncIterator[ReceiveDeliveriesRequest],
    ) -> ReceiveDeliveriesResponse:
        iterator = aiter(messages)
        while len(received) < 40:
            try:
                async with asyncio.timeout(0.001):
                    received.append((await anext(iterator)).item)
            except TimeoutError:
                continue
        return ReceiveDeliveriesResponse()

    stock.receive_deliveries = patient  # type: ignore[method-assign]  # a double
    server = Server([stock])
    peer = Peer(http2.Role.CLIENT, enable_push=0)
    join(server.new_connection(), peer)
    stream = peer.engine.open_stream(request_fields("ReceiveDeliveries"))
    for number in range(40):
        message = framing.frame(encode(ReceiveDeliveriesRequest(item=str(number))))
        peer.engine.send_data(stream, message)
        peer.flush()
        await asyncio.sleep(0.001 if number % 3 else 0.002)
    await peer.until(http2.TrailersReceived)
    assert received == [str(number) for number in range(40)]
    await server.drain(0)


async def test_a_handler_can_close_its_server(stock: Stock) -> None:
    """It is cancelled like all others, even in its first step, and the server comes to its end."""
    server = Server([stock])

    async def get_stock(message: GetStockRequest) -> GetStockResponse:
        server.close()
        await asyncio.Event().wait()
        raise AssertionError

    stock.get_stock = get_stock  # type: ignore[method-assign]  # a double
    await server.start("127.0.0.1", 0)
    async with connect(server.addresses[0]) as channel:
        with pytest.raises(UnavailableError):
            await InventoryClient(channel, timeout_s=5).get_stock(GetStockRequest())
        async with asyncio.timeout(5):
            await server.wait_closed()


async def test_streams_share_the_connection_s_window(client: Peer, stock: Stock) -> None:
    """Those that wait are served in turn: no stream takes all of it."""

    async def endless(message: ListStockRequest) -> AsyncIterator[ListStockResponse]:
        while True:
            yield ListStockResponse(item="x" * 10_000)

    stock.list_stock = endless  # type: ignore[method-assign]  # a double
    await client.until(http2.SettingsReceived)
    streams = [client.call("ListStock", ListStockRequest()) for _ in range(10)]
    seen = 0
    for _ in range(400):
        await asyncio.sleep(0)
        for event in client.of(http2.DataReceived)[seen:]:
            client.engine.acknowledge(event.stream, event.flow_size)
            seen += 1
        client.flush()
    shares = {stream.id: 0 for stream in streams}
    for event in client.of(http2.DataReceived):
        shares[event.stream.id] += event.flow_size
    assert min(shares.values()) * 3 > max(shares.values())


# A client and what its server does


async def test_many_answers_at_once_are_followed_by_a_few_writes(start: Start) -> None:
    """The next requests leave together, but not so late that the server has nothing to do."""
    server, client = start()

    async def call_twice() -> None:
        for _ in range(2):
            await client.get_stock(GetStockRequest())

    calls = [asyncio.create_task(call_twice()) for _ in range(80)]
    await server.until(http2.RequestReceived, 80)
    for event in server.of(http2.RequestReceived):
        server.engine.send_headers(event.stream, REPLY)
        server.engine.send_data(event.stream, framing.frame(b""))
        server.engine.send_headers(event.stream, OK, end_stream=True)
    before = len(server.writes)
    server.flush()
    await server.until(http2.RequestReceived, 160)
    assert len(server.writes) - before == 3
    for event in server.of(http2.RequestReceived)[80:]:
        server.answer(event.stream, GetStockResponse())
    await asyncio.gather(*calls)


async def test_calls_wait_in_line_for_a_stream(start: Start) -> None:
    """First come, first served; one that is cancelled in line gives its turn to the next."""
    server, client = start(max_concurrent_streams=1)
    await asyncio.sleep(0.01)
    calls = [
        asyncio.create_task(client.get_stock(GetStockRequest(item=str(number))))
        for number in range(4)
    ]
    await server.until(http2.RequestReceived)
    calls[1].cancel()
    for count, number in enumerate((0, 2, 3), 1):
        request = await server.until(http2.RequestReceived, count)
        server.answer(request.stream, GetStockResponse(count=number))
        assert (await calls[number]).count == number
    assert len(server.of(http2.RequestReceived)) == 3


async def test_the_deadline_counts_in_line_too(start: Start) -> None:
    """A call that gets no stream in time is not sent."""
    server, client = start(max_concurrent_streams=0)
    await asyncio.sleep(0.01)
    with pytest.raises(DeadlineExceededError):
        await client.get_stock(GetStockRequest(), timeout=0.02)
    assert not server.of(http2.RequestReceived)


async def test_goaway_lets_the_calls_go_on_that_the_server_took(start: Start) -> None:
    """The others are UNAVAILABLE, and the connection takes no new ones."""
    server, client = start()
    first = asyncio.create_task(client.get_stock(GetStockRequest(item="1")))
    second = asyncio.create_task(client.get_stock(GetStockRequest(item="2")))
    taken = (await server.until(http2.RequestReceived, 2)).stream.id - 2
    server.engine.goaway(last_stream_id=taken)
    server.flush()
    with pytest.raises(UnavailableError):
        await second
    assert client.channel.connection_at_hand() is None
    assert not server.lost
    server.answer(server.of(http2.RequestReceived)[0].stream, GetStockResponse(count=1))
    assert (await first).count == 1
    await asyncio.sleep(0.01)
    assert server.lost  # its last call was over


async def test_a_reply_in_pieces_is_one_reply(start: Start) -> None:
    """Interim responses, empty and padded frames are legal, wherever they come."""
    server, client = start()
    call = asyncio.create_task(client.get_stock(GetStockRequest()))
    stream = (await server.until(http2.RequestReceived)).stream
    server.engine.send_headers(stream, ((":status", "103"),))
    server.engine.send_headers(stream, REPLY)
    for byte in framing.frame(encode(GetStockResponse(count=300))):
        server.engine.send_data(stream, bytes([byte]))
        server.flush()
        server.transport.write(data_frame(stream))
        server.transport.write(data_frame(stream, b"\x03\0\0\0", flags=0x8))
        await asyncio.sleep(0)
    server.engine.send_headers(stream, OK, end_stream=True)
    server.flush()
    assert (await call).count == 300


def ends_with_data(server: Peer, stream: http2.Stream) -> None:
    """Answer without trailers."""
    server.engine.send_headers(stream, REPLY)
    server.engine.send_data(stream, framing.frame(b""), end_stream=True)


def ends_within_a_message(server: Peer, stream: http2.Stream) -> None:
    """Answer with half a message, and OK."""
    server.engine.send_headers(stream, REPLY)
    server.engine.send_data(stream, b"\0\0\0\0\x09half")
    server.engine.send_headers(stream, OK, end_stream=True)


def ends_without_a_message(server: Peer, stream: http2.Stream) -> None:
    """Answer OK, without the message of a unary call."""
    server.answer(stream)


def has_no_status(server: Peer, stream: http2.Stream) -> None:
    """Answer with trailers that say nothing."""
    server.engine.send_headers(stream, REPLY)
    server.engine.send_headers(stream, (("x", "y"),), end_stream=True)


def has_an_odd_status(server: Peer, stream: http2.Stream) -> None:
    """Answer with a status that is none."""
    server.engine.send_headers(stream, (*REPLY, ("grpc-status", "ok")), end_stream=True)


def is_a_web_page(server: Peer, stream: http2.Stream) -> None:
    """Answer as a web server does."""
    page = ((":status", "200"), ("content-type", "text/html"))
    server.engine.send_headers(stream, page, end_stream=True)


def is_unavailable(server: Peer, stream: http2.Stream) -> None:
    """Answer as a proxy does that reaches nobody."""
    server.engine.send_headers(stream, ((":status", "503"),), end_stream=True)


def asks_for_calm(server: Peer, stream: http2.Stream) -> None:
    """Reset the call."""
    server.engine.reset(stream, http2.ErrorCode.ENHANCE_YOUR_CALM)


def breaks_the_protocol(server: Peer, stream: http2.Stream) -> None:
    """Send data before headers."""
    server.engine.send_data(stream, b"data")


def sends_two_messages(server: Peer, stream: http2.Stream) -> None:
    """Answer with two messages where one belongs."""
    server.answer(stream, GetStockResponse(), GetStockResponse())


def compresses_with_something_else(server: Peer, stream: http2.Stream) -> None:
    """Answer with an encoding that the client does not read."""
    server.engine.send_headers(stream, (*REPLY, ("grpc-encoding", "br")))
    server.engine.send_headers(stream, OK, end_stream=True)


def sends_too_large_a_message(server: Peer, stream: http2.Stream) -> None:
    """Begin a message that is larger than the client takes."""
    server.engine.send_headers(stream, REPLY)
    server.engine.send_data(stream, b"\0\x10\0\0\0")


def is_compressed(server: Peer, stream: http2.Stream) -> None:
    """Answer with a message that is marked as compressed, and say not how."""
    server.engine.send_headers(stream, REPLY)
    server.engine.send_data(stream, b"\x01\0\0\0\x01x")
    server.engine.send_headers(stream, OK, end_stream=True)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (ends_with_data, InternalError),
        (ends_within_a_message, InternalError),
        (ends_without_a_message, UnimplementedError),
        (has_no_status, UnknownError),
        (has_an_odd_status, UnknownError),
        (is_a_web_page, UnknownError),
        (is_unavailable, UnavailableError),
        (asks_for_calm, ResourceExhaustedError),
        (breaks_the_protocol, InternalError),
        (is_compressed, InternalError),
        (compresses_with_something_else, InternalError),
        (sends_two_messages, UnimplementedError),
        (sends_too_large_a_message, ResourceExhaustedError),
    ],
)
async def test_an_odd_answer_has_a_status(
    start: Start, answer: Callable[[Peer, http2.Stream], None], error: type[Exception]
) -> None:
    """Whatever a server answers, the caller gets an RpcError, at once."""
    server, client = start()
    call = asyncio.create_task(client.get_stock(GetStockRequest()))
    answer(server, (await server.until(http2.RequestReceived)).stream)
    server.flush()
    with pytest.raises(error):
        await call


async def test_a_call_that_is_left_is_cancelled_there(start: Start) -> None:
    """The server hears CANCEL (gRPC over HTTP/2, "Errors")."""
    server, client = start()
    call = asyncio.create_task(client.get_stock(GetStockRequest()))
    await server.until(http2.RequestReceived)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await server.until(http2.StreamReset)).code == http2.ErrorCode.CANCEL


async def test_a_message_waits_for_the_window(start: Start) -> None:
    """It goes as far as the server lets it, and on when the window opens."""
    server, client = start(initial_window_size=10)
    await asyncio.sleep(0.01)
    call = asyncio.create_task(client.get_stock(GetStockRequest(item="x" * 100)))
    request = await server.until(http2.RequestReceived)
    await server.until(http2.DataReceived)
    await asyncio.sleep(0.01)
    [data] = server.of(http2.DataReceived)
    assert data.flow_size == 10
    while not server.of(http2.DataReceived)[-1].end_stream:
        before = len(server.of(http2.DataReceived))
        server.engine.acknowledge(request.stream, server.of(http2.DataReceived)[-1].flow_size)
        server.flush()
        await server.until(http2.DataReceived, before + 1)
    server.answer(request.stream, GetStockResponse(count=100))
    assert (await call).count == 100


async def test_a_timeout_is_told_in_few_digits(start: Start) -> None:
    """The same timeout is the same header each time, which compresses; never less than it is."""
    server, client = start()
    told = set()
    for number in range(1, 4):
        call = asyncio.create_task(client.get_stock(GetStockRequest(), timeout=20))
        request = await server.until(http2.RequestReceived, number)
        told.add(request.headers.get("grpc-timeout"))
        server.answer(request.stream, GetStockResponse())
        await call
    assert told == {"20000m"}


async def test_the_status_is_read_although_messages_are_left(start: Start) -> None:
    """Whoever asks for the status need not read what comes before it."""
    server, client = start()
    async with client.channel.request(
        PATH + "ListStock", Cardinality.UNARY_STREAM, GetStockRequest, GetStockResponse
    ) as stream:
        await stream.send_message(GetStockRequest(), end=True)
        request = await server.until(http2.RequestReceived)
        server.answer(request.stream, GetStockResponse(), GetStockResponse())
        await stream.recv_initial_metadata()
        await stream.recv_trailing_metadata()


async def test_a_call_that_waits_to_send_hears_the_status(start: Start) -> None:
    """A server may refuse before it has read all; the caller does not wait for its window."""
    server, client = start(initial_window_size=10)
    await asyncio.sleep(0.01)
    call = asyncio.create_task(client.get_stock(GetStockRequest(item="x" * 100)))
    request = await server.until(http2.RequestReceived)
    server.engine.send_headers(request.stream, (*REPLY, ("grpc-status", "8")), end_stream=True)
    server.flush()
    with pytest.raises(ResourceExhaustedError):
        await call


async def test_a_status_after_half_a_message_counts(start: Start) -> None:
    """The server's own word for what went wrong is better than ours."""
    server, client = start()
    call = asyncio.create_task(client.get_stock(GetStockRequest()))
    stream = (await server.until(http2.RequestReceived)).stream
    server.engine.send_headers(stream, REPLY)
    server.engine.send_data(stream, b"\0\0\0\0\x09half")
    server.engine.send_headers(stream, (("grpc-status", "8"),), end_stream=True)
    server.flush()
    with pytest.raises(ResourceExhaustedError):
        await call


async def test_broken_binary_metadata_does_not_hide_the_status(start: Start) -> None:
    """A value that is no base64 is left out."""
    server, client = start()
    call = asyncio.create_task(client.get_stock(GetStockRequest()))
    stream = (await server.until(http2.RequestReceived)).stream
    trailers = (("grpc-status", "8"), ("a-bin", "=!="), ("b-bin", "YWI"), ("c", "\xe9"))
    server.engine.send_headers(stream, (*REPLY, *trailers), end_stream=True)
    server.flush()
    with pytest.raises(ResourceExhaustedError) as refused:
        await call
    assert dict(refused.value.trailing_metadata) == {"b-bin": b"ab", "c": "\xe9"}


async def test_those_in_line_are_served_in_turn(start: Start) -> None:
    """Whoever ends a call and makes the next one does not overtake who waits."""
    server, client = start(max_concurrent_streams=2)
    await asyncio.sleep(0.01)
    done = [0] * 3

    async def caller(number: int) -> None:
        while sum(done) < 60:
            await client.get_stock(GetStockRequest())
            done[number] += 1

    async def answers() -> None:
        for count in itertools.count(1):
            server.answer(
                (await server.until(http2.RequestReceived, count)).stream, GetStockResponse(count=1)
            )

    answering = asyncio.create_task(answers())
    await asyncio.gather(*map(caller, range(3)))
    answering.cancel()
    assert min(done) >= 15


async def test_a_fresh_connection_takes_a_hundred_calls_first() -> None:
    """Before the server's settings are here, no more are sent: they might be refused."""
    server = Peer(http2.Role.SERVER)
    flush, server.flush = server.flush, lambda: None  # type: ignore[method-assign]  # it is slow
    channel = connect("in-memory:1")
    connection = channel.new_connection()
    join(server, connection)
    channel.use_connection(connection)
    client = InventoryClient(channel, timeout_s=5)
    calls = [asyncio.create_task(client.get_stock(GetStockRequest())) for _ in range(150)]
    await asyncio.sleep(0.01)
    assert len(connection.engine.streams) == 100
    server.flush = flush  # type: ignore[method-assign]  # as it was
    server.flush()
    for count in range(1, 151):
        request = await server.until(http2.RequestReceived, count)
        server.answer(request.stream, GetStockResponse(count=1))
    await asyncio.gather(*calls)
    channel.close()
    await asyncio.sleep(0.01)


async def test_a_status_without_messages_is_told_to_each_who_asks(start: Start) -> None:
    """Whoever iterates after the initial metadata failed is not told that there was nothing."""
    server, client = start()
    lines = client._unary_stream(PATH + "ListStock", ListStockRequest(), ListStockResponse)
    asking = asyncio.create_task(lines.initial_metadata())
    stream = (await server.until(http2.RequestReceived)).stream
    server.engine.send_headers(stream, (*REPLY, ("grpc-status", "8")), end_stream=True)
    server.flush()
    with pytest.raises(ResourceExhaustedError):
        await asking
    with pytest.raises(ResourceExhaustedError):
        await anext(lines)


# Limits and compression, frame by frame


async def test_a_message_over_the_limit_is_refused_from_its_prefix(
    serve: Serve, stock: Stock
) -> None:
    """Nothing of it need have come, and what comes all the same is not kept."""
    client = serve(limits=Limits(max_receive_message_bytes=100))
    await client.until(http2.SettingsReceived)
    stream = client.engine.open_stream(request_fields("GetStock"))
    client.engine.send_data(stream, b"\0\0\0\0\x65")
    client.flush()
    assert status_of(await client.until(http2.ResponseReceived)) == "8"
    assert not stock.seen
    client.call("GetStock", GetStockRequest(item="x"))
    assert status_of(await client.until(http2.TrailersReceived)) == "0"


@pytest.mark.parametrize("method", ["GetStock", "ListStock"])
@pytest.mark.parametrize("count", [0, 2])
async def test_one_message_is_one(client: Peer, stock: Stock, method: str, count: int) -> None:
    """UNIMPLEMENTED where it is none, or two (statuscodes.md, "cardinality violation")."""
    client.call(method, *[GetStockRequest(item="x")] * count)
    refusal = await client.until(http2.ResponseReceived)
    assert status_of(refusal) == "12"
    assert "one message" in (refusal.headers.get("grpc-message") or "")
    assert not stock.seen


async def test_a_request_is_whole_when_it_has_ended(client: Peer, stock: Stock) -> None:
    """Its handler waits for the end: another message may still come, and would be refused."""
    stream = client.engine.open_stream(request_fields("GetStock"))
    client.engine.send_data(stream, framing.frame(encode(GetStockRequest(item="x"))))
    client.flush()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not stock.seen
    client.engine.send_data(stream, b"", end_stream=True)
    client.flush()
    assert status_of(await client.until(http2.TrailersReceived)) == "0"
    assert stock.seen == ["x"]


@pytest.mark.parametrize(
    ("fields", "message", "status"),
    [
        ({"grpc_encoding": "gzip"}, b"\x01\0\0\0\x02ab", "13"),
        ({"grpc_encoding": "identity"}, b"\x01\0\0\0\x02ab", "13"),
        ({}, b"\x01\0\0\0\x02ab", "13"),
        ({"grpc_encoding": "gzip"}, framing.frame(encode(GetStockRequest(item="x"))), "0"),
    ],
    ids=["broken", "marked in spite of identity", "marked without an encoding", "not marked"],
)
async def test_a_compressed_message_is_what_its_headers_say(
    client: Peer, fields: dict[str, str], message: bytes, status: str
) -> None:
    """grpc's compression.md: INTERNAL where it is not; a message may also not be compressed."""
    stream = client.engine.open_stream(request_fields("GetStock", **fields))
    client.engine.send_data(stream, message, end_stream=True)
    client.flush()
    kind = http2.TrailersReceived if status == "0" else http2.ResponseReceived
    assert status_of(await client.until(kind)) == status


async def test_an_unknown_encoding_is_told_the_known_ones(client: Peer, stock: Stock) -> None:
    """In the header field, and in words."""
    client.call("GetStock", GetStockRequest(item="x"), grpc_encoding="br")
    refusal = await client.until(http2.ResponseReceived)
    assert status_of(refusal) == "12"
    assert refusal.headers.get("grpc-accept-encoding") == "identity,gzip,deflate"
    assert "identity,gzip,deflate" in (refusal.headers.get("grpc-message") or "")
    assert not stock.seen


@pytest.mark.parametrize(
    ("accepted", "encoding", "flag"),
    [
        ("gzip", "gzip", 1),
        ("identity, deflate ,gzip", "gzip", 1),
        ("deflate", None, 0),
        ("", None, 0),
    ],
)
async def test_a_reply_is_compressed_where_the_client_reads_it(
    serve: Serve, accepted: str, encoding: str | None, flag: int
) -> None:
    """It is not where compressing would bring nothing, either; the flag says so."""
    client = serve(compression=Encoding.GZIP)
    client.call("ListStock", ListStockRequest(), grpc_accept_encoding=accepted)
    assert status_of(await client.until(http2.TrailersReceived)) == "0"
    [reply] = client.of(http2.ResponseReceived)
    assert reply.headers.get("grpc-encoding") == encoding
    large, small = client.of(http2.DataReceived)
    assert (large.data[0], small.data[0]) == (flag, 0)
    assert (len(large.data) < 100) is bool(flag)


async def test_pings_without_need_end_the_connection(client: Peer) -> None:
    """gRFC A8: two are let go by, and the next one ends it with the text that clients know."""
    for count in range(1, 4):
        client.engine.ping(b"12345678")
        client.flush()
        await client.until(http2.PingAcknowledged, count)
    client.engine.ping(b"12345678")
    client.flush()
    goaway = await client.until(http2.GoawayReceived)
    assert goaway.code == http2.ErrorCode.ENHANCE_YOUR_CALM
    assert goaway.debug == b"too_many_pings"


async def test_pings_of_who_is_sent_something_are_free(client: Peer) -> None:
    """They measure the link, as grpc-go does for each round trip of data."""
    for count in range(1, 11):
        client.call("GetStock", GetStockRequest(item="x"))
        await client.until(http2.TrailersReceived, count)
        client.engine.ping(b"12345678")
        client.flush()
        await client.until(http2.PingAcknowledged, count)
    assert not client.of(http2.GoawayReceived)


async def test_one_byte_of_a_message_at_a_time_has_an_end(serve: Serve) -> None:
    """Frames that bring nothing have a budget, also where HTTP/2 sees nothing odd in them."""
    client = serve(limits=Limits(glitch_burst=50, glitches_per_s=0))
    await client.until(http2.SettingsAcknowledged)
    stream = client.engine.open_stream(request_fields("GetStock"))
    message = framing.frame(encode(GetStockRequest(item="x" * 100)))
    for byte in message:
        client.engine.send_data(stream, bytes([byte]))
    client.flush()
    goaway = await client.until(http2.GoawayReceived)
    assert goaway.code == http2.ErrorCode.ENHANCE_YOUR_CALM
    assert goaway.debug == b"too many frames that bring nothing"


async def test_small_messages_bring_something(serve: Serve) -> None:
    """Any number of them, also where prefix and message come apart."""
    client = serve(limits=Limits(glitch_burst=20, glitches_per_s=0))
    await client.until(http2.SettingsAcknowledged)
    stream = client.engine.open_stream(request_fields("PickItems"))
    message = framing.frame(encode(PickItemsRequest(count=1)))
    for _ in range(200):
        client.engine.send_data(stream, message[:5])
        client.engine.send_data(stream, message[5:])
    client.engine.send_data(stream, b"", end_stream=True)
    client.flush()
    assert status_of(await client.until(http2.TrailersReceived)) == "0"


@pytest.mark.parametrize(
    "begun",
    [b"", PREFACE[:10], PREFACE, PREFACE + frames.settings({})[:-1] + b"", None],
    ids=["nothing", "half a preface", "a preface", "no whole settings", "half a header block"],
)
async def test_what_was_begun_is_not_waited_for_for_ever(stock: Stock, begun: bytes | None) -> None:
    """ENHANCE_YOUR_CALM says what did not come."""
    server = Server([stock], limits=Limits(handshake_s=0.05))
    if begun is None:
        block = frames.frame(http2.FrameType.HEADERS, 0, 1, b"\x83")  # no END_HEADERS
        begun = PREFACE + frames.settings({}) + block
    silent = Silent(begun)
    connection = server.new_connection()
    join(connection, silent)
    async with asyncio.timeout(5):
        while not silent.lost:
            await asyncio.sleep(0.01)
    assert b"did not come within 0.05 s" in silent.received
    await server.drain(0)


class Silent(asyncio.Protocol):
    """A client that says what it is given, and no more."""

    def __init__(self, begun: bytes) -> None:
        self.begun = begun
        self.received = b""
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, MemoryTransport)
        transport.write(self.begun)

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True


async def test_a_handshake_that_is_done_is_not_hurried(serve: Serve) -> None:
    """A connection may be idle afterwards."""
    client = serve(limits=Limits(handshake_s=0.02))
    await client.until(http2.SettingsAcknowledged)
    await asyncio.sleep(0.06)
    client.call("GetStock", GetStockRequest(item="x"))
    assert status_of(await client.until(http2.TrailersReceived)) == "0"


async def test_unfinished_messages_hold_a_bounded_part_of_a_connection(
    serve: Serve, stock: Stock
) -> None:
    """A message may be larger than the window; but not every call may hold one for ever."""
    limits = Limits(max_receive_message_bytes=2**20, max_held_bytes=3 * 2**20)
    config = Configuration(http2_connection_window_size=2**16, http2_stream_window_size=2**16)
    client = serve(limits=limits, config=config)
    await client.until(http2.SettingsReceived)
    held = []
    for _ in range(4):
        stream = client.engine.open_stream(request_fields("GetStock"))
        rest = memoryview(b"\0\0\x10\0\0" + b"\x0a\xfc\xff\x3f" + bytes(2**20 - 64))
        async with asyncio.timeout(5):
            while rest and not client.of(http2.ResponseReceived):
                rest = rest[client.engine.send_data(stream, rest) :]
                client.flush()
                await asyncio.sleep(0)
        held.append(stream)
    refused = await client.until(http2.ResponseReceived)
    assert status_of(refused) == "8"
    assert "unfinished messages" in (refused.headers.get("grpc-message") or "")
    assert refused.stream in held
    for stream in held:
        client.engine.reset(stream, http2.ErrorCode.CANCEL)
    client.flush()
    client.call("GetStock", GetStockRequest(item="x"))
    assert status_of(await client.until(http2.TrailersReceived)) == "0"


@pytest.mark.parametrize(("room", "details"), [(65_536, True), (4_096, False)])
async def test_an_error_that_is_too_much_keeps_its_status(
    serve: Serve, room: int, *, details: bool
) -> None:
    """Its text is cut, and its details are left out where the client does not take so much."""
    error = NotFoundError("x" * 70_000, [ErrorInfo(reason="y" * 5_000)])

    def failed(_error: Exception) -> NotFoundError:
        return error

    client = serve(error_mapping=failed)
    client.transport.write(frames.settings({http2.Setting.MAX_HEADER_LIST_SIZE: room}))
    client.call("GetStock", GetStockRequest(item="fails"))
    reply = (await client.until(http2.ResponseReceived)).headers
    assert reply.get("grpc-status") == "5"
    assert reply.get("grpc-message") == "x" * 4_096
    assert (reply.get("grpc-status-details-bin") is not None) is details


async def test_a_deadline_passes_also_where_the_client_s_window_is_closed(serve: Serve) -> None:
    """The handler is cancelled where it waits to send; trailers need no window."""
    client = serve()
    peer_settings = frames.settings({http2.Setting.INITIAL_WINDOW_SIZE: 0})
    client.transport.write(peer_settings)
    began = time.monotonic()
    client.call("ListStock", ListStockRequest(), grpc_timeout="50m")
    assert status_of(await client.until(http2.TrailersReceived)) == "4"
    assert 0.04 < time.monotonic() - began < 2
    assert not client.of(http2.DataReceived)
