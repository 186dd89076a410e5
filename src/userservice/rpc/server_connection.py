"""A server's connection: each request becomes a call."""

import asyncio
import math
from collections.abc import Callable, Mapping
from typing import Final

from grpclib.config import Configuration

from userservice.rpc.deadlines import Deadlines
from userservice.rpc.request import Method, Refusal, read_request
from userservice.rpc.server_stream import STARTS_AT_ONCE, CallHolder, Face, ServerStream
from userservice.wire import http2

# gRFC A8: who has no call under way has no reason to ask more often.
_PING_WITHOUT_CALLS_S: Final = 7_200.0
_STRIKES_MAX: Final = 2  # early pings that are let go by


class ServerConnection(CallHolder):
    """One client's connection.

    Args:
        methods: the methods by path.
        face: what is the same for all calls.
        config: grpclib's settings: windows and keepalive.
        made: is told when the connection stands.
        lost: is told when it is gone.
    """

    lingers = True

    def __init__(
        self,
        methods: Mapping[str, Method],
        face: Face,
        config: Configuration,
        made: "Callable[[ServerConnection], None]",
        lost: "Callable[[ServerConnection], None]",
    ) -> None:
        limits = face.limits
        super().__init__(
            http2.Role.SERVER,
            config,
            limits,
            max_concurrent_streams=limits.max_concurrent_streams,
        )
        self._methods = methods
        self._face = face
        self._subtype = face.codec.__content_subtype__
        self._made = made
        self._lost = lost
        self.calls: set[ServerStream] = set()
        """The calls whose handlers run, or are about to."""
        self.deadlines = Deadlines(self.loop)
        self._accepted: list[ServerStream] = []
        self._pinged_at = -math.inf
        self._strikes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the greeting."""
        super().connection_made(transport)
        self._made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel what runs."""
        super().connection_lost(exc)
        self.deadlines.stop()
        self._lost(self)

    def break_off(self) -> None:
        """Cancel what runs, also where its stream is over already."""
        for call in list(self.calls):
            call.broke_off(self.reason)

    def opened(self, event: http2.RequestReceived) -> None:
        """Accept a request, or refuse what is none."""
        stream, headers = event.stream, event.headers
        request = headers.meaning
        if request is None:
            request = headers.meaning = read_request(headers, self._methods, self._subtype)
        if type(request) is Refusal:
            stream.owner = self.nobody
            if stream.can_send:  # it may have been reset since, in the same read
                self.engine.send_headers(stream, request.fields, end_stream=True)
                self.engine.reset(stream, http2.ErrorCode.NO_ERROR)
            return
        call = ServerStream(self, stream, request, self._face)
        stream.owner = call
        call.input_ended = event.end_stream
        self.calls.add(call)
        self._accepted.append(call)

    def heard_all(self) -> bool:
        """Start the calls, now that as much of their requests is here as came with them."""
        if not self._accepted:
            return False
        accepted, self._accepted = self._accepted, []
        for count, call in enumerate(accepted):
            self.flush_amid(count)
            call.start()
        return not STARTS_AT_ONCE

    def release(self, call: ServerStream) -> None:
        """Let go of a call that is over."""
        self.calls.discard(call)
        self.sent_since_ping = True
        self.forget(call)
        call.stream.owner = self.nobody

    def pinged(self) -> None:
        """Count the pings of a client that asks again and again (gRFC A8).

        A client that is being sent something may measure the link with them.
        """
        now, least_s = self.loop.time(), self.limits.min_ping_interval_s
        if least_s and not self.calls:
            least_s = max(least_s, _PING_WITHOUT_CALLS_S)
        if self.sent_since_ping:
            self._strikes = 0
        elif now - self._pinged_at < least_s:
            self._strikes += 1
        self.sent_since_ping = False
        self._pinged_at = now
        if self._strikes > _STRIKES_MAX:
            # The text by which clients know to ask less often.
            self.give_up(http2.ProtocolError(http2.ErrorCode.ENHANCE_YOUR_CALM, "too_many_pings"))

    def turn_away(self) -> None:
        """Close a connection that is one too many."""
        self.give_up(http2.ProtocolError(http2.ErrorCode.ENHANCE_YOUR_CALM, "too many connections"))

    def say_goodbye(self) -> None:
        """Cancel the calls, say GOAWAY (NO_ERROR), and close (RFC 9113 section 6.8)."""
        self.reason = "the server is closing"
        self.break_off()
        if not self.closed:
            self.engine.goaway()
            self.close()
