"""The check before a measurement: what came back, byte by byte.

h2load counts every HTTP 200, also one whose grpc-status is not 0, or whose body is
wrong. So it is first run through a relay, which keeps what the server answered to the
very requests that are measured afterwards.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from hpack import Decoder
from tests.bench.processes import BenchError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from tests.bench.contract import Exchange

PATIENCE_S = 10.0
_HEAD_SIZE = 9
_DATA, _HEADERS, _RST_STREAM, _CONTINUATION = 0, 1, 3, 9
_END_STREAM, _END_HEADERS, _PADDED, _PRIORITY = 0x1, 0x4, 0x8, 0x20


class WrongAnswerError(BenchError):
    """A server answered something else than what was asked for."""


@dataclass(slots=True)
class Answer:
    """What came back on one stream."""

    headers: list[dict[str, str]] = field(default_factory=list)
    data: bytes = b""
    ended: bool = False
    reset: bool = False


def answers(received: bytes) -> list[Answer]:
    """Return the answers in what a server sent on one connection, in the order of streams."""
    decoder = Decoder()
    streams: dict[int, Answer] = {}
    position = 0
    while len(received) - position >= _HEAD_SIZE:
        length = int.from_bytes(received[position : position + 3], "big")
        kind, flags = received[position + 3], received[position + 4]
        stream = int.from_bytes(received[position + 5 : position + 9], "big")
        payload = received[position + 9 : position + 9 + length]
        position += _HEAD_SIZE + length
        if kind not in {_DATA, _HEADERS, _RST_STREAM, _CONTINUATION}:
            continue
        answer = streams.setdefault(stream, Answer())
        if flags & (_PADDED | _PRIORITY) and kind != _RST_STREAM:
            raise WrongAnswerError("padding and priorities are not expected here")
        if kind == _DATA:
            answer.data += payload
        elif kind == _RST_STREAM:
            answer.reset = True
        elif kind == _CONTINUATION or not flags & _END_HEADERS:
            raise WrongAnswerError("headers in several frames are not expected here")
        else:
            answer.headers.append({str(k): str(v) for k, v in decoder.decode(payload)})
        answer.ended |= kind in {_DATA, _HEADERS} and bool(flags & _END_STREAM)
    return [streams[number] for number in sorted(streams)]


def verify(found: Answer, is_right: Callable[[bytes], bool]) -> None:
    """Accept an answer that is whole, has the status 0, and the right bytes.

    Raises:
        WrongAnswerError: it is none.
    """
    status = found.headers[0].get(":status") if found.headers else None
    grpc_status = found.headers[-1].get("grpc-status") if found.headers else None
    if not found.ended:
        raise WrongAnswerError("an answer did not end")
    if status != "200" or grpc_status != "0":
        message = found.headers[-1].get("grpc-message", "") if found.headers else ""
        raise WrongAnswerError(f"HTTP status {status}, grpc-status {grpc_status} {message}")
    if not is_right(found.data):
        raise WrongAnswerError(f"a reply of {len(found.data)} bytes is not what was expected")


def verify_all(received: list[bytes], exchange: Exchange, count: int) -> None:
    """Accept what all connections received, if each of so many answers is right.

    Raises:
        WrongAnswerError: one is missing, or wrong.
    """
    found = [answer for stream in received for answer in answers(stream)]
    if len(found) != count:
        raise WrongAnswerError(f"{len(found)} answers to {count} requests")
    for answer in found:
        verify(answer, exchange.is_right)


class Relay:
    """Passes connections on to a server, and keeps what it answers.

    Args:
        port: where the server is.
    """

    def __init__(self, port: int) -> None:
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._received: list[bytearray] = []
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def received(self) -> list[bytes]:
        """Return what each connection received, when all clients have gone."""
        self._close()
        return [bytes(stream) for stream in self._received]

    def _close(self) -> None:
        if self._listener.fileno() < 0:
            return
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(PATIENCE_S)
        self._listener.close()
        for sock in self._sockets:
            # What has not come yet is not awaited: whoever asked has gone.
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads[1:]:
            thread.join(PATIENCE_S)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._server))
            kept = bytearray()
            self._received.append(kept)
            self._sockets += (client, server)
            for source, target, copy in ((client, server, None), (server, client, kept)):
                thread = threading.Thread(target=_pass_on, args=(source, target, copy), daemon=True)
                self._threads.append(thread)
                thread.start()


def _pass_on(source: socket.socket, target: socket.socket, copy: bytearray | None) -> None:
    try:
        while piece := source.recv(65_536):
            if copy is not None:
                copy += piece
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return  # one side went away; what came until then is kept
