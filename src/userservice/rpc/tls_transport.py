"""TLS between a socket and a connection: a transport over the socket's own.

asyncio's does not send the alert that says why a handshake failed, cuts a connection whose
other side goes on sending after it was closed, and has 256 KiB of its own for each.
"""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol, cast

_RECORD_MAX: Final = 16 * 1024  # bytes of data (RFC 8446 section 5.1)

_ALERT_S: Final = 1.0  # for the other side to take the alert, before its connection is cut

_BROKE_OFF: Final = "it closed the connection amid the TLS handshake"


class Wrapped(Protocol):
    """What a connection hears of its transport."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hear that the handshake is over."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Hear that the connection is gone."""

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the socket's bytes go."""

    def data_received(self, data: bytes) -> None:
        """Take what was received."""

    def tls_answered(self) -> None:
        """Hear that TLS itself answered the other side."""

    def pause_writing(self) -> None:
        """Hear that the socket's buffer is full."""

    def resume_writing(self) -> None:
        """Hear that there is room again."""


class TlsTransport(asyncio.Transport, asyncio.BufferedProtocol):
    """A transport for a connection, and the protocol of its socket.

    Args:
        context: what the handshake is made with.
        connection: makes what is told of the connection, once its handshake is over.
        handshake_s: how long the handshake may take, in seconds.
        server_name: the name that the server's certificate has to be for; a server has none.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        connection: Callable[[], Wrapped],
        handshake_s: float,
        server_name: str | None = None,
    ) -> None:
        super().__init__()
        self.connection = connection()
        self._handshake_s = handshake_s
        self._is_server = server_name is None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self._incoming, self._outgoing, self._is_server, server_hostname=server_name
        )
        self._loop = asyncio.get_running_loop()
        self._socket: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._lost = asyncio.Event()
        self._shaken = False
        self._writes = True
        self._closing = False
        self._fault: OSError | None = None

    async def handshake(self) -> None:
        """Wait until the handshake is over; where it failed, until the socket is closed.

        Raises:
            OSError: it failed.
        """
        try:
            await self._over
        except OSError:
            if self._is_server:
                await self._lost.wait()
            raise
        finally:
            if not self._shaken:
                self.abort()

    # The socket's protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake."""
        self._socket = cast("asyncio.Transport", transport)
        self._timer = self._loop.call_later(self._handshake_s, self._is_too_slow)
        self._shake_hands()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the socket's bytes go: it is the connection's, and read at once."""
        return self.connection.get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was received into the buffer."""
        if not self._writes:  # it was said that nothing is heard any more
            return
        self._incoming.write(self.get_buffer(nbytes)[:nbytes])
        if self._shaken:
            self._receive()
        else:
            self._shake_hands()

    def eof_received(self) -> None:
        """Let the socket be closed."""
        self._fail_handshake(ConnectionResetError(_BROKE_OFF))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the connection, or who waits for the handshake."""
        self._closing = True
        self._stop_timer()
        self._lost.set()
        if self._shaken:
            self.connection.connection_lost(self._fault or exc)
        else:
            self._fail_handshake(
                exc if isinstance(exc, OSError) else ConnectionResetError(_BROKE_OFF)
            )

    def pause_writing(self) -> None:
        """Hold up who sends."""
        if self._shaken:
            self.connection.pause_writing()

    def resume_writing(self) -> None:
        """Let who waits to send go on."""
        if self._shaken:
            self.connection.resume_writing()

    # The handshake

    def _shake_hands(self) -> None:
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            self._send()
            return
        except ssl.SSLError as error:
            self._send()  # the alert that says why
            self._fail_handshake(error)
            if self._is_server:
                self._linger()
            else:
                self.close()
            return
        self._shaken = True
        self._stop_timer()
        self._send()
        self.connection.connection_made(self)
        if not self._over.done():
            self._over.set_result(None)
        self._receive()

    def _linger(self) -> None:
        """Let the other side take the alert: a reset could take that from it."""
        self._timer = self._loop.call_later(_ALERT_S, self.abort)
        try:
            self.write_eof()
        except OSError:  # it is gone already
            self.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _is_too_slow(self) -> None:
        took_too_long = f"the TLS handshake was not over within {self._handshake_s:g} s"
        self._fail_handshake(ConnectionAbortedError(took_too_long))
        self.abort()

    def _fail_handshake(self, error: OSError) -> None:
        if not self._over.done():
            self._stop_timer()
            self._over.set_exception(error)
            self._over.exception()  # also where nobody waits any more

    # What is received and sent

    def _receive(self) -> None:
        incoming, tls = self._incoming, self.tls
        pieces: list[bytes] = []
        ended = False
        while incoming.pending or tls.pending():
            try:
                piece = tls.read(_RECORD_MAX)
            except ssl.SSLWantReadError:  # half a record
                break
            except ssl.SSLError as error:
                self._fault = error
                break
            if not piece:  # close_notify
                ended = True
                break
            pieces.append(piece)
        if pieces:
            self.connection.data_received(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if self._outgoing.pending:  # the answer to a KeyUpdate, or an alert
            self._send()
            if self._fault is None:
                self.connection.tls_answered()
        if self._fault is not None:
            self.abort()
        elif ended:
            self.close()

    def _send(self) -> None:
        # asyncio logs each write after the peer has broken off, until it says so.
        if self._outgoing.pending and not self._socket.is_closing():
            self._socket.write(self._outgoing.read())

    def write(self, data: Any) -> None:
        """Encrypt, and send."""
        if not self._writes:
            return
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self.tls.write(rest) :]
        except ssl.SSLError as error:
            self._fault = error
            self.abort()
            return
        self._send()

    def can_write_eof(self) -> bool:
        """Return whether one direction can be closed alone."""
        return self._socket.can_write_eof()

    def write_eof(self) -> None:
        """Say that this was all (close_notify), and close this direction."""
        self._say_end()
        self._socket.write_eof()

    def _say_end(self) -> None:
        if not self._writes:
            return
        self._writes = False
        if self._shaken:
            # The other side's close_notify is not here, or TLS is broken.
            with suppress(ssl.SSLError):
                self.tls.unwrap()
            self._send()

    def close(self) -> None:
        """Send what is to be sent, and close; the other side's last word is not waited for."""
        if not self._closing:
            self._closing = True
            self._say_end()
            self._socket.close()

    def abort(self) -> None:
        """Close without waiting for what is still to be sent."""
        self._closing = True
        self._writes = False
        self._stop_timer()
        self._socket.abort()

    # What else is asked of a transport

    def is_closing(self) -> bool:
        """Return whether it is closed, or about to be."""
        return self._closing or self._socket.is_closing()

    def get_write_buffer_size(self) -> int:
        """Return how much was written and not yet taken, in bytes."""
        return self._socket.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the socket knows; of TLS, the ``ssl_object``."""
        if name == "ssl_object":
            return self.tls
        return self._socket.get_extra_info(name, default)
