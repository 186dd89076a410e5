"""Accepting: fair and bounded, and what waits in the queue is not lost."""

import asyncio
import errno
import logging
import socket
from itertools import pairwise
from typing import Any

import pytest
from tests.rpc.peers import Stock, kinds_of

from userservice.rpc import Server, connect, listening
from userservice.rpc.listening import Listening
from userservice.wire import http2

PATIENCE_S = 10


def listener() -> socket.socket:
    """A socket that listens on a port of its own."""
    return socket.create_server(("127.0.0.1", 0), backlog=128)


async def test_a_server_listens_on_several_sockets(stock: Stock) -> None:
    """All of them are named, and closed with it."""
    sockets = [listener(), listener()]
    server = Server([stock])
    await server.listen(sockets)
    assert server.addresses == [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    async with server:
        for address in server.addresses:
            async with connect(address) as channel:
                await channel.connect()
    assert [s.fileno() for s in sockets] == [-1, -1]
    assert server.addresses == []


async def test_a_server_that_listens_cannot_be_started_again(stock: Stock) -> None:
    """As grpclib has it."""
    server = Server([stock])
    await server.listen([])
    async with server:
        with pytest.raises(RuntimeError, match="already started"):
            await server.listen([])
        with pytest.raises(RuntimeError, match="already started"):
            await server.start("127.0.0.1", 0)


async def test_what_a_connection_sends_is_sent_at_once(stock: Stock) -> None:
    """Nobody waits for the acknowledgement of what was sent before (TCP_NODELAY)."""
    accepted = []

    class Listener(socket.socket):
        def accept(self) -> Any:
            sock, client = super().accept()
            accepted.append(sock)
            return sock, client

    sock = Listener()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    server = Server([stock])
    await server.listen([sock])
    async with server, connect(server.addresses[0]) as channel:
        await channel.connect()
        [made] = accepted
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


async def test_who_waits_in_the_queue_is_not_reset(stock: Stock) -> None:
    """A server that closes accepts them first, and says goodbye to each."""
    sock = listener()
    server = Server([stock])
    await server.listen([sock])
    waiting = [socket.create_connection(sock.getsockname(), PATIENCE_S) for _ in range(40)]
    server.close()  # before the loop had a turn to accept any
    closed = asyncio.create_task(server.wait_closed())
    for connection in waiting:
        with connection:
            said = await asyncio.to_thread(read_all, connection)
            assert http2.FrameType.GOAWAY in kinds_of(said)
    await closed


def read_all(connection: socket.socket) -> bytes:
    """Read up to the end, which must be none of a reset."""
    read = b""
    while piece := connection.recv(4_096):
        read += piece
    return read


class Exhausted(socket.socket):
    """A listening socket for which the system has no descriptors, until it is told."""

    tries = 0
    has_room = False
    fault = errno.EMFILE

    def accept(self) -> Any:
        if self.has_room:
            return super().accept()
        self.tries += 1
        raise OSError(self.fault, "Too many open files")


@pytest.fixture
def exhausted() -> Exhausted:
    """Such a socket; it listens."""
    sock = Exhausted()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    return sock


async def test_without_descriptors_it_waits_and_goes_on(
    exhausted: Exhausted, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The queue stays readable: to try in every turn would take all of the processor."""
    caplog.set_level(logging.WARNING, listening.__name__)
    monkeypatch.setattr(listening, "_REST_S", 0.05)
    accepted: asyncio.Queue[socket.socket] = asyncio.Queue()
    waits = Listening(accepted.put_nowait)
    waits.add(exhausted)
    with socket.create_connection(exhausted.getsockname(), PATIENCE_S):
        await asyncio.sleep(0.13)
        assert 1 <= exhausted.tries <= 4
        exhausted.has_room = True
        (await asyncio.wait_for(accepted.get(), PATIENCE_S)).close()
    assert [record.getMessage() for record in caplog.records] == [
        "no connection can be accepted for now: Too many open files"
    ]
    waits.close()


async def test_closing_does_not_wait_for_descriptors(exhausted: Exhausted) -> None:
    """Nor is anything left that would try again."""
    waits = Listening(lambda _: None)
    waits.add(exhausted)
    with socket.create_connection(exhausted.getsockname(), PATIENCE_S):
        while not exhausted.tries:
            await asyncio.sleep(0)
        waits.close()
    assert exhausted.fileno() == -1
    assert waits._resting == {}


async def test_nothing_tries_again_on_a_closed_socket(
    exhausted: Exhausted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where there is still no room for who waits."""
    faults: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: faults.append(context))
    monkeypatch.setattr(listening, "_REST_S", 0.01)
    waits = Listening(lambda _: None)
    waits.add(exhausted)
    with socket.create_connection(exhausted.getsockname(), PATIENCE_S):
        while not exhausted.tries:
            await asyncio.sleep(0)
        waits.close()
    await asyncio.sleep(0.05)
    assert faults == []


async def test_a_connection_that_is_gone_already_is_let_go_by(exhausted: Exhausted) -> None:
    """Its error is not the listening socket's."""
    exhausted.fault = errno.ECONNABORTED
    accepted: asyncio.Queue[socket.socket] = asyncio.Queue()
    waits = Listening(accepted.put_nowait)
    waits.add(exhausted)
    with socket.create_connection(exhausted.getsockname(), PATIENCE_S):
        while exhausted.tries < 3:
            await asyncio.sleep(0)
        exhausted.has_room = True
        (await asyncio.wait_for(accepted.get(), PATIENCE_S)).close()
    waits.close()


async def test_a_flood_of_connections_lets_others_have_their_turn() -> None:
    """A few are accepted in each turn of the loop."""
    sock = listener()
    accepted: list[socket.socket] = []
    waits = Listening(accepted.append)
    waits.add(sock)
    clients = [socket.create_connection(sock.getsockname(), PATIENCE_S) for _ in range(50)]
    counts = []
    async with asyncio.timeout(PATIENCE_S):
        while len(accepted) < len(clients):
            counts.append(len(accepted))
            await asyncio.sleep(0)
    counts.append(len(accepted))
    steps = [after - before for before, after in pairwise(counts)]
    assert max(steps) <= 16
    for end in (*clients, *accepted):
        end.close()
    waits.close()


async def test_what_comes_while_it_pauses_waits_in_the_queue() -> None:
    """Not one is accepted then, also of those that came before; later all are."""
    accepted: list[socket.socket] = []

    def accept(connection: socket.socket) -> None:
        accepted.append(connection)
        if len(accepted) == 3:
            accepting.pause()

    sock = listener()
    accepting = Listening(accept)
    accepting.pause()
    accepting.add(sock)
    waiting = [socket.create_connection(sock.getsockname(), PATIENCE_S) for _ in range(10)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert accepted == []
    accepting.go_on()
    async with asyncio.timeout(PATIENCE_S):
        while len(accepted) < 3:
            await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(accepted) == 3
    accepting.close()
    for connection in (*accepted, *waiting):
        connection.close()
    assert len(accepted) == 10
