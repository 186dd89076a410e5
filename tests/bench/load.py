"""A load of our own: HTTP/2 frames on bare sockets, made before the clock runs.

h2load sends the same headers with every request, and cannot wait for a message before it
sends the next one. This program can do both, and looks at every answer: status and bytes.

As a program, it prints what it measured as a JSON document.
"""

from __future__ import annotations

import argparse
import json
import pickle
import select
import socket
import sys
import time
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from hpack import Decoder
from tests.bench.check import WrongAnswerError
from tests.bench.headers import plain
from tests.bench.processes import BenchError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from tests.bench import contract

HEAD_SIZE = 9
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_FRAME = 16_384
DEFAULT_WINDOW = 65_535
MAX_WINDOW = 2**31 - 1
# Credit for the whole connection is given back for as much at once.
CREDIT = 2**24
INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS = 4, 3
# Less than what the system maps anew for each read: that takes 20 us.
READ_SIZE = 2**16
STALLED_S = 10.0
# What servers allow that name a limit, as h2 does.
STREAMS_PER_CONNECTION = 100


@dataclass(slots=True)
class Tally:
    """What all connections did.

    Args:
        clock: the time, read once for what arrived together.
        finished: when each answer came.
        took: how long each took.
    """

    clock: float = 0.0
    finished: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured between the warm-up and the end; ``all_answers`` counts the others too."""

    answers: int
    all_answers: int
    per_second: float
    p50_us: float
    p99_us: float


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame."""
    return (
        len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload
    )


class Connection:
    """One HTTP/2 connection: what every kind of load needs.

    Args:
        port: where the server is.
    """

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=STALLED_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.max_streams = MAX_WINDOW
        self.window = DEFAULT_WINDOW
        self.stream_window = DEFAULT_WINDOW
        self.settled = False
        self.pinged = False
        self.events = select.EPOLLIN
        settings = INITIAL_WINDOW_SIZE.to_bytes(2, "big") + MAX_WINDOW.to_bytes(4, "big")
        self.out: list[bytes] = [
            PREFACE,
            frame(SETTINGS, 0, 0, settings),
            frame(WINDOW_UPDATE, 0, 0, (MAX_WINDOW - DEFAULT_WINDOW).to_bytes(4, "big")),
        ]
        self._unsent = b""
        self._rest = b""
        self._consumed = 0
        self._next_stream = 1
        self._decoder = Decoder()
        # What blocks of headers mean, as long as the dynamic table stays as it is.
        self._known: dict[bytes, dict[str, str]] = {}

    def on_data(self, stream: int, payload: bytes, *, ended: bool) -> None:
        """Take a DATA frame."""

    def on_headers(self, stream: int, headers: dict[str, str], *, ended: bool) -> None:
        """Take a block of headers."""

    def on_credit(self, stream: int) -> None:
        """Go on sending, if there was no room before."""

    def next_stream(self) -> int:
        """Return the number of a new stream."""
        stream = self._next_stream
        self._next_stream += 2
        return stream

    def flush(self) -> bool:
        """Send what there is to send; False where not all of it could be."""
        if self.out:
            self._unsent += b"".join(self.out)
            self.out.clear()
        if self._unsent:
            try:
                sent = self.socket.send(self._unsent)
            except BlockingIOError:
                return False
            self._unsent = self._unsent[sent:]
        return not self._unsent

    def receive(self) -> None:  # noqa: C901  # calls would slow the load down
        """Take what has come.

        Raises:
            BenchError: the server broke off.
            WrongAnswerError: an answer is not right.
        """
        try:
            buffer = self.socket.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            raise BenchError(f"the server broke off: {error.strerror}") from error
        if not buffer:
            raise BenchError("the server closed a connection")
        if self._rest:
            buffer = self._rest + buffer
        position, size = 0, len(buffer)
        while size - position >= HEAD_SIZE:
            start = position + HEAD_SIZE
            one, two, three, kind, flags = buffer[position : position + 5]
            end = start + (one << 16 | two << 8 | three)
            if end > size:
                break
            stream = int.from_bytes(buffer[position + 5 : start], "big")
            if kind == DATA:
                self._consumed += end - start
                self.on_data(stream, buffer[start:end], ended=flags & END_STREAM != 0)
            elif kind == HEADERS:
                if flags & ~END_STREAM != END_HEADERS:
                    raise WrongAnswerError("headers in several frames are not expected here")
                headers = self._headers(buffer[start:end])
                self.on_headers(stream, headers, ended=flags & END_STREAM != 0)
            else:
                self._control(kind, flags, stream, buffer[start:end])
            position = end
        self._rest = buffer[position:]
        if self._consumed >= CREDIT:
            self.out.append(frame(WINDOW_UPDATE, 0, 0, self._consumed.to_bytes(4, "big")))
            self._consumed = 0

    def _headers(self, block: bytes) -> dict[str, str]:
        known = self._known.get(block)
        if known is None:
            table = self._decoder.header_table.dynamic_entries
            before = (len(table), table[0] if table else None)
            known = {str(name): str(value) for name, value in self._decoder.decode(block)}
            if before != (len(table), table[0] if table else None):
                self._known.clear()
            else:
                self._known[block] = known
        return known

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == WINDOW_UPDATE:
            if stream == 0:
                self.window += int.from_bytes(payload, "big")
            self.on_window(stream, int.from_bytes(payload, "big"))
            self.on_credit(stream)
        elif kind == SETTINGS and not flags & ACK:
            self._settings(payload)
            self.out.append(frame(SETTINGS, ACK, 0))
            self.settled = True
        elif kind == PING:
            if flags & ACK:
                self.pinged = True
            else:
                self.out.append(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            raise BenchError(f"the server said GOAWAY, error {int.from_bytes(payload[4:8], 'big')}")
        elif kind == RST_STREAM:
            self.on_reset(stream, int.from_bytes(payload, "big"))

    def on_window(self, stream: int, more: int) -> None:
        """Take credit for a stream."""

    def on_reset(self, stream: int, error: int) -> None:
        """Take the sudden end of a stream."""
        raise WrongAnswerError(f"a stream was reset, error {error}")

    def _settings(self, payload: bytes) -> None:
        for position in range(0, len(payload), 6):
            name = int.from_bytes(payload[position : position + 2], "big")
            value = int.from_bytes(payload[position + 2 : position + 6], "big")
            if name == INITIAL_WINDOW_SIZE:
                self.stream_window = value
            elif name == MAX_CONCURRENT_STREAMS:
                self.max_streams = value


class UnaryConnection(Connection):
    """Keeps so many unary calls under way.

    Args:
        port: where the server is.
        blocks: the headers of each request; they start again after the last.
        bodies: the same for the bodies.
        is_right: says whether a reply's bytes are right.
        tally: where the answers are counted.
    """

    def __init__(
        self,
        port: int,
        blocks: Sequence[bytes],
        bodies: Sequence[bytes],
        is_right: Callable[[bytes], bool],
        tally: Tally,
    ) -> None:
        super().__init__(port)
        self.stopped = False
        self.under_way: dict[int, float] = {}
        self._heads = [frame(HEADERS, END_HEADERS, 0, block) for block in blocks]
        self._bodies = [frame(DATA, END_STREAM, 0, body) for body in bodies]
        self._is_right = is_right
        self._tally = tally
        self._number = 0
        self._replies: dict[int, bytes] = {}
        self._waiting = 0

    def start(self) -> None:
        """Send the next request, or as soon as there is room for it."""
        body = self._bodies[self._number % len(self._bodies)]
        size = len(body) - HEAD_SIZE
        if size > self.window:
            self._waiting += 1
            return
        self.window -= size
        head = self._heads[self._number % len(self._heads)]
        self._number += 1
        stream = self.next_stream()
        number = stream.to_bytes(4, "big")
        self.out += (head[:5], number, head[9:], body[:5], number, body[9:])
        self.under_way[stream] = self._tally.clock

    def on_credit(self, stream: int) -> None:
        waiting, self._waiting = self._waiting, 0
        for _ in range(waiting):
            self.start()

    def on_data(self, stream: int, payload: bytes, *, ended: bool) -> None:
        if stream in self._replies:
            payload = self._replies[stream] + payload
        self._replies[stream] = payload

    def on_headers(self, stream: int, headers: dict[str, str], *, ended: bool) -> None:
        if not ended:
            if headers.get(":status") != "200":
                raise WrongAnswerError(f"HTTP status {headers.get(':status')}")
            return
        if headers.get("grpc-status") != "0":
            text = headers.get("grpc-message", "")
            raise WrongAnswerError(f"grpc-status {headers.get('grpc-status')} {text}")
        reply = self._replies.pop(stream, b"")
        if not self._is_right(reply):
            raise WrongAnswerError(f"a reply of {len(reply)} bytes is not what was expected")
        tally = self._tally
        tally.finished.append(tally.clock)
        tally.took.append(tally.clock - self.under_way.pop(stream))
        if not self.stopped:
            self.start()

    def stop(self) -> None:
        """Start nothing more."""
        self.stopped = True


class ChatConnection(Connection):
    """Keeps so many ping-pongs under way: the next message goes when the last came back.

    Args:
        port: where the server is.
        block: the headers of each request.
        exchange: the message that is sent, and the one that must come back.
        tally: where the messages are counted.
    """

    def __init__(self, port: int, block: bytes, exchange: contract.Exchange, tally: Tally) -> None:
        super().__init__(port)
        self.stopped = False
        self.under_way: dict[int, float] = {}
        self._block = block
        self._message = exchange.request
        self._reply = exchange.reply
        self._tally = tally
        self._windows: dict[int, int] = {}
        self._unsaid: dict[int, int] = {}
        self._heard: dict[int, int] = {}

    def start(self) -> None:
        """Open a stream, and say the first message."""
        stream = self.next_stream()
        # The first block may add to the dynamic table, as none of ours does.
        self.out.append(frame(HEADERS, END_HEADERS, stream, self._block))
        self._windows[stream] = self.stream_window
        self._say(stream)

    def _say(self, stream: int) -> None:
        self.under_way[stream] = self._tally.clock
        self._heard[stream] = 0
        self._unsaid[stream] = len(self._message)
        self._send(stream)

    def _send(self, stream: int) -> None:
        message = self._message
        left = self._unsaid[stream]
        while left:
            size = min(left, MAX_FRAME, self.window, self._windows[stream])
            if size <= 0:
                break
            start = len(message) - left
            self.out.append(frame(DATA, 0, stream, message[start : start + size]))
            left -= size
            self.window -= size
            self._windows[stream] -= size
        self._unsaid[stream] = left

    def on_window(self, stream: int, more: int) -> None:
        if stream in self._windows:
            self._windows[stream] += more

    def on_credit(self, stream: int) -> None:
        for number in [stream] if stream else list(self._unsaid):
            if self._unsaid.get(number):
                self._send(number)

    def on_data(self, stream: int, payload: bytes, *, ended: bool) -> None:
        heard = self._heard[stream]
        if payload != self._reply[heard : heard + len(payload)]:
            raise WrongAnswerError("a message is not what was expected")
        heard += len(payload)
        self._heard[stream] = heard
        if heard < len(self._reply):
            return
        tally = self._tally
        tally.finished.append(tally.clock)
        tally.took.append(tally.clock - self.under_way[stream])
        if self.stopped:
            self.out.append(frame(DATA, END_STREAM, stream))
        else:
            self._say(stream)

    def on_headers(self, stream: int, headers: dict[str, str], *, ended: bool) -> None:
        if headers.get("grpc-status", "0") != "0" or ended != ("grpc-status" in headers):
            text = headers.get("grpc-message", "")
            raise WrongAnswerError(f"grpc-status {headers.get('grpc-status')} {text}")
        if ended:
            if not self.stopped:
                raise WrongAnswerError("a stream ended that should not")
            del self.under_way[stream]

    def stop(self) -> None:
        """End each stream after the next message."""
        self.stopped = True


def run(
    connections: Sequence[UnaryConnection | ChatConnection],
    tally: Tally,
    streams: int,
    seconds: float,
    warm_up: float = 0.0,
) -> Result:
    """Put load on all connections for a while, and wait for the last answers.

    Raises:
        BenchError: the server broke off, or did not answer.
        WrongAnswerError: an answer is not right.
    """
    poller = select.epoll()
    by_number = {connection.socket.fileno(): connection for connection in connections}
    try:
        for number in by_number:
            poller.register(number, select.EPOLLIN)
        _settle(poller, by_number)
        tally.clock = began = time.perf_counter()
        for connection in connections:
            for _ in range(streams):
                connection.start()
            _flush(poller, connection)
        stop_at = began + warm_up + seconds
        _turn(poller, by_number, tally, stop_at)
        for connection in connections:
            connection.stop()
        _drain(poller, by_number, tally)
    finally:
        poller.close()
        for connection in connections:
            connection.socket.close()
    return _result(tally, began + warm_up, stop_at)


def ask(port: int, path: str, bodies: Sequence[bytes]) -> list[bytes]:
    """Make some calls at once, and return the replies in the order in which they came.

    Raises:
        BenchError: the server broke off, or did not answer.
        WrongAnswerError: a call failed.
    """
    replies: list[bytes] = []

    def keep(reply: bytes) -> bool:
        replies.append(reply)
        return True

    tally = Tally(time.perf_counter())
    connection = UnaryConnection(port, [plain(path)], bodies, keep, tally)
    connection.stop()
    with closing(connection.socket), select.epoll() as poller:
        by_number = {connection.socket.fileno(): connection}
        poller.register(connection.socket.fileno(), select.EPOLLIN)
        _settle(poller, by_number)
        for _ in bodies:
            connection.start()
        _flush(poller, connection)
        _drain(poller, by_number, tally)
    return replies


class IdleConnection(Connection):
    """Has calls open, and counts those that the server ends.

    Args:
        port: where the server is.
    """

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.calls: set[int] = set()

    def open(self, count: int, block: bytes, exchange: contract.Exchange) -> None:
        """Open so many calls."""
        for _ in range(count):
            stream = self.next_stream()
            self.out += (
                frame(HEADERS, END_HEADERS, stream, block),
                frame(DATA, END_STREAM, stream, exchange.request),
            )
            self.calls.add(stream)

    def on_headers(self, stream: int, headers: dict[str, str], *, ended: bool) -> None:
        if ended:
            self.calls.discard(stream)

    def on_reset(self, stream: int, error: int) -> None:
        self.calls.discard(stream)


class IdleConnections:
    """Connections on which nothing happens, perhaps with calls open that say nothing.

    Args:
        port: where the server is.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._connections: dict[int, IdleConnection] = {}
        self._poller = select.epoll()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._poller.close()
        for connection in self._connections.values():
            connection.socket.close()

    def connect(self, count: int) -> None:
        """Open so many connections more."""
        for _ in range(count):
            connection = IdleConnection(self._port)
            self._poller.register(connection.socket.fileno(), select.EPOLLIN)
            self._connections[connection.socket.fileno()] = connection
        _settle(self._poller, self._connections)

    def hold_open(self, count: int, exchange: contract.Exchange, other: contract.Exchange) -> None:
        """Open calls until there are so many, on as many connections as it takes.

        Args:
            count: how many.
            exchange: the call that is opened.
            other: one that is answered at once, and so tells that the server goes on.
        """
        block = plain(exchange.path)
        opened = 0
        while (missing := count - self._open()) > 0:
            if opened > 2 * count:
                raise BenchError(f"the server ends calls: of {opened} too few stay open")
            self.connect(1)
            connection = next(reversed(self._connections.values()))
            room = min(connection.max_streams, STREAMS_PER_CONNECTION, missing)
            connection.open(room, block, exchange)
            opened += room
            connection.out.append(frame(PING, 0, 0, bytes(8)))
            _flush(self._poller, connection)
            self._answered(connection)
            # A server may refuse calls while many others wait to be taken up.
            ask(self._port, other.path, [other.request])

    def _open(self) -> int:
        return sum(len(connection.calls) for connection in self._connections.values())

    def settle(self) -> None:
        """Wait until the server has done all it does about these connections."""
        for connection in self._connections.values():
            connection.pinged = False
            connection.out.append(frame(PING, 0, 0, bytes(8)))
            _flush(self._poller, connection)
            self._answered(connection)

    def verify_open(self, count: int) -> None:
        """Accept that so many calls are open still, but for one in a hundred.

        Raises:
            BenchError: they are not.
        """
        self._receive(0)
        if self._open() < 0.99 * count:
            raise BenchError(f"of {count} open calls, the server ended all but {self._open()}")

    def _answered(self, connection: IdleConnection) -> None:
        """Wait until the server has taken all that was sent."""
        limit = time.perf_counter() + STALLED_S
        while not connection.pinged:
            self._receive(1)
            if time.perf_counter() > limit:
                raise BenchError("the server does not answer a PING")

    def _receive(self, timeout: float) -> None:
        for number, _ in self._poller.poll(timeout):
            connection = self._connections[number]
            connection.receive()
            _flush(self._poller, connection)


def _settle(poller: select.epoll, by_number: Mapping[int, Connection]) -> None:
    """Exchange the settings: they say how much may be sent."""
    limit = time.perf_counter() + STALLED_S
    for connection in by_number.values():
        _flush(poller, connection)
    while not all(connection.settled for connection in by_number.values()):
        for number, _ in poller.poll(1):
            by_number[number].receive()
            _flush(poller, by_number[number])
        if time.perf_counter() > limit:
            raise BenchError("the server sends no SETTINGS")


def _turn(
    poller: select.epoll,
    by_number: Mapping[int, Connection],
    tally: Tally,
    stop_at: float,
) -> None:
    came = time.perf_counter()
    while tally.clock < stop_at:
        events = poller.poll(0.1)
        tally.clock = time.perf_counter()
        if events:
            came = tally.clock
        elif tally.clock - came > STALLED_S:
            raise BenchError("the server does not answer any more")
        for number, _ in events:
            connection = by_number[number]
            connection.receive()
            _flush(poller, connection)


def _drain(
    poller: select.epoll,
    by_number: Mapping[int, UnaryConnection | ChatConnection],
    tally: Tally,
) -> None:
    limit = time.perf_counter() + STALLED_S
    while any(connection.under_way for connection in by_number.values()):
        _turn(poller, by_number, tally, tally.clock + 0.001)
        if tally.clock > limit:
            raise BenchError("the server left calls without an answer")


def _flush(poller: select.epoll, connection: Connection) -> None:
    ready = select.EPOLLIN if connection.flush() else select.EPOLLIN | select.EPOLLOUT
    if ready != connection.events:
        connection.events = ready
        poller.modify(connection.socket.fileno(), ready)


def _result(tally: Tally, start: float, end: float) -> Result:
    took = sorted(
        took for when, took in zip(tally.finished, tally.took, strict=True) if start <= when <= end
    )
    if not took:
        raise BenchError("the server gave no answer in time")
    count = len(took)
    return Result(
        count,
        len(tally.finished),
        count / (end - start),
        took[count // 2] * 1e6,
        took[min(int(count * 0.99), count - 1)] * 1e6,
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """What a load consists of; it is made before, and read from a file.

    Args:
        blocks: the headers of the requests, for each connection.
        bodies: the same for the bodies; none for a chat.
        exchange: what is asked, and what is right.
        streams: how many requests are under way on each connection.
    """

    blocks: list[list[bytes]]
    bodies: list[list[bytes]]
    exchange: contract.Exchange
    streams: int

    def connections(self, port: int, tally: Tally) -> list[UnaryConnection | ChatConnection]:
        """Connect to a server."""
        if not self.bodies:
            return [ChatConnection(port, blocks[0], self.exchange, tally) for blocks in self.blocks]
        return [
            UnaryConnection(port, blocks, bodies, self.exchange.is_right, tally)
            for blocks, bodies in zip(self.blocks, self.bodies, strict=True)
        ]

    def run(self, port: int, seconds: float, warm_up: float = 0.0) -> Result:
        """Put this load on a server.

        Raises:
            BenchError: the server broke off, or did not answer.
            WrongAnswerError: an answer is not right.
        """
        tally = Tally()
        return run(self.connections(port, tally), tally, self.streams, seconds, warm_up)


def main() -> None:
    """Run the plan in a file, and print the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("plan", type=Path)
    parser.add_argument("seconds", type=float)
    parser.add_argument("warm_up", type=float)
    arguments = parser.parse_args()
    plan: Plan = pickle.loads(arguments.plan.read_bytes())
    try:
        result = plan.run(arguments.port, arguments.seconds, arguments.warm_up)
    except BenchError as error:
        sys.exit(str(error))
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
