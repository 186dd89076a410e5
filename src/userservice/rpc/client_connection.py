"""A client's connection: it carries calls until the server takes no new ones.

It knows one server and no names: a balancer can have many of them.
"""

import ssl
from collections import deque
from typing import TYPE_CHECKING

from grpclib.config import Configuration

from userservice.rpc.connection import Call, Connection
from userservice.rpc.errors import UnavailableError
from userservice.rpc.lifetime import Keepalive
from userservice.rpc.limits import DEFAULT_LIMITS, Limits
from userservice.wire import http2
from userservice.wire.http2.headers import Fields

if TYPE_CHECKING:
    import asyncio

# How many streams a server takes is not known before its settings are here. More than it
# takes would be refused; as in grpc-go, so many are tried.
_STREAMS_FIRST = 100


class ClientConnection(Connection):
    """A connection to one server.

    Args:
        config: grpclib's settings: windows.
        keepalive: when to find out whether the server is still there.
        limits: how much is taken of the server.
    """

    def __init__(
        self,
        config: Configuration,
        keepalive: Keepalive = Keepalive(),  # noqa: B008  # frozen
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        super().__init__(http2.Role.CLIENT, config, keepalive, limits)
        # Calls that wait, first come first served, until the server takes another stream. One
        # that is told to try keeps its place until it has its stream.
        self._queue: deque[asyncio.Future[None]] = deque()
        self._settings_known = False

    @property
    def usable(self) -> bool:
        """Whether new calls can be made on it."""
        return not (self.closed or self.engine.goaway_received is not None)

    def connection_lost(self, exc: Exception | None) -> None:
        """End every call."""
        if not (self._settings_known or self.reason or isinstance(exc, ssl.SSLError)):
            # Many servers say no more to whom they do not take.
            wanted = "TLS" if self.tls is None else "a client certificate that it trusts"
            self.reason = f"the other side closed it before it spoke HTTP/2: it may want {wanted}"
        super().connection_lost(exc)
        self._let_all_try()

    def open_now(
        self,
        call: Call,
        fields: tuple[tuple[str, str], ...],
        metadata: Fields,
        *,
        end_stream: bool,
    ) -> http2.Stream | None:
        """Send a request's headers, or return None where calls wait in line for a stream.

        Raises:
            UnavailableError: the server takes no new streams on this connection.
        """
        return None if self._queue else self._open(call, fields, metadata, end_stream=end_stream)

    async def open_in_turn(
        self,
        call: Call,
        fields: tuple[tuple[str, str], ...],
        metadata: Fields,
        *,
        end_stream: bool,
    ) -> http2.Stream:
        """Send a request's headers, waiting in line until the server takes another stream.

        Raises:
            UnavailableError: the server takes no new streams on this connection.
        """
        place = self.loop.create_future()
        self._queue.append(place)
        if self._settings_known or self.closed:  # it was told already, and is not told again
            self.let_next_try()
        try:
            while True:
                await place
                stream = self._open(call, fields, metadata, end_stream=end_stream)
                if stream is not None:
                    return stream
                self._queue.remove(place)
                place = self.loop.create_future()
                self._queue.appendleft(place)
        finally:
            self._queue.remove(place)
            self.let_next_try()

    def _open(
        self,
        call: Call,
        fields: tuple[tuple[str, str], ...],
        metadata: Fields,
        *,
        end_stream: bool,
    ) -> http2.Stream | None:
        if self.closed:
            raise UnavailableError(f"the connection takes no new calls: {self.reason}")
        if not self._settings_known and len(self.engine.streams) >= _STREAMS_FIRST:
            return None
        try:
            stream = self.engine.open_stream(fields, metadata, end_stream=end_stream)
        except http2.TooManyStreamsError:
            return None
        except http2.GoingAwayError as error:
            reason = self.reason or str(error)
            raise UnavailableError(f"the connection takes no new calls: {reason}") from error
        stream.owner = call
        self.plan_flush()
        return stream

    def let_next_try(self) -> None:
        """Let the first in line try to open its stream: one may have ended."""
        if self._queue and not self._queue[0].done():
            self._queue[0].set_result(None)

    def _let_all_try(self) -> None:
        for place in self._queue:
            if not place.done():
                place.set_result(None)

    def settings_changed(self) -> None:
        """Let who waits in line try: the server may take more streams now."""
        super().settings_changed()
        self._settings_known = True
        self.let_next_try()

    def goes_away(self, event: http2.GoawayReceived) -> None:
        """Carry on with the calls that the server still serves; make no new ones."""
        self.reason = f"the server goes away, error code {event.code}"
        self._let_all_try()
        self._close_when_idle()

    def release(self, call: Call, stream: http2.Stream) -> None:
        """Let go of a call that is over."""
        stream.owner = self.nobody
        self.forget(call)
        if self._queue:
            self.let_next_try()
        if self.engine.goaway_received is not None:
            self._close_when_idle()

    def _close_when_idle(self) -> None:
        if not self.engine.streams:
            self.close()

    def shut_down(self, reason: str) -> None:
        """End every call, and close."""
        self.reason = reason
        self.break_off()
        if not self.closed:
            self.engine.goaway()
            self.close()
        self._let_all_try()
