"""HTTP/2 on one connection: the settings, a ping, and requests one after the other."""

import asyncio
import os
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from userservice.app.doctor.answers import MESSAGE_MAX, Answer, Broken
from userservice.app.doctor.handshakes import Streams
from userservice.app.doctor.tongues import hang_up
from userservice.rpc.handshake import fault_of
from userservice.rpc.timeout import encode_timeout
from userservice.wire import framing, http2
from userservice.wire.http2.frames import PING_SIZE

_READ_SIZE = 65_536
_FIRST_MAX = 512


@dataclass(frozen=True, slots=True)
class End:
    """Why a connection is over.

    Args:
        reason: in words.
        by_reset: whether it was cut, and not closed.
        tls: the alert of TLS that ended it, if one did.
        rule: the rule of HTTP/2 that the server broke, if it did.
    """

    reason: str
    by_reset: bool = False
    tls: ssl.SSLError | None = None
    rule: http2.ProtocolError | None = None


@dataclass(frozen=True, slots=True)
class Greeting:
    """What the server said to the preface.

    Args:
        seconds: how long its settings took.
        settings: what it announces; None where it announced nothing.
        first: the first bytes that it sent.
        end: why the connection is over, if it is.
        goaway: what it said about that.
    """

    seconds: float
    settings: http2.Settings | None = None
    first: bytes = b""
    end: End | None = None
    goaway: http2.GoawayReceived | None = None


class Conversation:
    """One connection as a client, which does one thing at a time.

    Args:
        streams: the connection.
        scheme: ``http`` or ``https``.
        authority: the name under which the server is called.
        timeout_s: how long an answer may take.
    """

    def __init__(self, streams: Streams, scheme: str, authority: str, timeout_s: float) -> None:
        self._reader, self._writer = streams
        self._scheme = scheme
        self._authority = authority
        self._timeout_s = timeout_s
        self._engine = http2.Connection(http2.Role.CLIENT, http2.Settings(enable_push=0))
        self._first = b""
        self._end: End | None = None
        self._settings_here = False
        self._pinged: bytes | None = None
        self._request: _Request | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    @property
    def end(self) -> End | None:
        """Why the connection is over, if it is."""
        return self._end

    def goaway(self) -> http2.GoawayReceived | None:
        """Return what the server said when it took no more requests on this connection."""
        return self._engine.goaway_received

    async def greet(self) -> Greeting:
        """Send the preface, and wait for the settings of the server."""
        started = time.perf_counter()
        await self._until(lambda: self._settings_here)
        return Greeting(
            time.perf_counter() - started,
            self._engine.remote if self._settings_here else None,
            self._first,
            self._end,
            self._engine.goaway_received,
        )

    async def ping(self) -> float | None:
        """Return how long the answer to a ping takes, in seconds; None where there is none."""
        started = time.perf_counter()
        payload = os.urandom(PING_SIZE)
        self._engine.ping(payload)
        answered = await self._until(lambda: self._pinged == payload)
        return time.perf_counter() - started if answered else None

    async def ask(self, path: str, message: bytes) -> Answer:
        """Send one message to a method, and return what comes back."""
        fields = (
            (":method", "POST"),
            (":scheme", self._scheme),
            (":path", path),
            (":authority", self._authority),
            ("grpc-timeout", encode_timeout(self._timeout_s)),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "userservice-doctor"),
        )
        started = time.perf_counter()
        try:
            stream = self._engine.open_stream(fields)
        except (http2.GoingAwayError, http2.TooManyStreamsError) as error:
            reason = self._end.reason if self._end is not None else str(error)
            return Answer(0.0, broken=Broken.LOST, fault=reason)
        request = self._request = _Request(stream, framing.frame(message))
        whole = await self._until(lambda: request.over, lambda: request.send(self._engine))
        seconds = time.perf_counter() - started
        if not whole and self._end is not None:
            request.broken, request.fault = Broken.LOST, self._end.reason
        elif not whole:
            self._engine.reset(stream, http2.ErrorCode.CANCEL)
            request.broken = Broken.SILENT
        return request.answer(seconds)

    async def close(self) -> None:
        """Say goodbye, and leave."""
        if self._end is None:
            self._engine.goaway(http2.ErrorCode.NO_ERROR)
            self._flush()
        await hang_up(self._writer)

    async def _until(
        self, done: Callable[[], bool], before: Callable[[], object] = lambda: None
    ) -> bool:
        """Go on until this is so; tells whether it came to that."""
        try:
            async with asyncio.timeout(self._timeout_s):
                while not done() and self._end is None:
                    before()
                    self._flush()
                    await self._read()
        except TimeoutError:
            return done()
        self._flush()
        return done()

    def _flush(self) -> None:
        if self._engine.has_output:
            self._writer.write(self._engine.take_output())

    async def _read(self) -> None:
        try:
            data = await self._reader.read(_READ_SIZE)
        except ssl.SSLError as error:
            self._end = End(fault_of(error), tls=error)
            return
        except OSError:
            self._end = End("the server cut the connection", by_reset=True)
            return
        if not data:
            self._end = End("the server closed the connection")
            return
        if len(self._first) < _FIRST_MAX:
            self._first += data[:_FIRST_MAX]
        for event in self._engine.receive(data):
            self._take(event)

    def _take(self, event: http2.Event) -> None:
        match event:
            case http2.SettingsReceived():
                self._settings_here = True
            case http2.PingAcknowledged(payload):
                self._pinged = payload
            case http2.ConnectionFailed(error):
                self._end = End(f"the server broke a rule of HTTP/2: {error.reason}", rule=error)
            case _ if self._request is not None:
                self._request.take(event, self._engine)


class _Request:
    """A request under way, and what came back of it so far."""

    def __init__(self, stream: http2.Stream, data: bytes) -> None:
        self._stream = stream
        self._unsent: bytes | None = data
        self._headers: http2.HeaderBlock | None = None
        self._trailers: http2.HeaderBlock | None = None
        self._body = bytearray()
        self.over = False
        self.broken: Broken | None = None
        self.fault = ""

    def send(self, engine: http2.Connection) -> None:
        """Send what the windows allow."""
        if self._unsent is None or self.over:
            return
        try:
            size = engine.send_data(self._stream, self._unsent, end_stream=True)
        except http2.StreamClosedError:  # the answer is there already
            self._unsent = None
            return
        self._unsent = self._unsent[size:] or None

    def take(self, event: http2.Event, engine: http2.Connection) -> None:
        """Take what happened, where it is about this request."""
        match event:
            case http2.DataReceived(stream, data, flow_size, end_stream):
                engine.acknowledge(stream, flow_size)
                if stream is self._stream:
                    self._body += data[: MESSAGE_MAX - len(self._body)]
                    self.over |= end_stream
            case http2.ResponseReceived(stream, headers, end_stream) if stream is self._stream:
                self._headers = headers
                self.over |= end_stream
            case http2.TrailersReceived(stream, headers) if stream is self._stream:
                self._trailers = headers
                self.over = True
            case http2.StreamReset(stream, code, by_peer, reason) if stream is self._stream:
                # NO_ERROR after a whole answer means: the rest of the request is not needed.
                if not self.over:
                    named = code in frozenset(http2.ErrorCode)
                    name = http2.ErrorCode(code).name if named else str(code)
                    self.broken = Broken.RESET
                    self.fault = f"RST_STREAM {name}" if by_peer else f"malformed: {reason}"
                self.over = True

    def answer(self, seconds: float) -> Answer:
        """Return what there is now."""
        return Answer(
            seconds, self._headers, self._trailers, bytes(self._body), self.broken, self.fault
        )
