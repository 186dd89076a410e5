"""A server's connection: each request becomes a call."""

import asyncio
import logging
import math
import random
from collections.abc import Callable, Mapping
from typing import Final

from grpclib.config import Configuration

from userservice.rpc.connection import GOODBYE_S
from userservice.rpc.deadlines import Deadlines
from userservice.rpc.lifetime import Keepalive, Lifetime
from userservice.rpc.request import Method, Refusal, read_request
from userservice.rpc.server_stream import STARTS_AT_ONCE, CallHolder, Face, ServerStream
from userservice.wire import http2

log = logging.getLogger(__name__)

_STRIKES_MAX: Final = 2  # early pings that are let go by

_LAST_CALLS: Final = b"goodbye?"  # the payload of the ping after the first GOAWAY
# For a client that is slow to answer, and for it to read its last replies then: a busy one may
# hang for seconds, and what it writes to a closed socket takes from it what it has not read.
_ROUND_TRIP_S: Final = 5.0
_LAST_REPLIES_S: Final = 5.0
_JITTER: Final = 0.1  # of an age (gRFC A9)


class ServerConnection(CallHolder):
    """One client's connection.

    Args:
        methods: the methods by path.
        face: what is the same for all calls.
        config: grpclib's settings: windows.
        keepalive: when to find out whether the client is still there.
        lifetime: how long the connection may live.
        made: is told when the connection stands.
        ended: is told when it is gone, and every handler at its end.
    """

    lingers = True
    stream_type = ServerStream
    """What a request becomes; `Channelz` has one that counts."""

    def __init__(
        self,
        methods: Mapping[str, Method],
        face: Face,
        config: Configuration,
        keepalive: Keepalive,
        lifetime: Lifetime,
        made: "Callable[[ServerConnection], None]",
        ended: "Callable[[ServerConnection], None]",
    ) -> None:
        limits = face.limits
        super().__init__(
            http2.Role.SERVER,
            config,
            keepalive,
            limits,
            max_concurrent_streams=limits.max_concurrent_streams,
        )
        self._methods = methods
        self._face = face
        self._subtype = face.codec.__content_subtype__
        self._lifetime = lifetime
        self._made = made
        self._ended = ended
        self.calls: set[ServerStream] = set()
        """The calls whose handlers run, or are about to."""
        self.deadlines = Deadlines(self.loop)
        self._accepted: list[ServerStream] = []
        self._pinged_at = -math.inf
        self._strikes = 0
        self.draining = False
        """Whether it takes no new calls, or soon none."""
        self._refuses_calls = False
        self._lost = False
        # Whether anybody wants to know when no call is under way.
        self._minds_idleness = lifetime.max_idle_s is not None
        self._idle_since = 0.0
        self._idleness: asyncio.TimerHandle | None = None
        self._timers: list[asyncio.TimerHandle] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the greeting."""
        super().connection_made(transport)
        self._made(self)
        if self._lifetime.max_age_s is not None:
            age_s = self._lifetime.max_age_s * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311  # no secret
            self._timers.append(self.loop.call_later(age_s, self._come_of_age))
        if self._minds_idleness:
            self._became_idle()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel what runs."""
        super().connection_lost(exc)
        self.deadlines.stop()
        for timer in (*self._timers, self._idleness):
            if timer is not None:
                timer.cancel()
        self._lost = self._minds_idleness = True
        if not self.calls:
            self._became_idle()

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
        call = self.stream_type(self, stream, request, self._face)
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
        if self._minds_idleness and not self.calls:
            self._became_idle()

    def pinged(self) -> None:
        """Count the pings of a client that asks again and again (gRFC A8).

        A client that is being sent something may measure the link with them.
        """
        now, least_s = self.loop.time(), self.limits.min_ping_interval_s
        if not self.calls:
            least_s = max(least_s, self.limits.min_idle_ping_interval_s)
        if self.sent_since_ping:
            self._strikes = 0
        elif now - self._pinged_at < least_s:
            self._strikes += 1
        self.sent_since_ping = False
        self._pinged_at = now
        if self._strikes > _STRIKES_MAX:
            # The text by which clients know to ask less often.
            self.give_up(http2.ProtocolError(http2.ErrorCode.ENHANCE_YOUR_CALM, "too_many_pings"))

    def failed(self, error: http2.ProtocolError) -> None:
        """Close, and tell the log why."""
        log.debug("a connection is closed, whose client broke the protocol: %s", error.reason)
        super().failed(error)

    def turn_away(self) -> None:
        """Close a connection that is one too many."""
        self.give_up(http2.ProtocolError(http2.ErrorCode.ENHANCE_YOUR_CALM, "too many connections"))

    # The end of it

    def drain(self) -> None:
        """Take no new calls, let those under way end, and close (RFC 9113 section 6.8).

        GOAWAY is said twice: at first without a last stream, because the client may have
        begun calls that are on their way; then, a round trip later, with the last one seen.
        """
        if self.draining or self.closed:
            return
        self.draining = self._minds_idleness = True
        self.reason = "the server is draining"
        for call in tuple(self.calls):
            if call.ends_on_drain:
                call.end()
        if not self._greeted:
            self._refuse_calls()
            return
        self.engine.goaway(last_stream_id=http2.STREAM_ID_MAX)
        self.engine.ping(_LAST_CALLS)
        self.plan_flush()
        self._timers.append(self.loop.call_later(_ROUND_TRIP_S, self._refuse_calls))

    def ping_acknowledged(self, payload: bytes) -> None:
        """Hear that the peer is alive, or has heard the first GOAWAY."""
        super().ping_acknowledged(payload)
        if self.draining and payload == _LAST_CALLS:
            self.linger_s = _LAST_REPLIES_S
            self._refuse_calls()

    def _refuse_calls(self) -> None:
        """Say GOAWAY with the last call seen; the client may try later ones elsewhere."""
        if self._refuses_calls or self.closed:
            return
        self._refuses_calls = True
        self.engine.goaway()
        self.plan_flush()
        if not self.calls:
            self.close()

    def end_calls(self) -> None:
        """End every call with UNAVAILABLE, and close soon."""
        for call in tuple(self.calls):
            call.end()
        self.draining = self._minds_idleness = True
        self.linger_s = GOODBYE_S
        self._refuse_calls()
        self._timers.append(self.loop.call_later(GOODBYE_S, self._cut_off))

    def _cut_off(self) -> None:
        if self.closed:  # and the client was slow to read
            self.abort()
        else:
            self.close()

    def _come_of_age(self) -> None:
        self.drain()
        if self._lifetime.age_grace_s is not None:
            self._timers.append(self.loop.call_later(self._lifetime.age_grace_s, self.end_calls))

    def _became_idle(self) -> None:
        """Do what had to wait for the last call."""
        if self._lost:
            self._ended(self)
        elif self._refuses_calls:
            self.close()
        elif self._lifetime.max_idle_s is not None:
            self._idle_since = self.loop.time()
            if self._idleness is None:
                self._idleness = self.loop.call_later(self._lifetime.max_idle_s, self._look_idle)

    def _look_idle(self) -> None:
        self._idleness = None
        assert self._lifetime.max_idle_s is not None
        left_s = self._idle_since + self._lifetime.max_idle_s - self.loop.time()
        if self.calls:
            return  # the last one to end starts the clock again
        if left_s <= 0:
            self.drain()
        else:
            self._idleness = self.loop.call_later(left_s, self._look_idle)
