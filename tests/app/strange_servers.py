"""Servers that a client of gRPC should not have been led to, each on a port of its own."""

import asyncio
import contextlib
import http.server
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from tests.rpc.peers import Peer

from userservice.wire import http2

Fields = tuple[tuple[str, str], ...]
Reply = Callable[[Peer, http2.Stream, str], None]
"""Answers a request on a stream, by its path."""


@asynccontextmanager
async def speaking(
    first: bytes = b"",
    answer: bytes = b"",
    *,
    closes: bool = False,
    resets: bool = False,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[str]:
    """Serve what says something at once, and something else to whatever is said; or nothing."""
    connections: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            writer.write(first)
            if resets:
                linger = struct.pack("ii", 1, 0)  # what is closed then is reset
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, linger
                )
            if not resets:  # what is closed before it is read is reset, too
                while await reader.read(65_536) and not closes:
                    writer.write(answer)
        except (OSError, asyncio.CancelledError):
            pass  # the doctor has left, or the test is over
        finally:
            writer.transport.abort() if tls else writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls)
    try:
        yield address_of(server.sockets[0])
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections)


@asynccontextmanager
async def http2_server(
    reply: Reply, tls: ssl.SSLContext | None = None, **settings: int
) -> AsyncIterator[str]:
    """Serve HTTP/2, and answer each request like this."""
    peers: list[Answering] = []

    def connected() -> Answering:
        peers.append(Answering(reply, **settings))
        return peers[-1]

    loop = asyncio.get_running_loop()
    server = await loop.create_server(connected, "127.0.0.1", 0, ssl=tls)
    try:
        yield address_of(server.sockets[0])
    finally:
        server.close()
        for peer in peers:
            if hasattr(peer, "transport"):
                peer.transport.abort()


class Answering(Peer):
    """A server of HTTP/2 on the engine, which answers by itself."""

    def __init__(self, reply: Reply, **settings: int) -> None:
        super().__init__(http2.Role.SERVER, **settings)
        self._reply = reply
        self._seen = 0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        requests = self.of(http2.RequestReceived)
        for request in requests[self._seen :]:
            self._reply(self, request.stream, request.headers.get(":path") or "")
        self._seen = len(requests)
        self.flush()


def page(status: str, body: bytes = b"", *others: tuple[str, str]) -> Reply:
    """Answer with a page, as web servers and proxies do."""

    def reply(peer: Peer, stream: http2.Stream, path: str) -> None:
        fields: Fields = ((":status", status), ("content-type", "text/html"), *others)
        peer.engine.send_headers(stream, fields, end_stream=not body)
        if body:
            peer.engine.send_data(stream, body, end_stream=True)

    return reply


def status_only(status: int, *others: tuple[str, str]) -> Reply:
    """Answer with a status of gRPC, and nothing else."""

    def reply(peer: Peer, stream: http2.Stream, path: str) -> None:
        fields = ((":status", "200"), ("content-type", "application/grpc"))
        peer.engine.send_headers(
            stream, (*fields, ("grpc-status", str(status)), *others), end_stream=True
        )

    return reply


def message(data: bytes, *, ends: bool = True) -> Reply:
    """Answer with one message, with or without a status after it."""

    def reply(peer: Peer, stream: http2.Stream, path: str) -> None:
        fields = ((":status", "200"), ("content-type", "application/grpc"))
        peer.engine.send_headers(stream, fields)
        peer.engine.send_data(stream, struct.pack(">BI", 0, len(data)) + data)
        if ends:
            peer.engine.send_headers(stream, (("grpc-status", "0"),), end_stream=True)

    return reply


def by_path(other: Reply, **replies: Reply) -> Reply:
    """Answer each method, by the last word of its path, in a way of its own."""

    def reply(peer: Peer, stream: http2.Stream, path: str) -> None:
        replies.get(path.rpartition("/")[2], other)(peer, stream, path)

    return reply


def nothing(peer: Peer, stream: http2.Stream, path: str) -> None:
    """Never answer."""


def reset(peer: Peer, stream: http2.Stream, path: str) -> None:
    """Reset the stream."""
    peer.engine.reset(stream, http2.ErrorCode.INTERNAL_ERROR)


def without_trailers(peer: Peer, stream: http2.Stream, path: str) -> None:
    """Answer as gRPC does, and lose the trailers."""
    fields = ((":status", "200"), ("content-type", "application/grpc"))
    peer.engine.send_headers(stream, fields, end_stream=True)


def goaway(peer: Peer, stream: http2.Stream, path: str) -> None:
    """Take no calls."""
    peer.engine.goaway(http2.ErrorCode.ENHANCE_YOUR_CALM, last_stream_id=0, debug=b"go away")


@asynccontextmanager
async def web_server() -> AsyncIterator[str]:
    """Serve Python's own HTTP/1 server."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield address_of(server.socket)
        finally:
            await asyncio.to_thread(server.shutdown)
            thread.join()


@asynccontextmanager
async def black_hole() -> AsyncIterator[str]:
    """Listen with a full backlog: the system drops who comes, as a firewall does."""
    with contextlib.ExitStack() as opened:
        listening = opened.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(2):
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield address_of(listening)


def free_address() -> str:
    """Return an address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return address_of(taken)


def address_of(sock: socket.socket) -> str:
    """Return where a socket listens."""
    host, port = sock.getsockname()
    return f"{host}:{port}"


def server_context(
    cert: str, key: str, alpn: Sequence[str] = (), **attributes: object
) -> ssl.SSLContext:
    """Return the TLS of a server; without ALPN unless protocols are named."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    for name, value in attributes.items():
        setattr(context, name, value)
    return context
