"""TLS on both sides: what is agreed on, and who is told what where it is not."""

import asyncio
import datetime
import logging
import re
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.certificates import Authority, Files
from tests.rpc.key_updates import KeyUpdates
from tests.rpc.peers import Stock, kinds_of

from inventory._gen.inventory.v1 import (
    GetStockRequest,
    ListStockRequest,
    ListStockResponse,
    PickItemsRequest,
    ReceiveDeliveriesRequest,
)
from inventory.client import InventoryClient
from userservice.rpc import (
    Channel,
    Identity,
    Limits,
    Server,
    ServerTls,
    UnavailableError,
    client_context,
    connect,
    current_call,
)
from userservice.wire import http2
from userservice.wire.http2.codes import PREFACE

PATIENCE_S = 10


@pytest.fixture
def tls(server_files: Files) -> ServerTls:
    """What the server shows."""
    return ServerTls(server_files.cert, server_files.key)


@pytest.fixture
def mutual_tls(server_files: Files, authority: Authority) -> ServerTls:
    """What a server shows that asks its clients for certificates."""
    return ServerTls(server_files.cert, server_files.key, authority.file)


@pytest.fixture
def trusting(authority: Authority) -> ssl.SSLContext:
    """What a client needs."""
    return client_context(authority.file)


@asynccontextmanager
async def serving(stock: Stock, tls: ServerTls | None, **options: Any) -> AsyncIterator[Server]:
    """A server on a port of its own."""
    server = Server([stock], **options)
    await server.listen([socket.create_server(("127.0.0.1", 0))], tls)
    async with server:
        yield server


async def count_of(channel: Channel, item: str = "bolt") -> int:
    """Make a call."""
    reply = await InventoryClient(channel, timeout_s=PATIENCE_S).get_stock(
        GetStockRequest(item=item)
    )
    return reply.count


async def fault_at(address: str, tls: ssl.SSLContext | None, **options: Any) -> str:
    """Return what a call fails with."""
    async with connect(address, tls=tls, **options) as channel:
        with pytest.raises(UnavailableError) as failed:
            await count_of(channel)
    return failed.value.message or ""


async def opened(address: str, context: ssl.SSLContext | None = None) -> Any:
    """Open a raw connection, and return its reader and writer."""
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host, int(port), ssl=context)


async def said(caplog: pytest.LogCaptureFixture, text: str) -> logging.LogRecord:
    """Wait for a line of the log."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            for record in caplog.records:
                if re.search(text, record.getMessage()):
                    return record
            await asyncio.sleep(0.005)


# What works


async def test_a_client_that_knows_the_authority_makes_calls(
    stock: Stock, tls: ServerTls, trusting: ssl.SSLContext
) -> None:
    """Of every kind, and with more than a record, a read and a window hold."""
    item = "x" * 300_000
    async with (
        serving(stock, tls) as server,
        connect(server.addresses[0], tls=trusting) as channel,
    ):
        client = InventoryClient(channel, timeout_s=PATIENCE_S)
        assert (await client.get_stock(GetStockRequest(item=item))).count == 300_000
        lines = [line.item async for line in client.list_stock(ListStockRequest())]
        assert lines == ["x" * 500, "y"]
        picks = [PickItemsRequest(item=item, count=count) for count in range(40)]
        assert [reply.left async for reply in client.pick_items(picks)] == list(range(40))


async def test_a_name_other_than_the_target_s_can_be_asked_for(
    stock: Stock, authority: Authority, trusting: ssl.SSLContext
) -> None:
    """Through a tunnel, say."""
    files = authority.sign("elsewhere", "users.example.com")
    async with serving(stock, ServerTls(files.cert, files.key)) as server:
        [address] = server.addresses
        name = "users.example.com"
        async with connect(address, tls=trusting, tls_server_name=name) as channel:
            assert await count_of(channel) == 4
        fault = await fault_at(address, trusting)
        assert "certificate is not valid for '127.0.0.1'" in fault


async def test_tls_on_a_unix_socket_of_another_server(
    authority: Authority, trusting: ssl.SSLContext, server_files: Files, stock: Stock, tmp_path: Any
) -> None:
    """Ours speaks none there, others may: the name is localhost, as grpc-go has it."""
    path = f"{tmp_path}/s.sock"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server_files.cert, server_files.key)
    context.set_alpn_protocols(["h2"])
    server = Server([stock])
    await server.start(path=path, ssl=context)  # asyncio's TLS
    async with server, connect(f"unix:{path}", tls=trusting) as channel:
        assert await count_of(channel) == 4


async def test_an_accepted_connection_can_be_served(
    stock: Stock, tls: ServerTls, trusting: ssl.SSLContext
) -> None:
    """By a server that listens to nothing; with TLS, but on a Unix socket."""
    server = Server([stock])
    await server.listen([], tls)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(PATIENCE_S)
        async with server:
            assert server.addresses == []
            address = f"127.0.0.1:{listening.getsockname()[1]}"
            async with connect(address, tls=trusting) as channel:
                call = asyncio.create_task(count_of(channel))
                server.take((await asyncio.to_thread(listening.accept))[0])
                assert await call == 4
            near, far = socket.socketpair()
            server.take(far)
            near.settimeout(PATIENCE_S)
            greeting = await asyncio.to_thread(near.recv, 9)
            assert greeting[3] == http2.FrameType.SETTINGS
            near.close()


# Who is on the other side


class Asking(Stock):
    """Asks each time who calls."""

    def __init__(self) -> None:
        super().__init__()
        self.callers: list[Identity | None] = []

    async def get_stock(self, message: GetStockRequest) -> Any:
        self.callers.append(current_call().identity)
        return await super().get_stock(message)


async def test_a_handler_sees_the_client_s_certificate(
    authority: Authority, mutual_tls: ServerTls
) -> None:
    """Its names of every kind, its number, its end, its authority and its fingerprint."""
    until = datetime.datetime.now(datetime.UTC).replace(microsecond=0) + datetime.timedelta(days=1)
    files = authority.sign(
        "billing",
        "billing.example.com",
        "ops@example.com",
        "192.0.2.7",
        common_name="billing",
        until=until,
    )
    service = Asking()
    async with serving(service, mutual_tls) as server:
        context = client_context(authority.file, files.cert, files.key)
        async with connect(server.addresses[0], tls=context) as channel:
            await count_of(channel)
            await count_of(channel)
    first, second = service.callers
    assert first is second, "read once for a connection"
    assert first is not None
    assert first.common_name == "billing"
    assert first.dns_names == ("billing.example.com",)
    assert first.emails == ("ops@example.com",)
    assert first.ip_addresses == ("192.0.2.7",)
    assert first.uris == ()
    assert first.not_after == until
    [encoded] = re.findall(
        "-----BEGIN CERT.*?-----END CERTIFICATE-----", files.cert.read_text(), re.DOTALL
    )[:1]
    assert first.sha256 == fingerprint(encoded)
    assert int(first.serial_number, 16) > 0


def fingerprint(pem: str) -> str:
    """What `openssl x509 -fingerprint -sha256` says, without colons."""
    import hashlib  # noqa: PLC0415  # nowhere else

    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


async def test_a_spiffe_name_and_the_authority_s(authority: Authority, server_files: Files) -> None:
    """A workload's identity is a URI; the issuer is known by its common name."""
    files = authority.sign_workload("spiffe://example.com/billing")
    service = Asking()
    tls = ServerTls(server_files.cert, server_files.key, authority.workloads)
    async with serving(service, tls) as server:
        context = client_context(authority.file, files.cert, files.key)
        async with connect(server.addresses[0], tls=context) as channel:
            await count_of(channel)
    [caller] = service.callers
    assert caller is not None
    assert caller.uris == ("spiffe://example.com/billing",)
    assert caller.issuer == "workloads"
    assert caller.common_name == ""


async def test_a_session_is_resumed_with_its_identity(
    authority: Authority, mutual_tls: ServerTls
) -> None:
    """But not once the server trusts others: who was let in before is asked again."""
    me = authority.sign("resumes", "me@example.com", common_name="resumes")
    context = client_context(authority.file, me.cert, me.key)
    async with serving(Stock(), mutual_tls) as server:
        [address] = server.addresses

        async def reconnected(session: ssl.SSLSession | None) -> tuple[Any, bool | None]:
            host, _, port = address.rpartition(":")
            sock = await asyncio.to_thread(socket.create_connection, (host, int(port)))
            wrap = partial(context.wrap_socket, server_hostname=host, session=session)
            client = await asyncio.to_thread(wrap, sock)
            with client:
                await asyncio.to_thread(client.recv, 9)  # what comes before has the ticket
                [connection] = server._connections
                assert connection.identity is not None
                assert connection.identity.common_name == "resumes"
                outcome = client.session, client.session_reused
            async with asyncio.timeout(PATIENCE_S):
                while server._connections:
                    await asyncio.sleep(0.005)
            return outcome

        session, resumed = await reconnected(None)
        assert not resumed
        session, resumed = await reconnected(session)
        assert resumed
        mutual_tls.context = mutual_tls._read()
        _, resumed = await reconnected(session)
        assert not resumed


async def test_without_a_client_s_certificate_nobody_is_known(
    tls: ServerTls, authority: Authority, trusting: ssl.SSLContext
) -> None:
    """Also where a client would have shown one to a server that asks."""
    files = authority.sign("unasked", "me@example.com")
    service = Asking()
    async with serving(service, tls) as server:
        for context in (trusting, client_context(authority.file, files.cert, files.key)):
            async with connect(server.addresses[0], tls=context) as channel:
                await count_of(channel)
    async with serving(service, None) as server, connect(server.addresses[0]) as channel:
        await count_of(channel)
    assert service.callers == [None, None, None]


# What fails, in words


async def test_a_client_is_told_what_is_wrong_with_the_server(
    stock: Stock, authority: Authority, tls: ServerTls, trusting: ssl.SSLContext
) -> None:
    """An unknown authority, an old or early certificate, none at all."""
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    old = authority.sign("old", "127.0.0.1", since=now - 2 * day, until=now - day)
    early = authority.sign("early", "127.0.0.1", since=now + day, until=now + 2 * day)
    shown = {
        "not trusted here": (tls, client_context()),
        "its certificate has expired": (ServerTls(old.cert, old.key), trusting),
        "its certificate is not valid yet": (ServerTls(early.cert, early.key), trusting),
        "it speaks no TLS": (None, trusting),
        "it may want TLS": (tls, None),
    }
    for expected, (server_tls, context) in shown.items():
        async with serving(stock, server_tls) as server:
            assert expected in await fault_at(server.addresses[0], context)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_client_is_told_that_it_needs_a_certificate(
    stock: Stock,
    authority: Authority,
    mutual_tls: ServerTls,
    tmp_path: Any,
    caplog: pytest.LogCaptureFixture,
    version: ssl.TLSVersion,
) -> None:
    """With TLS 1.3 it hears so only after its own side of the handshake."""
    caplog.set_level(logging.INFO)
    stranger = Authority(tmp_path, "stranger").sign("s", "me@example.com")
    async with serving(stock, mutual_tls) as server:
        context = client_context(authority.file)
        context.maximum_version = version
        fault = await fault_at(server.addresses[0], context)
        assert ("client certificate" if version > 0x0303 else "certificate of ours") in fault
        await said(caplog, "failed: it has no client certificate, and needs one")
        context = client_context(authority.file, stranger.cert, stranger.key)
        context.maximum_version = version
        fault = await fault_at(server.addresses[0], context)
        assert "it does not know the authority of our certificate" in fault
        await said(caplog, "failed: its certificate is of an authority that is not trusted here")
        assert "Traceback" not in caplog.text
        assert not [record for record in caplog.records if record.levelno > logging.INFO]


@pytest.mark.parametrize("protocols", [[], ["http/1.1"]])
async def test_a_connection_without_alpn_h2_is_closed(
    stock: Stock,
    tls: ServerTls,
    authority: Authority,
    caplog: pytest.LogCaptureFixture,
    protocols: list[str],
) -> None:
    """RFC 9113 section 3.3: cleanly, without a byte of HTTP/2, and the log says so."""
    caplog.set_level(logging.INFO)
    context = strict_about_the_end(ssl.create_default_context(cafile=authority.file))
    if protocols:
        context.set_alpn_protocols(protocols)
    async with serving(stock, tls) as server:
        [address] = server.addresses
        assert await asyncio.to_thread(read_to_the_end, address, context) == b""
        await said(caplog, "closed: the TLS handshake agreed on no HTTP/2")
        assert "agreed on no HTTP/2 (ALPN h2)" in await fault_at(address, context)


def strict_about_the_end(context: ssl.SSLContext) -> ssl.SSLContext:
    """Let a connection that ends without close_notify be an error."""
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    return context


def read_to_the_end(address: str, context: ssl.SSLContext, sent: bytes = b"") -> bytes:
    """Read what a server sends until it says that this was all."""
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), PATIENCE_S) as sock,
        context.wrap_socket(sock, server_hostname=host, suppress_ragged_eofs=False) as tls,
    ):
        tls.sendall(sent)
        read = b""
        while piece := tls.recv(65_536):
            read += piece
        return read


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl program")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["-tls1_3"], "ALPN protocol: h2"),
        (["-tls1_2"], "ALPN protocol: h2"),
        (["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"], "ALPN protocol: h2"),
        (["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-SHA384"], "handshake failure"),
        (["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], "alert protocol version"),
    ],
)
async def test_versions_and_ciphers_as_openssl_sees_them(
    stock: Stock, tls: ServerTls, options: list[str], expected: str
) -> None:
    """TLS 1.2 or newer; with 1.2, ciphers that RFC 9113's appendix A does not forbid."""
    async with serving(stock, tls) as server:
        process = await asyncio.create_subprocess_exec(
            *("openssl", "s_client", "-connect", server.addresses[0], "-alpn", "h2", *options),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert expected in output.decode()


async def test_who_speaks_no_tls_is_named_once(
    stock: Stock, tls: ServerTls, caplog: pytest.LogCaptureFixture
) -> None:
    """HTTP, HTTP/2 and noise on a port of TLS: one line, and the rest for who looks closer."""
    caplog.set_level(logging.DEBUG)
    async with serving(stock, tls) as server:
        for words in (b"GET / HTTP/1.1\r\n\r\n", PREFACE, b"\x00" * 64):
            reader, writer = await opened(server.addresses[0])
            writer.write(words)
            async with asyncio.timeout(PATIENCE_S):
                assert (await reader.read())[:2] in (b"\x15\x03", b"")  # an alert, if anything
            writer.close()
        async with asyncio.timeout(PATIENCE_S):
            while len(told := faults(caplog)) < 3:
                await asyncio.sleep(0.005)
    levels = [record.levelno for record in told]
    assert levels == [logging.INFO, logging.DEBUG, logging.DEBUG]
    assert {record.getMessage().rpartition(": ")[2] for record in told} == {"it speaks no TLS"}
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def faults(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What the log says of handshakes that failed."""
    return [r for r in caplog.records if r.name == "userservice.rpc.arrivals"]


async def test_tls_on_a_port_without_it_is_refused_at_once(
    stock: Stock, trusting: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    """Long before the time for a preface is over."""
    caplog.set_level(logging.DEBUG)
    async with serving(stock, None) as server, asyncio.timeout(5):
        with pytest.raises(ssl.SSLError, match=r"(?i)wrong.version|record.layer.failure"):
            await opened(server.addresses[0], trusting)
        await said(caplog, "but TLS: it is not spoken here")


# Bounds


async def test_a_handshake_has_to_be_over_in_time(
    stock: Stock, tls: ServerTls, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever says nothing, or not enough, is cut off."""
    caplog.set_level(logging.INFO)
    async with serving(stock, tls, limits=Limits(handshake_s=0.1)) as server:
        for words in (b"", b"\x16\x03\x01\x02\x00\x01"):
            reader, writer = await opened(server.addresses[0])
            writer.write(words)
            async with asyncio.timeout(PATIENCE_S):
                assert await reader.read() == b""
            writer.close()
    await said(caplog, "failed: the TLS handshake was not over within 0.1 s")


async def test_a_server_that_does_not_shake_hands_is_given_up(trusting: ssl.SSLContext) -> None:
    """Within the same bound of the client's own."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        fault = await fault_at(address, trusting, limits=Limits(handshake_s=0.1))
    assert "the TLS handshake was not over within 0.1 s" in fault


async def test_handshakes_count_as_connections(
    stock: Stock, tls: ServerTls, trusting: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    """A flood of them ends where connections would, and costs no handshake more."""
    caplog.set_level(logging.INFO)
    limits = Limits(max_connections=2)
    async with serving(stock, tls, limits=limits) as server:
        [address] = server.addresses
        idle = [await opened(address) for _ in range(2)]
        reader, writer = await opened(address)
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.read() == b""
        writer.close()
        await said(caplog, "closed before its TLS handshake: there are too many")
        for _, other in idle:
            other.close()
            await other.wait_closed()
        async with asyncio.timeout(PATIENCE_S):
            while len(faults(caplog)) < 2:
                await asyncio.sleep(0.005)
        async with connect(address, tls=trusting) as channel:
            assert await count_of(channel) == 4


async def test_a_server_that_closes_amid_handshakes_does_not_wait(
    stock: Stock, tls: ServerTls
) -> None:
    """They end with it."""
    server = Server([stock])
    await server.listen([socket.create_server(("127.0.0.1", 0))], tls)
    reader, writer = await opened(server.addresses[0])
    writer.write(b"\x16\x03\x01")
    async with asyncio.timeout(PATIENCE_S):
        while not server._arrivals._handshakes:
            await asyncio.sleep(0.005)
    server.close()
    async with asyncio.timeout(5):
        await server.wait_closed()
        with suppress(ConnectionResetError):  # where its words were not read yet
            assert await reader.read() == b""
    writer.close()


class Large(Stock):
    """Sends as fast as it may."""

    async def list_stock(self, message: ListStockRequest) -> AsyncIterator[ListStockResponse]:
        for count in range(30):
            yield ListStockResponse(item="x" * 100_000, count=count)
            self.seen.append("sent")


async def test_a_client_that_reads_slowly_holds_up_the_server(
    tls: ServerTls, trusting: ssl.SSLContext
) -> None:
    """What is encrypted and not taken has the same bound as without TLS; nothing is lost."""
    service = Large()
    server = Server([service])
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)  # of what is accepted, too
    await server.listen([sock], tls)
    async with server, connect(server.addresses[0], tls=trusting) as channel:
        connection: Any = await channel.connect()
        connection._transport._socket.pause_reading()
        lines = InventoryClient(channel, timeout_s=PATIENCE_S).list_stock(ListStockRequest())
        first = asyncio.ensure_future(anext(aiter(lines)))
        async with asyncio.timeout(PATIENCE_S):
            while not any(connection.paused for connection in server._connections):
                await asyncio.sleep(0.005)
        [served] = server._connections
        assert len(service.seen) < 30
        assert served._transport is not None
        assert 0 < served._transport.get_write_buffer_size() < 500_000
        connection._transport._socket.resume_reading()
        counts = [(await first).count] + [line.count async for line in lines]
    assert counts == list(range(30))


# The end


async def test_the_last_words_of_a_server_arrive(
    stock: Stock, tls: ServerTls, authority: Authority
) -> None:
    """GOAWAY and then close_notify: to whom they are missing, an attacker may have cut it off."""
    context = strict_about_the_end(client_context(authority.file))
    hello = http2.Connection(http2.Role.CLIENT).take_output()
    async with serving(stock, tls) as server:
        reading = asyncio.create_task(
            asyncio.to_thread(read_to_the_end, server.addresses[0], context, hello)
        )
        async with asyncio.timeout(PATIENCE_S):
            while not server._connections:
                await asyncio.sleep(0.005)
    frames = await reading
    assert http2.FrameType.GOAWAY in kinds_of(frames)


async def test_a_drain_loses_no_call_over_tls(
    stock: Stock, tls: ServerTls, trusting: ssl.SSLContext
) -> None:
    """What is under way is answered; what is not begun goes elsewhere."""
    async with (
        serving(stock, tls) as server,
        connect(server.addresses[0], tls=trusting) as channel,
    ):
        calls = [asyncio.create_task(count_of(channel, "slow")) for _ in range(20)]
        async with asyncio.timeout(PATIENCE_S):
            while len(stock.seen) < len(calls):
                await asyncio.sleep(0.005)
        drained = asyncio.create_task(server.drain(PATIENCE_S))
        [connection] = server._connections
        async with asyncio.timeout(PATIENCE_S):
            while not connection.draining:
                await asyncio.sleep(0.005)
        stock.go_on.set()
        assert await asyncio.gather(*calls) == [4] * 20
        await asyncio.wait_for(drained, PATIENCE_S)


async def test_a_client_that_goes_on_sending_hears_the_last_words(
    stock: Stock, tls: ServerTls, trusting: ssl.SSLContext
) -> None:
    """No reset takes them away: the server takes what comes, and drops it."""
    sending = asyncio.Event()

    async def deliveries() -> AsyncIterator[ReceiveDeliveriesRequest]:
        while True:
            yield ReceiveDeliveriesRequest(item="x" * 10_000)
            sending.set()

    async with (
        serving(stock, tls) as server,
        connect(server.addresses[0], tls=trusting) as channel,
    ):
        client = InventoryClient(channel, timeout_s=PATIENCE_S)
        call = asyncio.create_task(client.receive_deliveries(deliveries()))
        await sending.wait()
        server.close()
        with pytest.raises(UnavailableError) as ended:
            await call
        assert "server" in str(ended.value), "its own words, and not the system's"


async def test_a_client_that_is_gone_leaves_nothing_open(
    stock: Stock, tls: ServerTls, trusting: ssl.SSLContext
) -> None:
    """Whether it says so or not; a program may end right after it closed its channel."""
    async with serving(stock, tls) as server:
        async with connect(server.addresses[0], tls=trusting) as channel:
            await count_of(channel)
        reader, writer = await opened(server.addresses[0], trusting)
        await reader.read(9)
        writer.transport.abort()
        async with asyncio.timeout(PATIENCE_S):
            while server._connections:
                await asyncio.sleep(0.005)
        del reader


async def test_a_peer_that_breaks_tls_is_cut_off(
    stock: Stock, tls: ServerTls, trusting: ssl.SSLContext
) -> None:
    """A record that nobody encrypted ends the connection, and its calls."""
    async with serving(stock, tls) as server:
        async with connect(server.addresses[0], tls=trusting) as channel:
            assert await count_of(channel) == 4
            call = asyncio.create_task(count_of(channel, "slow"))
            while "slow" not in stock.seen:
                await asyncio.sleep(0.005)
            connection = channel.connection_at_hand()
            assert connection is not None
            transport: Any = connection._transport
            transport._socket.write(b"\x17\x03\x03\x00\x20" + bytes(32))
            with pytest.raises(UnavailableError, match=r"bad record mac|not accept"):
                await call
        stock.go_on.set()


def until_cut_off(address: str, context: ssl.SSLContext, log: Path, *, reads: bool) -> int:
    """Ask for new keys, as often as the server lets one; return how often that was."""
    host, _, port = address.rpartition(":")
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        sock.settimeout(PATIENCE_S)
        sock.connect((host, int(port)))
        asked = KeyUpdates(sock, context, log)
        for count in range(20_000):
            try:
                sock.sendall(asked.record())
                if reads and not sock.recv(65_536):
                    return count
            except ConnectionError:
                return count
    raise AssertionError("it may ask without end")


async def test_who_asks_for_new_keys_and_does_not_read_is_cut_off(
    stock: Stock, tls: ServerTls, trusting: ssl.SSLContext, tmp_path: Path
) -> None:
    """The answers are kept up to a limit: OpenSSL gives one to each."""
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)  # so that few are enough
    server = Server([stock], limits=Limits(max_unread_bytes=16_384))
    await server.listen([sock], tls)
    async with server:
        asked = await asyncio.to_thread(
            until_cut_off, server.addresses[0], trusting, tmp_path / "secrets", reads=False
        )
        assert asked > 16_384 / 64


async def test_asking_for_new_keys_brings_nothing(
    stock: Stock, tls: ServerTls, trusting: ssl.SSLContext, tmp_path: Path
) -> None:
    """It counts as the frames do that bring nothing."""
    limits = Limits(glitch_burst=20, glitches_per_s=1)
    async with serving(stock, tls, limits=limits) as server:
        asked = await asyncio.to_thread(
            until_cut_off, server.addresses[0], trusting, tmp_path / "secrets", reads=True
        )
        assert 10 <= asked < 200


# Certificates that change


async def serial_at(address: str, authority: Authority) -> str:
    """Return the number of the certificate that a new connection is shown."""
    reader, writer = await opened(address, client_context(authority.file))
    serial: str = writer.get_extra_info("peercert")["serialNumber"]
    writer.transport.abort()
    del reader
    return serial


async def until_changed(ask: Callable[[], Any], old: object) -> Any:
    """Ask until there is another answer."""
    async with asyncio.timeout(PATIENCE_S):
        while (new := await ask()) == old:
            await asyncio.sleep(0.02)
    return new


async def test_a_new_certificate_is_shown_to_new_connections(
    stock: Stock, authority: Authority, trusting: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    """The others go on; a pair that does not fit is never shown, and said once."""
    caplog.set_level(logging.INFO)
    files = authority.sign("changing", "127.0.0.1")
    tls = ServerTls(files.cert, files.key, check_s=0.02)
    async with (
        serving(stock, tls) as server,
        connect(server.addresses[0], tls=trusting) as channel,
    ):
        [address] = server.addresses
        picks: asyncio.Queue[PickItemsRequest] = asyncio.Queue()
        picked = InventoryClient(channel).pick_items(each_of(picks))
        picks.put_nowait(PickItemsRequest(count=1))
        assert (await anext(aiter(picked))).left == 1
        first = await serial_at(address, authority)
        # Half of a pair, as between two writes.
        files.key.write_bytes(authority.sign("other", "127.0.0.1").key.read_bytes())
        await said(caplog, "is not that of the certificate .* stays in use")
        for _ in range(3):
            await tls.refresh()
        assert caplog.text.count("stays in use") == 1
        assert await serial_at(address, authority) == first
        files.become(authority.sign("next", "127.0.0.1"))
        second = await until_changed(lambda: serial_at(address, authority), first)
        assert second != first
        await said(caplog, "was read anew")
        assert len(server._connections) >= 1
        picks.put_nowait(PickItemsRequest(count=2))
        assert (await anext(aiter(picked))).left == 2, "the old connection goes on"


async def each_of(items: asyncio.Queue[PickItemsRequest]) -> AsyncIterator[PickItemsRequest]:
    """Send what is put into a queue."""
    while True:
        yield await items.get()


async def test_a_link_that_leads_elsewhere_is_a_change(
    stock: Stock, authority: Authority, tmp_path: Any
) -> None:
    """As Kubernetes changes a mounted secret: one link is exchanged for another."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        files = authority.sign(name, "127.0.0.1")
        files.cert.rename(tmp_path / name / "tls.crt")
        files.key.rename(tmp_path / name / "tls.key")
    (tmp_path / "data").symlink_to("one")
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).symlink_to(f"data/{name}")
    tls = ServerTls(tmp_path / "tls.crt", tmp_path / "tls.key", check_s=0.02)
    async with serving(stock, tls) as server:
        [address] = server.addresses
        first = await serial_at(address, authority)
        (tmp_path / "new").symlink_to("two")
        (tmp_path / "new").rename(tmp_path / "data")
        await until_changed(lambda: serial_at(address, authority), first)


async def test_another_authority_of_clients_counts_for_new_connections(
    stock: Stock, authority: Authority, server_files: Files, tmp_path: Any
) -> None:
    """Clients of the old one are refused then, those of the new one are not."""
    old, new = (Authority(tmp_path, name) for name in ("old", "new"))
    contexts = [
        client_context(authority.file, files.cert, files.key)
        for files in (old.sign("o", "o@example.com"), new.sign("n", "n@example.com"))
    ]
    trusted = tmp_path / "clients.pem"
    trusted.write_bytes(old.file.read_bytes())
    tls = ServerTls(server_files.cert, server_files.key, trusted, check_s=0.02)
    async with serving(stock, tls) as server:
        [address] = server.addresses

        async def who_is_let_in() -> list[bool]:
            return [await is_let_in(address, context) for context in contexts]

        assert await who_is_let_in() == [True, False]
        trusted.write_bytes(new.file.read_bytes())
        async with asyncio.timeout(PATIENCE_S):
            while await who_is_let_in() != [False, True]:
                await asyncio.sleep(0.02)


async def is_let_in(address: str, context: ssl.SSLContext) -> bool:
    """Tell whether a call is made."""
    async with connect(address, tls=context) as channel:
        try:
            await count_of(channel)
        except UnavailableError:
            return False
    return True
