"""A connection of either side: the socket's bytes to and from the HTTP/2 engine.

What is sent within one turn of the event loop leaves in one write. What the engine tells
goes to the call it belongs to, or to the side's own class.
"""

import asyncio
import ssl
import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any, Final, cast

from grpclib.config import Configuration
from grpclib.protocol import Peer

from userservice.rpc.handshake import fault_of
from userservice.rpc.identity import Identity
from userservice.rpc.keepalive import KeepaliveClock
from userservice.rpc.lifetime import Keepalive
from userservice.rpc.limits import Limits
from userservice.rpc.target import host_and_port
from userservice.rpc.tls import NO_HTTP2, agreed
from userservice.rpc.wakeup import Wakeup
from userservice.wire import http2

# Beyond this nothing waits for the end of the turn; the kernel takes about as much at once.
_UNSENT_MAX: Final = 64 * 1024  # bytes

# What many calls send who go on together leaves after so many of them: the other side has
# something to do while the rest goes on.
_TOGETHER: Final = 32

GOODBYE_S: Final = 1.0  # for a peer to take what is written to it, before its connection is cut

_DataReceived: Final = http2.DataReceived
_RequestReceived: Final = http2.RequestReceived

# One for all connections of a thread: a loop empties it before it reads from another socket.
# Less than the 128 KiB from which on the system maps each allocation by itself.
_BUFFER_SIZE: Final = 64 * 1024  # bytes
_local: Final = threading.local()


def _shared_buffer() -> memoryview:
    if not hasattr(_local, "buffer"):
        _local.buffer = memoryview(bytearray(_BUFFER_SIZE))
    buffer: memoryview = _local.buffer
    return buffer


class Call:
    """What the owner of a stream hears; it need not listen to all of it."""

    def headers_arrived(self, headers: http2.HeaderBlock, *, end_stream: bool) -> None:
        """Hear the first header block of a response."""

    def data_arrived(self, event: http2.DataReceived) -> None:
        """Hear data; somebody must give back their flow-control credit."""

    def trailers_arrived(self, headers: http2.HeaderBlock) -> None:
        """Hear the end of the other side's messages."""

    def room_opened(self) -> None:
        """Hear that more can be sent."""

    def was_reset(self, event: http2.StreamReset) -> None:
        """Hear that one side reset the stream."""

    def broke_off(self, reason: str) -> None:
        """Hear that the connection is gone."""


class Nobody(Call):
    """The owner of streams whose call is over: it lets what still arrives go by."""

    def __init__(self, engine: http2.Connection) -> None:
        self._engine = engine

    def data_arrived(self, event: http2.DataReceived) -> None:
        """Give back the credit: nobody else will."""
        self._engine.acknowledge(event.stream, event.flow_size)


class Connection(asyncio.BufferedProtocol):
    """What both sides' connections have in common.

    Args:
        role: which side this is.
        config: grpclib's settings: windows.
        keepalive: when to find out whether the other side is still there.
        limits: how much is taken of the other side.
        settings: what else is announced to it.
    """

    lingers = False
    """Whether it waits for the peer to close its side too. What comes for a socket that is
    closed already is answered with a reset, which takes from the peer what it has not read:
    the last messages, and the GOAWAY that says why."""

    linger_s = GOODBYE_S
    """How long the peer may take to read what was written, and to close its side."""

    def __init__(
        self,
        role: http2.Role,
        config: Configuration,
        keepalive: Keepalive,
        limits: Limits,
        **settings: int,
    ) -> None:
        announced = http2.Settings(
            initial_window_size=config.http2_stream_window_size,
            max_header_list_size=limits.max_header_list_bytes,
            **settings,
        )
        self.engine = http2.Connection(
            role, announced, window=config.http2_connection_window_size, budgets=limits.budgets
        )
        self.limits = limits
        self.held = 0
        """What unfinished messages hold, for which the credit was given back, in bytes."""
        self.nobody = Nobody(self.engine)
        self._buffer = _shared_buffer()
        self.loop = asyncio.get_running_loop()
        self.closed = False
        """Whether the socket is closed, or about to be."""
        self.paused = False
        """Whether the socket takes no more for now."""
        self.reason = ""
        """Why the connection was closed, or takes no new calls."""
        self._transport: asyncio.Transport | None = None
        self.tls: ssl.SSLObject | None = None
        """What the TLS handshake agreed on; None without TLS."""
        self._cut: asyncio.TimerHandle | None = None
        # Runs until the other side's settings are here, and while a header block has no end.
        self._patience: asyncio.TimerHandle | None = None
        self._greeted = False
        self.decodes_slowly = False
        """Whether the last larger message was of so many fields that the next goes to a thread."""
        self.sent_since_ping = False
        """Whether anything of a call was sent since the other side's last ping."""
        self._unread_at_ping = 0
        self._keepalive = KeepaliveClock(keepalive, self.loop, self._ping, self._unanswered)
        self._flush_planned = False
        self._unsent = 0
        # Who was woken by what is being received; None while nothing is.
        self._woken: list[Wakeup] | None = None
        # The calls that wait to send: for their window, the connection's, or the socket. They
        # are woken in this order; one that sent something goes to the end.
        self._held_up: dict[Call, None] = {}

    # The socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the greeting."""
        self._transport = cast("asyncio.Transport", transport)
        if self.closed:  # before it was made
            self._transport.abort()
            return
        self.tls = transport.get_extra_info("ssl_object")
        if self.tls is not None and not agreed(self.tls):
            self._refuse_without_agreement()
            return
        self._keepalive.start()
        self._patience = self.loop.call_later(self.limits.handshake_s, self._lose_patience)
        self.flush()

    def _refuse_without_agreement(self) -> None:
        """Close where the two sides did not agree on HTTP/2 (RFC 9113 section 3.3)."""
        self.reason = NO_HTTP2
        self.engine.take_output()
        self.close()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # asyncio's interface
        """Return where the socket's bytes go.

        For a protocol without a buffer, asyncio makes one of 256 KiB for each read, which the
        system maps and unmaps: 22 us a read, where this takes 3.
        """
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was received into the buffer."""
        self.data_received(bytes(self._buffer[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Hand what was received to those whom it concerns, and let them go on.

        They do so once all of it has been told, and what they send by then leaves in one write.
        It is for transports to call: in the place of a running task, no other can go on.
        """
        if self.closed:
            return
        woken: list[Wakeup] = []
        self._woken = woken
        self._flush_planned = True  # it is, below
        try:
            for event in self.engine.receive(data):
                if type(event) is _DataReceived:  # more than half of all
                    event.stream.owner.data_arrived(event)
                elif type(event) is _RequestReceived:  # most of the others
                    self.opened(event)
                else:
                    _HEARD[type(event)](self, event)
        finally:
            self._woken = None
            self._let_go_on(woken)
        more_follows = self.heard_all()
        self._flush_planned = False
        if more_follows:
            self.plan_flush()
        else:
            self.flush()
        if self.paused:
            self._cut_off_who_does_not_read()
        if self.engine.holds_block or self._patience is not None:
            self._watch_the_clock()

    def _let_go_on(self, woken: list[Wakeup]) -> None:
        waiters = iter(woken)
        try:
            for count, waiter in enumerate(waiters):
                self.flush_amid(count)
                waiter.go_on()
        finally:  # where one ends the program (SystemExit, say), the others must come to an end too
            for waiter in waiters:
                waiter.go_on_soon()

    def wake(self, waiter: Wakeup) -> None:
        """Let a task go on that waited for something to happen to its call."""
        if self._woken is None:
            waiter.go_on_soon()
        else:
            self._woken.append(waiter)

    def _watch_the_clock(self) -> None:
        """Start or stop the timer of what the other side has begun, and has to end."""
        waits = (self.engine.holds_block or not self._greeted) and not self.closed
        if self._patience is None and waits:
            self._patience = self.loop.call_later(self.limits.handshake_s, self._lose_patience)
        elif self._patience is not None and not waits:
            self._patience.cancel()
            self._patience = None

    def _lose_patience(self) -> None:
        what = "header block" if self._greeted else "preface and settings"
        self._patience = None
        self.give_up(
            http2.ProtocolError(
                http2.ErrorCode.ENHANCE_YOUR_CALM,
                f"the {what} did not come within {self.limits.handshake_s:g} s",
            )
        )

    def spend_glitch(self) -> None:
        """Count a frame that brings nothing; close where there were too many."""
        try:
            self.engine.spend_glitch()
        except http2.ProtocolError as error:
            self.give_up(error)

    def tls_answered(self) -> None:
        """Count what TLS was made to answer: a peer can ask for it without end, and not read."""
        self.spend_glitch()
        self._cut_off_who_does_not_read()

    def give_up(self, error: http2.ProtocolError) -> None:
        """Say what is wrong with the other side, and close."""
        if not self.closed:
            self.engine.fail(error)
            self.failed(error)

    def _cut_off_who_does_not_read(self) -> None:
        """Close where what cannot wait, such as answers to pings, is not read either."""
        if self._unread > self.limits.max_unread_bytes:
            self.reason = "the other side does not read"
            self.abort()

    @property
    def _unread(self) -> int:
        """What was written and not taken by the socket yet, in bytes."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def pause_writing(self) -> None:
        """Hold up who sends: the socket's buffer is full."""
        self.paused = True

    def resume_writing(self) -> None:
        """Let who waits to send go on."""
        self.paused = False
        self.room_opened(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """End every call: there is nobody on the other side."""
        self.closed = True
        self._keepalive.stop()
        for timer in (self._cut, self._patience):
            if timer is not None:
                timer.cancel()
        self._patience = None
        self.reason = self.reason or (self._words(exc) if exc else "the other side closed it")
        self.break_off()

    def _words(self, error: Exception) -> str:
        return fault_of(error) if isinstance(error, ssl.SSLError) else str(error)

    def break_off(self) -> None:
        """Tell every call that the connection is gone."""
        for stream in list(self.engine.streams.values()):
            stream.owner.broke_off(self.reason)

    # What leaves

    def plan_flush(self) -> None:
        """Send at the end of this turn of the loop what is to be sent by then."""
        if not self._flush_planned:
            self._flush_planned = True
            self.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send what is to be sent, in one write."""
        self._flush_planned = False
        self._unsent = 0
        if self.engine.has_output and self._transport is not None and not self.closed:
            output = self.engine.take_output()
            # asyncio logs each write after the peer has broken off, until it says so.
            if not self._transport.is_closing():
                self._transport.write(output)

    def flush_amid(self, count: int) -> None:
        """Send what is to be sent, now and then, amid calls that go on together.

        Args:
            count: how many of them went on so far.
        """
        if count % _TOGETHER == _TOGETHER - 1:
            self.flush()
            self._flush_planned = True  # it is, after the last of them

    def sent(self, size: int) -> None:
        """Count what was handed to the engine, so that no more than a bound is held.

        Args:
            size: in bytes.
        """
        self._unsent += size
        self.sent_since_ping = True
        if self._unsent >= _UNSENT_MAX:
            self.flush()
        else:
            self.plan_flush()

    def hold_up(self, call: Call, *, sent: bool) -> None:
        """Remember a call that waits to send, until `forget`.

        Args:
            call: the call.
            sent: whether it sent something just now; the others then come first.
        """
        if sent:
            self._held_up.pop(call, None)
        self._held_up[call] = None

    def forget(self, call: Call) -> None:
        """Let go of a call that has sent what it waited for, or is over."""
        self._held_up.pop(call, None)

    def close(self) -> None:
        """Send what is to be sent, and close the socket soon, whether the peer reads or not."""
        if self.closed:
            return
        self.flush()
        self.closed = True
        self._keepalive.stop()
        transport = self._transport
        if transport is not None:
            self._cut = self.loop.call_later(self.linger_s, transport.abort)
            if not (self.lingers and transport.can_write_eof()):
                transport.close()
                return
            try:
                transport.write_eof()
            except OSError:  # the peer is gone already
                transport.abort()

    def abort(self) -> None:
        """Close the socket without waiting for what is still to be sent."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    @property
    def peer(self) -> Peer:
        """The other side's address and certificate."""
        assert self._transport is not None
        return Peer(self._transport)

    @cached_property
    def peer_name(self) -> str:
        """The other side's address: ``host:port``, ``[v6]:port``, or ``unix``."""
        address: Any = self.peer.addr()
        return host_and_port(address) if isinstance(address, tuple) else "unix"

    @cached_property
    def identity(self) -> Identity | None:
        """Who the other side is, as its certificate says."""
        return None if self.tls is None else Identity.of(self.tls)

    def _ping(self, payload: bytes) -> bool:
        """Ask for a sign of life where there are calls."""
        if not self.engine.streams and not self._keepalive.settings.without_calls:
            return False
        self.engine.ping(payload)
        self.plan_flush()
        self._unread_at_ping = self._unread
        return True

    def _unanswered(self) -> None:
        unread = self._unread
        if unread < self._unread_at_ping:
            # It reads: the ping stands behind what it has not read yet.
            self._unread_at_ping = unread
            self._keepalive.wait()
            return
        self.reason = "the other side answers no pings"
        self.abort()

    # What is told

    def opened(self, event: http2.RequestReceived) -> None:
        """Begin a call (a server's connection)."""
        raise NotImplementedError

    def heard_all(self) -> bool:
        """Hear that all was told of what was received at once.

        Returns:
            Whether more is to be sent in the next turn of the loop.
        """
        return False

    def room_opened(self, stream: http2.Stream | None) -> None:
        """Wake who waits to send on this stream, or on any."""
        if stream is None:
            for call in self._held_up:
                call.room_opened()
        elif stream.owner in self._held_up:
            stream.owner.room_opened()

    def settings_changed(self) -> None:
        """Hear that the peer's settings are here, or changed."""
        self._greeted = True

    def pinged(self) -> None:
        """Hear that the peer asked for a sign of life."""

    def goes_away(self, event: http2.GoawayReceived) -> None:
        """Hear that the peer takes no new streams."""

    def ping_acknowledged(self, _payload: bytes) -> None:
        """Hear that the peer is alive."""
        self._keepalive.acknowledged()

    def failed(self, error: http2.ProtocolError) -> None:
        """Close: the peer broke a rule, and GOAWAY says which."""
        self.reason = f"the other side broke the protocol: {error.reason}"
        self.close()
        self.break_off()  # nothing more is read, whenever the socket is closed


def _headers_arrived(_: Connection, event: http2.ResponseReceived) -> None:
    event.stream.owner.headers_arrived(event.headers, end_stream=event.end_stream)


def _trailers_arrived(_: Connection, event: http2.TrailersReceived) -> None:
    event.stream.owner.trailers_arrived(event.headers)


def _was_reset(_: Connection, event: http2.StreamReset) -> None:
    event.stream.owner.was_reset(event)


def _room_opened(connection: Connection, event: http2.WindowOpened) -> None:
    connection.room_opened(event.stream)


def _settings_changed(connection: Connection, _: http2.SettingsReceived) -> None:
    connection.settings_changed()


def _goes_away(connection: Connection, event: http2.GoawayReceived) -> None:
    connection.goes_away(event)


def _ping_acknowledged(connection: Connection, event: http2.PingAcknowledged) -> None:
    connection.ping_acknowledged(event.payload)


def _failed(connection: Connection, event: http2.ConnectionFailed) -> None:
    connection.failed(event.error)


def _pinged(connection: Connection, _: http2.PingReceived) -> None:
    connection.pinged()


def _nothing(_: Connection, _event: http2.Event) -> None:
    """An interim response, our settings acknowledged: all is done."""


_HEARD: Final[dict[type, Callable[[Connection, Any], None]]] = {
    http2.ResponseReceived: _headers_arrived,
    http2.InformationReceived: _nothing,
    http2.TrailersReceived: _trailers_arrived,
    http2.StreamReset: _was_reset,
    http2.WindowOpened: _room_opened,
    http2.SettingsReceived: _settings_changed,
    http2.SettingsAcknowledged: _nothing,
    http2.PingReceived: _pinged,
    http2.PingAcknowledged: _ping_acknowledged,
    http2.GoawayReceived: _goes_away,
    http2.ConnectionFailed: _failed,
}
