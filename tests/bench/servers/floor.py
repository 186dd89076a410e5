"""The least that a server on asyncio can do: it cuts frames, and answers constant bytes.

No header is decoded and no message is read: whatever is asked, the constant user of
GetUser is the answer. SETTINGS, PING and flow control are done as RFC 9113 wants it, so
that any client accepts it.
"""

import asyncio
import socket

from tests.bench import contract

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, ACK = 0x1, 0x1
END_HEADERS = 0x4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_SIZE = 9
# Credit is given back for as much at once.
CREDIT = 32_768

# HPACK (RFC 7541): ":status: 200" is indexed in the static table. The first answer of a
# connection adds the other two headers to the dynamic table, later ones point to them.
_STATUS = b"\x88"
_CONTENT_TYPE = b"\x5f\x10application/grpc"
_GRPC_STATUS = b"\x40\x0bgrpc-status\x010"
FIRST_HEAD = _STATUS + _CONTENT_TYPE
FIRST_TRAILERS = _GRPC_STATUS
HEAD = _STATUS + b"\xbf"
TRAILERS = b"\xbe"


def frame(kind: int, flags: int, stream: bytes, payload: bytes) -> bytes:
    """Return a frame; the stream is its four bytes."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream + payload


class Floor(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._started = False
        self._received = 0
        body = contract.get_user().reply
        zero = bytes(4)
        # An answer is these parts, with the stream's number between them.
        self._first = (
            frame(HEADERS, END_HEADERS, zero, FIRST_HEAD),
            frame(DATA, 0, zero, body),
            frame(HEADERS, END_HEADERS | END_STREAM, zero, FIRST_TRAILERS),
        )
        head = frame(HEADERS, END_HEADERS, zero, HEAD)
        data = frame(DATA, 0, zero, body)
        trailers = frame(HEADERS, END_HEADERS | END_STREAM, zero, TRAILERS)
        self._parts = (
            head[:5],
            head[9:] + data[:5],
            data[9:] + trailers[:5],
            trailers[9:],
        )
        self._answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say the settings: none that differ."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.write(frame(SETTINGS, 0, bytes(4), b""))

    def data_received(self, data: bytes) -> None:  # noqa: C901  # calls would not be the least
        """Answer every request that ends in these bytes."""
        assert self._transport is not None
        if self._rest:
            data = self._rest + data
        position = 0
        size = len(data)
        if not self._started:
            if size < len(PREFACE):
                self._rest = data
                return
            self._started = True
            position = len(PREFACE)
        out: list[bytes] = []
        while size - position >= HEAD_SIZE:
            length = data[position] << 16 | data[position + 1] << 8 | data[position + 2]
            end = position + HEAD_SIZE + length
            if end > size:
                break
            kind = data[position + 3]
            flags = data[position + 4]
            if kind <= HEADERS:
                if kind == DATA:
                    self._received += length
                if flags & END_STREAM:
                    self._answer(data[position + 5 : position + 9], out)
            elif kind == SETTINGS and not flags & ACK:
                out.append(frame(SETTINGS, ACK, bytes(4), b""))
            elif kind == PING and not flags & ACK:
                out.append(frame(PING, ACK, bytes(4), data[position + 9 : end]))
            position = end
        self._rest = data[position:]
        if self._received >= CREDIT:
            out.append(frame(8, 0, bytes(4), self._received.to_bytes(4, "big")))
            self._received = 0
        if out:
            self._transport.write(b"".join(out))

    def _answer(self, stream: bytes, out: list[bytes]) -> None:
        if self._answered:
            one, two, three, four = self._parts
            out += (one, stream, two, stream, three, stream, four)
            return
        self._answered = True
        out += (part[:5] + stream + part[9:] for part in self._first)


async def main() -> None:
    """Serve until the process is ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Floor, "127.0.0.1", 0)
    print("READY", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
